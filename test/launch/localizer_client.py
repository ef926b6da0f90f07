"""Processes that are sure to end, and a ROS node that asks the localizer as the ``ros2`` commands do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NODE = "/neumap_localizer"


class Process:
    """A command that runs, in a process group of its own."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def interrupt(self, by: signal.Signals = signal.SIGINT, patience_s: float = 20.0) -> int:
        """What it exits with after Ctrl-C, or another signal. Raises TimeoutExpired where it does not.

        Only the process itself is interrupted: without a terminal, ``ros2 launch`` passes it on.
        """
        if self.alive:
            self._process.send_signal(by)
        return self._process.wait(patience_s)

    def end(self) -> None:
        """Interrupts it, and kills what is left of it after some seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.interrupt()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10.0)


class Client:
    """Asks the localizer as the ``ros2`` commands do."""

    def __init__(self) -> None:
        import rclpy

        rclpy.init()
        self._rclpy = rclpy
        self._node = rclpy.create_node("test_of_the_localizer")

    def close(self) -> None:
        self._node.destroy_node()
        self._rclpy.shutdown()

    def call(self, kind: type, name: str, request: object, patience_s: float = 60.0) -> Any:
        """The answer of a service; None where there is none in time."""
        asking = self._node.create_client(kind, name)
        try:
            if not asking.wait_for_service(timeout_sec=patience_s):
                return None
            future = asking.call_async(request)
            self._rclpy.spin_until_future_complete(self._node, future, timeout_sec=patience_s)
            return future.result() if future.done() else None
        finally:
            self._node.destroy_client(asking)

    def state(self, patience_s: float = 60.0) -> str | None:
        from lifecycle_msgs.srv import GetState

        answer = self.call(GetState, f"{NODE}/get_state", GetState.Request(), patience_s)
        return None if answer is None else str(answer.current_state.label)

    def change(self, transition_id: int, patience_s: float = 60.0) -> bool | None:
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.id = transition_id
        answer = self.call(ChangeState, f"{NODE}/change_state", request, patience_s)
        return None if answer is None else bool(answer.success)

    def set(self, name: str, value: object) -> tuple[bool, str]:
        """Whether the parameter was set, and why not."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        answer = self.call(SetParameters, f"{NODE}/set_parameters", request)
        assert answer is not None, "no answer to set_parameters"
        return bool(answer.results[0].successful), str(answer.results[0].reason)

    def services(self) -> dict[str, list[str]]:
        return dict(self._node.get_service_names_and_types())

    def topics(self) -> dict[str, list[str]]:
        return dict(self._node.get_topic_names_and_types())


def eventually(holds: Callable[[], bool], patience_s: float = 60.0) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
