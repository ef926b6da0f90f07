"""States of a node with a lifecycle, and the ways between them."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from neumap_ros.simulator.rclpy._rclpy_pybind11 import RCLError


class TransitionCallbackReturn(IntEnum):
    """What the callback of a transition says."""

    SUCCESS = 97
    FAILURE = 98
    ERROR = 99

    def to_label(self) -> str:
        """The label of the transition that follows."""
        return f"transition_{self.name.lower()}"


class LifecycleState(NamedTuple):
    """A state, as callbacks get it."""

    label: str
    state_id: int


class Transition(NamedTuple):
    """A way from one state to another, by their labels."""

    transition_id: int
    label: str
    start: str
    goal: str


STATES = {
    "unknown": 0,
    "unconfigured": 1,
    "inactive": 2,
    "active": 3,
    "finalized": 4,
    "configuring": 10,
    "cleaningup": 11,
    "shuttingdown": 12,
    "activating": 13,
    "deactivating": 14,
    "errorprocessing": 15,
}


def _outcomes(
    first_id: int, start: str, success: str, failure: str, error: str = "errorprocessing"
) -> list[Transition]:
    goals = zip(TransitionCallbackReturn, (success, failure, error), strict=True)
    return [Transition(first_id + index, code.to_label(), start, goal) for index, (code, goal) in enumerate(goals)]


TRANSITIONS = [
    Transition(1, "configure", "unconfigured", "configuring"),
    *_outcomes(10, "configuring", "inactive", "unconfigured"),
    Transition(2, "cleanup", "inactive", "cleaningup"),
    *_outcomes(20, "cleaningup", "unconfigured", "inactive"),
    Transition(3, "activate", "inactive", "activating"),
    *_outcomes(30, "activating", "active", "inactive"),
    Transition(4, "deactivate", "active", "deactivating"),
    *_outcomes(40, "deactivating", "inactive", "active"),
    Transition(5, "shutdown", "unconfigured", "shuttingdown"),
    Transition(6, "shutdown", "inactive", "shuttingdown"),
    Transition(7, "shutdown", "active", "shuttingdown"),
    *_outcomes(50, "shuttingdown", "finalized", "finalized"),
    *_outcomes(60, "errorprocessing", "unconfigured", "finalized", "finalized"),
]


class StateMachine:
    """Where a node is. ``on_change`` hears of every transition, before anything else happens."""

    def __init__(self, on_change: Callable[[Transition], None]) -> None:
        self._on_change = on_change
        self.state = LifecycleState("unconfigured", STATES["unconfigured"])

    def available(self) -> list[Transition]:
        """The transitions that start in the present state."""
        return [each for each in TRANSITIONS if each.start == self.state.label]

    def id_of(self, label: str) -> int:
        """RCLError where no transition of this label starts here."""
        for each in self.available():
            if each.label == label:
                return each.transition_id
        raise RCLError(f"no transition {label!r} from state {self.state.label!r}")

    def go(self, transition_id: int) -> None:
        """RCLError where no transition of this id starts here."""
        for each in self.available():
            if each.transition_id == transition_id:
                self.state = LifecycleState(each.goal, STATES[each.goal])
                self._on_change(each)
                return
        raise RCLError(f"no transition of id {transition_id} from state {self.state.label!r}")
