"""A worker on virtual time: jobs are done at once, but their results come when a robot's computer would have them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class ModelledWorker:
    """Takes ``inference_s`` for each job, or as long as the job really took where that is None.

    Time runs ``rate`` times as fast as on the computer that is modelled, as in a recording played faster. Jobs queue:
    one that is submitted while another is under way begins when that one is done. With a fixed time everything that
    follows from time is repeatable.
    """

    def __init__(self, executor: Any, inference_s: float | None, rate: float = 1.0) -> None:
        self._executor = executor
        self._inference_s, self._rate = inference_s, rate
        self._waiting: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self._under_way: Any = None

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception], None]) -> None:
        """``done`` is called on the executor, with what ``job`` returned or raised, when its time has passed."""
        self._waiting.append((job, done))
        if self._under_way is None:
            self._begin()

    def stop(self) -> None:
        """No ``done`` is called any more."""
        self._waiting.clear()
        if self._under_way is not None:
            self._under_way.cancel()
            self._under_way = None

    def _begin(self) -> None:
        job, done = self._waiting.pop(0)
        started = time.perf_counter()
        result: Any
        try:
            result = job()
        except Exception as error:  # whatever it is, it belongs to who asked for the job
            result = error
        took_s = time.perf_counter() - started if self._inference_s is None else self._inference_s
        self._under_way = self._executor.schedule(round(took_s * self._rate * 1e9), lambda: self._finish(done, result))

    def _finish(self, done: Callable[[Any], None], result: Any) -> None:
        self._under_way = None
        if self._waiting:
            self._begin()
        done(result)
