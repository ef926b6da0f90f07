"""Playing recordings: order, times, what happens in between, jumps back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rosbags")

from neumap_ros import simulator
from neumap_ros.simulator import rclpy, virtual_time
from neumap_ros.simulator.messages import message_class, to_cdr
from neumap_ros.simulator.player import Event, Player, Timed
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.parameter import Parameter
from neumap_ros.simulator.rclpy.qos import DurabilityPolicy, QoSProfile

SECOND = 10**9
START = 1_800_000_000
STRING = "std_msgs/msg/String"


def said(seconds: float, text: str, topic: str = "/chatter") -> Timed:
    return Timed(ns(seconds), topic, STRING, to_cdr(message_class(STRING)(data=text)))


def ns(seconds: float) -> int:
    return START * SECOND + round(seconds * SECOND)


class Stage:
    """A player, and a node that listens and writes down what it hears and when."""

    def __init__(self, remaps: tuple[str, ...] = ()) -> None:
        self.executor = SingleThreadedExecutor()
        self.player = Player(self.executor, remaps)
        self.node = Node("listener", parameter_overrides=[Parameter("use_sim_time", value=True)])
        self.executor.add_node(self.node)
        self.heard: list[tuple[float, str]] = []
        self.hear("/chatter")

    def hear(self, topic: str, latched: bool = False) -> None:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=10, durability=durability)
        self.node.create_subscription(message_class(STRING), topic, lambda m: self.write(m.data), qos)

    def write(self, text: str) -> None:
        self.heard.append((round(self.now(), 6), text))

    def now(self) -> float:
        """As the node sees it."""
        return float((self.node.get_clock().now().nanoseconds - START * SECOND) / SECOND)


@pytest.fixture
def ros() -> Iterator[None]:
    virtual_time.reset()
    simulator.log_to_stderr(False)
    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()
    simulator.log_to_stderr(True)


@pytest.fixture
def stage(ros: None) -> Stage:
    return Stage()


def test_messages_come_at_their_times(stage: Stage) -> None:
    stage.player.play([said(0.0, "a"), said(0.5, "b"), said(0.5, "c"), said(2.25, "d")])
    assert stage.heard == [(0.0, "a"), (0.5, "b"), (0.5, "c"), (2.25, "d")]


def test_some_more_time_passes_in_the_end(stage: Stage) -> None:
    stage.player.play([said(0.0, "a")], after_s=3.0)
    assert stage.now() == 3.0
    assert stage.player.now_ns == ns(3.0)


def test_timers_fire_when_they_are_due_between_messages(stage: Stage) -> None:
    stage.player.advance_to(ns(-1.0))
    stage.node.create_timer(0.4, lambda: stage.write("timer"))
    stage.player.play([said(0.0, "a"), said(0.3, "b")], after_s=0.2)
    assert stage.heard == [(-0.6, "timer"), (-0.2, "timer"), (0.0, "a"), (0.2, "timer"), (0.3, "b")]


def test_timers_made_before_time_is_known_do_not_run_since_1970(stage: Stage) -> None:
    stage.node.create_timer(0.4, lambda: stage.write("timer"))
    stage.player.play([said(0.0, "a")], after_s=0.9)
    assert len([text for _, text in stage.heard if text == "timer"]) <= 3
    assert stage.heard[-1][0] > 0


def test_scheduled_work_ends_when_it_is_due(stage: Stage) -> None:
    begun = Event(ns(0.1), lambda: stage.executor.schedule(SECOND // 4, lambda: stage.write("result")))
    stage.player.play([said(0.0, "a"), said(1.0, "b")], [begun])
    assert stage.heard == [(0.0, "a"), (0.35, "result"), (1.0, "b")]


def test_events_happen_at_their_times_in_order(stage: Stage) -> None:
    events = [Event(ns(t), lambda t=t: stage.write(f"event {t}")) for t in (5.0, 0.7, 0.0, 0.2)]  # type: ignore[misc]
    stage.player.play([said(0.0, "a"), said(0.5, "b"), said(1.0, "c")], events, after_s=0.5)
    assert stage.heard == [
        (0.0, "event 0.0"),
        (0.0, "a"),
        (0.2, "event 0.2"),
        (0.5, "b"),
        (0.7, "event 0.7"),
        (1.0, "c"),
        (5.0, "event 5.0"),
    ]


def test_time_may_jump_back(stage: Stage) -> None:
    stage.player.play([said(10.0, "a"), said(2.0, "b"), said(2.5, "c")])
    assert stage.heard == [(10.0, "a"), (2.0, "b"), (2.5, "c")]


def test_a_recording_may_be_played_piece_by_piece(stage: Stage) -> None:
    stage.player.play([said(0.0, "a")], after_s=0)
    stage.player.play([], after_s=1.0)
    stage.player.play([said(1.5, "b")], after_s=0)
    assert stage.heard == [(0.0, "a"), (1.5, "b")]
    assert stage.now() == 1.5


def test_wall_time_passes_as_much(stage: Stage) -> None:
    stage.player.play([said(0.0, "a")], after_s=0)
    before = virtual_time.now_ns()
    stage.player.play([said(4.0, "b")], after_s=1.0)
    assert virtual_time.now_ns() - before == 5 * SECOND


def test_static_transforms_are_kept_for_who_comes_later(stage: Stage) -> None:
    # whatever is called so is published as ROS publishes it
    stage.player.play([said(0.0, "kept", "/tf_static"), said(0.1, "gone", "/other")])
    stage.hear("/tf_static", latched=True)
    stage.hear("/other")
    stage.executor.spin_until_idle()
    assert [text for _, text in stage.heard] == ["kept"]


def test_topics_are_remapped(ros: None) -> None:
    stage = Stage(("/camera/talk:=/chatter",))
    stage.player.play([said(0.0, "a", "/camera/talk"), said(0.1, "b")])
    assert [text for _, text in stage.heard] == ["a", "b"]


def test_it_says_what_is_its_own(stage: Stage) -> None:
    own: list[tuple[str, bool]] = []
    stop = simulator.tap(lambda m: own.append((m.topic, stage.player.publishing)))
    answer = stage.node.create_publisher(message_class(STRING), "/answer", 1)

    def reply(message: Any) -> None:
        answer.publish(message)

    stage.node.create_subscription(message_class(STRING), "/chatter", reply, 1)
    stage.player.play([said(0.0, "a")], after_s=0)
    stop()
    assert {entry for entry in own if entry[0] != "/rosout"} == {
        ("/clock", True),
        ("/chatter", True),
        ("/answer", False),
    }


def test_closing_takes_its_topics_away(stage: Stage) -> None:
    stage.player.play([said(0.0, "a")])
    assert stage.node.count_publishers("/chatter") == 1
    stage.player.close()
    assert stage.node.count_publishers("/chatter") == 0
    assert stage.node.count_publishers("/clock") == 0
