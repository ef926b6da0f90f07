"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

# called with the stage's name, what is done of it and its total
Progress = Callable[[str, int, int], object]


def count_up(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """A function that is called with how much more is done of ``stage``, and tells ``progress`` how much that makes."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, total)

    return step
