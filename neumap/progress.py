"""Callbacks for the progress of long work."""

from __future__ import annotations

from collections.abc import Callable

# Progress: called with the stage's name, the amount done and the total.
Progress = Callable[[str, int, int], object]
# Step: called with the amount done since the last call.
Step = Callable[[int], object]


def ignore(*_: object) -> None:
    """Report no progress."""


def count_up(progress: Progress, stage: str, total: int) -> Step:
    """Return a function that adds to the amount done of ``stage`` and reports it to ``progress``; reports 0 at once."""
    done = 0
    progress(stage, 0, total)

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, total)

    return step
