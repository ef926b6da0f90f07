"""What follows the lifecycle of its node."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from neumap_ros.simulator.rclpy.lifecycle._state_machine import LifecycleState, TransitionCallbackReturn


class ManagedEntity:
    """Base of what hears of transitions."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The node is configured."""
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The node is cleaned up."""
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The node is shut down."""
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The node is activated."""
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The node is deactivated."""
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition of the node went wrong."""
        return TransitionCallbackReturn.SUCCESS


class SimpleManagedEntity(ManagedEntity):
    """On between activation and deactivation."""

    def __init__(self) -> None:
        self._enabled = False

    @property
    def is_activated(self) -> bool:
        """Whether it is on."""
        return self._enabled

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = True
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = False
        return TransitionCallbackReturn.SUCCESS

    @staticmethod
    def when_enabled(wrapped: Callable[..., Any]) -> Callable[..., Any]:
        """The method, without effect while it is off."""

        @wraps(wrapped)
        def only_when_enabled(self: SimpleManagedEntity, *args: Any, **kwargs: Any) -> Any:
            return wrapped(self, *args, **kwargs) if self._enabled else None

        return only_when_enabled
