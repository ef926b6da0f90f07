"""The one clock of the simulator, in nanoseconds since 1970. It moves only when told to, never by itself.

Everything that would be the wall clock or the steady clock of a robot reads it.
"""

from __future__ import annotations

# 2025-01-01T00:00:00Z: always the same, so that a fresh run repeats the last one.
START_NS = 1_735_689_600 * 10**9

_now_ns = START_NS


def now_ns() -> int:
    """The present."""
    return _now_ns


def set(ns: int) -> None:
    """Makes ``ns`` the present, be it earlier or later."""
    global _now_ns
    _now_ns = ns


def advance_to(ns: int) -> None:
    """Moves on to ``ns``; without effect where that is past."""
    set(max(_now_ns, ns))


def advance_by(ns: int) -> None:
    """Moves on by ``ns``; without effect where that is negative."""
    advance_to(_now_ns + ns)


def reset() -> None:
    """Goes back to the start."""
    set(START_NS)
