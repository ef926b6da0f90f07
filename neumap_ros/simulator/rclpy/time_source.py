"""Makes the clocks of a node follow /clock while its parameter use_sim_time says so."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.clock import ROSClock
from neumap_ros.simulator.rclpy.qos import QoSProfile, ReliabilityPolicy
from neumap_ros.simulator.rclpy.time import Time

CLOCK_TOPIC = "/clock"
USE_SIM_TIME_NAME = "use_sim_time"


class TimeSource:
    """Listens to /clock on behalf of one node and its clock."""

    def __init__(self, node: Any, clock: ROSClock) -> None:
        self._node = node
        self._clock = clock
        self._subscription: Any = None
        if not node.has_parameter(USE_SIM_TIME_NAME):
            node.declare_parameter(USE_SIM_TIME_NAME, False)
        self._follow(node.get_parameter(USE_SIM_TIME_NAME).value)
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Any]) -> Any:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME_NAME:
                self._follow(parameter.value)
        return message_class("rcl_interfaces/msg/SetParametersResult")(successful=True)

    def _follow(self, enabled: bool) -> None:
        if enabled == self._clock.ros_time_is_active:
            return
        self._clock._set_ros_time_is_active(enabled)
        if enabled:
            self._subscription = self._node.create_subscription(
                message_class("rosgraph_msgs/msg/Clock"),
                CLOCK_TOPIC,
                self._on_clock,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            )
        else:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_clock(self, message: Any) -> None:
        self._clock.set_ros_time_override(Time.from_msg(message.clock))
