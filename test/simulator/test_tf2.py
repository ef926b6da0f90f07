"""tf2 on virtual time answers, and refuses, as the real one was seen to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rosbags")

from neumap_ros.simulator import rclpy, tf2_ros
from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.clock import ClockType
from neumap_ros.simulator.rclpy.duration import Duration
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.time import Time
from neumap_ros.simulator.transform_tree import Rigid, Sample, TransformTree, slerp

LATEST = Time()
HALF = 0.707106781


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9), clock_type=ClockType.ROS_TIME)


def tf(
    parent: str, child: str, seconds: float, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0
) -> Any:
    message = message_class("geometry_msgs/msg/TransformStamped")()
    message.header.stamp = at(seconds).to_msg()
    message.header.frame_id, message.child_frame_id = parent, child
    place, turn = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = x, y, z
    turn.z, turn.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


TWO = (tf("map", "cam", 1.0), tf("map", "cam", 2.0, x=1.0, yaw=math.pi / 2))


def buffer(*moving: Any, static: tuple[Any, ...] = (), cache_s: float | None = None) -> tf2_ros.Buffer:
    filled = tf2_ros.Buffer() if cache_s is None else tf2_ros.Buffer(cache_time=Duration(seconds=cache_s))
    for message in moving:
        filled.set_transform(message, "test")
    for message in static:
        filled.set_transform_static(message, "test")
    return filled


def numbers(message: Any) -> list[float]:
    place, turn = message.transform.translation, message.transform.rotation
    return [place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w]


def look(filled: tf2_ros.Buffer, target: str, source: str, when: Any = LATEST) -> list[float]:
    """Translation, quaternion and stamp in seconds."""
    message = filled.lookup_transform(target, source, when)
    return [round(v, 9) for v in (*numbers(message), message.header.stamp.sec + message.header.stamp.nanosec / 1e9)]


def error_of(filled: tf2_ros.Buffer, target: str, source: str, when: Any = LATEST) -> tuple[str, str]:
    with pytest.raises(tf2_ros.TransformException) as caught:
        filled.lookup_transform(target, source, when)
    return caught.type.__name__, str(caught.value)


def test_direction_and_interpolation() -> None:
    filled = buffer(*TWO)
    message = filled.lookup_transform("map", "cam", at(1.0))
    assert (message.header.frame_id, message.child_frame_id) == ("map", "cam")
    assert look(filled, "map", "cam", at(1.5)) == [0.5, 0, 0, 0, 0, 0.382683432, 0.923879533, 1.5]
    assert look(filled, "map", "cam") == [1, 0, 0, 0, 0, HALF, HALF, 2]
    assert look(filled, "cam", "map") == [0, 1, 0, 0, 0, -HALF, HALF, 2]


def test_chain_of_different_rates() -> None:
    filled = buffer(
        tf("map", "odom", 1.0, x=1.0, yaw=math.pi / 2),
        tf("odom", "base", 1.0, x=2.0),
        tf("odom", "base", 5.0),
        static=(tf("base", "cam", 0.0, z=0.5),),
    )
    assert look(filled, "map", "cam") == [1, 2, 0.5, 0, 0, HALF, HALF, 1]
    assert look(filled, "cam", "map", at(1.0)) == [-2, 1, -0.5, 0, 0, -HALF, HALF, 1]


def test_siblings_meet_in_their_common_parent() -> None:
    filled = buffer(tf("base", "left", 1.0, y=1.0), tf("base", "right", 2.0, y=-1.0), tf("base", "right", 1.0, y=-3.0))
    assert look(filled, "left", "right") == [0, -4, 0, 0, 0, 0, 1, 1]


def test_same_frame_needs_no_data() -> None:
    filled = buffer(*TWO)
    assert look(filled, "cam", "cam", at(99.0)) == [0, 0, 0, 0, 0, 0, 1, 99]
    assert look(filled, "cam", "cam") == [0, 0, 0, 0, 0, 0, 1, 2]
    assert look(filled, "nope", "nope") == [0, 0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (2.5, "Lookup would require extrapolation into the future.  Requested time 2.500000 but the latest data is at "
              "time 2.000000, when looking up transform from frame [cam] to frame [map]"),
        (0.5, "Lookup would require extrapolation into the past.  Requested time 0.500000 but the earliest data is at "
              "time 1.000000, when looking up transform from frame [cam] to frame [map]"),
    ],
)  # fmt: skip
def test_extrapolation(when: float, text: str) -> None:
    filled = buffer(*TWO)
    assert error_of(filled, "map", "cam", at(when)) == ("ExtrapolationException", text)
    assert filled.can_transform("map", "cam", at(when), return_debug_tuple=True) == (0, text)
    assert filled.can_transform("map", "cam", at(1.5)) == 1


def test_other_errors() -> None:
    single = buffer(tf("map", "cam", 1.0), tf("world", "robot", 1.0))
    assert error_of(single, "map", "cam", at(2.0))[1].startswith(
        "Lookup would require extrapolation at time 2.000000, but only time 1.000000 is in the buffer, when"
    )
    assert error_of(single, "map", "nope") == (
        "LookupException",
        '"nope" passed to lookupTransform argument source_frame does not exist. ',
    )
    assert error_of(single, "", "cam")[0] == error_of(single, "/map", "cam")[0] == "InvalidArgumentException"
    for when in (LATEST, at(1.0)):
        assert error_of(single, "map", "robot", when) == (
            "ConnectivityException",
            "Could not find a connection between 'map' and 'robot' because they are not part of the same tree."
            "Tf has two or more unconnected trees.",
        )
    assert single.can_transform("map", "nope", LATEST, return_debug_tuple=True) == (
        0,
        'Invalid frame ID "nope" passed to canTransform argument source_frame - frame does not exist',
    )
    loop = buffer(tf("a", "b", 1.0), tf("b", "c", 1.0), tf("c", "a", 1.0), tf("x", "y", 1.0))
    assert "loop" in error_of(loop, "x", "a")[1]


def test_argument_types() -> None:
    filled = buffer(*TWO)
    assert look(filled, "map", "cam", at(1.0).to_msg()) == [0, 0, 0, 0, 0, 0, 1, 1]
    for frame, when in ((5, LATEST), ("cam", 1.0), ("cam", None)):
        with pytest.raises(TypeError):
            filled.lookup_transform("map", frame, when)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        filled.lookup_transform("map", "cam", LATEST, 0.05)
    with pytest.raises(TypeError):
        filled.set_transform(TWO[0], 3)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        filled.set_transform("junk", "test")


def test_static_transforms_hold_at_any_time_and_survive() -> None:
    filled = buffer(*TWO, static=(tf("cam", "lens", 5.0, z=0.5),))
    assert look(filled, "cam", "lens", at(1e6)) == [0, 0, 0.5, 0, 0, 0, 1, 1e6]
    assert look(filled, "cam", "lens") == [0, 0, 0.5, 0, 0, 0, 1, 0]
    filled.clear()
    assert filled.can_transform("cam", "lens", LATEST) == 1
    assert error_of(filled, "map", "cam")[0] == "ConnectivityException"
    filled.set_transform(tf("cam", "lens", 9.0), "test")
    assert error_of(filled, "cam", "lens", at(50.0))[0] == "ExtrapolationException"


def test_cache_drops_old_samples_when_the_next_one_comes() -> None:
    filled = buffer(tf("map", "cam", 1.0), tf("map", "cam", 2.0), tf("map", "cam", 11.5))
    assert filled.can_transform("map", "cam", at(1.0)) == 1
    filled.set_transform(tf("map", "cam", 11.6), "test")
    assert [filled.can_transform("map", "cam", at(s)) for s in (1.0, 1.9, 2.0)] == [0, 0, 1]
    short = buffer(*(tf("map", "cam", s) for s in (1.0, 2.0, 3.5, 3.6)), cache_s=2.0)
    assert [short.can_transform("map", "cam", at(s)) for s in (1.5, 2.5)] == [0, 1]


def test_old_samples_are_ignored() -> None:
    filled = buffer(tf("map", "cam", 1000.0, x=9.0), tf("map", "cam", 1.0, x=1.0))
    assert look(filled, "map", "cam") == [9, 0, 0, 0, 0, 0, 1, 1000]
    assert filled.can_transform("map", "cam", at(1.0)) == 0


def test_order_of_arrival() -> None:
    assert look(buffer(*reversed(TWO)), "map", "cam", at(1.5))[:3] == [0.5, 0, 0]
    twice = buffer(tf("map", "cam", 1.0, x=1.0), tf("map", "cam", 1.0, x=2.0))
    assert twice.lookup_transform("map", "cam", at(1.0)).transform.translation.x == 2.0


def test_new_parent() -> None:
    filled = buffer(tf("map", "cam", 1.0, x=1.0), tf("odom", "cam", 2.0, x=2.0))
    assert look(filled, "odom", "cam") == [2, 0, 0, 0, 0, 0, 1, 2]
    assert look(filled, "map", "cam", at(1.5)) == [1, 0, 0, 0, 0, 0, 1, 1.5]


def bad_transforms() -> Iterator[Any]:
    yield tf("a", "a", 1.0)
    yield tf("", "b", 1.0)
    yield tf("a", "", 1.0)
    yield tf("a", "b", 1.0, x=math.nan)
    yield tf("a", "b", 1.0, yaw=math.nan)
    zero = tf("a", "b", 1.0)
    zero.transform.rotation.w = 0.0
    yield zero


@pytest.mark.parametrize("message", list(bad_transforms()))
def test_bad_transforms_are_dropped_with_a_warning(message: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert error_of(buffer(message), "a", "b")[0] == "LookupException"
    assert "Ignored the transform" in caplog.text


def test_quaternions_are_normalised() -> None:
    message = tf("a", "b", 1.0, yaw=1.0)
    message.transform.rotation.z *= 2
    message.transform.rotation.w *= 2
    assert look(buffer(message), "a", "b") == [0, 0, 0, 0, 0, 0.479425539, 0.877582562, 1]


def test_looking_across_time() -> None:
    filled = buffer(*TWO)
    message = filled.lookup_transform_full("cam", at(2.0), "cam", at(1.0), "map")
    assert numbers(message) == pytest.approx([0, 1, 0, 0, 0, -HALF, HALF])
    assert filled.can_transform_full("cam", at(2.0), "cam", at(1.0), "map") == 1
    assert filled.can_transform_full("cam", at(9.0), "cam", at(1.0), "map") == 0


def test_waiting_for_a_transform() -> None:
    filled = buffer(tf("map", "cam", 1.0))
    future = filled.wait_for_transform_async("map", "cam", at(1.5))
    given_up = filled.wait_for_transform_async("map", "cam", at(1.5))
    given_up.cancel()
    assert not future.done()
    filled.set_transform(tf("map", "cam", 2.0, x=1.0), "test")
    assert future.result().transform.translation.x == pytest.approx(0.5)
    assert not given_up.done()
    assert filled.wait_for_transform_async("map", "cam", at(1.5)).done()


def test_listings() -> None:
    filled = buffer(*TWO, static=(tf("cam", "lens", 0.0),))
    assert filled.all_frames_as_string() == "Frame cam exists with parent map.\nFrame lens exists with parent cam.\n"
    assert "cam: \n  parent: 'map'\n  broadcaster: 'test'\n  rate: 2.000\n" in filled.all_frames_as_yaml()
    assert filled.get_latest_common_time("map", "lens").nanoseconds == 2 * 10**9
    with pytest.raises(tf2_ros.LookupException):
        filled.get_latest_common_time("map", "nope")


coordinate = st.floats(-10, 10)
poses = st.builds(
    Rigid,
    st.tuples(coordinate, coordinate, coordinate),
    st.builds(lambda q: tuple(v / math.hypot(*q) for v in q), st.tuples(*[st.floats(0.1, 1)] * 4)),
)


@given(st.lists(poses, min_size=4, max_size=4))
def test_there_and_back_is_the_identity(chain: list[Rigid]) -> None:
    tree = TransformTree(10**9)
    for (parent, child), pose in zip(("ab", "bc", "ad", "de"), chain, strict=True):
        assert tree.add(child, Sample(5, parent, pose), "test", static=False)
    there, back = tree.look_up("c", "e", 5)[1], tree.look_up("e", "c", 5)[1]
    closed = there @ back
    assert closed.translation == pytest.approx((0, 0, 0), abs=1e-9)
    assert abs(closed.rotation[3]) == pytest.approx(1)
    b_from_e = tree.look_up("b", "e", 5)[1]
    assert (chain[1].inverse() @ b_from_e).translation == pytest.approx(there.translation, abs=1e-9)


def test_slerp_takes_the_short_way() -> None:
    end = (0.0, 0.0, -math.sin(0.5), -math.cos(0.5))
    assert slerp((0.0, 0.0, 0.0, 1.0), end, 0.5) == pytest.approx((0, 0, math.sin(0.25), math.cos(0.25)))


@pytest.fixture
def spinning() -> Iterator[tuple[SingleThreadedExecutor, Node]]:
    rclpy.init()
    executor, node = SingleThreadedExecutor(), Node("node", namespace="ns")
    executor.add_node(node)
    yield executor, node
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def spin(executor: SingleThreadedExecutor) -> None:
    for _ in range(10):
        executor.spin_once(timeout_sec=0.01)


def test_from_broadcasters_to_listener(spinning: tuple[SingleThreadedExecutor, Node]) -> None:
    executor, node = spinning
    static, moving = tf2_ros.StaticTransformBroadcaster(node), tf2_ros.TransformBroadcaster(node)
    sent: list[list[str]] = []
    node.create_subscription(
        message_class("tf2_msgs/msg/TFMessage"),
        "/tf_static",
        lambda message: sent.append([one.child_frame_id for one in message.transforms]),
        10,
    )
    for message in (tf("base", "cam", 0.0, z=1.0), tf("base", "lens", 0.0), tf("base", "cam", 0.0, z=2.0)):
        static.sendTransform(message)
    filled = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(filled, node)
    moving.sendTransform([tf("x", "x", 1.0), tf("odom", "base", 1.0, x=1.0)])
    assert filled.can_transform("odom", "cam", LATEST) == 0
    spin(executor)
    assert look(filled, "odom", "cam") == [1, 0, 1, 0, 0, 0, 1, 1]
    assert sent == [["cam"], ["cam", "lens"], ["cam", "lens"]]
    listener.unregister()
    moving.sendTransform(tf("odom", "base", 2.0))
    spin(executor)
    assert filled.can_transform("odom", "base", at(2.0)) == 0


def test_one_thread_only(spinning: tuple[SingleThreadedExecutor, Node]) -> None:
    with pytest.raises(NotImplementedError):
        tf2_ros.TransformListener(tf2_ros.Buffer(), spinning[1], spin_thread=True)


@pytest.mark.parametrize(("seconds", "kept"), [(95.0, 0), (99.0, 0), (99.5, 1), (200.0, 1)])
def test_a_buffer_with_a_node_forgets_when_time_jumps_back(
    spinning: tuple[SingleThreadedExecutor, Node], seconds: float, kept: int
) -> None:
    executor, node = spinning
    clock = node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10)
    node.set_parameters([rclpy.parameter.Parameter("use_sim_time", value=True)])
    filled = tf2_ros.Buffer(node=node)
    clock.publish(message_class("rosgraph_msgs/msg/Clock")(clock=at(100.0).to_msg()))
    spin(executor)
    filled.set_transform(tf("map", "cam", 100.0), "test")
    filled.set_transform_static(tf("cam", "lens", 100.0), "test")
    clock.publish(message_class("rosgraph_msgs/msg/Clock")(clock=at(seconds).to_msg()))
    spin(executor)
    assert filled.can_transform("map", "cam", LATEST) == kept
    assert filled.can_transform("cam", "lens", LATEST) == 1
