"""Errors of rclpy."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator.rclpy._rclpy_pybind11 import InvalidHandle

__all__ = ["InvalidHandle"]


class NotInitializedException(Exception):  # noqa: N818
    """rclpy.init() was not called, or shutdown() was."""

    def __init__(self, *args: object) -> None:
        super().__init__("rclpy.init() has not been called", *args)


class NameValidationException(Exception):  # noqa: N818
    """A name that ROS does not allow."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__(f"Invalid {name_type}: {error_msg}: {name!r}")
        self.name_type = name_type
        self.name = name
        self.error_msg = error_msg
        self.invalid_index = invalid_index


class InvalidNamespaceException(NameValidationException):
    """A namespace that ROS does not allow."""

    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("namespace", name, error_msg, invalid_index)


class InvalidNodeNameException(NameValidationException):
    """A name of a node that ROS does not allow."""

    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("node name", name, error_msg, invalid_index)


class InvalidTopicNameException(NameValidationException):
    """A name of a topic that ROS does not allow."""

    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("topic name", name, error_msg, invalid_index)


class InvalidServiceNameException(NameValidationException):
    """A name of a service that ROS does not allow."""

    def __init__(self, name: str, error_msg: str, invalid_index: int = 0) -> None:
        super().__init__("service name", name, error_msg, invalid_index)


class ParameterException(Exception):  # noqa: N818
    """Base of what is wrong with parameters; ``parameters`` says which."""

    def __init__(self, error_msg: str, parameters: Any, *args: object) -> None:
        super().__init__(error_msg, parameters, *args)
        self.error_msg = error_msg
        self.parameters = parameters

    def __str__(self) -> str:
        return f"{self.error_msg}: {self.parameters}"


class ParameterNotDeclaredException(ParameterException):
    """A parameter was used before it was declared."""

    def __init__(self, parameters: Any, *args: object) -> None:
        super().__init__("Invalid access to undeclared parameter(s)", parameters, *args)


class ParameterAlreadyDeclaredException(ParameterException):
    """A parameter was declared again."""

    def __init__(self, parameters: Any, *args: object) -> None:
        super().__init__("Parameter(s) already declared", parameters, *args)


class ParameterUninitializedException(ParameterException):
    """A parameter that was declared by type only was read before it was set."""

    def __init__(self, parameter_name: str, *args: object) -> None:
        super().__init__("The parameter is not initialized", parameter_name, *args)


class ParameterImmutableException(ParameterException):
    """A read-only parameter was to be changed."""

    def __init__(self, parameter_name: str, *args: object) -> None:
        super().__init__("Attempted to modify read-only parameter", parameter_name, *args)


class InvalidParameterException(ParameterException):
    """The name of a parameter is not allowed."""

    def __init__(self, parameter_name: str, *args: object) -> None:
        super().__init__("Invalid parameter name", parameter_name, *args)


class InvalidParameterValueException(ParameterException):
    """A parameter was declared with a value that is not allowed."""

    def __init__(self, parameter: str, value: object, reason: str) -> None:
        super().__init__(f"Invalid parameter value ({value}) for parameter. Reason: {reason}", parameter)


class InvalidParameterTypeException(ParameterException):
    """A parameter was declared with a value of another type."""

    def __init__(self, parameter: Any, reason: str) -> None:
        super().__init__(f"Trying to set parameter '{parameter.name}' to '{parameter.value}'. {reason}", parameter.name)
