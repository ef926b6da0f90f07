"""A worker on virtual time: jobs are done at once, but their results come when a robot's computer would have them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from neumap.replay.clock import Scheduled, VirtualClock
from neumap.tracking.ports import Result


class ModelledWorker:
    """Takes ``inference_s`` for each job, or as long as the job really took where that is None.

    Time runs ``rate`` times as fast as on the computer that is modelled, as in a recording played faster. Jobs queue:
    one that is submitted while another is under way begins when that one is done. With a fixed time everything that
    follows from time is repeatable. ``measured`` holds when each job began, nanoseconds, and the seconds it really
    took; ``costs_s`` what each was said to cost.
    """

    def __init__(self, clock: VirtualClock, inference_s: float | None, rate: float = 1.0) -> None:
        self._clock, self._inference_s, self._rate = clock, inference_s, rate
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any, float], None]]] = deque()
        self._under_way: Scheduled | None = None
        self.measured: list[tuple[int, float]] = []
        self.costs_s: list[float] = []

    def start(self) -> None:
        """Do nothing: there is no thread to start."""

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
        except Exception as error:  # whatever it is, it belongs to who asked for the job
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
