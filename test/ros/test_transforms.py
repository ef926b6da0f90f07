"""The node's transforms: a thousand messages a second wake nobody, and are there for whoever asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from client import SETTLED_S, Client
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage

from neumap.io.transform_messages import transforms_in, transforms_of
from neumap.tracking.ports import RobotPose
from neumap_ros.ports import RosClock
from neumap_ros.transforms import QUEUE, RosTransforms

SECOND, MS = 1_000_000_000, 1_000_000
# START_NS: the stamp of the first transforms
START_NS = 1_700_000_000 * SECOND


def link(parent: str, child: str, stamp_ns: int, x: float = 0.0) -> TransformStamped:
    """Make a transform without a turn."""
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id = parent
    made.header.stamp.sec, made.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    made.transform.translation.x, made.transform.rotation.w = x, 1.0
    return made


class Robot:
    """Publishes /tf beside a node that listens in an executor of its own."""

    def __init__(self, client: Client) -> None:
        import rclpy

        self.node = rclpy.create_node("listener", namespace="/transforms", cli_args=["--ros-args", "-r", "/tf:=tf"])
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.transforms = RosTransforms(self.node, RosClock(self.node), "base_link", "odom")
        self.publisher = client.node.create_publisher(TFMessage, "/transforms/tf", QUEUE)
        assert client.until(self.publisher.get_subscription_count)
        client.wait(SETTLED_S)
        self.send(link("base_link", "camera", START_NS, 0.2))

    def send(self, *links: TransformStamped) -> None:
        """Publish one message."""
        self.publisher.publish(TFMessage(transforms=links))

    def drive(self, begin: int, end: int) -> None:
        """Publish what a robot that drives 1 m/s tells from one turn to the other, 200 of which are a second."""
        for turn in range(begin, end):
            stamp_ns = START_NS + 5 * MS * turn
            self.send(link("odom", "base_link", stamp_ns, 0.005 * turn), link("base_link", "camera", stamp_ns, 0.2))

    def spin_until(self, holds: Callable[[], Any], seconds: float) -> float:
        """Spin until something holds, at most so long; return for how long."""
        begin = time.monotonic()
        while not holds() and time.monotonic() < begin + seconds:
            self.executor.spin_once(timeout_sec=0.05)
        return time.monotonic() - begin


@pytest.fixture
def robot(client: Client) -> Iterator[Robot]:
    made = Robot(client)
    yield made
    client.node.destroy_publisher(made.publisher)
    made.transforms.close()
    made.executor.shutdown()
    made.node.destroy_node()


def test_the_bytes_of_a_message_tell_what_the_message_tells() -> None:
    links = [link("odom", "base_link", START_NS + 7, 1.5), link("", "räder/links_1", 3, -0.25), link("a" * 300, "", 0)]
    for many in range(len(links) + 1):
        cdr = serialize_message(TFMessage(transforms=links[:many]))
        assert transforms_in(cdr) == list(transforms_of(deserialize_message(cdr, TFMessage).transforms))


def test_messages_wake_nobody_and_are_there_for_who_asks(robot: Robot) -> None:
    group, asked = robot.node.default_callback_group, 0
    can_execute = group.can_execute

    def counted(entity: Any) -> bool:
        nonlocal asked
        asked += 1
        return bool(can_execute(entity))

    group.can_execute = counted
    # an executor asks whenever it goes to sleep, and so tells how often it was woken
    robot.spin_until(lambda: robot.transforms.base_from_camera("camera") is not None, 10.0)
    times = []
    for messages in (0, 600):
        robot.drive(0, messages)
        asked = 0
        robot.executor.spin_once(timeout_sec=1.0)
        times.append(asked)
    assert 0 < times[1] < 3 * times[0]
    assert robot.transforms.tree.edges.keys() == {"camera"}
    pose = robot.transforms.odom_from_base()
    assert pose is not None
    assert pose[0, 3] == pytest.approx(0.005 * 599)
    mounted = robot.transforms.base_from_camera("camera")
    assert mounted is not None
    assert mounted[0, 3] == pytest.approx(0.2)
    assert len(robot.transforms.tree.edges["base_link"].stamps) == 600


def test_who_waits_is_told_soon_after_it_is_sent(robot: Robot) -> None:
    found: list[RobotPose | str] = []
    robot.drive(0, 100)
    robot.transforms.when_known(START_NS + 500 * MS + 1, "camera", 30.0, found.append)
    robot.spin_until(lambda: found, 0.3)
    assert found == []
    robot.drive(100, 110)
    assert robot.spin_until(lambda: found, 10.0) < 5.0
    (pose,) = found
    assert isinstance(pose, RobotPose)
    assert pose.odom_from_base is not None
    assert pose.odom_from_base[0, 3] == pytest.approx(0.5)


def test_what_asks_again_when_it_is_told_hears_all_in_order(robot: Robot) -> None:
    seen: list[float] = []

    def ask(pose: RobotPose | str) -> None:
        newest = robot.transforms.odom_from_base()
        assert newest is not None
        seen.append(float(newest[0, 3]))

    robot.drive(0, 10)
    for turn in (20, 30):
        robot.transforms.when_known(START_NS + 5 * MS * turn, "camera", 30.0, ask)
    robot.drive(10, 50)
    robot.transforms.fetch()
    assert seen == pytest.approx([0.1, 0.15])
    edge = robot.transforms.tree.edges["base_link"]
    assert edge.stamps == sorted(edge.stamps)
    assert len(edge.stamps) == 50
