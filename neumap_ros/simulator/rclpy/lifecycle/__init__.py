"""Nodes with a lifecycle."""

from __future__ import annotations

from neumap_ros.simulator.rclpy.lifecycle.managed_entity import ManagedEntity, SimpleManagedEntity
from neumap_ros.simulator.rclpy.lifecycle.node import (
    LifecycleNode,
    LifecycleNodeMixin,
    LifecycleState,
    TransitionCallbackReturn,
)
from neumap_ros.simulator.rclpy.lifecycle.publisher import LifecyclePublisher

Node = LifecycleNode
Publisher = LifecyclePublisher
State = LifecycleState

__all__ = [
    "LifecycleNode",
    "LifecycleNodeMixin",
    "LifecyclePublisher",
    "LifecycleState",
    "ManagedEntity",
    "Node",
    "Publisher",
    "SimpleManagedEntity",
    "State",
    "TransitionCallbackReturn",
]
