"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

# called with the stage's name, what is done of it and its total
Progress = Callable[[str, int, int], object]
# called with how much more is done
Step = Callable[[int], object]


def ignore(*_: object) -> None:
    """Tell nobody."""


def count_up(progress: Progress, stage: str, total: int) -> Step:
    """A function that is called with how much more is done of ``stage``, and tells ``progress`` how much that makes;
    that nothing is done yet is told at once.
    """
    done = 0
    progress(stage, 0, total)

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, total)

    return step
