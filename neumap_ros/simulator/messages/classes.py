"""Makes message and service classes that behave as the ones that rosidl generates."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from neumap_ros.simulator.messages.fields import Field


def checks_fields() -> bool:
    """Whether assignments are checked; the environment says so, as it does in ROS 2."""
    return os.environ.get("ROS_PYTHON_CHECK_FIELDS", "") == "1"


@dataclass(frozen=True)
class About:
    """What a message class was made of.

    ``type_name`` as in "std_msgs/msg/Header". ``wire_class`` is the rosbags library's class, which calls the fields
    ``wire_names`` and has a filler where ``padded`` (a message without fields).
    """

    type_name: str
    fields: tuple[Field, ...]
    wire_class: Any
    wire_names: tuple[str, ...]
    padded: bool

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(field.name for field in self.fields)


class Message:
    """Base of all messages: what is the same for each. Made by :func:`make_message`, never by hand."""

    __slots__ = ()
    ABOUT: ClassVar[About]
    _check_fields: bool

    def __init__(self, **kwargs: Any) -> None:
        checked = kwargs["check_fields"] if "check_fields" in kwargs else checks_fields()
        self._check_fields = checked  # type: ignore[misc]  # a slot of every subclass
        if checked:
            unknown = sorted(kwargs.keys() - self.ABOUT.names - {"check_fields"})
            if unknown:
                raise AssertionError(f"Invalid arguments passed to constructor: {', '.join(unknown)}")
        for field in self.ABOUT.fields:
            if field.name in kwargs:
                setattr(self, field.name, field.construct(kwargs[field.name]))
            else:
                setattr(self, field.slot, field.initial())

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={field.show(getattr(self, field.name))}" for field in self.ABOUT.fields)
        return f"{type(self).__module__.rpartition('.')[0]}.{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return all(field.same(getattr(self, field.name), getattr(other, field.name)) for field in self.ABOUT.fields)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Names of the fields and their types as IDL writes them."""
        return {field.name: field.idl_type for field in cls.ABOUT.fields}

    def _to_wire(self) -> Any:
        """The same as a message of the rosbags library; large arrays share their memory with this one."""
        values = [field.to_wire(getattr(self, field.name)) for field in self.ABOUT.fields]
        return self.ABOUT.wire_class(*values, 0) if self.ABOUT.padded else self.ABOUT.wire_class(*values)

    @classmethod
    def _from_wire(cls, wire: Any, checked: bool) -> Any:
        """A message that shares nothing with the rosbags library's ``wire``."""
        message = cls.__new__(cls)
        message._check_fields = checked  # type: ignore[misc]
        for field, attribute in zip(cls.ABOUT.fields, cls.ABOUT.wire_names, strict=True):
            setattr(message, field.slot, field.from_wire(getattr(wire, attribute), checked))
        return message


def _accessor(field: Field) -> property:
    slot = field.slot

    def read(self: Any) -> Any:
        return getattr(self, slot)

    def write(self: Any, value: Any) -> None:
        checked = self._check_fields
        if checked:
            field.check(value)
        setattr(self, slot, field.keep(value, checked))

    return property(read, write)


def _constant(value: Any) -> property:
    return property(lambda cls: value)


def snake(name: str) -> str:
    """``CamelCase`` as ``camel_case``, as rosidl names the modules of its classes."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def make_message(about: About, module: str, constants: Mapping[str, Any]) -> Any:
    """The class of a message; ``module`` as rosidl names it."""
    name = about.type_name.rpartition("/")[2]
    defaults = {f"{field.name.upper()}__DEFAULT": field.default for field in about.fields if field.default}
    fixed = {**constants, **defaults}
    metaclass = type(f"Metaclass_{name}", (type,), {key: _constant(value) for key, value in fixed.items()})
    namespace: dict[str, Any] = {
        **fixed,
        **{field.name: _accessor(field) for field in about.fields},
        "__slots__": [*(field.slot for field in about.fields), "_check_fields"],
        "__module__": module,
        "__qualname__": name,
        "ABOUT": about,
    }
    return metaclass(name, (Message,), namespace)


def make_service(type_name: str, module: str, request: Any, response: Any) -> Any:
    """The class of a service; it holds its messages and cannot be instantiated."""
    name = type_name.rpartition("/")[2]

    def refuse(self: Any) -> None:
        raise NotImplementedError("Service classes can not be instantiated")

    namespace = {
        "__module__": module,
        "__init__": refuse,
        "TYPE_NAME": type_name,
        "Request": request,
        "Response": response,
    }
    return type(name, (), namespace)
