"""The slice of rclpy that the node uses, single-threaded on virtual time. See neumap_ros.simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neumap_ros.simulator.rclpy import logging, signals, utilities
from neumap_ros.simulator.rclpy.context import Context
from neumap_ros.simulator.rclpy.executors import Executor, SingleThreadedExecutor
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.signals import SignalHandlerOptions
from neumap_ros.simulator.rclpy.task import Future
from neumap_ros.simulator.rclpy.utilities import (
    get_default_context,
    get_rmw_implementation_identifier,
    ok,
    shutdown,
    try_shutdown,
)

__all__ = [
    "create_node",
    "get_default_context",
    "get_global_executor",
    "get_rmw_implementation_identifier",
    "init",
    "logging",
    "ok",
    "shutdown",
    "signals",
    "spin",
    "spin_once",
    "spin_until_future_complete",
    "try_shutdown",
    "utilities",
]

_global_executor: Executor | None = None


def init(
    *,
    args: Sequence[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> None:
    """Brings ROS up. RuntimeError where it is up; RCLError or UnknownROSArgsError for wrong arguments."""
    (get_default_context() if context is None else context).init(args, domain_id=domain_id)


def create_node(node_name: str, **kwargs: Any) -> Node:
    """A node; arguments as of ``Node``."""
    return Node(node_name, **kwargs)


def get_global_executor() -> Executor:
    """The executor of those who name none. TypeError where ROS is not up, as in rclpy."""
    global _global_executor
    if not ok():
        raise TypeError("rclpy.init() has not been called, or rclpy.shutdown() was")
    if _global_executor is None or _global_executor.context is not get_default_context():
        _global_executor = SingleThreadedExecutor()
    return _global_executor


def spin_once(node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None) -> None:
    """Runs one callback, as ``Executor.spin_once``."""
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        executor.remove_node(node)


def spin(node: Node, executor: Executor | None = None) -> None:
    """Runs callbacks until a shutdown; SimulatorError where nothing can happen any more."""
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        executor.spin()
    finally:
        executor.remove_node(node)


def spin_until_future_complete(
    node: Node, future: Future, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Runs callbacks until ``future`` is done, or ``timeout_sec`` have passed."""
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        executor.remove_node(node)
