"""Publishers."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator import messages
from neumap_ros.simulator.rclpy._middleware import Writer, middleware
from neumap_ros.simulator.rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from neumap_ros.simulator.rclpy.duration import Duration, Infinite
from neumap_ros.simulator.rclpy.qos import QoSProfile


class Publisher:
    """Sends messages on a topic. ``topic`` is its name as given, ``topic_name`` from the root on."""

    def __init__(self, writer: Writer, msg_type: Any, topic: str, qos_profile: QoSProfile) -> None:
        self._writer = writer
        self._destroyed = False
        self.msg_type = msg_type
        self.topic = topic
        self.qos_profile = qos_profile

    @property
    def topic_name(self) -> str:
        """Name of the topic from the root on."""
        self._check()
        return self._writer.name

    def publish(self, msg: Any) -> None:
        """Sends a message, or one in CDR bytes. TypeError for anything else."""
        self._check()
        if not self._writer.owner.context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        if isinstance(msg, self.msg_type):
            middleware.publish(self._writer, messages.to_cdr(msg))
        elif isinstance(msg, bytes):
            middleware.publish(self._writer, msg)
        else:
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")

    def get_subscription_count(self) -> int:
        """How many subscriptions it reaches."""
        self._check()
        return len(middleware.partners(self._writer))

    def wait_for_all_acked(self, timeout: Duration = Infinite) -> bool:
        """True: what is published is there at once."""
        self._check()
        return True

    def destroy(self) -> None:
        """Ends its use."""
        self._destroyed = True
        middleware.remove(self._writer)

    def _check(self) -> None:
        if self._destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
