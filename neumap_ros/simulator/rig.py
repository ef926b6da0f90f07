"""A lifecycle node in the simulator, with a player beside it and somebody to call its services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neumap.errors import ConfigError, DataError
from neumap_ros import simulator
from neumap_ros.simulator import Published, rclpy
from neumap_ros.simulator.messages import message_class, service_class
from neumap_ros.simulator.player import Player, Timed
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.lifecycle import TransitionCallbackReturn
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.parameter import Parameter
from neumap_ros.simulator.worker import ModelledWorker

MakeNode = Callable[..., Any]


class Rig:
    """Installs the simulator and makes the node on entering; afterwards both are gone.

    ``make_node(make_worker, cli_args=..., parameter_overrides=...)`` imports and makes the node. ``published`` is what
    the node has published, ``log_lines`` what it has logged ("WARN text"). A job of the node's worker takes
    ``inference_s``, as of :class:`~neumap_ros.simulator.worker.ModelledWorker`.

    Entering raises :class:`~neumap.errors.ConfigError` for parameters that the node does not take and
    :class:`~neumap_ros.simulator.SimulatorError` where ROS 2 is there.
    """

    def __init__(
        self,
        make_node: MakeNode,
        parameters: Mapping[str, Any],
        ros_arguments: Sequence[str] = (),
        inference_s: float | None = 0.1,
        rate: float = 1.0,
    ) -> None:
        self._make_node, self._parameters, self._ros_arguments = make_node, dict(parameters), ros_arguments
        self._inference_s, self._rate = inference_s, rate
        self._undo: list[Callable[[], object]] = []
        self._clients: dict[str, Any] = {}
        self.published: list[Timed] = []
        self.log_lines: list[str] = []

    def __enter__(self) -> Rig:
        simulator.install()
        self._undo.append(simulator.uninstall)
        try:
            self._set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        while self._undo:
            self._undo.pop()()

    def _set_up(self) -> None:
        simulator.log_to_stderr(False)
        self._undo.append(lambda: simulator.log_to_stderr(True))
        rclpy.init(args=[])
        self._undo.append(rclpy.try_shutdown)
        self.executor = SingleThreadedExecutor()
        self.player = Player(self.executor)
        self._undo.append(self.player.close)
        self._undo.append(simulator.tap(self._record))
        self._undo.append(simulator.on_log(lambda line: self.log_lines.append(f"{line.severity} {line.text}")))
        simulated = Parameter("use_sim_time", value=True)
        overrides = [Parameter(name, value=value) for name, value in self._parameters.items()]
        try:
            self.node = self._make_node(
                lambda node: ModelledWorker(self.executor, self._inference_s, self._rate),
                cli_args=["--ros-args", *self._ros_arguments],
                parameter_overrides=[simulated, *overrides],
            )
        except Exception as error:  # whatever rclpy raises for parameters
            raise ConfigError(f"the node does not take its parameters: {error}") from error
        self._undo.append(self.node.destroy_node)
        self._caller = Node("caller", parameter_overrides=[simulated])
        self._undo.append(self._caller.destroy_node)
        self.executor.add_node(self.node)
        self.executor.add_node(self._caller)

    def start(self) -> None:
        """Configures and activates the node. Raises :class:`~neumap.errors.DataError` with its error if not."""
        for step in (self.node.trigger_configure, self.node.trigger_activate):
            if step() is not TransitionCallbackReturn.SUCCESS:
                errors = [line for line in self.log_lines if line.startswith("ERROR")]
                raise DataError(errors[-1].removeprefix("ERROR ") if errors else "the node could not be started")

    def call(self, service: str, type_name: str, **fields: Any) -> Any:
        """Calls a service ("/reset", "std_srvs/srv/Empty"); the future of its response."""
        cls = service_class(type_name)
        if service not in self._clients:
            self._clients[service] = self._caller.create_client(cls, service)
        return self._clients[service].call_async(cls.Request(**fields))

    def listen(self, topic: str, type_name: str) -> list[Any]:
        """Subscribes to a topic; the list to which its messages will be added."""
        heard: list[Any] = []
        self._caller.create_subscription(message_class(type_name), topic, heard.append, 10)
        return heard

    def _record(self, message: Published) -> None:
        if not self.player.publishing:
            self.published.append(Timed(self.player.now_ns, message.topic, message.type_name, message.cdr))
