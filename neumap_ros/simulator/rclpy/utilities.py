"""The default context, and small help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from neumap_ros.simulator.rclpy import _arguments
from neumap_ros.simulator.rclpy.context import Context

_default_context: Context | None = None


def get_default_context(*, shutting_down: bool = False) -> Context:
    """The context of whoever names none; a new one after it was shut down by ``rclpy.shutdown()``."""
    global _default_context
    if _default_context is None:
        _default_context = Context()
    context = _default_context
    if shutting_down:
        _default_context = None
    return context


def ok(*, context: Context | None = None) -> bool:
    """Whether ROS is up."""
    return (get_default_context() if context is None else context).ok()


def shutdown(*, context: Context | None = None) -> None:
    """Shuts down. RuntimeError where ROS is not up."""
    (get_default_context(shutting_down=True) if context is None else context).shutdown()


def try_shutdown(*, context: Context | None = None) -> None:
    """Shuts down, without effect where ROS is not up."""
    if context is not None:
        context.try_shutdown()
    elif get_default_context().ok():
        get_default_context(shutting_down=True).try_shutdown()


def get_rmw_implementation_identifier() -> str:
    """The name of this middleware."""
    return "neumap_ros_simulator"


def remove_ros_args(args: Sequence[str] | None = None) -> list[str]:
    """The arguments (``sys.argv`` for None) that are not for ROS."""
    return _arguments.split(sys.argv if args is None else args)[0]


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """Nanoseconds; -1, for ever, for None and what is negative."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(float(timeout_sec) * 10**9)
