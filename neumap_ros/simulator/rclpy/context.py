"""Whether ROS is up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from neumap_ros.simulator.rclpy import _arguments
from neumap_ros.simulator.rclpy._middleware import middleware
from neumap_ros.simulator.rclpy.logging import get_logging_severity_from_string, set_logger_level


class Context:
    """Up between ``init()`` and ``shutdown()``, once only."""

    def __init__(self) -> None:
        self._ok = False
        self._was_up = False
        self._callbacks: list[Callable[[], object]] = []
        self._arguments = _arguments.Arguments()

    def init(self, args: Sequence[str] | None = None, *, domain_id: int | None = None) -> None:
        """Reads the arguments (``sys.argv`` for None). RuntimeError where it was called before."""
        if self._was_up:
            raise RuntimeError("Context.init() must only be called once")
        self._arguments = _arguments.parse(sys.argv if args is None else args)
        for name, level in self._arguments.log_levels:
            set_logger_level(name, get_logging_severity_from_string(level))
        self._ok = self._was_up = True

    def ok(self) -> bool:
        """Whether it is up."""
        return self._ok

    def shutdown(self) -> None:
        """RuntimeError where it is not up."""
        if not self._ok:
            raise RuntimeError("Context must be initialized before it can be shutdown")
        self.try_shutdown()

    def try_shutdown(self) -> None:
        """As ``shutdown()``, without effect where it is not up."""
        if not self._ok:
            return
        self._ok = False
        middleware.forget(self)
        while self._callbacks:
            self._callbacks.pop(0)()

    def on_shutdown(self, callback: Callable[[], object]) -> None:
        """Calls ``callback`` at shutdown; at once where that was."""
        if not callable(callback):
            raise TypeError("callback should be a callable")
        if self._was_up and not self._ok:
            callback()
        else:
            self._callbacks.append(callback)
