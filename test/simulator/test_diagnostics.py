"""diagnostic_updater on virtual time publishes what the real one was seen to publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rosbags")

from neumap_ros.simulator import diagnostic_updater, rclpy
from neumap_ros.simulator.diagnostic_updater import (
    CompositeDiagnosticTask,
    DiagnosticStatusWrapper,
    DiagnosticTask,
    FrequencyStatus,
    FrequencyStatusParam,
    FunctionDiagnosticTask,
    Heartbeat,
    Updater,
)
from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.time import Time

OK, WARN, ERROR, STALE = b"\x00", b"\x01", b"\x02", b"\x03"
State = tuple[bytes, str, str, str, list[tuple[str, str]]]


def fine(stat: Any) -> Any:
    stat.summary(OK, "all right")
    stat.add("key", "3")
    return stat


class Bench:
    """A node in a namespace, with what was received from its updater."""

    def __init__(self) -> None:
        self.node = Node("diag", namespace="ns")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.received: list[list[State]] = []
        self.stamps: list[int] = []
        self.node.create_subscription(
            message_class("diagnostic_msgs/msg/DiagnosticArray"), "/diagnostics", self._receive, 50
        )

    def _receive(self, message: Any) -> None:
        self.stamps.append(Time.from_msg(message.header.stamp).nanoseconds)
        self.received.append(
            [(s.level, s.name, s.message, s.hardware_id, [(v.key, v.value) for v in s.values]) for s in message.status]
        )

    def after(self, act: Callable[[], object] = lambda: None, turns: int = 10) -> list[list[State]]:
        """What is received because of ``act``."""
        self.received.clear()
        act()
        for _ in range(turns):
            self.executor.spin_once(timeout_sec=0.01)
        return list(self.received)


@pytest.fixture
def bench() -> Iterator[Bench]:
    rclpy.init()
    made = Bench()
    yield made
    made.executor.shutdown()
    made.node.destroy_node()
    rclpy.try_shutdown()


def test_tasks_are_announced_then_run(bench: Bench) -> None:
    updater = Updater(bench.node)
    updater.setHardwareID("cam-1")
    assert bench.after(lambda: updater.add("one", fine)) == [[(OK, "diag: one", "Node starting up", "", [])]]
    assert bench.after(updater.force_update) == [[(OK, "diag: one", "all right", "cam-1", [("key", "3")])]]
    assert bench.after(lambda: updater.broadcast(STALE, "gone")) == [[(STALE, "diag: one", "gone", "", [])]]
    assert updater.removeByName("one")
    assert not updater.removeByName("one")
    assert bench.after(updater.force_update) == [[]]


def test_timer_and_parameters(bench: Bench) -> None:
    bench.node.declare_parameter("diagnostic_updater.use_fqn", False)
    bench.node.undeclare_parameter("diagnostic_updater.use_fqn")
    updater = Updater(bench.node, period=0.05)
    assert bench.node.get_parameter("diagnostic_updater.period").value == updater.period == 0.05
    assert bench.node.get_parameter("diagnostic_updater.use_fqn").value is False
    assert updater.publisher.topic_name == "/diagnostics"
    assert len(bench.after(turns=40)) >= 2
    assert {later - earlier for earlier, later in zip(bench.stamps, bench.stamps[1:], strict=False)} == {50_000_000}


def test_what_a_task_says_before_it_says_anything(bench: Bench) -> None:
    updater = Updater(bench.node)
    updater.add("lazy", lambda stat: stat)
    bench.after()
    assert bench.after(updater.force_update) == [[(ERROR, "diag: lazy", "No message was set", "", [])]]


def test_bad_tasks_raise(bench: Bench) -> None:
    updater = Updater(bench.node)
    updater.add("bad", lambda stat: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        updater.force_update()
    updater.removeByName("bad")
    updater.add("none", lambda stat: None)
    with pytest.raises(AttributeError):
        updater.force_update()


def test_classes_of_tasks(bench: Bench) -> None:
    class Broken(DiagnosticTask):
        def run(self, stat: Any) -> Any:
            stat.summary(ERROR, "broken")
            return stat

    def hot(stat: Any) -> Any:
        stat.summary(WARN, "hot")
        stat.add("t", "90")
        return stat

    both = CompositeDiagnosticTask("both")
    both.addTask(FunctionDiagnosticTask("one", fine))
    both.addTask(FunctionDiagnosticTask("two", hot))
    updater = Updater(bench.node)
    for task in (Broken("mine"), both, Heartbeat()):
        updater.add(task)
    bench.after()
    (states,) = bench.after(updater.force_update)
    assert states == [
        (ERROR, "diag: mine", "broken", "", []),
        (WARN, "diag: both", "hot", "", [("key", "3"), ("t", "90")]),
        (OK, "diag: Heartbeat", "Alive", "", []),
    ]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(OK, "a"), (OK, "b")], (OK, "a; b")),
        ([(OK, "a"), (WARN, "b")], (WARN, "b")),
        ([(WARN, "a"), (OK, "b")], (WARN, "a")),
        ([(WARN, "a"), (ERROR, "b")], (ERROR, "a; b")),
        ([(ERROR, "a"), (WARN, "b")], (ERROR, "a; b")),
    ],
)
def test_merging(pairs: list[tuple[bytes, str]], expected: tuple[bytes, str]) -> None:
    status = DiagnosticStatusWrapper()
    for level, message in pairs[:1]:
        status.summary(level, message)
    for level, message in pairs[1:]:
        status.mergeSummary(level, message)
    assert (status.level, status.message) == expected


def test_values_are_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_PYTHON_CHECK_FIELDS", "1")
    status = DiagnosticStatusWrapper()
    assert isinstance(status, message_class("diagnostic_msgs/msg/DiagnosticStatus"))
    with pytest.raises(AssertionError):
        status.add("a", 3)
    with pytest.raises(AssertionError):
        status.summary(1, "x")
    status.summary(WARN, 5)
    assert (status.level, status.message, len(status.values)) == (WARN, "5", 0)


def test_frequency(bench: Bench) -> None:
    task = FrequencyStatus(FrequencyStatusParam({"min": 5.0, "max": 10.0}), clock=bench.node.get_clock())
    assert task.run(DiagnosticStatusWrapper()).message == "No events recorded."
    for events, message in ((1, "Frequency too low."), (30, "Frequency too high.")):
        task.clear()
        for _ in range(events):
            task.tick()
        bench.after(turns=100)
        assert task.run(DiagnosticStatusWrapper()).message == message


def test_unknown_names() -> None:
    with pytest.raises(AttributeError):
        diagnostic_updater.TopicDiagnostic  # noqa: B018
