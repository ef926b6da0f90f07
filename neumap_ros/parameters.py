"""Declare and check the node's ROS 2 parameters, from the table in ``neumap/tracking/settings.py``."""

from __future__ import annotations

from collections.abc import Iterable

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from neumap.tracking.settings import SPECS, Settings, Spec, settings_from


def declare(node: Node) -> None:
    """Declare all parameters.

    Raises rclpy's exceptions, which name the parameter, for overrides of the wrong type or out of range.
    """
    for spec in SPECS.values():
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        node.declare_parameter(spec.name, default, descriptor(spec))


def descriptor(spec: Spec) -> ParameterDescriptor:
    """Return the descriptor that ``ros2 param describe`` shows, with the range that rclpy enforces."""
    unit = f" [{spec.unit}]" if spec.unit else ""
    described = ParameterDescriptor(
        description=spec.description + unit,
        additional_constraints=f"one of {', '.join(spec.choices)}" if spec.choices else "",
    )
    # ranges of lists are checked in Spec.doubt
    if spec.low is not None and spec.high is not None and not isinstance(spec.default, tuple):
        if isinstance(spec.default, int):
            described.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)]
        else:
            described.floating_point_range = [
                FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high), step=0.0)
            ]
    return described


def read(node: Node) -> Settings:
    """Return the settings from the node's current parameters."""
    return settings_from({name: node.get_parameter(name).value for name in SPECS})


def check(node: Node) -> str:
    """Return what is wrong with the node's parameters, or an empty string."""
    doubts = (spec.doubt(node.get_parameter(name).value) for name, spec in SPECS.items())
    return next(filter(None, doubts), "") or read(node).doubt


def verdict(changes: Iterable[Parameter], configured: bool) -> SetParametersResult:
    """Return whether the changes are allowed; the reason names the first parameter that is not."""
    reasons = (SPECS[p.name].doubt(p.value, configured) for p in changes if p.name in SPECS)
    reason = next(filter(None, reasons), "")
    return SetParametersResult(successful=not reason, reason=reason)
