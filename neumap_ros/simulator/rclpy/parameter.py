"""Parameters: names, types and values."""

from __future__ import annotations

import array
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from neumap_ros.simulator.messages import message_class

PARAMETER_SEPARATOR_STRING = "."


class ParameterType(Enum):
    """Types of values, with the numbers of rcl_interfaces/ParameterType. Known as ``Parameter.Type``."""

    NOT_SET = 0
    BOOL = 1
    INTEGER = 2
    DOUBLE = 3
    STRING = 4
    BYTE_ARRAY = 5
    BOOL_ARRAY = 6
    INTEGER_ARRAY = 7
    DOUBLE_ARRAY = 8
    STRING_ARRAY = 9

    def __str__(self) -> str:
        return f"Type.{self.name}"

    @classmethod
    def from_parameter_value(cls, value: Any) -> ParameterType:
        """The type of a value; TypeError where no parameter can have it."""
        if value is None:
            return cls.NOT_SET
        for kind in (cls.BOOL, cls.INTEGER, cls.DOUBLE, cls.STRING):
            if kind.check(value):
                return kind
        for kind in (cls.BYTE_ARRAY, cls.BOOL_ARRAY, cls.INTEGER_ARRAY, cls.DOUBLE_ARRAY, cls.STRING_ARRAY):
            if kind.check(value):
                return kind
        raise TypeError(f"The given value is not one of the allowed types '{value}'.")

    def check(self, value: Any) -> bool:
        """Whether a value may be stored as this type."""
        if self is ParameterType.NOT_SET:
            return value is None
        python_type = PYTHON_TYPES[self]
        if not self.name.endswith("_ARRAY"):
            return isinstance(value, python_type)
        return isinstance(value, (list, tuple, array.array)) and all(isinstance(item, python_type) for item in value)


PYTHON_TYPES = {
    ParameterType.BOOL: bool,
    ParameterType.INTEGER: int,
    ParameterType.DOUBLE: float,
    ParameterType.STRING: str,
    ParameterType.BYTE_ARRAY: bytes,
    ParameterType.BOOL_ARRAY: bool,
    ParameterType.INTEGER_ARRAY: int,
    ParameterType.DOUBLE_ARRAY: float,
    ParameterType.STRING_ARRAY: str,
}


def field_of(kind: ParameterType) -> str:
    """The field of rcl_interfaces/ParameterValue that holds a value of this type (not NOT_SET)."""
    return f"{kind.name.lower()}_value"


class Parameter:
    """A name with a value. TypeError for a value of no type, ValueError where ``type_`` and ``value`` disagree."""

    Type = ParameterType

    def __init__(self, name: str, type_: ParameterType | None = None, value: Any = None) -> None:
        if type_ is None:
            type_ = ParameterType.from_parameter_value(value)
        if not isinstance(type_, ParameterType):
            raise TypeError("type must be an instance of 'Parameter.Type'")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._name = name
        self._type = type_
        self._value = value

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def type_(self) -> ParameterType:
        """The type of its value."""
        return self._type

    @property
    def value(self) -> Any:
        """Its value; not a copy."""
        return self._value

    @classmethod
    def from_parameter_msg(cls, param_msg: Any) -> Parameter:
        """Of a rcl_interfaces/Parameter."""
        kind = ParameterType(param_msg.value.type)
        return cls(param_msg.name, kind, parameter_value_to_python(param_msg.value))

    def get_parameter_value(self) -> Any:
        """A rcl_interfaces/ParameterValue."""
        message = message_class("rcl_interfaces/msg/ParameterValue")(type=self.type_.value)
        if self.type_ is not ParameterType.NOT_SET:
            setattr(message, field_of(self.type_), self.value)
        return message

    def to_parameter_msg(self) -> Any:
        """A rcl_interfaces/Parameter."""
        return message_class("rcl_interfaces/msg/Parameter")(name=self.name, value=self.get_parameter_value())


def parameter_value_to_python(parameter_value: Any) -> Any:
    """The value in a rcl_interfaces/ParameterValue."""
    kind = ParameterType(parameter_value.type)
    return None if kind is ParameterType.NOT_SET else getattr(parameter_value, field_of(kind))


def get_parameter_value(string_value: str) -> Any:
    """The rcl_interfaces/ParameterValue that a word on a command line means."""
    try:
        value = yaml.safe_load(string_value)
    except yaml.YAMLError:
        value = string_value
    try:
        kind = ParameterType.from_parameter_value(value)
    except TypeError:
        kind = ParameterType.NOT_SET
    if kind is ParameterType.NOT_SET:
        value = string_value
    return Parameter("", value=value).get_parameter_value()


def parameter_dict_from_yaml_file(
    parameter_file: str, use_wildcard: bool = False, target_nodes: list[str] | None = None, namespace: str = ""
) -> dict[str, Any]:
    """The rcl_interfaces/Parameter messages of a file, by name.

    Those of ``target_nodes`` (all for None), and of ``/**`` where ``use_wildcard``. RuntimeError where there are none.
    """
    sections = yaml.safe_load(Path(parameter_file).read_text(encoding="utf-8"))
    nodes = [name for name in sections if name != "/**"] if target_nodes is None else target_nodes
    chosen = (["/**"] if use_wildcard and "/**" in sections else []) + nodes
    if not chosen:
        raise RuntimeError("Param file does not contain selected parameters")
    found: dict[str, Any] = {}
    for node in chosen:
        section = sections.get(node)
        if not isinstance(section, dict) or "ros__parameters" not in section:
            raise RuntimeError(f"Param file does not contain parameters for {node}")
        found |= section["ros__parameters"]
    return _flatten(namespace, found)


def _flatten(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flatten(f"{name}.", value)
        else:
            flat[name] = message_class("rcl_interfaces/msg/Parameter")(name=name, value=get_parameter_value(str(value)))
    return flat
