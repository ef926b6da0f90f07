"""The port ``Transforms`` on rclpy. Messages of /tf are read on demand, not when they arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock as NodeClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.io.transform_messages import transforms_in, transforms_of
from neumap.tracking.ports import Clock, RobotPose
from neumap.tracking.transforms import TransformBuffer

# QUEUE: messages that may wait: over a second of six links at 200 Hz.
QUEUE = 2000
# WAIT_S: period of checks for transforms that an image waits for, seconds.
WAIT_S = 0.02


class _Unheard(CallbackGroup):
    """Keeps a subscription and its QoS events from waking the executor, which both do for every message."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class RosTransforms(TransformBuffer):
    """The port ``Transforms``. Robots send a thousand messages a second on /tf, and waking a Python executor costs a
    hundred times more than reading one. So messages wait in the middleware and are fetched together before each query.
    """

    def __init__(self, node: Node, clock: Clock, base_frame: str, odom_frame: str) -> None:
        """Subscribe as tf2_ros does, with a longer queue."""
        super().__init__(clock, base_frame, odom_frame, node.get_logger().warning)
        self._node, self._fetches = node, False
        self._topic = node.create_subscription(TFMessage, "/tf", self._take, QUEUE, callback_group=_Unheard(), raw=True)
        # a steady clock, because transforms also arrive while simulated time stands still
        steady = NodeClock(clock_type=ClockType.STEADY_TIME)
        self._look_again = node.create_timer(WAIT_S, self._look, clock=steady)
        self._look_again.cancel()

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._look_again)
        self._node.destroy_subscription(self._topic)

    def fetch(self) -> None:
        """Read the waiting messages. Call at least once a second, so that none is lost."""
        # callbacks of waiting images query again
        if self._fetches:
            return
        self._fetches, handle = True, self._topic.handle
        try:
            with handle:
                # at most QUEUE: more may arrive meanwhile
                for _ in range(QUEUE):
                    if (taken := handle.take_message(TFMessage, True)) is None:
                        return
                    self._take(taken[0])
        finally:
            self._fetches = False

    def odom_from_base(self) -> FloatArray | None:
        self.fetch()
        return super().odom_from_base()

    def base_from_camera(self, camera_frame: str) -> FloatArray | None:
        self.fetch()
        return super().base_from_camera(camera_frame)

    def map_from_base(self, map_frame: str, stamp_ns: int) -> FloatArray | None:
        self.fetch()
        return super().map_from_base(map_frame, stamp_ns)

    def when_known(
        self, stamp_ns: int, camera_frame: str, timeout_s: float, done: Callable[[RobotPose | str], None]
    ) -> None:
        self.fetch()
        super().when_known(stamp_ns, camera_frame, timeout_s, done)
        if self.awaited:
            self._look_again.reset()

    def disputed(self) -> tuple[str, ...]:
        self.fetch()
        return super().disputed()

    def _look(self) -> None:
        self.fetch()
        if not self.awaited:
            self._look_again.cancel()

    def _take(self, cdr: bytes) -> None:
        try:
            links = transforms_in(cdr)
        except DataError:
            links = list(transforms_of(deserialize_message(cdr, TFMessage).transforms))
        for link in links:
            self.add(*link)
