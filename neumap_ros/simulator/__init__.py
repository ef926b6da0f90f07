"""Runs a ROS 2 node without ROS 2: in this process, in one thread, on virtual time, the same way every time.

``install()`` puts stand-ins of rclpy, of what belongs to it and of message packages under their real names into
``sys.modules``; then a node may be imported and run as on a robot. They do what the node needs, as recorded from real
rclpy 7 (ROS 2 Jazzy); what they lack raises. Differences that follow from a single thread on virtual time:

- ``virtual_time`` is every wall clock and steady clock. It moves only where somebody would wait: a spin with nothing
  to do goes to the next timer or scheduled call, at most by its timeout. A spin that could never end, and a call that
  blocks for what only this thread can do, raise SimulatorError.
- ``use_sim_time`` works as on a robot: time and timers then stand still until somebody publishes on /clock.
- Messages arrive the moment they are published, as copies, and wait in the subscriptions for the executor.

For who plays recordings to nodes, every executor has also, beside what it has in rclpy:

- ``executor.spin_until_idle()``: runs all callbacks that are ready, without time passing.
- ``executor.has_ready_work()``: whether there are such.
- ``executor.next_due_ns()``: when the next timer or scheduled call is due, or None; on the ROS clock where all its
  nodes use /clock, so that the player can publish this very time there; else on virtual time.
- ``executor.schedule(delay_ns, callback)``: runs ``callback()`` when so much time has passed on the same clock, as if
  a thread had worked so long; the result has ``cancel()``.

A player's turn for the time ``t``, where ``last`` was the one before: ``virtual_time.advance_by(t - last)`` (wall
timers and the stamps of log lines follow it), publish ``t`` on /clock, ``spin_until_idle()``. Before the next message
of the recording it takes such turns for each ``next_due_ns()`` that comes earlier. Its own publishers may belong to a
node that no executor has.

``tap(callback)`` hears of every message in the order of publication; ``on_log(callback)`` of every log line;
``log_to_stderr(False)`` silences them. Importing this package needs no extra; ``install()`` needs rosbags.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from neumap.errors import NeumapError
from neumap_ros.simulator import virtual_time

__all__ = [
    "LogLine",
    "Published",
    "SimulatorError",
    "install",
    "is_installed",
    "log_to_stderr",
    "on_log",
    "tap",
    "uninstall",
    "virtual_time",
]

STAND_INS = (
    "rclpy",
    "tf2_py",
    "tf2_ros",
    "tf2_geometry_msgs",
    "diagnostic_updater",
    "cv_bridge",
    "tf_transformations",
    "sensor_msgs_py",
)
OWN = "neumap_ros.simulator"


class SimulatorError(NeumapError):
    """The simulator cannot be used here, or what a node does would never end in it."""


@dataclass(frozen=True)
class Published:
    """A message that was published: CDR bytes with their header, at ``stamp_ns`` of virtual time."""

    topic: str
    type_name: str
    cdr: bytes
    stamp_ns: int

    @property
    def message(self) -> Any:
        """A copy of the message."""
        from neumap_ros.simulator import messages

        return messages.from_cdr(self.cdr, messages.message_class(self.type_name))


@dataclass(frozen=True)
class LogLine:
    """A log line of virtual time ``stamp_ns``; ``severity`` is DEBUG, INFO, WARN, ERROR or FATAL."""

    stamp_ns: int
    severity: str
    name: str
    text: str
    function: str
    file: str
    line: int


# What sys.modules held under our names before, None for nothing; None as a whole while not installed.
_replaced: dict[str, ModuleType | None] | None = None


def is_installed() -> bool:
    """Whether the stand-ins are in ``sys.modules``."""
    return _replaced is not None


def install(*, force: bool = False) -> None:
    """Puts the stand-ins into ``sys.modules`` and virtual time to its start; without effect where that was done.

    Raises SimulatorError where a real rclpy can be found, unless ``force``; MissingDependencyError without rosbags.
    """
    global _replaced
    if is_installed():
        return
    if not force and _real_rclpy_is_there():
        raise SimulatorError("ROS 2 is there: the simulator would hide it; start the node with ros2 launch instead")
    found = _stand_ins()
    _replaced = {name: sys.modules.get(name) for name in found}
    sys.modules.update(found)
    for name in ("msg", "srv"):
        setattr(sys.modules["neumap_ros"], name, found[f"neumap_ros.{name}"])
    virtual_time.reset()


def uninstall() -> None:
    """Takes the stand-ins out of ``sys.modules``, and the node that was imported against them."""
    global _replaced
    if _replaced is None:
        return
    package = sys.modules["neumap_ros"]
    for name in [n for n in sys.modules if n.startswith("neumap_ros.") and not n.startswith(OWN)]:
        del sys.modules[name]
    for name in ("msg", "srv"):
        if hasattr(package, name):
            delattr(package, name)
    for name, module in _replaced.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    _replaced = None


def tap(callback: Callable[[Published], object]) -> Callable[[], None]:
    """Calls ``callback`` with every message right after it was published; the result ends that."""
    from neumap_ros.simulator.rclpy._middleware import middleware

    return _listen(middleware.taps, callback)


def on_log(callback: Callable[[LogLine], object]) -> Callable[[], None]:
    """Calls ``callback`` with every log line that is not filtered out; the result ends that."""
    from neumap_ros.simulator.rclpy.logging import output

    return _listen(output.listeners, callback)


def log_to_stderr(enabled: bool) -> None:
    """Whether log lines are printed on stderr, as they are at first."""
    from neumap_ros.simulator.rclpy.logging import output

    output.to_stderr = enabled


def _listen(listeners: list[Any], callback: Any) -> Callable[[], None]:
    listeners.append(callback)

    def stop() -> None:
        if callback in listeners:
            listeners.remove(callback)

    return stop


def _real_rclpy_is_there() -> bool:
    try:
        return importlib.util.find_spec("rclpy") is not None
    except ValueError:
        # A module that somebody put into sys.modules by hand.
        return True


def _stand_ins() -> dict[str, ModuleType]:
    from neumap_ros.simulator import messages

    found = dict(messages.modules())
    for name in STAND_INS:
        ours = f"{__name__}.{name}"
        if importlib.util.find_spec(ours) is None:
            continue
        module = importlib.import_module(ours)
        found[name] = module
        for part in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{ours}."):
            found[part.name.removeprefix(f"{__name__}.")] = importlib.import_module(part.name)
    return found
