"""The worker on virtual time: when results come, in which order, and what a stop ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rosbags")

from neumap_ros import simulator
from neumap_ros.simulator import rclpy, virtual_time
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.worker import ModelledWorker

SECOND = 10**9


@pytest.fixture
def executor() -> Iterator[SingleThreadedExecutor]:
    virtual_time.reset()
    simulator.log_to_stderr(False)
    rclpy.init(args=[])
    made = SingleThreadedExecutor()
    made.add_node(Node("node"))
    yield made
    made.shutdown()
    rclpy.try_shutdown()
    simulator.log_to_stderr(True)


class Log:
    """What came back, and when."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Any]] = []

    def __call__(self, result: Any) -> None:
        self.entries.append((since_start(), result))


def since_start() -> float:
    return (virtual_time.now_ns() - virtual_time.START_NS) / SECOND


def let_pass(executor: SingleThreadedExecutor, seconds: float) -> None:
    end = virtual_time.now_ns() + round(seconds * SECOND)
    while virtual_time.now_ns() < end:
        executor.spin_once(timeout_sec=(end - virtual_time.now_ns()) / SECOND)
    executor.spin_until_idle()


def test_a_result_comes_when_its_time_has_passed(executor: SingleThreadedExecutor) -> None:
    log = Log()
    ModelledWorker(executor, 0.25).submit(lambda: "done", log)
    assert log.entries == []
    let_pass(executor, 0.2)
    assert log.entries == []
    let_pass(executor, 0.1)
    assert log.entries == [(0.25, "done")]


def test_never_from_within_submit_even_where_it_takes_no_time(executor: SingleThreadedExecutor) -> None:
    log = Log()
    ModelledWorker(executor, 0.0).submit(lambda: 1, log)
    assert log.entries == []
    executor.spin_until_idle()
    assert log.entries == [(0.0, 1)]


def test_jobs_queue(executor: SingleThreadedExecutor) -> None:
    log, worker = Log(), ModelledWorker(executor, 0.5)
    began: list[float] = []

    def job(number: int) -> Callable[[], int]:
        def run() -> int:
            began.append(since_start())
            return number

        return run

    for number in range(3):
        worker.submit(job(number), log)
    let_pass(executor, 2.0)
    assert log.entries == [(0.5, 0), (1.0, 1), (1.5, 2)]
    assert began == [0.0, 0.5, 1.0]


def test_a_result_may_ask_for_the_next_job(executor: SingleThreadedExecutor) -> None:
    log, worker = Log(), ModelledWorker(executor, 0.5)

    def again(result: Any) -> None:
        log(result)
        worker.submit(lambda: "second", log)

    worker.submit(lambda: "first", again)
    let_pass(executor, 2.0)
    assert log.entries == [(0.5, "first"), (1.0, "second")]


def test_an_exception_is_a_result(executor: SingleThreadedExecutor) -> None:
    log, worker = Log(), ModelledWorker(executor, 0.5)
    worker.submit(lambda: 1 // 0, log)
    worker.submit(lambda: "next", log)
    let_pass(executor, 1.0)
    assert isinstance(log.entries[0][1], ZeroDivisionError)
    assert log.entries[1] == (1.0, "next")


def test_a_recording_played_faster_leaves_less_time(executor: SingleThreadedExecutor) -> None:
    log = Log()
    ModelledWorker(executor, 0.1, rate=4.0).submit(lambda: 1, log)
    let_pass(executor, 1.0)
    assert log.entries == [(pytest.approx(0.4), 1)]


def test_a_measured_time_is_that_of_the_job(executor: SingleThreadedExecutor) -> None:
    log = Log()
    ModelledWorker(executor, None).submit(lambda: time.sleep(0.05), log)
    let_pass(executor, 10.0)
    ((when, _),) = log.entries
    assert 0.05 <= when < 5.0


def test_nothing_comes_after_stop(executor: SingleThreadedExecutor) -> None:
    log, worker = Log(), ModelledWorker(executor, 0.5)
    ran: list[int] = []
    worker.submit(lambda: ran.append(1), log)
    worker.submit(lambda: ran.append(2), log)
    let_pass(executor, 0.25)
    worker.stop()
    let_pass(executor, 2.0)
    assert (log.entries, ran) == ([], [1])


def test_stopping_twice_or_idle_does_no_harm(executor: SingleThreadedExecutor) -> None:
    worker = ModelledWorker(executor, 0.5)
    worker.stop()
    worker.stop()


def test_a_result_may_stop_the_worker(executor: SingleThreadedExecutor) -> None:
    log, worker = Log(), ModelledWorker(executor, 0.5)

    def stop(result: Any) -> None:
        log(result)
        worker.stop()

    worker.submit(lambda: 1, stop)
    worker.submit(lambda: 2, log)
    let_pass(executor, 2.0)
    assert log.entries == [(0.5, 1)]
