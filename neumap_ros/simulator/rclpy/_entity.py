"""What an executor runs callbacks of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from neumap_ros.simulator.rclpy._rclpy_pybind11 import InvalidHandle
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup


class Entity:
    """Base of timers, subscriptions, services and their like."""

    def __init__(self, callback_group: CallbackGroup) -> None:
        self.callback_group = callback_group
        self._destroyed = False

    def destroy(self) -> None:
        """Ends its use."""
        self._destroyed = True

    def _check(self) -> None:
        if self._destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")

    def _is_ready(self) -> bool:
        """Whether there is a callback to run now."""
        raise NotImplementedError

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        """Takes one piece of work and gives what runs its callback."""
        raise NotImplementedError

    def _can_run(self) -> bool:
        return not self._destroyed and self._is_ready() and self.callback_group.can_execute(self)
