"""One thread for what takes long, so that callbacks, services and transforms go on meanwhile."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rclpy.node import Node

Result = TypeVar("Result")


class Worker(Protocol):
    """Does jobs one after the other, elsewhere, and hands each result back on the node's executor."""

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception], None]) -> None:
        """``done`` is called with what ``job`` returned or raised, never from within ``submit``."""

    def stop(self) -> None:
        """Lets go of jobs not begun, and waits for the one in work; no ``done`` is called after this."""


class ThreadWorker:
    """A worker with a thread of its own. A guard condition wakes the executor for its results."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._results: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._wake = node.create_guard_condition(self._hand_back)
        self._thread = threading.Thread(target=self._work, name="neumap_worker", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception], None]) -> None:
        def run() -> None:
            result: Result | Exception
            try:
                result = job()
            except Exception as error:  # whatever it is, it belongs to who asked for the job
                result = error
            self._results.append(lambda: done(result))
            if not self._stopped:
                self._wake.trigger()

        self._jobs.put(run)

    def stop(self) -> None:
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()
        self._results.clear()
        self._node.destroy_guard_condition(self._wake)

    def _work(self) -> None:
        while (run := self._jobs.get()) is not None and not self._stopped:
            run()

    def _hand_back(self) -> None:
        # triggers that come close together wake the executor once
        while self._results and not self._stopped:
            self._results.popleft()()
