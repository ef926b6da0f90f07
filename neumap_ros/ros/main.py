"""The executable ``localizer``."""

from __future__ import annotations

from collections.abc import Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from neumap_ros.ros.node import LocalizerNode


def main(args: Sequence[str] | None = None) -> None:
    """Runs the node until it is told to stop."""
    rclpy.init(args=None if args is None else list(args))
    node = LocalizerNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        spin(executor, node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def spin(executor: SingleThreadedExecutor, node: LocalizerNode) -> None:
    """Spins until the context is shut down. What a callback raises ends up in the log and not in the robot's fall:
    even an impossible lifecycle transition asked for by a client would end rclpy's own spin.
    """
    while rclpy.ok():
        try:
            executor.spin_once()
        except (KeyboardInterrupt, ExternalShutdownException):  # noqa: PERF203
            return
        except Exception as error:
            if not rclpy.ok():
                return
            node.get_logger().error(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
