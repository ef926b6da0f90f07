"""The localizer in a process of its own, started by its executable as a user would, and what is asked of it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_prefix
from client import PATIENCE_S, SETTLED_S, Client
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from neumap_ros.msg import LocalizationStatus
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATES = {getattr(LocalizationStatus, name): name for name in ("UNINITIALIZED", "TRACKING", "DEGRADED", "LOST")}


class NodeProcess:
    """Runs until :meth:`stop`. What it publishes is heard from the beginning."""

    def __init__(
        self, client: Client, log: Path, *ros_arguments: str, namespace: str = "", log_level: str = "info"
    ) -> None:
        """Starts it with arguments that follow --ros-args. In a namespace ("/robot"), tf is the robot's own."""
        self.client, self.namespace, self._log = client, namespace, log
        self._read_from = 0
        self.name = f"{namespace}/neumap_localizer"
        executable = Path(get_package_prefix("neumap_ros"), "lib", "neumap_ros", "localizer")
        own = ["-r", f"__ns:={namespace}", "-r", "/tf:=tf", "-r", "/tf_static:=tf_static"] if namespace else []
        level = ["--log-level", f"{self.name[1:].replace('/', '.')}:={log_level}"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [executable, "--ros-args", *own, *level, *ros_arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self.statuses = client.listen(LocalizationStatus, f"{self.name}/status", LATCHED)
        self.poses = client.listen(PoseWithCovarianceStamped, f"{namespace}/pose", LATCHED)
        self.transforms = client.listen(TFMessage, f"{namespace}/tf")

    # --- the process --------------------------------------------------------------

    @property
    def output(self) -> str:
        """What it has printed since :meth:`turn_page`."""
        return self._log.read_text(errors="replace")[self._read_from :]

    def turn_page(self) -> None:
        """Begins a new page of what it prints."""
        self._read_from += len(self.output)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def is_up(self) -> bool:
        """Waits until it can be asked; whether it lives so long."""
        service = f"{self.name}/get_state"
        return self.client.until(lambda: not self.alive or self.client.is_served(GetState, service)) and self.alive

    def stop(self, by: signal.Signals = signal.SIGINT, patience_s: float = 60.0) -> int:
        """Sends a signal; what the process exits with. Raises TimeoutExpired where it does not, and kills it."""
        self._process.send_signal(by)
        return self.exit_status(patience_s)

    def exit_status(self, patience_s: float = 60.0) -> int:
        """Waits for the end."""
        with contextlib.ExitStack() as whatever:
            whatever.callback(self._process.kill)
            self.client.until(lambda: not self.alive, patience_s)
            return self._process.wait(0)

    # --- what it is asked -----------------------------------------------------------

    def call(self, kind: type, service: str, **fields: Any) -> Any:
        """Calls one of its own services, as "relocalize"."""
        return self.client.call(kind, f"{self.name}/{service}", **fields)

    def ask(self, kind: type, service: str, **fields: Any) -> Any:
        """Calls one of its own services; the future of the response."""
        return self.client.ask(kind, f"{self.name}/{service}", **fields)

    @property
    def state(self) -> str:
        """Of its lifecycle."""
        return str(self.call(GetState, "get_state").current_state.label)

    def change(self, transition: int | str, patience_s: float = PATIENCE_S) -> bool:
        """Asks for a transition, by its id or label; whether it was done."""
        by = {"label": transition} if isinstance(transition, str) else {"id": transition}
        answer = self.call(ChangeState, "change_state", transition=Transition(**by), patience_s=patience_s)
        if transition in (CONFIGURE, "configure"):
            self.client.wait(SETTLED_S)  # there may be new services
        return bool(answer.success)

    def get(self, *names: str) -> dict[str, Any]:
        """The values of parameters."""
        answer = self.call(GetParameters, "get_parameters", names=list(names))
        return {name: parameter_value_to_python(value) for name, value in zip(names, answer.values, strict=True)}

    def set(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Sets parameters; why those that were refused were."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        results = self.call(SetParameters, "set_parameters", parameters=parameters).results
        assert len(results) == len(values)
        assert all(bool(result.reason) != result.successful for result in results), results
        return {name: each.reason for name, each in zip(values, results, strict=True) if not each.successful}

    def activate(self) -> None:
        """Configures and activates it."""
        for transition in (CONFIGURE, ACTIVATE):
            assert self.change(transition), self.output

    # --- what it says -----------------------------------------------------------------

    def forget(self) -> None:
        """Empties the lists of what was heard."""
        for heard in (self.statuses, self.poses, self.transforms):
            heard.clear()

    @property
    def told(self) -> list[tuple[str, str]]:
        """States and reasons, without repetitions."""
        out: list[tuple[str, str]] = []
        for status in self.statuses:
            if not out or out[-1] != (STATES[status.state], status.reason):
                out.append((STATES[status.state], status.reason))
        return out

    @property
    def belief(self) -> str:
        """The state in the newest status."""
        return STATES[self.statuses[-1].state] if self.statuses else ""
