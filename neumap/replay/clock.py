"""Virtual time, the port ``Clock`` of a replay."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Scheduled:
    """A scheduled call. Implements the port ``Cancellable``."""

    def __init__(self, due_ns: int, callback: Callable[[], None]) -> None:
        self.due_ns, self.callback = due_ns, callback
        self.cancelled = False

    def cancel(self) -> None:
        """Cancel the call."""
        self.cancelled = True


class VirtualClock:
    """The time of a recording, nanoseconds. Calls happen in the order of time, then of scheduling."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._waiting: list[tuple[int, int, Scheduled]] = []
        self._number = itertools.count()

    def now_ns(self) -> int:
        return self._now_ns

    def call_after(self, delay_s: float, callback: Callable[[], None]) -> Scheduled:
        call = Scheduled(self._now_ns + round(delay_s * 1e9), callback)
        heapq.heappush(self._waiting, (call.due_ns, next(self._number), call))
        return call

    def advance_to(self, time_ns: int) -> None:
        """Advance to a time and make the calls that are due on the way, each at its time."""
        while self._waiting and self._waiting[0][0] <= time_ns:
            _, _, call = heapq.heappop(self._waiting)
            if not call.cancelled:
                self._now_ns = max(self._now_ns, call.due_ns)
                call.callback()
        self._now_ns = max(self._now_ns, time_ns)

    def jump_back_to(self, time_ns: int) -> None:
        """Set the clock back; the remaining delays of scheduled calls stay the same."""
        shift = time_ns - self._now_ns
        self._now_ns = time_ns
        self._waiting = [(due + shift, number, call) for due, number, call in self._waiting]
        for due_ns, _, call in self._waiting:
            call.due_ns = due_ns
