"""Entry point of the executable ``localizer``."""

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

# AWAKE_S: longest sleep of the executor, seconds. A SIGTERM that arrives just before it sleeps does not wake it.
AWAKE_S = 1.0


def main(args: Sequence[str] | None = None) -> str | None:
    """Run the node until shutdown. Return a line for ``sys.exit`` if arguments or parameters keep it from starting."""
    try:
        return run(args)
    except KeyboardInterrupt:
        return None
    finally:
        rclpy.try_shutdown()


def run(args: Sequence[str] | None) -> str | None:
    """Run the node as :func:`main`, without handling Ctrl-C during startup and without shutting the context down."""
    try:
        # the import takes seconds
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
    """Spin until the context is shut down. Exceptions of callbacks are logged: rclpy's own spin would end, even after
    an invalid lifecycle transition requested by a client.
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
