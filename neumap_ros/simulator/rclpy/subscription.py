"""Subscriptions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from neumap_ros.simulator import messages
from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy._middleware import Reader, Sample, middleware
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.qos import QoSProfile
from neumap_ros.simulator.rclpy.task import await_or_execute


class Subscription(Entity):
    """Runs its callback with each message, of its own; with two parameters also with facts about its way."""

    def __init__(
        self,
        reader: Reader,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
        raw: bool,
    ) -> None:
        super().__init__(callback_group)
        self._reader = reader
        self._wants_info = wants_info(callback)
        self.msg_type = msg_type
        self.topic = topic
        self.callback = callback
        self.qos_profile = qos_profile
        self.raw = raw

    @property
    def topic_name(self) -> str:
        """Name of the topic from the root on."""
        self._check()
        return self._reader.name

    def get_publisher_count(self) -> int:
        """How many publishers reach it."""
        self._check()
        return len(middleware.partners(self._reader))

    def destroy(self) -> None:
        super().destroy()
        middleware.remove(self._reader)

    def _is_ready(self) -> bool:
        return bool(self._reader.waiting)

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        sample = self._reader.waiting.popleft()
        message = sample.cdr if self.raw else messages.from_cdr(sample.cdr, self.msg_type)
        arguments = (message, _info(sample)) if self._wants_info else (message,)
        return lambda: await_or_execute(self.callback, *arguments)


def _info(sample: Sample) -> dict[str, int]:
    return {
        "source_timestamp": sample.stamp_ns,
        "received_timestamp": sample.stamp_ns,
        "publication_sequence_number": sample.publication_number,
        "reception_sequence_number": sample.reception_number,
    }


def wants_info(callback: Callable[..., Any]) -> bool:
    """Whether a callback takes facts about a message beside the message. RuntimeError where it cannot be called."""
    for arguments in (1, 2):
        try:
            inspect.signature(callback).bind(*[None] * arguments)
        except TypeError:
            continue
        return arguments == 2
    raise RuntimeError("Subscription callback must take one or two arguments: a message, and facts about it")
