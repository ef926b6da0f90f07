"""What stands after --ros-args."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neumap_ros.simulator.rclpy import _yaml
from neumap_ros.simulator.rclpy._rclpy_pybind11 import RCLError, UnknownROSArgsError

FLAG = "--ros-args"
SWITCHES = ("stdout-logs", "rosout-logs", "external-lib-logs")


@dataclass(frozen=True)
class Remap:
    """A rule for names: ``source`` as written, for one node or (None) for all."""

    node: str | None
    source: str
    target: str


@dataclass
class Arguments:
    """What a command line says to nodes. ``switches`` are those of --enable-... and --disable-...."""

    remaps: list[Remap] = field(default_factory=list)
    sections: _yaml.Sections = field(default_factory=dict)
    log_levels: list[tuple[str, str]] = field(default_factory=list)
    switches: dict[str, bool] = field(default_factory=dict)

    def parameters_of(self, node: str) -> dict[str, Any]:
        """The values for the node of this full name."""
        values: dict[str, Any] = {}
        for pattern, section in self.sections.items():
            if _yaml.section_applies(pattern, node):
                values |= section
        return values


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments that are not for ROS, and those that are, without --ros-args and --."""
    others: list[str] = []
    ours: list[str] = []
    inside = False
    for arg in args:
        if arg == FLAG:
            inside = True
        elif inside and arg == "--":
            inside = False
        else:
            (ours if inside else others).append(arg)
    return others, ours


def parse(args: Sequence[str]) -> Arguments:
    """Reads a command line. Raises RCLError for a malformed rule, UnknownROSArgsError for an unknown option."""
    result = Arguments()
    ours = iter(split(args)[1])
    for option in ours:
        switched = option.removeprefix("--enable-").removeprefix("--disable-")
        if switched != option and switched in SWITCHES:
            result.switches[switched] = option.startswith("--enable-")
        elif option in ("-r", "--remap"):
            result.remaps.append(_remap(_value(option, ours)))
        elif option in ("-p", "--param"):
            _parameter(_value(option, ours), result.sections)
        elif option == "--params-file":
            _yaml.read_file(_value(option, ours), result.sections)
        elif option == "--log-level":
            name, _, level = _value(option, ours).rpartition(":=")
            result.log_levels.append((name, level))
        else:
            raise UnknownROSArgsError(f"Unknown ROS arguments: {option}")
    return result


def _value(option: str, rest: Any) -> str:
    for value in rest:
        return str(value)
    raise RCLError(f"Couldn't parse trailing {option} flag. No value was found.")


def _sides(rule: str) -> tuple[str, str]:
    left, separator, right = rule.partition(":=")
    if not separator or not left:
        raise RCLError(f"Couldn't parse rule {rule!r}: it is not of the form name:=value")
    return left, right


def _remap(rule: str) -> Remap:
    left, target = _sides(rule)
    node, separator, source = left.rpartition(":")
    if not source or not target:
        raise RCLError(f"Couldn't parse remap rule {rule!r}")
    return Remap(node if separator else None, source, target)


def _parameter(rule: str, sections: _yaml.Sections) -> None:
    left, text = _sides(rule)
    node, separator, name = left.partition(":")
    pattern = _yaml.section_name(node) if separator else "/**"
    sections.setdefault(pattern, {}).update(_yaml.read_value(name if separator else left, text))
