"""Publishers that are silent while their node is not active."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator.rclpy.lifecycle.managed_entity import SimpleManagedEntity
from neumap_ros.simulator.rclpy.publisher import Publisher


class LifecyclePublisher(SimpleManagedEntity, Publisher):
    """Drops what is published while it is off, without a word."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        SimpleManagedEntity.__init__(self)
        Publisher.__init__(self, *args, **kwargs)

    def publish(self, msg: Any) -> None:
        """As of an ordinary publisher while it is on."""
        if self.is_activated:
            Publisher.publish(self, msg)
