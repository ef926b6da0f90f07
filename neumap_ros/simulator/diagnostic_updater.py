"""diagnostic_updater: tasks that say how things are, published on /diagnostics once in a while.

The period and the stamps are those of the node's clock. ``DiagnosticStatusWrapper`` is made when it is first asked for,
because messages need the rosbags library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.clock import Clock

OK, WARN, ERROR = b"\x00", b"\x01", b"\x02"

__all__ = [
    "CompositeDiagnosticTask",
    "DiagnosticStatusWrapper",  # noqa: F822
    "DiagnosticTask",
    "DiagnosticTaskVector",
    "FrequencyStatus",
    "FrequencyStatusParam",
    "FunctionDiagnosticTask",
    "Heartbeat",
    "Updater",
]


@cache
def _wrapper_class() -> Any:
    base: Any = message_class("diagnostic_msgs/msg/DiagnosticStatus")
    value: Any = message_class("diagnostic_msgs/msg/KeyValue")

    class DiagnosticStatusWrapper(base):
        """A DiagnosticStatus with methods that fill it."""

        def summary(self, *args: Any) -> None:
            """Sets level and message, from these or from another status."""
            level, message = _level_and_message(*args)
            self.level = level
            self.message = str(message)

        def clearSummary(self) -> None:  # noqa: N802
            self.summary(OK, "")

        def mergeSummary(self, *args: Any) -> None:  # noqa: N802
            """Adds level and message: the worse level holds, messages of the same standing are joined."""
            level, message = _level_and_message(*args)
            if (level > OK) == (self.level > OK):
                self.message = f"{self.message}; {message}" if self.message else message
            elif level > self.level:
                self.message = message
            self.level = max(self.level, level)

        def add(self, key: str, val: str) -> None:
            """Adds a value, which must be a str."""
            self.values.append(value(key=key, value=val))

    return DiagnosticStatusWrapper


def __getattr__(name: str) -> Any:
    if name == "DiagnosticStatusWrapper":
        return _wrapper_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _level_and_message(*args: Any) -> tuple[Any, Any]:
    if len(args) == 1:
        return args[0].level, args[0].message
    level, message = args
    return level, message


class DiagnosticTask:
    """Fills a status; override ``run``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def getName(self) -> str:  # noqa: N802
        return self.name

    def run(self, stat: Any) -> Any:
        """Fills and returns the status."""
        return stat


class FunctionDiagnosticTask(DiagnosticTask):
    """A task that calls a function with the status; the function returns it."""

    def __init__(self, name: str, fn: Callable[[Any], Any]) -> None:
        super().__init__(name)
        self.fn = fn

    def run(self, stat: Any) -> Any:
        return self.fn(stat)


class CompositeDiagnosticTask(DiagnosticTask):
    """Several tasks in one status."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tasks: list[DiagnosticTask] = []

    def addTask(self, task: DiagnosticTask) -> None:  # noqa: N802
        self.tasks.append(task)

    def run(self, stat: Any) -> Any:
        merged, given = _wrapper_class()(), _wrapper_class()()
        given.summary(stat)
        for task in self.tasks:
            stat.summary(given)
            stat = task.run(stat)
            merged.mergeSummary(stat)
        stat.summary(merged)
        return stat


class Heartbeat(DiagnosticTask):
    """Says that the node is alive."""

    def __init__(self) -> None:
        super().__init__("Heartbeat")

    def run(self, stat: Any) -> Any:
        stat.summary(OK, "Alive")
        return stat


class FrequencyStatusParam:
    """Bounds in Hz ("min", "max"), what may be missing (a fraction), and how many updates to look back."""

    def __init__(self, freq_bound: dict[str, float], tolerance: float = 0.1, window_size: int = 5) -> None:
        self.freq_bound = freq_bound
        self.tolerance = tolerance
        self.window_size = window_size


class FrequencyStatus(DiagnosticTask):
    """Whether ``tick`` is called often enough."""

    def __init__(self, params: FrequencyStatusParam, name: str = "FrequencyStatus", clock: Any = None) -> None:
        super().__init__(name)
        self.params = params
        self.clock = clock or Clock()
        self.clear()

    def clear(self) -> None:
        """Forgets all events."""
        self.count = 0
        self._seen = [(self.clock.now(), 0)] * self.params.window_size

    def tick(self) -> None:
        """Call it at each event."""
        self.count += 1

    def run(self, stat: Any) -> Any:
        now = self.clock.now()
        since, count_then = self._seen.pop(0)
        self._seen.append((now, self.count))
        events = self.count - count_then
        window = (now - since).nanoseconds * 1e-9
        # Virtual time may stand still between two updates.
        frequency = events / window if window > 0 else 0.0
        lowest, highest = self.params.freq_bound["min"], self.params.freq_bound.get("max")
        if events == 0:
            stat.summary(ERROR, "No events recorded.")
        elif frequency < lowest * (1 - self.params.tolerance):
            stat.summary(WARN, "Frequency too low.")
        elif highest is not None and frequency > highest * (1 + self.params.tolerance):
            stat.summary(WARN, "Frequency too high.")
        else:
            stat.summary(OK, "Desired frequency met")
        stat.add("Events in window", str(events))
        stat.add("Events since startup", str(self.count))
        stat.add("Duration of window (s)", str(window))
        stat.add("Actual frequency (Hz)", str(frequency))
        if lowest == highest:
            stat.add("Target frequency (Hz)", str(lowest))
        if lowest > 0:
            stat.add("Minimum acceptable frequency (Hz)", str(lowest * (1 - self.params.tolerance)))
        if highest is not None:
            stat.add("Maximum acceptable frequency (Hz)", str(highest * (1 + self.params.tolerance)))
        return stat


class DiagnosticTaskVector:
    """A list of tasks."""

    def __init__(self) -> None:
        self.tasks: list[DiagnosticTask] = []

    def add(self, *args: Any) -> None:
        """Adds a task, or a name and a function."""
        (task,) = args if len(args) == 1 else (FunctionDiagnosticTask(*args),)
        self.tasks.append(task)
        self.addedTaskCallback(task)

    def removeByName(self, name: str) -> bool:  # noqa: N802
        """Removes the task of that name; False if there is none."""
        kept = [task for task in self.tasks if task.name != name]
        found = len(kept) < len(self.tasks)
        self.tasks = kept
        return found

    def addedTaskCallback(self, task: DiagnosticTask) -> None:  # noqa: N802
        """Called for each task that was added."""


class Updater(DiagnosticTaskVector):
    """Publishes the states of its tasks every ``period`` seconds (parameter diagnostic_updater.period)."""

    def __init__(self, node: Any, period: float = 1.0) -> None:
        super().__init__()
        self.node = node
        self.publisher = node.create_publisher(message_class("diagnostic_msgs/msg/DiagnosticArray"), "/diagnostics", 1)
        self.clock = node.get_clock()
        self.period: float = node.declare_parameter("diagnostic_updater.period", period).value
        self.use_fqn: bool = node.declare_parameter("diagnostic_updater.use_fqn", False).value
        self.timer = node.create_timer(self.period, self.update)
        self.hwid = ""
        self._warned = False

    def setHardwareID(self, hwid: str) -> None:  # noqa: N802
        """Sets the name of the hardware that the states are of."""
        self.hwid = hwid

    def update(self) -> None:
        """Called by the timer."""
        self.force_update()

    def force_update(self) -> None:
        """Runs all tasks and publishes, now; what a task raises is not caught."""
        states = []
        for task in self.tasks:
            state = self._state(task, ERROR, "No message was set")
            state.hardware_id = self.hwid
            states.append(task.run(state))
        if not self.hwid and not self._warned and all(state.level == OK for state in states):
            self.node.get_logger().warning("diagnostic_updater: No HW_ID was set. This is probably a bug.")
            self._warned = True
        self._publish(states)

    def broadcast(self, lvl: bytes, msg: str) -> None:
        """Publishes the same level and message for all tasks."""
        self._publish([self._state(task, lvl, msg) for task in self.tasks])

    def addedTaskCallback(self, task: DiagnosticTask) -> None:  # noqa: N802
        self._publish([self._state(task, OK, "Node starting up")])

    def _state(self, task: DiagnosticTask, level: bytes, message: str) -> Any:
        state = _wrapper_class()(name=task.name)
        state.summary(level, message)
        return state

    def _publish(self, states: list[Any]) -> None:
        name = self.node.get_fully_qualified_name() if self.use_fqn else self.node.get_name()
        for state in states:
            state.name = f"{name}: {state.name}"
        message = message_class("diagnostic_msgs/msg/DiagnosticArray")(status=states)
        message.header.stamp = self.clock.now().to_msg()
        self.publisher.publish(message)
