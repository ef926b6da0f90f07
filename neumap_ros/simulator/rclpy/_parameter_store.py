"""The half of a node that holds its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from neumap_ros.simulator.rclpy.parameter import PARAMETER_SEPARATOR_STRING, Parameter, ParameterType

# How far a value may be beside a bound or a step, in parts of itself.
TOLERANCE = 1e-6
WRONG_TYPE = "Wrong parameter type"

OnSet = Callable[[list[Parameter]], Any]
PreSet = Callable[[list[Parameter]], list[Parameter]]
PostSet = Callable[[list[Parameter]], None]


def _result(reason: str = "") -> Any:
    return message_class("rcl_interfaces/msg/SetParametersResult")(successful=not reason, reason=reason)


class ParameterStore:
    """Declares, reads and sets parameters. Wants ``_publish_changes`` of the class that derives from it."""

    def _init_parameters(self, overrides: dict[str, Any], allow_undeclared: bool) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._parameter_overrides = overrides
        self._allow_undeclared_parameters = allow_undeclared
        self._pre_set: list[PreSet] = []
        self._on_set: list[OnSet] = []
        self._post_set: list[PostSet] = []

    def _publish_changes(self, new: list[Parameter], changed: list[Parameter], deleted: list[Parameter]) -> None:
        raise NotImplementedError

    def declare_parameter(
        self, name: str, value: Any = None, descriptor: Any = None, ignore_override: bool = False
    ) -> Parameter:
        """Makes a parameter, with the value that was given from outside unless ``ignore_override``.

        ``value`` may be a ``Parameter.Type``: then there is none until it is set. Raises ParameterAlreadyDeclared-,
        InvalidParameter-, InvalidParameterType- and InvalidParameterValueException, TypeError and ValueError.
        """
        if value is None and descriptor is None:
            entry: tuple[Any, ...] = (name,)
        else:
            entry = (name, value) if descriptor is None else (name, value, descriptor)
        return self.declare_parameters("", [entry], ignore_override)[0]

    def declare_parameters(
        self, namespace: str, parameters: Iterable[tuple[Any, ...]], ignore_override: bool = False
    ) -> list[Parameter]:
        """As ``declare_parameter`` for tuples of its first one, two or three arguments."""
        new = [self._read_declaration(namespace, entry, ignore_override) for entry in parameters]
        taken = [parameter.name for parameter, _ in new if parameter.name in self._parameters]
        if taken:
            raise ParameterAlreadyDeclaredException(taken)
        for parameter, descriptor in new:
            result = self._store([parameter], {parameter.name: descriptor}, declaring=True)
            if not result.successful:
                if result.reason.startswith(WRONG_TYPE):
                    raise InvalidParameterTypeException(parameter, result.reason)
                raise InvalidParameterValueException(parameter.name, parameter.value, result.reason)
        return [self._parameters[parameter.name] for parameter, _ in new]

    def _read_declaration(self, namespace: str, entry: tuple[Any, ...], ignore_override: bool) -> tuple[Parameter, Any]:
        descriptor_class = message_class("rcl_interfaces/msg/ParameterDescriptor")
        if not 1 <= len(entry) <= 3:
            raise TypeError(f"Invalid parameter tuple length: {len(entry)}")
        name = entry[0]
        if not isinstance(name, str):
            raise TypeError(f"Parameter name must be a str, not {name!r}")
        value = entry[1] if len(entry) > 1 else None
        descriptor = entry[2] if len(entry) > 2 else descriptor_class(dynamic_typing=len(entry) == 1)
        if not isinstance(descriptor, descriptor_class):
            raise TypeError(f"Third element of the tuple must be a ParameterDescriptor, not {descriptor!r}")
        name = f"{namespace}{PARAMETER_SEPARATOR_STRING}{name}" if namespace else name
        if not name:
            raise InvalidParameterException(name)
        # As in rclpy, the caller's descriptor is kept and filled in.
        descriptor.name = name
        kind = value if isinstance(value, ParameterType) else ParameterType.from_parameter_value(value)
        if isinstance(value, ParameterType):
            value = None
        if not descriptor.dynamic_typing:
            if kind is ParameterType.NOT_SET:
                raise ValueError("Cannot declare a statically typed parameter with default value of type NOT_SET")
            descriptor.type = kind.value
        if not ignore_override and name in self._parameter_overrides:
            value = self._parameter_overrides[name]
        return Parameter(name, value=value), descriptor

    def undeclare_parameter(self, name: str) -> None:
        """Forgets a parameter. ParameterNotDeclared-, ParameterImmutableException."""
        if name not in self._parameters:
            raise ParameterNotDeclaredException(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        del self._parameters[name], self._descriptors[name]

    def has_parameter(self, name: str) -> bool:
        """Whether it is declared."""
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        """ParameterNotDeclared-, ParameterUninitializedException."""
        if name not in self._parameters:
            if self._allow_undeclared_parameters:
                return Parameter(name)
            raise ParameterNotDeclaredException(name)
        parameter = self._parameters[name]
        if parameter.type_ is ParameterType.NOT_SET and not self._descriptors[name].dynamic_typing:
            raise ParameterUninitializedException(name)
        return parameter

    def get_parameters(self, names: Iterable[str]) -> list[Parameter]:
        """As ``get_parameter`` for several."""
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """The parameter where it is declared and has a value, else the other one."""
        found = self._parameters.get(name)
        if found is not None and found.type_ is not ParameterType.NOT_SET:
            return found
        return Parameter(name) if alternative_value is None else alternative_value

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """The parameters below ``prefix``, without it in their names."""
        start = f"{prefix}{PARAMETER_SEPARATOR_STRING}" if prefix else ""
        return {
            name.removeprefix(start): parameter
            for name, parameter in self._parameters.items()
            if name.startswith(start)
        }

    def get_parameter_type(self, name: str) -> ParameterType:
        """The type of its value. ParameterNotDeclaredException."""
        if name in self._parameters:
            return self._parameters[name].type_
        if self._allow_undeclared_parameters:
            return ParameterType.NOT_SET
        raise ParameterNotDeclaredException(name)

    def describe_parameter(self, name: str) -> Any:
        """Its descriptor. ParameterNotDeclaredException."""
        if name in self._descriptors:
            return self._descriptors[name]
        if self._allow_undeclared_parameters:
            return message_class("rcl_interfaces/msg/ParameterDescriptor")()
        raise ParameterNotDeclaredException(name)

    def describe_parameters(self, names: Iterable[str]) -> list[Any]:
        """As ``describe_parameter`` for several."""
        return [self.describe_parameter(name) for name in names]

    def list_parameters(self, prefixes: Sequence[str], depth: int) -> Any:
        """The names at or below ``prefixes`` (all for none), up to ``depth`` levels deeper (0: any)."""
        if isinstance(prefixes, str):
            raise TypeError("prefixes must be a list of str")
        if depth < 0:
            raise ValueError("depth must not be negative")
        names = [name for name in self._parameters if _is_listed(name, prefixes, depth)]
        parents = {name.rpartition(PARAMETER_SEPARATOR_STRING)[0]: None for name in names}
        return message_class("rcl_interfaces/msg/ListParametersResult")(
            names=names, prefixes=[parent for parent in parents if parent]
        )

    def set_parameters(self, parameter_list: Sequence[Parameter]) -> list[Any]:
        """Sets one after the other; a result of each. Raises ParameterNotDeclaredException at the first unknown one."""
        _check_parameters(parameter_list)
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: Sequence[Parameter]) -> Any:
        """Sets all or none."""
        _check_parameters(parameter_list)
        parameters = list(parameter_list)
        for callback in list(self._pre_set):
            parameters = callback(parameters)
        if not parameters:
            return _result(
                "parameter list cannot be empty, this might be due to pre_set_parameters_callback modifying the "
                "original parameters list."
            )
        dynamic = message_class("rcl_interfaces/msg/ParameterDescriptor")
        implicit = {}
        for parameter in parameters:
            if parameter.name not in self._parameters:
                if not self._allow_undeclared_parameters:
                    # Real rclpy loses the names here.
                    raise ParameterNotDeclaredException([])
                implicit[parameter.name] = dynamic(name=parameter.name, dynamic_typing=True)
        return self._store(parameters, implicit, declaring=False)

    def _store(self, parameters: list[Parameter], new: dict[str, Any], *, declaring: bool) -> Any:
        for parameter in parameters:
            descriptor = new.get(parameter.name) or self._descriptors[parameter.name]
            if reason := _objection(parameter, descriptor, declaring):
                return _result(reason)
        for callback in list(self._on_set):
            result = callback(parameters)
            if not result.successful:
                return result
        self._keep(parameters, new, declaring)
        for after in list(self._post_set):
            after(parameters)
        return _result()

    def _keep(self, parameters: list[Parameter], new: dict[str, Any], declaring: bool) -> None:
        added: list[Parameter] = []
        changed: list[Parameter] = []
        deleted: list[Parameter] = []
        for parameter in parameters:
            name = parameter.name
            unset = parameter.type_ is ParameterType.NOT_SET
            if unset and not declaring:
                deleted.append(parameter)
                self._parameters.pop(name, None)
                self._descriptors.pop(name, None)
                continue
            if not unset:
                (changed if name in self._parameters else added).append(parameter)
            self._parameters[name] = parameter
            if name in new:
                self._descriptors[name] = new[name]
                if new[name].dynamic_typing:
                    new[name].type = parameter.type_.value
        self._publish_changes(added, changed, deleted)

    def add_pre_set_parameters_callback(self, callback: PreSet) -> None:
        """Calls it before parameters are set; it returns those that are to be set instead."""
        self._pre_set.insert(0, callback)

    def add_on_set_parameters_callback(self, callback: OnSet) -> None:
        """Calls it with parameters that are about to be set or declared; its result may refuse them. Newest first."""
        self._on_set.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: PostSet) -> None:
        """Calls it with parameters that have been set or declared. Newest first."""
        self._post_set.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: PreSet) -> None:
        """ValueError where it was not added."""
        self._pre_set.remove(callback)

    def remove_on_set_parameters_callback(self, callback: OnSet) -> None:
        """ValueError where it was not added."""
        self._on_set.remove(callback)

    def remove_post_set_parameters_callback(self, callback: PostSet) -> None:
        """ValueError where it was not added."""
        self._post_set.remove(callback)


def _check_parameters(parameters: Sequence[Parameter]) -> None:
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise TypeError(f"parameter must be an instance of type '{Parameter!r}', not {parameter!r}")


def _is_listed(name: str, prefixes: Sequence[str], depth: int) -> bool:
    def near(rest: str) -> bool:
        return depth == 0 or rest.count(PARAMETER_SEPARATOR_STRING) < depth

    if not prefixes:
        return near(name)
    starts = [f"{prefix}{PARAMETER_SEPARATOR_STRING}" for prefix in prefixes]
    return name in prefixes or any(name.startswith(start) and near(name.removeprefix(start)) for start in starts)


def _objection(parameter: Parameter, descriptor: Any, declaring: bool) -> str:
    if descriptor.read_only and not declaring:
        return f"Trying to set a read-only parameter: {parameter.name}."
    if not descriptor.dynamic_typing:
        expected = ParameterType(descriptor.type)
        if parameter.type_ is ParameterType.NOT_SET:
            return "" if declaring else "Static parameter cannot be undeclared"
        if parameter.type_ is not expected:
            return f"{WRONG_TYPE}, expected '{expected}' got '{parameter.type_}'"
    if parameter.type_ is ParameterType.INTEGER and descriptor.integer_range:
        return _integer_objection(parameter, descriptor.integer_range[0])
    if parameter.type_ is ParameterType.DOUBLE and descriptor.floating_point_range:
        return _float_objection(parameter, descriptor.floating_point_range[0])
    return ""


def _integer_objection(parameter: Parameter, bounds: Any) -> str:
    low, high, step, value = bounds.from_value, bounds.to_value, bounds.step, parameter.value
    if value in (low, high):
        return ""
    if not low < value < high:
        return f"Parameter {parameter.name} out of range. Min: {low}, Max: {high}, value: {value}"
    if step and (value - low) % step:
        return _step_objection(parameter, bounds)
    return ""


def _float_objection(parameter: Parameter, bounds: Any) -> str:
    low, high, step, value = bounds.from_value, bounds.to_value, bounds.step, parameter.value
    if any(math.isclose(value, edge, rel_tol=TOLERANCE) for edge in (low, high)):
        return ""
    if not low < value < high:
        return f"Parameter {parameter.name} out of range Min: {low}, Max: {high}, value: {value}"
    if step and not math.isclose(low + round((value - low) / step) * step, value, rel_tol=TOLERANCE):
        return _step_objection(parameter, bounds)
    return ""


def _step_objection(parameter: Parameter, bounds: Any) -> str:
    return (
        f"The parameter value for {parameter.name} is not a valid step. Min: {bounds.from_value}, "
        f"max: {bounds.to_value}, value: {parameter.value}, step: {bounds.step}"
    )
