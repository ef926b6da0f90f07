"""Nodes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from neumap_ros.simulator import LogLine, messages
from neumap_ros.simulator.rclpy import _arguments
from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy._graph import GraphQueries, NodeNameNonExistentError
from neumap_ros.simulator.rclpy._middleware import Caller, NodeEntry, Reader, Server, Writer, middleware
from neumap_ros.simulator.rclpy._parameter_store import ParameterStore
from neumap_ros.simulator.rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from neumap_ros.simulator.rclpy.client import Client
from neumap_ros.simulator.rclpy.clock import Clock, ROSClock
from neumap_ros.simulator.rclpy.context import Context
from neumap_ros.simulator.rclpy.event_handler import (
    EventHandler,
    PublisherEventCallbacks,
    QoSOfferedIncompatibleQoSInfo,
    QoSRequestedIncompatibleQoSInfo,
    SubscriptionEventCallbacks,
)
from neumap_ros.simulator.rclpy.exceptions import (
    InvalidServiceNameException,
    InvalidTopicNameException,
    NameValidationException,
    NotInitializedException,
)
from neumap_ros.simulator.rclpy.expand_topic_name import expand_topic_name
from neumap_ros.simulator.rclpy.guard_condition import GuardCondition
from neumap_ros.simulator.rclpy.logging import LoggingSeverity, RcutilsLogger, output
from neumap_ros.simulator.rclpy.parameter import Parameter
from neumap_ros.simulator.rclpy.parameter_service import ParameterService
from neumap_ros.simulator.rclpy.publisher import Publisher
from neumap_ros.simulator.rclpy.qos import (
    QoSPolicyKind,
    QoSProfile,
    check_simulated,
    qos_profile_parameter_events,
    qos_profile_rosout_default,
    qos_profile_services_default,
)
from neumap_ros.simulator.rclpy.service import Service
from neumap_ros.simulator.rclpy.subscription import Subscription
from neumap_ros.simulator.rclpy.time_source import TimeSource
from neumap_ros.simulator.rclpy.timer import Rate, Timer
from neumap_ros.simulator.rclpy.utilities import get_default_context
from neumap_ros.simulator.rclpy.validate_full_topic_name import validate_full_topic_name
from neumap_ros.simulator.rclpy.validate_namespace import validate_namespace
from neumap_ros.simulator.rclpy.validate_node_name import validate_node_name

__all__ = ["Node", "NodeNameNonExistentError"]

TYPE_DESCRIPTION = "start_type_description_service"


class Node(ParameterStore, GraphQueries):
    """A node, as in rclpy. What it lacks raises."""

    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        cli_args: Sequence[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: Sequence[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
        enable_logger_service: bool = False,
    ) -> None:
        self._context = get_default_context() if context is None else context
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        if enable_logger_service:
            raise NotImplementedError("the simulator has no services for levels of loggers")
        arguments = [_arguments.parse(cli_args)] if cli_args else []
        arguments += [self._context._arguments] if use_global_arguments else []
        self._remaps = [rule for each in arguments for rule in each.remaps]
        self._destroyed = False
        self._timers: list[Timer] = []
        self._subscriptions: list[Subscription] = []
        self._publishers: list[Publisher] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._guards: list[GuardCondition] = []
        self._waitables: list[EventHandler] = []
        self._executor: weakref.ref[Any] | None = None
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        self._entry = self._make_entry(node_name, namespace or "")
        middleware.nodes.append(self._entry)
        self._logger = RcutilsLogger(self.get_fully_qualified_name()[1:].replace("/", "."))
        overrides: dict[str, Any] = {}
        for each in reversed(arguments):
            overrides |= each.parameters_of(self.get_fully_qualified_name())
        overrides |= {parameter.name: parameter.value for parameter in parameter_overrides or ()}
        self._init_parameters(overrides, allow_undeclared_parameters)
        self._start(arguments, enable_rosout, automatically_declare_parameters_from_overrides)
        if start_parameter_services:
            self._parameter_service = ParameterService(self)

    def _make_entry(self, name: str, namespace: str) -> NodeEntry:
        validate_node_name(name)
        namespace = namespace if namespace.startswith("/") else f"/{namespace}"
        validate_namespace(namespace)
        rules = [rule for rule in self._remaps if rule.node in (None, name)]
        name = next((rule.target for rule in rules if rule.source in ("__node", "__name")), name)
        namespace = next((rule.target for rule in rules if rule.source == "__ns"), namespace)
        validate_node_name(name)
        validate_namespace(namespace)
        return NodeEntry(self._context, name, namespace)

    def _start(self, arguments: list[_arguments.Arguments], enable_rosout: bool, declare_overrides: bool) -> None:
        rosout = [each.switches["rosout-logs"] for each in arguments if "rosout-logs" in each.switches]
        if enable_rosout and (not rosout or rosout[0]):
            self._rosout = self.create_publisher(
                messages.message_class("rcl_interfaces/msg/Log"), "/rosout", qos_profile_rosout_default
            )
            output.rosout[self._logger.name] = weakref.WeakMethod(self._send_log)
        self._parameter_events = self.create_publisher(
            messages.message_class("rcl_interfaces/msg/ParameterEvent"),
            "/parameter_events",
            qos_profile_parameter_events,
        )
        self._clock: Any = ROSClock()
        if declare_overrides:
            self.declare_parameters("", list(self._parameter_overrides.items()), ignore_override=True)
        self._time_source = TimeSource(self, self._clock)
        if not self.has_parameter(TYPE_DESCRIPTION):
            self.declare_parameter(
                TYPE_DESCRIPTION, True, messages.message_class("rcl_interfaces/msg/ParameterDescriptor")(read_only=True)
            )
        if self.get_parameter(TYPE_DESCRIPTION).value:
            # Others can see it, as on a robot, but its type is not among the simulator's, so nobody can call it.
            name = self.resolve_service_name("~/get_type_description")
            middleware.servers.append(Server(self._entry, name, "type_description_interfaces/srv/GetTypeDescription"))

    def _send_log(self, line: LogLine) -> None:
        if self._destroyed or not self._context.ok():
            return
        seconds, nanoseconds = divmod(line.stamp_ns, 10**9)
        stamp = messages.message_class("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)
        self._rosout.publish(
            self._rosout.msg_type(
                stamp=stamp,
                level=int(LoggingSeverity[line.severity]),
                name=line.name,
                msg=line.text,
                file=line.file,
                function=line.function,
                line=line.line,
            )
        )

    def _publish_changes(self, new: list[Parameter], changed: list[Parameter], deleted: list[Parameter]) -> None:
        if self._destroyed or not self._context.ok():
            return
        self._parameter_events.publish(
            self._parameter_events.msg_type(
                stamp=self._clock.now().to_msg(),
                node=self.get_fully_qualified_name(),
                new_parameters=[parameter.to_parameter_msg() for parameter in new],
                changed_parameters=[parameter.to_parameter_msg() for parameter in changed],
                deleted_parameters=[parameter.to_parameter_msg() for parameter in deleted],
            )
        )

    @property
    def context(self) -> Context:
        """What it lives with."""
        return self._context

    @property
    def executor(self) -> Any:
        """The last executor that it was added to."""
        return None if self._executor is None else self._executor()

    @executor.setter
    def executor(self, new_executor: Any) -> None:
        current = self.executor
        if new_executor is current:
            return
        if current is not None:
            current.remove_node(self)
        self._executor = None if new_executor is None else weakref.ref(new_executor)
        if new_executor is not None:
            new_executor.add_node(self)

    @property
    def default_callback_group(self) -> CallbackGroup:
        """The group of callbacks that name none: one at a time."""
        return self._default_callback_group

    @property
    def timers(self) -> Iterator[Timer]:
        """Its timers."""
        yield from self._timers

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """Its subscriptions."""
        yield from self._subscriptions

    @property
    def publishers(self) -> Iterator[Publisher]:
        """Its publishers."""
        yield from self._publishers

    @property
    def clients(self) -> Iterator[Client]:
        """Its clients."""
        yield from self._clients

    @property
    def services(self) -> Iterator[Service]:
        """Its services."""
        yield from self._services

    @property
    def guards(self) -> Iterator[GuardCondition]:
        """Its guard conditions."""
        yield from self._guards

    def _entities(self) -> list[Entity]:
        """All that has callbacks, in the order in which an executor asks."""
        return [
            *self._waitables,
            *self._timers,
            *self._subscriptions,
            *self._guards,
            *self._clients,
            *self._services,
        ]

    def get_name(self) -> str:
        """Its name."""
        self._check()
        return self._entry.name

    def get_namespace(self) -> str:
        """Its namespace."""
        self._check()
        return self._entry.namespace

    def get_fully_qualified_name(self) -> str:
        """Namespace and name."""
        self._check()
        return f"{self._entry.namespace.rstrip('/')}/{self._entry.name}"

    def get_clock(self) -> Any:
        """Its clock, which follows /clock where use_sim_time is set."""
        return self._clock

    def get_logger(self) -> RcutilsLogger:
        """Its logger."""
        return self._logger

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """The name from the root on, remapped. RCLError for a name that ROS does not allow."""
        return self._resolve(topic, only_expand, "rostopic://")

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """The name from the root on, remapped. RCLError for a name that ROS does not allow."""
        return self._resolve(service, only_expand, "rosservice://")

    def _resolve(self, name: str, only_expand: bool, scheme: str) -> str:
        def expand(text: str) -> str:
            full = expand_topic_name(text, self._entry.name, self._entry.namespace)
            try:
                validate_full_topic_name(full)
            except NameValidationException as error:
                raise RCLError(str(error)) from error
            return full

        if not name:
            raise RCLError("a name must not be empty")
        full = expand(name)
        if only_expand:
            return full
        for rule in self._remaps:
            other = "rosservice://" if scheme == "rostopic://" else "rostopic://"
            if rule.source.startswith(("__", other)) or rule.node not in (None, self._entry.name):
                continue
            if expand(rule.source.removeprefix(scheme)) == full:
                return expand(rule.target.removeprefix(scheme))
        return full

    def create_publisher(
        self,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: PublisherEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        publisher_class: Any = Publisher,
    ) -> Any:
        """AttributeError for what is no message class, TypeError and ValueError for a wrong QoS, bad names."""
        qos = self._checked_qos(qos_profile, qos_overriding_options)
        name = messages.type_name(msg_type)
        full = self._full_name(topic, InvalidTopicNameException, self.resolve_topic_name)
        group = callback_group or self._default_callback_group
        callbacks = event_callbacks or PublisherEventCallbacks()
        writer = Writer(
            self._entry,
            full,
            name,
            qos,
            self._notice(
                group,
                callbacks,
                QoSOfferedIncompatibleQoSInfo,
                f"New subscription discovered on topic '{full}', "
                "requesting incompatible QoS. No messages will be sent to it. Last incompatible policy: ",
            ),
        )
        publisher = publisher_class(writer, msg_type, topic, qos)
        self._publishers.append(publisher)
        middleware.add_writer(writer)
        return publisher

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: SubscriptionEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        raw: bool = False,
        content_filter_options: Any = None,
    ) -> Subscription:
        """As ``create_publisher``; RuntimeError for a callback that cannot take a message."""
        if content_filter_options is not None:
            raise NotImplementedError("the simulator does not filter messages by content")
        qos = self._checked_qos(qos_profile, qos_overriding_options)
        name = messages.type_name(msg_type)
        full = self._full_name(topic, InvalidTopicNameException, self.resolve_topic_name)
        group = callback_group or self._default_callback_group
        callbacks = event_callbacks or SubscriptionEventCallbacks()
        reader = Reader(
            self._entry,
            full,
            name,
            qos,
            self._notice(
                group,
                callbacks,
                QoSRequestedIncompatibleQoSInfo,
                f"New publisher discovered on topic '{full}', "
                "offering incompatible QoS. No messages will be received from it. Last incompatible policy: ",
            ),
        )
        subscription = Subscription(reader, msg_type, topic, callback, group, qos, raw)
        group.add_entity(subscription)
        self._subscriptions.append(subscription)
        middleware.add_reader(reader)
        return subscription

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """RuntimeError for what is no service class; bad names."""
        server = Server(self._entry, *self._service_end(srv_type, srv_name))
        group = callback_group or self._default_callback_group
        service = Service(server, srv_type, srv_name, callback, group, qos_profile)
        group.add_entity(service)
        self._services.append(service)
        middleware.servers.append(server)
        return service

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """As ``create_service``."""
        caller = Caller(self._entry, *self._service_end(srv_type, srv_name))
        group = callback_group or self._default_callback_group
        client = Client(caller, srv_type, srv_name, group, qos_profile, lambda: self.executor)
        group.add_entity(client)
        self._clients.append(client)
        middleware.callers.append(caller)
        return client

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], Any],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        autostart: bool = True,
    ) -> Timer:
        """On the node's clock unless another one is given. RCLError for a negative period."""
        period = int(float(timer_period_sec) * 10**9)
        self._check_context()
        group = callback_group or self._default_callback_group
        timer = Timer(callback, group, period, self._clock if clock is None else clock, autostart=autostart)
        group.add_entity(timer)
        self._timers.append(timer)
        return timer

    def create_guard_condition(
        self, callback: Callable[[], Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        """Runs ``callback`` after its ``trigger()``."""
        self._check_context()
        group = callback_group or self._default_callback_group
        guard = GuardCondition(callback, group)
        group.add_entity(guard)
        self._guards.append(guard)
        return guard

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """ValueError for a frequency that is not positive."""
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        return Rate(self.create_timer(1.0 / frequency, lambda: None, clock=clock))

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """Whether it was one of this node's."""
        return _destroy(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """Whether it was one of this node's."""
        return _destroy(self._subscriptions, subscription)

    def destroy_service(self, service: Service) -> bool:
        """Whether it was one of this node's."""
        return _destroy(self._services, service)

    def destroy_client(self, client: Client) -> bool:
        """Whether it was one of this node's."""
        return _destroy(self._clients, client)

    def destroy_timer(self, timer: Timer) -> bool:
        """Whether it was one of this node's."""
        return _destroy(self._timers, timer)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        """Whether it was one of this node's."""
        return _destroy(self._guards, guard)

    def destroy_node(self) -> None:
        """Ends it, with all that was made of it."""
        for ends in (
            self._publishers,
            self._subscriptions,
            self._services,
            self._clients,
            self._timers,
            self._guards,
            self._waitables,
        ):
            for end in list(ends):
                _destroy(ends, end)
        middleware.remove_node(self._entry)
        if output.rosout.get(self._logger.name) == weakref.WeakMethod(self._send_log):
            del output.rosout[self._logger.name]
        self._destroyed = True

    def _check(self) -> None:
        if self._destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")

    def _check_context(self) -> None:
        if not self._context.ok():
            raise RCLError("the given context is not valid, either rcl_init() was not called or rcl_shutdown() was")

    def _checked_qos(self, qos: Any, overriding_options: Any) -> QoSProfile:
        self._check()
        self._check_context()
        if overriding_options is not None:
            raise NotImplementedError("the simulator does not override quality of service by parameters")
        if isinstance(qos, int):
            if qos < 0:
                raise ValueError("history depth must be greater than or equal to zero")
            qos = QoSProfile(depth=qos)
        if not isinstance(qos, QoSProfile):
            raise TypeError(f"Expected QoSProfile or int, but received {qos!r}")
        check_simulated(qos)
        return qos

    def _full_name(self, name: str, error_class: type[Any], resolve: Callable[[str], str]) -> str:
        try:
            return resolve(name)
        except RCLError as error:
            raise error_class(name, str(error)) from error

    def _service_end(self, srv_type: Any, srv_name: str) -> tuple[str, str]:
        self._check()
        self._check_context()
        if not messages.is_service_class(srv_type):
            raise RuntimeError(f"Expected a service type, but got {srv_type!r}")
        full = self._full_name(srv_name, InvalidServiceNameException, self.resolve_service_name)
        return full, messages.type_name(srv_type)

    def _notice(
        self, group: CallbackGroup, callbacks: Any, info: type[Any], text: str
    ) -> Callable[[QoSPolicyKind], None] | None:
        callback = callbacks.incompatible_qos
        if callback is None and callbacks.use_default_callbacks:

            def warn(event: Any) -> None:
                self._logger.warning(f"{text}{QoSPolicyKind(event.last_policy_kind).name}")

            callback = warn
        if callback is None:
            return None
        handler = EventHandler(group, callback, info)
        self._waitables.append(handler)
        return handler.notice


def _destroy(ends: list[Any], end: Any) -> bool:
    if end not in ends:
        return False
    ends.remove(end)
    end.destroy()
    return True
