"""Clients of services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from neumap_ros.simulator import SimulatorError, messages, virtual_time
from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy._middleware import Caller, middleware
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.qos import QoSProfile
from neumap_ros.simulator.rclpy.task import Future
from neumap_ros.simulator.rclpy.utilities import timeout_sec_to_nsec


class Client(Entity):
    """Sends requests. The future of each is done when the executor of its node has the answer."""

    def __init__(
        self,
        caller: Caller,
        srv_type: Any,
        srv_name: str,
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
        executor: Callable[[], Any],
    ) -> None:
        super().__init__(callback_group)
        self._caller = caller
        self._sent = 0
        self._pending: dict[int, Future] = {}
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.qos_profile = qos_profile
        self._executor = executor

    @property
    def service_name(self) -> str:
        """Name of the service from the root on."""
        self._check()
        return self._caller.name

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Raises SimulatorError: it waits for an answer that needs the thread it blocks."""
        self._check_request(request)
        raise SimulatorError("call() never returns in a single thread: use call_async()")

    def call_async(self, request: Any) -> Future:
        """Sends ``request``. TypeError where it is none of this service; lost where no service is there."""
        self._check()
        self._check_request(request)
        self._sent += 1
        cdr = messages.to_cdr(request)
        for server in middleware.servers_for(self._caller):
            server.requests.append((self._caller, self._sent, cdr))
        future = Future()
        self._pending[self._sent] = future
        return future

    def remove_pending_request(self, future: Future) -> None:
        """Forgets a request; its answer will be ignored."""
        self._pending = {number: other for number, other in self._pending.items() if other is not future}

    def service_is_ready(self) -> bool:
        """Whether a service is there."""
        self._check()
        return bool(middleware.servers_for(self._caller))

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Whether a service is there; if not, virtual time has passed. SimulatorError without a timeout then."""
        if self.service_is_ready():
            return True
        timeout_ns = timeout_sec_to_nsec(timeout_sec)
        if timeout_ns < 0:
            raise SimulatorError(f"nobody can start the service {self.service_name} while the only thread waits for it")
        virtual_time.advance_by(timeout_ns)
        return False

    def destroy(self) -> None:
        super().destroy()
        middleware.remove(self._caller)

    def _check_request(self, request: Any) -> None:
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")

    def _is_ready(self) -> bool:
        return bool(self._caller.answers)

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        number, cdr = self._caller.answers.popleft()
        response = messages.from_cdr(cdr, self.srv_type.Response)
        # The answer of a second service of the same name finds no request any more.
        future = self._pending.pop(number, None)
        return None if future is None else lambda: self._finish(future, response)

    async def _finish(self, future: Future, response: Any) -> None:
        future._set_executor(self._executor())
        future.set_result(response)
