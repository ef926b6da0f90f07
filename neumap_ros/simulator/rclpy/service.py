"""Services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from neumap_ros.simulator import messages
from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy._middleware import Caller, Server, middleware
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.qos import QoSProfile
from neumap_ros.simulator.rclpy.task import await_or_execute


class Service(Entity):
    """Answers requests, in the order of their arrival, with what its callback or coroutine returns."""

    def __init__(
        self,
        server: Server,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
    ) -> None:
        super().__init__(callback_group)
        self._server = server
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.callback = callback
        self.qos_profile = qos_profile

    @property
    def service_name(self) -> str:
        """Name of the service from the root on."""
        self._check()
        return self._server.name

    def destroy(self) -> None:
        super().destroy()
        middleware.remove(self._server)

    def _is_ready(self) -> bool:
        return bool(self._server.requests)

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        caller, number, cdr = self._server.requests.popleft()
        request = messages.from_cdr(cdr, self.srv_type.Request)
        return lambda: self._answer(caller, number, request)

    async def _answer(self, caller: Caller, number: int, request: Any) -> None:
        response = await await_or_execute(self.callback, request, self.srv_type.Response())
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(f"Expected {self.srv_type.Response}, got {type(response)}")
        self._check()
        caller.answers.append((number, messages.to_cdr(response)))
