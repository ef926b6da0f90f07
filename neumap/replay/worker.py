"""A worker on virtual time: jobs run at once, but their results arrive when those of a robot's computer would."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from neumap.replay.clock import Scheduled, VirtualClock
from neumap.tracking.ports import Result


class ModelledWorker:
    """Models a worker that takes ``inference_s`` per job, or its measured time if None.

    Time runs ``rate`` times as fast as on the modelled computer, as in a recording played faster. Jobs queue: one that
    is submitted while another runs begins when that one is done. A fixed time makes replays repeatable. ``measured``
    holds the start, nanoseconds, and the measured seconds of each job; ``costs_s`` the seconds that count.
    """

    def __init__(self, clock: VirtualClock, inference_s: float | None, rate: float = 1.0) -> None:
        self._clock, self._inference_s, self._rate = clock, inference_s, rate
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any, float], None]]] = deque()
        self._under_way: Scheduled | None = None
        self.measured: list[tuple[int, float]] = []
        self.costs_s: list[float] = []

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception, float], None]) -> None:
        self._waiting.append((job, done))
        if self._under_way is None:
            self._begin()

    def stop(self) -> None:
        self._waiting.clear()
        if self._under_way is not None:
            self._under_way.cancel()
            self._under_way = None

    def _begin(self) -> None:
        job, done = self._waiting.popleft()
        started = time.perf_counter()
        result: Any
        try:
            result = job()
        except Exception as error:  # passed to whoever submitted the job
            result = error
        took_s = time.perf_counter() - started
        self.measured.append((self._clock.now_ns(), took_s))
        cost_s = took_s if self._inference_s is None else self._inference_s
        self.costs_s.append(cost_s)

        def finish() -> None:
            self._under_way = None
            done(result, cost_s)
            if self._waiting and self._under_way is None:
                self._begin()

        self._under_way = self._clock.call_after(cost_s * self._rate, finish)
