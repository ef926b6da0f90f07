"""What nodes can ask about the ends of a topic."""

from __future__ import annotations

from dataclasses import dataclass

from neumap_ros.simulator.rclpy._middleware import EndpointType
from neumap_ros.simulator.rclpy.qos import QoSProfile

EndpointTypeEnum = EndpointType
TopicEndpointTypeEnum = EndpointType


@dataclass(frozen=True)
class TopicEndpointInfo:
    """A publisher or subscription of any node."""

    node_name: str
    node_namespace: str
    topic_type: str
    endpoint_type: EndpointType
    qos_profile: QoSProfile
