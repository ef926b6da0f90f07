"""A recording, and a robot that drives as it says: on its own time, which it publishes on /clock."""

from __future__ import annotations

import contextlib
import copy
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from client import SETTLED_S, Client
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_process import NodeProcess
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

SECOND = 1_000_000_000
IMAGE, RAW_IMAGE, CAMERA_INFO, TF_STATIC = "image/compressed", "image", "camera_info", "tf_static"
# a message comes so long after its stamp
DELAY_NS = 10_000_000
# an image is sent again where nothing was heard of it for so long
AGAIN_S = 10.0
CLOCK_PERIOD_S = 0.01


class Timed(NamedTuple):
    """A message as recorded: when, on which topic of the robot, its type and its CDR bytes."""

    time_ns: int
    topic: str
    kind: type
    data: bytes

    @property
    def message(self) -> Any:
        """The message itself."""
        return deserialize_message(self.data, self.kind)


def message_class(name: str) -> type:
    """The class of a type ("tf2_msgs/msg/TFMessage")."""
    package, _, kind = name.split("/")
    cls: type = getattr(importlib.import_module(f"{package}.msg"), kind)
    return cls


def nanoseconds(stamp: Any) -> int:
    """Of a builtin_interfaces/Time."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def position(pose: Any) -> np.ndarray[Any, Any]:
    """Of a geometry_msgs/Pose."""
    return np.array([pose.position.x, pose.position.y, pose.position.z])


class Recording:
    """What a robot recorded, in its order, and where it really was (geometry_msgs/Pose by stamp)."""

    def __init__(self, messages: Sequence[Timed], truth: dict[int, Any]) -> None:
        self.messages, self.truth = messages, truth
        self.start_ns, self.end_ns = messages[0].time_ns, messages[-1].time_ns
        self.images = [each.time_ns for each in messages if each.topic == IMAGE]

    def error_m(self, stamped: PoseWithCovarianceStamped) -> float:
        """How far a pose is from the truth at its stamp."""
        truth = self.truth[nanoseconds(stamped.header.stamp)]
        return float(np.linalg.norm(position(stamped.pose.pose) - position(truth)))

    def claim(self, time_ns: int, x: float = 0.0) -> PoseWithCovarianceStamped:
        """The true pose then, of the image before, or one ``x`` metres beside it, as somebody would claim it."""
        stamp = max(each for each in self.truth if each <= time_ns)
        claim = PoseWithCovarianceStamped()
        claim.header.frame_id = "map"
        claim.pose.pose = copy.deepcopy(self.truth[stamp])
        claim.pose.pose.position.x += x
        return claim


class Player:
    """Plays a recording to a localizer. Seconds are those since its beginning."""

    def __init__(
        self, client: Client, recording: Recording, node: NodeProcess, remaps: Mapping[str, str] | None = None
    ) -> None:
        """Publishes in the localizer's namespace; ``remaps`` give other names to topics."""
        self.client, self.recording, self._node = client, recording, node
        self._remaps = dict(remaps or {})
        self.now_ns = recording.start_ns
        self._next = 0
        self._clock = client.node.create_publisher(Clock, "/clock", 10)
        self._publishers: dict[str, Any] = {}
        self.raw = False

    def close(self) -> None:
        """Takes its topics away."""
        for publisher in (self._clock, *self._publishers.values()):
            self.client.node.destroy_publisher(publisher)

    @property
    def now_s(self) -> float:
        """Seconds that have been played."""
        return (self.now_ns - self.recording.start_ns) / SECOND

    def ns(self, seconds: float) -> int:
        """The time so many seconds after the beginning."""
        return self.recording.start_ns + round(seconds * SECOND)

    def tick(self) -> None:
        """Says what time it is."""
        self._clock.publish(Clock(clock=self.stamp(self.now_ns)))

    @staticmethod
    def stamp(time_ns: int) -> Any:
        """The time as a message."""
        sec, nanosec = divmod(time_ns, SECOND)
        return message_class("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)

    def seek(self, seconds: float) -> None:
        """Jumps in time, without playing what lies between, and waits until everybody has heard of it."""
        self.now_ns = self.ns(seconds)
        self._next = sum(each.time_ns < self.now_ns for each in self.recording.messages)
        assert self.client.until(self._clock.get_subscription_count), "nobody listens to /clock"
        for _ in range(10):
            self.tick()
            self.client.wait(0.02)

    def connect(self) -> None:
        """Waits until the localizer listens, and tells it what it must know before the first image."""
        first = {each.topic: each for each in reversed(self.recording.messages)}
        for each in first.values():
            publisher = self._publisher(each)
            assert self.client.until(publisher.get_subscription_count), f"nobody listens to {publisher.topic_name}"
        self.client.wait(SETTLED_S)
        for topic in (TF_STATIC, CAMERA_INFO):
            self.publish(first[topic])
        self.client.wait(0.05)

    def step_to(self, seconds: float) -> None:
        """Plays up to then, image by image: goes on when the status of each was heard."""
        self.connect()
        while (each := self._due(self.ns(seconds))) is not None:
            self.now_ns = each.time_ns + DELAY_NS
            self.tick()
            self.publish(each)
            if each.topic == IMAGE:
                assert any(self._is_seen(each) for _ in range(2)), f"no status of the image at {self.now_s:.1f} s"
        self.now_ns = max(self.now_ns, self.ns(seconds))
        self.tick()
        self.client.wait(0.05)

    @contextlib.contextmanager
    def running(self, rate: float = 1.0) -> Iterator[None]:
        """Lets time go on, and plays, whenever the client waits."""
        self.connect()
        begin_ns, begin, ticked = self.now_ns, time.monotonic(), 0.0

        def go_on() -> None:
            nonlocal ticked
            passed = time.monotonic() - begin
            if passed - ticked < CLOCK_PERIOD_S:
                return
            ticked, until_ns = passed, begin_ns + round(rate * passed * SECOND)
            while (each := self._due(until_ns - DELAY_NS)) is not None:
                self.now_ns = max(self.now_ns, each.time_ns + DELAY_NS)
                self.tick()
                self.publish(each)
            self.now_ns = until_ns
            self.tick()

        self.client.meanwhile = go_on
        try:
            yield
        finally:
            self.client.meanwhile = lambda: None

    def publish(self, each: Timed) -> None:
        """Publishes a message as it was recorded, whatever the time is."""
        if each.topic == IMAGE and self.raw:
            self._publisher(each).publish(raw(each.message))
        else:
            self._publisher(each).publish(each.data)

    def _due(self, until_ns: int) -> Timed | None:
        messages = self.recording.messages
        if self._next >= len(messages) or messages[self._next].time_ns > until_ns:
            return None
        self._next += 1
        return messages[self._next - 1]

    def _is_seen(self, image: Timed) -> bool:
        """Whether the status of an image is heard in time; if not, it is sent again, for it may have been lost."""

        def seen() -> bool:
            self.tick()
            return any(
                nanoseconds(status.header.stamp) == image.time_ns and status.latency > 0
                for status in self._node.statuses
            )

        if self.client.until(seen, AGAIN_S):
            return True
        self.publish(image)
        return False

    def _publisher(self, each: Timed) -> Any:
        topic, kind = (RAW_IMAGE, Image) if each.topic == IMAGE and self.raw else (each.topic, each.kind)
        if topic not in self._publishers:
            latched = DurabilityPolicy.TRANSIENT_LOCAL if topic == TF_STATIC else DurabilityPolicy.VOLATILE
            self._publishers[topic] = self.client.node.create_publisher(
                kind,
                f"{self._node.namespace}/{self._remaps.get(topic, topic)}",
                QoSProfile(depth=100, durability=latched),
            )
        return self._publishers[topic]


def raw(message: CompressedImage) -> Image:
    """The image as a camera driver publishes it, in grey."""
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = pixels.shape
    image = Image(header=message.header, height=height, width=width, encoding="mono8", step=width)
    image.data.frombytes(pixels.tobytes())
    return image
