"""The worker with a thread of its own: order, exceptions, and how it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from neumap_ros.worker import ThreadWorker, Worker

WAIT_S = 5.0


class GuardCondition:
    """Wakes the executor it belongs to, as rclpy's: any number of triggers before it is served are one."""

    def __init__(self, callback: Callable[[], None], wakes: queue.SimpleQueue[GuardCondition]) -> None:
        self.callback, self._wakes = callback, wakes
        self._lock = threading.Lock()
        self._triggered = False
        self.destroyed = False

    def trigger(self) -> None:
        with self._lock:
            assert not self.destroyed, "a guard condition was triggered after it was destroyed"
            if not self._triggered:
                self._triggered = True
                self._wakes.put(self)

    def serve(self) -> None:
        with self._lock:
            self._triggered = False
        self.callback()


class Executor:
    """The part of a node with its executor that a worker uses: guard conditions, served in the thread that spins."""

    def __init__(self) -> None:
        self._wakes: queue.SimpleQueue[GuardCondition] = queue.SimpleQueue()
        self.guards: list[GuardCondition] = []

    def create_guard_condition(self, callback: Callable[[], None]) -> GuardCondition:
        self.guards.append(GuardCondition(callback, self._wakes))
        return self.guards[-1]

    def destroy_guard_condition(self, guard: GuardCondition) -> None:
        guard.destroyed = True

    def spin_until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._wakes.get(timeout=WAIT_S).serve()

    def spin_what_is_there(self) -> None:
        while True:
            try:
                guard = self._wakes.get_nowait()
            except queue.Empty:
                return
            if not guard.destroyed:
                guard.serve()


@pytest.fixture
def executor() -> Executor:
    return Executor()


@pytest.fixture
def worker(executor: Executor) -> Iterator[ThreadWorker]:
    made = ThreadWorker(cast(Any, executor))
    yield made
    if not executor.guards[0].destroyed:
        made.stop()


def test_it_is_a_worker(worker: ThreadWorker) -> None:
    checked: Worker = worker
    assert checked is worker


def test_jobs_are_done_in_order_elsewhere_and_handed_back_here(worker: ThreadWorker, executor: Executor) -> None:
    worked: list[int] = []
    handed: list[tuple[Any, int]] = []

    def job(number: int) -> Callable[[], int]:
        def run() -> int:
            worked.append(threading.get_ident())
            return number

        return run

    for i in range(50):
        worker.submit(job(i), lambda result: handed.append((result, threading.get_ident())))
    executor.spin_until(lambda: len(handed) == 50)
    assert [result for result, _ in handed] == list(range(50))
    assert {ident for _, ident in handed} == {threading.get_ident()}
    assert len(set(worked)) == 1
    assert worked[0] != threading.get_ident()


def test_results_come_only_when_the_executor_spins(worker: ThreadWorker, executor: Executor) -> None:
    handed: list[Any] = []
    finished = threading.Event()
    worker.submit(lambda: 1, handed.append)
    worker.submit(finished.set, handed.append)
    assert finished.wait(WAIT_S)
    assert handed == []
    executor.spin_until(lambda: len(handed) == 2)
    assert handed == [1, None]


def test_an_exception_is_handed_over_and_the_next_job_done(worker: ThreadWorker, executor: Executor) -> None:
    handed: list[Any] = []
    worker.submit(lambda: 1 // 0, handed.append)
    worker.submit(lambda: "next", handed.append)
    executor.spin_until(lambda: len(handed) == 2)
    assert isinstance(handed[0], ZeroDivisionError)
    assert handed[1] == "next"


def test_a_result_may_ask_for_the_next_job(worker: ThreadWorker, executor: Executor) -> None:
    handed: list[int] = []

    def done(result: Any) -> None:
        handed.append(result)
        if result < 5:
            worker.submit(lambda: result + 1, done)

    worker.submit(lambda: 0, done)
    executor.spin_until(lambda: len(handed) == 6)
    assert handed == list(range(6))


def test_stop_waits_for_the_job_in_work_and_lets_go_of_the_rest(worker: ThreadWorker, executor: Executor) -> None:
    begun, go_on = threading.Event(), threading.Event()
    events: list[str] = []

    def long() -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        events.append("done")

    worker.submit(long, lambda _: events.append("handed back"))
    worker.submit(lambda: events.append("second"), lambda _: events.append("second handed back"))
    assert begun.wait(WAIT_S)
    release = threading.Timer(0.1, go_on.set)
    release.start()
    worker.stop()
    events.append("stopped")
    executor.spin_what_is_there()
    assert events == ["done", "stopped"]
    assert executor.guards[0].destroyed


def test_nothing_is_handed_back_after_stop(worker: ThreadWorker, executor: Executor) -> None:
    handed: list[Any] = []
    finished = threading.Event()
    worker.submit(lambda: 1, handed.append)
    worker.submit(finished.set, handed.append)
    assert finished.wait(WAIT_S)
    worker.stop()
    # the executor was woken before; rclpy may serve it still
    executor.guards[0].callback()
    assert handed == []


def test_a_result_may_stop_the_worker(worker: ThreadWorker, executor: Executor) -> None:
    handed: list[str] = []
    finished = threading.Event()

    def stop(_: object) -> None:
        handed.append("first")
        worker.stop()

    worker.submit(lambda: 1, stop)
    worker.submit(finished.set, lambda _: handed.append("second"))
    assert finished.wait(WAIT_S)
    executor.spin_until(lambda: bool(handed))
    executor.spin_what_is_there()
    assert handed == ["first"]


def test_its_thread_ends_and_would_not_keep_a_process_alive(executor: Executor) -> None:
    worker = ThreadWorker(cast(Any, executor))
    (thread,) = (t for t in threading.enumerate() if t.name == "neumap_worker")
    assert thread.daemon
    worker.stop()
    assert not thread.is_alive()
