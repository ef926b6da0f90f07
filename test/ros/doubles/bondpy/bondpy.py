"""Heartbeats as ROS' bondpy sends them, as text, for the messages of bond have no wheel either."""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from std_msgs.msg import String


class Bond:
    """Says "ID alive" until it is shut down, then "ID dead". As of bondpy, one that never started cannot be."""

    def __init__(self, topic: str, id: str, node: Any, on_broken: Any = None, on_formed: Any = None) -> None:
        self._id, self._node = id, node
        self._publisher = node.create_publisher(String, topic, 1)
        self.heartbeat_period = 1.0
        self._timer: Any = None

    def start(self) -> None:
        """Begin."""
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(self.heartbeat_period, lambda: self._say("alive"), clock=steady)

    def shutdown(self) -> None:
        """End."""
        self._node.destroy_timer(self._timer)
        self._say("dead")
        # the middleware would drop with the publisher what is not received yet
        self._publisher.wait_for_all_acked(Duration(seconds=2.0))
        self._node.destroy_publisher(self._publisher)

    def _say(self, what: str) -> None:
        self._publisher.publish(String(data=f"{self._id} {what}"))
