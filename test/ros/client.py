"""A ROS node of the tests, which asks, publishes and listens from outside as the `ros2` commands do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

# PATIENCE_S: what has not happened after so long will not happen; this machine may be busy.
PATIENCE_S = 60.0
# SETTLED_S: two processes do not find each other at the same moment. So long after this one has found the other, no
# message in either direction is lost; Fast DDS drops an answer to a client that it has not found within 0.1 s.
SETTLED_S = 1.0
# ASK_AGAIN_S: where the machine was too busy even for that, what only asks is asked again after so long.
ASK_AGAIN_S = 5.0
ONLY_ASKS = ("Get", "List", "Describe")


class Client:
    """Asks, publishes and listens, all in the thread of the test and within :meth:`until`."""

    def __init__(self) -> None:
        """Join the domain of the environment."""
        rclpy.init()
        self.node = rclpy.create_node("tester")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._services: dict[str, Any] = {}
        self._ready: set[str] = set()
        # done again and again while something is waited for
        self.meanwhile: Callable[[], object] = lambda: None

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def until(self, holds: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
        """Wait until something holds; tell whether it came to in time."""
        end = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.005)
            self.meanwhile()
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.until(lambda: False, seconds)

    def is_served(self, kind: type, name: str) -> bool:
        """Tell whether there is such a service."""
        if name not in self._services:
            self._services[name] = self.node.create_client(kind, name)
        return bool(self._services[name].service_is_ready())

    def ask(self, kind: type, name: str, **fields: Any) -> Any:
        """Call a service as soon as it is there; return the future of its response."""
        assert self.until(lambda: self.is_served(kind, name)), f"there is no service {name}"
        if name not in self._ready:
            self._ready.add(name)
            self.wait(SETTLED_S)
        return self._services[name].call_async(kind.Request(**fields))

    def answer(self, future: Any, patience_s: float = PATIENCE_S) -> Any:
        """Wait for the response of a service."""
        assert self.until(future.done, patience_s), f"no answer within {patience_s:g} s"
        return future.result()

    def call(self, kind: type, name: str, *, patience_s: float = PATIENCE_S, **fields: Any) -> Any:
        """Call a service and wait for its response."""
        if kind.__name__.startswith(ONLY_ASKS):
            future = self.ask(kind, name, **fields)
            if self.until(future.done, ASK_AGAIN_S):
                return future.result()
        return self.answer(self.ask(kind, name, **fields), patience_s)

    def listen(self, kind: type, topic: str, qos: QoSProfile | int = 1000) -> list[Any]:
        """Subscribe to a topic; return the list to which its messages will be added."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard
