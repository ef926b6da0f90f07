"""Events about the quality of service. Only that of an incompatible partner happens here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.qos import QoSPolicyKind
from neumap_ros.simulator.rclpy.task import await_or_execute


@dataclass(frozen=True)
class QoSOfferedIncompatibleQoSInfo:
    """How many subscriptions a publisher could not serve, in all and since the last event, and why the last one."""

    total_count: int
    total_count_change: int
    last_policy_kind: int


class QoSRequestedIncompatibleQoSInfo(QoSOfferedIncompatibleQoSInfo):
    """The same of the publishers that could not serve a subscription."""


class _EventCallbacks:
    def __init__(
        self,
        *,
        incompatible_qos: Callable[[Any], Any] | None = None,
        use_default_callbacks: bool = True,
        **others: Callable[[Any], Any] | None,
    ) -> None:
        if any(callback is not None for callback in others.values()):
            raise NotImplementedError(f"the simulator has no events of the kinds {', '.join(sorted(others))}")
        self.incompatible_qos = incompatible_qos
        self.use_default_callbacks = use_default_callbacks


class PublisherEventCallbacks(_EventCallbacks):
    """What a publisher wants to hear of."""


class SubscriptionEventCallbacks(_EventCallbacks):
    """What a subscription wants to hear of."""


class EventHandler(Entity):
    """Runs the callback for partners of incompatible quality of service."""

    def __init__(self, callback_group: CallbackGroup, callback: Callable[[Any], Any], info: type[Any]) -> None:
        super().__init__(callback_group)
        self.callback = callback
        self._info = info
        self._total = 0
        self._told = 0
        self._last = QoSPolicyKind.INVALID

    def notice(self, kind: QoSPolicyKind) -> None:
        """One more partner that is incompatible in ``kind``."""
        self._total += 1
        self._last = kind

    def _is_ready(self) -> bool:
        return self._total > self._told

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        info = self._info(self._total, self._total - self._told, int(self._last))
        self._told = self._total
        return lambda: await_or_execute(self.callback, info)
