"""Lets other nodes read and set the parameters of a node."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator.messages import message_class, service_class
from neumap_ros.simulator.rclpy.exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from neumap_ros.simulator.rclpy.parameter import Parameter
from neumap_ros.simulator.rclpy.qos import qos_profile_parameters


class ParameterService:
    """The six parameter services of a node."""

    def __init__(self, node: Any) -> None:
        self._node = node
        for kind, callback in (
            ("DescribeParameters", self._describe),
            ("GetParameters", self._get),
            ("GetParameterTypes", self._types),
            ("ListParameters", self._list),
            ("SetParameters", self._set),
            ("SetParametersAtomically", self._set_atomically),
        ):
            name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind)
            node.create_service(
                service_class(f"rcl_interfaces/srv/{kind}"),
                f"~/{name.removeprefix('_')}",
                callback,
                qos_profile=qos_profile_parameters,
            )

    def _describe(self, request: Any, response: Any) -> Any:
        try:
            response.descriptors = self._node.describe_parameters(request.names)
        except ParameterNotDeclaredException:
            response.descriptors = []
        return response

    def _get(self, request: Any, response: Any) -> Any:
        try:
            response.values = [
                parameter.get_parameter_value() for parameter in self._node.get_parameters(request.names)
            ]
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            response.values = []
        return response

    def _types(self, request: Any, response: Any) -> Any:
        try:
            response.types = [self._node.get_parameter_type(name).value for name in request.names]
        except ParameterNotDeclaredException:
            response.types = []
        return response

    def _list(self, request: Any, response: Any) -> Any:
        response.result = self._node.list_parameters(request.prefixes, request.depth)
        return response

    def _set(self, request: Any, response: Any) -> Any:
        response.results = [self._try([message]) for message in request.parameters]
        return response

    def _set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self._try(request.parameters)
        return response

    def _try(self, parameters: list[Any]) -> Any:
        try:
            return self._node.set_parameters_atomically([Parameter.from_parameter_msg(each) for each in parameters])
        except ParameterNotDeclaredException as error:
            return message_class("rcl_interfaces/msg/SetParametersResult")(successful=False, reason=str(error))
