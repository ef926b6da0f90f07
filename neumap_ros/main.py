"""The executable ``localizer``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from neumap.installation import missing, other_versions

if TYPE_CHECKING:
    from neumap_ros.node import LocalizerNode

# rclpy's executor may go to sleep between a SIGTERM and what it does to the context, and nothing wakes an idle one
AWAKE_S = 1.0


def main(args: Sequence[str] | None = None) -> str | None:
    """Runs the node until it is told to stop. Where arguments or parameters keep it from starting, one line that says
    so, for ``sys.exit``.
    """
    try:
        return run(args)
    except KeyboardInterrupt:
        return None
    finally:
        rclpy.try_shutdown()


def run(args: Sequence[str] | None) -> str | None:
    """As :func:`main`, but leaves what a Ctrl-C while starting raises, and the context, to it."""
    try:
        # takes seconds
        from neumap_ros.node import LocalizerNode

        rclpy.init(args=None if args is None else list(args))
        node = LocalizerNode()
    except ImportError as error:
        lacking = missing(error)
        if lacking is None:
            raise
        return f"neumap_localizer cannot start: {lacking}"
    except (RuntimeError, NameValidationException, ParameterException) as error:
        return f"neumap_localizer cannot start: {' '.join(str(error).split())}"
    if others := other_versions():
        node.get_logger().warning(others)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        spin(executor, node)
    finally:
        node.destroy_node()
    return None


def spin(executor: SingleThreadedExecutor, node: LocalizerNode) -> None:
    """Spins until the context is shut down. What a callback raises ends up in the log and not in the robot's fall:
    even an impossible lifecycle transition asked for by a client would end rclpy's own spin.
    """
    while rclpy.ok():
        try:
            executor.spin_once(timeout_sec=AWAKE_S)
        except (KeyboardInterrupt, ExternalShutdownException):  # noqa: PERF203
            return
        except Exception as error:
            if not rclpy.ok():
                return
            node.get_logger().error(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
