"""tf2_ros: buffer, listener and broadcasters, on the transforms that pass through the simulated topics.

A timeout of a lookup is not waited for: nothing arrives while a single thread waits, so the answer after the wait would
be the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from neumap_ros.simulator.messages import message_class, service_class
from neumap_ros.simulator.rclpy.clock import JumpThreshold
from neumap_ros.simulator.rclpy.duration import Duration
from neumap_ros.simulator.rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from neumap_ros.simulator.rclpy.task import Future
from neumap_ros.simulator.rclpy.time import Time
from neumap_ros.simulator.transform_tree import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    Rigid,
    Sample,
    TimeoutException,
    TransformException,
    TransformTree,
)

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]

CACHE_NS = 10 * 10**9
NOW = Duration()


def _nanoseconds(time: Any) -> int:
    """Of a Time or Duration, or a message of these."""
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    if hasattr(time, "sec") and hasattr(time, "nanosec"):
        return int(time.sec) * 10**9 + int(time.nanosec)
    raise TypeError(f"a time is needed, not {type(time).__name__}")


def _check_types(*frames: Any, timeout: Any = NOW) -> None:
    for frame in frames:
        if not isinstance(frame, str):
            raise TypeError(f"the name of a frame must be a str, not {type(frame).__name__}")
    if not isinstance(timeout, Duration):
        raise TypeError(f"a timeout must be a Duration, not {type(timeout).__name__}")


class Buffer:
    """Transforms of the last ``cache_time`` (a Duration, 10 s if None).

    With a ``node`` it forgets them when that node's clock jumps back by a second or more or changes its source, and
    offers the service tf2_frames.
    """

    def __init__(self, cache_time: Any = None, node: Any = None) -> None:
        self._tree = TransformTree(CACHE_NS if cache_time is None else cache_time.nanoseconds)
        self._waiting: list[Callable[[], bool]] = []
        if node is not None:
            self.frame_server = node.create_service(
                service_class("tf2_msgs/srv/FrameGraph"), "tf2_frames", self._answer_frames
            )
            threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
            self.jump_handle = node.get_clock().create_jump_callback(threshold, post_callback=lambda jump: self.clear())

    def set_transform(self, transform: Any, authority: str) -> None:
        """Keeps a TransformStamped; what tf2 refuses is dropped with a warning."""
        self._add(transform, authority, static=False)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Keeps a TransformStamped that holds at any time."""
        self._add(transform, authority, static=True)

    def clear(self) -> None:
        """Forgets all but the static transforms."""
        self._tree.clear()

    def lookup_transform(self, target_frame: str, source_frame: str, time: Any, timeout: Any = NOW) -> Any:
        """TransformStamped that takes points of the source frame into the target frame; Time() is the latest.

        Raises LookupException, ConnectivityException, ExtrapolationException or InvalidArgumentException.
        """
        _check_types(target_frame, source_frame, timeout=timeout)
        stamp, pose = self._tree.look_up(target_frame, source_frame, _nanoseconds(time))
        return _to_message(target_frame, source_frame, stamp, pose)

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Any) -> Any:
        """The same without a timeout."""
        return self.lookup_transform(target_frame, source_frame, time)

    async def lookup_transform_async(self, target_frame: str, source_frame: str, time: Any) -> Any:
        """The same, as soon as it is possible."""
        await self.wait_for_transform_async(target_frame, source_frame, time)
        return self.lookup_transform(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
        timeout: Any = NOW,
    ) -> Any:
        """From the source frame at one time into the target frame at another, by way of a frame that stands still."""
        _check_types(target_frame, source_frame, fixed_frame, timeout=timeout)
        stamp = _nanoseconds(target_time)
        pose = self._tree.look_up_full(target_frame, stamp, source_frame, _nanoseconds(source_time), fixed_frame)
        return _to_message(target_frame, source_frame, stamp, pose)

    def can_transform(
        self, target_frame: str, source_frame: str, time: Any, timeout: Any = NOW, return_debug_tuple: bool = False
    ) -> Any:
        """1 or 0; with ``return_debug_tuple`` also the reason."""
        answer = self.can_transform_core(target_frame, source_frame, time)
        _check_types(timeout=timeout)
        return answer if return_debug_tuple else answer[0]

    def can_transform_core(self, target_frame: str, source_frame: str, time: Any) -> tuple[int, str]:
        """1 or 0, and the reason."""
        _check_types(target_frame, source_frame)
        possible, reason = self._tree.can_look_up(target_frame, source_frame, _nanoseconds(time))
        return int(possible), reason

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
        timeout: Any = NOW,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Whether ``lookup_transform_full`` would answer: 1 or 0; with ``return_debug_tuple`` also the reason."""
        try:
            self.lookup_transform_full(target_frame, target_time, source_frame, source_time, fixed_frame, timeout)
        except TransformException as error:
            return (0, str(error)) if return_debug_tuple else 0
        return (1, "") if return_debug_tuple else 1

    def wait_for_transform_async(self, target_frame: str, source_frame: str, time: Any) -> Any:
        """A Future of the transform; done at once if it is there already."""
        return self._wait(
            partial(self.can_transform_core, target_frame, source_frame, time),
            partial(self.lookup_transform, target_frame, source_frame, time),
        )

    def wait_for_transform_full_async(
        self, target_frame: str, target_time: Any, source_frame: str, source_time: Any, fixed_frame: str
    ) -> Any:
        """The same for ``lookup_transform_full``."""
        asked = (target_frame, target_time, source_frame, source_time, fixed_frame)
        return self._wait(
            partial(self.can_transform_full, *asked, return_debug_tuple=True),
            partial(self.lookup_transform_full, *asked),
        )

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Any:
        """The newest Time at which the transform is known."""
        _check_types(target_frame, source_frame)
        self._tree.check_frame("get_latest_common_time", target_frame)
        self._tree.check_frame("get_latest_common_time", source_frame)
        return Time(nanoseconds=self._tree.latest_common(target_frame, source_frame))

    def all_frames_as_string(self) -> str:
        """A line for each frame and its parent."""
        return self._tree.listing()

    def all_frames_as_yaml(self) -> str:
        """Each frame with its parent, its broadcaster, its rate in Hz and the times in seconds that are known."""
        entries = []
        for child, parent, edge in self._tree.frames():
            count, oldest, newest = edge.span()
            length = (newest - oldest) / 1e9
            entries.append(
                f"{child}: \n"
                f"  parent: '{parent}'\n"
                f"  broadcaster: '{edge.authority}'\n"
                f"  rate: {count / max(length, 0.0001):.3f}\n"
                f"  most_recent_transform: {newest / 1e9:.6f}\n"
                f"  oldest_transform: {oldest / 1e9:.6f}\n"
                f"  buffer_length: {length:.3f}\n"
            )
        return "".join(entries) or "{}"

    def _add(self, transform: Any, authority: str, static: bool) -> None:
        stamp, translation, rotation = (
            transform.header.stamp,
            transform.transform.translation,
            transform.transform.rotation,
        )
        _check_types(transform.header.frame_id, transform.child_frame_id)
        if not isinstance(authority, str):
            raise TypeError(f"the authority must be a str, not {type(authority).__name__}")
        pose = Rigid(
            (float(translation.x), float(translation.y), float(translation.z)),
            (float(rotation.x), float(rotation.y), float(rotation.z), float(rotation.w)),
        )
        sample = Sample(_nanoseconds(stamp), transform.header.frame_id, pose)
        self._tree.add(transform.child_frame_id, sample, authority, static)
        waiting, self._waiting = self._waiting, []
        self._waiting += [still_waits for still_waits in waiting if still_waits()]

    def _wait(self, possible: Callable[[], tuple[int, str]], look_up: Callable[[], Any]) -> Any:
        future: Any = Future()
        if possible()[0]:
            future.set_result(look_up())
            return future

        def still_waits() -> bool:
            if future.done() or future.cancelled():
                return False
            if not possible()[0]:
                return True
            future.set_result(look_up())
            return False

        self._waiting.append(still_waits)
        return future

    def _answer_frames(self, request: Any, response: Any) -> Any:
        response.frame_yaml = self.all_frames_as_yaml()
        return response


def _to_message(target: str, source: str, stamp: int, pose: Rigid) -> Any:
    message = message_class("geometry_msgs/msg/TransformStamped")()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    message.header.frame_id, message.child_frame_id = target, source
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = pose.translation
    rotation.x, rotation.y, rotation.z, rotation.w = pose.rotation
    return message


class TransformListener:
    """Fills a Buffer from /tf and /tf_static, on the executor of ``node``."""

    def __init__(
        self, buffer: Buffer, node: Any, *, spin_thread: bool = False, qos: Any = None, static_qos: Any = None
    ) -> None:
        if spin_thread:
            raise NotImplementedError("the simulator has one thread: make the TransformListener without spin_thread")
        self.buffer = buffer
        self.node = node
        message = message_class("tf2_msgs/msg/TFMessage")
        self.tf_sub = node.create_subscription(
            message, "/tf", self.callback, qos or _profile(100, DurabilityPolicy.VOLATILE)
        )
        self.tf_static_sub = node.create_subscription(
            message, "/tf_static", self.static_callback, static_qos or _profile(100, DurabilityPolicy.TRANSIENT_LOCAL)
        )

    def callback(self, data: Any) -> None:
        for transform in data.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def static_callback(self, data: Any) -> None:
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, "default_authority")

    def unregister(self) -> None:
        """Stops listening."""
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)


class TransformBroadcaster:
    """Publishes transforms on /tf."""

    def __init__(self, node: Any, qos: Any = None) -> None:
        self.pub_tf = node.create_publisher(
            message_class("tf2_msgs/msg/TFMessage"), "/tf", qos or _profile(100, DurabilityPolicy.VOLATILE)
        )

    def sendTransform(self, transform: Any) -> None:  # noqa: N802
        """Sends a TransformStamped, or several in one message."""
        self.pub_tf.publish(message_class("tf2_msgs/msg/TFMessage")(transforms=_listed(transform)))


class StaticTransformBroadcaster:
    """Publishes transforms on /tf_static, each time with all that were sent before.

    A frame that was sent before keeps its first transform, as in ROS 2.
    """

    def __init__(self, node: Any, qos: Any = None) -> None:
        self.pub_tf = node.create_publisher(
            message_class("tf2_msgs/msg/TFMessage"), "/tf_static", qos or _profile(1, DurabilityPolicy.TRANSIENT_LOCAL)
        )
        self.net_message = message_class("tf2_msgs/msg/TFMessage")()
        self.child_frame_ids: set[str] = set()

    def sendTransform(self, transform: Any) -> None:  # noqa: N802
        """Sends a TransformStamped, or several."""
        for one in _listed(transform):
            if one.child_frame_id not in self.child_frame_ids:
                self.child_frame_ids.add(one.child_frame_id)
                self.net_message.transforms.append(one)
        self.pub_tf.publish(self.net_message)


def _listed(transform: Any) -> list[Any]:
    return list(transform) if isinstance(transform, Iterable) else [transform]


def _profile(depth: int, durability: Any) -> Any:
    return QoSProfile(depth=depth, durability=durability, history=HistoryPolicy.KEEP_LAST)
