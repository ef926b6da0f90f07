"""Parameter values and parameter files as the layers below rclpy read them, which is not quite YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from neumap_ros.simulator.rclpy._rclpy_pybind11 import RCLError

PARAMETERS_KEY = "ros__parameters"
TRUE = {"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
FALSE = {"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
FLOAT = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\.?(?:inf|Inf|INF)|\.?(?:nan|NaN|NAN))\Z")
LARGEST = 2**63 - 1

# Values of parameters by name, by the pattern of the nodes that they are for, in order of appearance.
Sections = dict[str, dict[str, Any]]


def read_value(name: str, text: str) -> dict[str, Any]:
    """The parameters that ``name:=text`` on a command line sets. Raises RCLError."""
    values: dict[str, Any] = {}
    _read(_compose(text, name), name, values, False)
    return values


def read_file(path: str, sections: Sections) -> None:
    """Adds a parameter file's values to ``sections``. Raises RCLError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RCLError(f"Error opening YAML file: {error}") from error
    root = _compose(text, path)
    if root is None:
        return
    _read_sections(root, "", path, sections)


def section_name(pattern: str) -> str:
    """``pattern`` from the root on: the names of nodes in files and on command lines may lack the first slash."""
    return pattern if pattern.startswith("/") else f"/{pattern}"


def section_applies(pattern: str, node: str) -> bool:
    """Whether a section is for ``node`` (with its namespace); ``*`` is one name, ``**`` any number of them."""
    return _match(pattern.split("/")[1:], node.split("/")[1:])


def _match(pattern: list[str], names: list[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_match(pattern[1:], names[skipped:]) for skipped in range(len(names) + 1))
    return bool(names) and pattern[0] in ("*", names[0]) and _match(pattern[1:], names[1:])


def _compose(text: str, where: str) -> Any:
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise RCLError(f"Will not support aliasing in {where}")
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RCLError(f"Error parsing {where}: {error}") from error


def _read_sections(node: Any, name: str, where: str, sections: Sections) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise RCLError(f"Cannot have a value before {PARAMETERS_KEY} in {where}")
    for key, content in node.value:
        if key.value != PARAMETERS_KEY:
            _read_sections(content, f"{name}/{key.value.strip('/')}", where, sections)
            continue
        if not isinstance(content, yaml.MappingNode):
            raise RCLError(f"{PARAMETERS_KEY} holds no parameters in {where}")
        values = sections.setdefault(name, {})
        for parameter, value in content.value:
            _read(value, parameter.value, values, False)


def _read(node: Any, name: str, values: dict[str, Any], in_list: bool) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, content in node.value:
            _read(content, f"{name}.{key.value}", values, in_list)
    elif isinstance(node, yaml.SequenceNode):
        if in_list:
            raise RCLError(f"Sequences cannot hold sequences, in parameter {name}")
        values.pop(name, None)
        if not node.value:
            # An empty list has no type, so it sets nothing.
            values[name] = None
        for item in node.value:
            _read(item, name, values, True)
    elif isinstance(node, yaml.ScalarNode):
        value = _scalar(node)
        if not in_list:
            values[name] = value
        elif values.get(name) is None:
            values[name] = [value]
        elif type(values[name][0]) is not type(value):
            raise RCLError(f"Sequence should be of same type, in parameter {name}")
        else:
            values[name].append(value)
    else:
        raise RCLError(f"No value for parameter {name}")


def _scalar(node: Any) -> bool | int | float | str:
    text: str = node.value
    if node.style in ("'", '"'):
        return text
    if text in TRUE or text in FALSE:
        return text in TRUE
    if found := INTEGER.match(text):
        sign, digits = found.groups()
        base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
        number = int(digits, base) * (-1 if sign == "-" else 1)
        if -LARGEST - 1 <= number <= LARGEST:
            return number
    if FLOAT.match(text):
        return float(text if text[-1] not in "fFnN" else text.replace(".", ""))
    return text
