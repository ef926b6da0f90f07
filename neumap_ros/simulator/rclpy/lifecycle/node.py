"""Nodes that are configured, activated, deactivated, cleaned up and shut down from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neumap_ros.simulator.messages import message_class, service_class
from neumap_ros.simulator.rclpy._rclpy_pybind11 import RCLError
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.lifecycle._state_machine import (
    STATES,
    TRANSITIONS,
    LifecycleState,
    StateMachine,
    Transition,
    TransitionCallbackReturn,
)
from neumap_ros.simulator.rclpy.lifecycle.managed_entity import ManagedEntity
from neumap_ros.simulator.rclpy.lifecycle.publisher import LifecyclePublisher
from neumap_ros.simulator.rclpy.node import Node

__all__ = ["LifecycleNode", "LifecycleNodeMixin", "LifecycleState", "TransitionCallbackReturn"]

CALLBACKS = {
    "configuring": "on_configure",
    "cleaningup": "on_cleanup",
    "shuttingdown": "on_shutdown",
    "activating": "on_activate",
    "deactivating": "on_deactivate",
    "errorprocessing": "on_error",
}


class LifecycleNodeMixin(ManagedEntity):
    """The half of a LifecycleNode that is not a Node."""

    def _init_lifecycle(self, node: Node, communicates: bool, callback_group: CallbackGroup | None) -> None:
        self._node = node
        self._managed: dict[ManagedEntity, None] = {}
        # Taken now: replacing a method of the instance later has no effect, as in rclpy.
        self._lifecycle_callbacks: dict[str, Callable[[LifecycleState], TransitionCallbackReturn]] = {
            state: getattr(self, name) for state, name in CALLBACKS.items()
        }
        self._state_machine = StateMachine(self._publish_transition)
        self._transition_event = node.create_publisher(
            message_class("lifecycle_msgs/msg/TransitionEvent"), "~/transition_event", 10
        )
        if not communicates:
            return
        for kind, name, callback in (
            ("ChangeState", "change_state", self._on_change_state),
            ("GetState", "get_state", self._on_get_state),
            ("GetAvailableStates", "get_available_states", self._on_get_available_states),
            ("GetAvailableTransitions", "get_available_transitions", self._on_get_available_transitions),
            ("GetAvailableTransitions", "get_transition_graph", self._on_get_transition_graph),
        ):
            node.create_service(
                service_class(f"lifecycle_msgs/srv/{kind}"), f"~/{name}", callback, callback_group=callback_group
            )

    def trigger_configure(self) -> TransitionCallbackReturn:
        """What its callback returned; RCLError where it is impossible now. So the others."""
        return self._change_state("configure")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """From inactive to unconfigured."""
        return self._change_state("cleanup")

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """From unconfigured, inactive or active to finalized."""
        return self._change_state("shutdown")

    def trigger_activate(self) -> TransitionCallbackReturn:
        """From inactive to active."""
        return self._change_state("activate")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """From active to inactive."""
        return self._change_state("deactivate")

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        """Lets something follow the lifecycle. TypeError where it cannot."""
        if not isinstance(entity, ManagedEntity):
            raise TypeError(f"Expected a ManagedEntity, not {entity!r}")
        self._managed[entity] = None

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        """A publisher that is silent unless the node is active; arguments as of ``create_publisher``."""
        publisher: LifecyclePublisher = self._node.create_publisher(*args, **kwargs, publisher_class=LifecyclePublisher)
        self._managed[publisher] = None
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        """Whether it was one of this node's."""
        self._managed.pop(publisher, None)
        return self._node.destroy_publisher(publisher)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Asks all that follows, and stops at the first which does not succeed. So the others."""
        return self._ask_managed("on_configure", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._ask_managed("on_cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._ask_managed("on_shutdown", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._ask_managed("on_activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._ask_managed("on_deactivate", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._ask_managed("on_error", state)

    def _ask_managed(self, name: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in list(self._managed):
            code: TransitionCallbackReturn = getattr(entity, name)(state)
            if code is None:
                raise TypeError(f"{name} of {entity!r} returned None")
            if code != TransitionCallbackReturn.SUCCESS:
                return code
        return TransitionCallbackReturn.SUCCESS

    def _change_state(self, label: str) -> TransitionCallbackReturn:
        return self._change_state_by_id(self._state_machine.id_of(label))

    def _change_state_by_id(self, transition_id: int) -> TransitionCallbackReturn:
        machine, before = self._state_machine, self._state_machine.state
        machine.go(transition_id)
        code = self._run_callback(before)
        machine.go(machine.id_of(code.to_label()))
        if code == TransitionCallbackReturn.ERROR:
            machine.go(machine.id_of(self._run_callback(before).to_label()))
        return code

    def _run_callback(self, before: LifecycleState) -> TransitionCallbackReturn:
        try:
            return self._lifecycle_callbacks[self._state_machine.state.label](before)
        except Exception:
            # Without a word, as in rclpy: a node that wants to say why must do so itself.
            return TransitionCallbackReturn.ERROR

    def _publish_transition(self, transition: Transition) -> None:
        self._transition_event.publish(
            self._transition_event.msg_type(
                start_state=_state_message(transition.start), goal_state=_state_message(transition.goal)
            )
        )

    def _on_change_state(self, request: Any, response: Any) -> Any:
        transition_id = request.transition.id
        if label := request.transition.label:
            try:
                transition_id = self._state_machine.id_of(label)
            except RCLError:
                response.success = False
                return response
        response.success = self._change_state_by_id(transition_id) == TransitionCallbackReturn.SUCCESS
        return response

    def _on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state = _state_message(self._state_machine.state.label)
        return response

    def _on_get_available_states(self, request: Any, response: Any) -> Any:
        response.available_states = [_state_message(label) for label in STATES]
        return response

    def _on_get_available_transitions(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_description(each) for each in self._state_machine.available()]
        return response

    def _on_get_transition_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_description(each) for each in TRANSITIONS]
        return response


class LifecycleNode(LifecycleNodeMixin, Node):
    """A node with a lifecycle."""

    def __init__(
        self,
        node_name: str,
        *,
        enable_communication_interface: bool = True,
        callback_group: CallbackGroup | None = None,
        **kwargs: Any,
    ) -> None:
        Node.__init__(self, node_name, **kwargs)
        self._init_lifecycle(self, enable_communication_interface, callback_group)


def _state_message(label: str) -> Any:
    return message_class("lifecycle_msgs/msg/State")(id=STATES[label], label=label)


def _description(transition: Transition) -> Any:
    return message_class("lifecycle_msgs/msg/TransitionDescription")(
        transition=message_class("lifecycle_msgs/msg/Transition")(id=transition.transition_id, label=transition.label),
        start_state=_state_message(transition.start),
        goal_state=_state_message(transition.goal),
    )
