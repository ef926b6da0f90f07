"""Callbacks that run when somebody asks for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.task import await_or_execute


class GuardCondition(Entity):
    """Runs its callback once after ``trigger()``, however often that was called."""

    def __init__(self, callback: Callable[[], Any], callback_group: CallbackGroup) -> None:
        super().__init__(callback_group)
        self.callback = callback
        self._triggered = False

    def trigger(self) -> None:
        """The callback is to run."""
        self._check()
        self._triggered = True

    def _is_ready(self) -> bool:
        return self._triggered

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        self._triggered = False
        return lambda: await_or_execute(self.callback)
