"""The half of a node that looks at other nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neumap_ros.simulator.rclpy._middleware import Endpoint, EndpointType, TopicEnd, middleware
from neumap_ros.simulator.rclpy.endpoint_info import TopicEndpointInfo

NamesAndTypes = list[tuple[str, list[str]]]


class NodeNameNonExistentError(RuntimeError):
    """No node has this name."""


class GraphQueries:
    """Says which nodes, topics and services there are. Wants ``resolve_topic_name`` of the class that derives."""

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        raise NotImplementedError

    def get_node_names(self) -> list[str]:
        """Of all nodes."""
        return [node.name for node in middleware.nodes]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        """Of all nodes."""
        return [(node.name, node.namespace) for node in middleware.nodes]

    def get_topic_names_and_types(self, no_demangle: bool = False) -> NamesAndTypes:
        """Of all topics."""
        return _names_and_types([*middleware.writers, *middleware.readers])

    def get_service_names_and_types(self) -> NamesAndTypes:
        """Of all services."""
        return _names_and_types(middleware.servers)

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        """Of what a node publishes. NodeNameNonExistentError."""
        return _names_and_types(_of_node(middleware.writers, node_name, node_namespace))

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        """Of what a node subscribes to. NodeNameNonExistentError."""
        return _names_and_types(_of_node(middleware.readers, node_name, node_namespace))

    def get_service_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        """Of what a node serves. NodeNameNonExistentError."""
        return _names_and_types(_of_node(middleware.servers, node_name, node_namespace))

    def get_client_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        """Of what a node calls. NodeNameNonExistentError."""
        return _names_and_types(_of_node(middleware.callers, node_name, node_namespace))

    def count_publishers(self, topic_name: str) -> int:
        """How many there are of a topic."""
        return len(self._ends(middleware.writers, topic_name))

    def count_subscribers(self, topic_name: str) -> int:
        """How many there are of a topic."""
        return len(self._ends(middleware.readers, topic_name))

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """What there is to know of each."""
        return [_info(end, EndpointType.PUBLISHER) for end in self._ends(middleware.writers, topic_name)]

    def get_subscriptions_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """What there is to know of each."""
        return [_info(end, EndpointType.SUBSCRIPTION) for end in self._ends(middleware.readers, topic_name)]

    def _ends(self, ends: Sequence[Any], topic: str) -> list[Any]:
        name = self.resolve_topic_name(topic)
        return [end for end in ends if end.name == name]


def _info(end: TopicEnd, kind: EndpointType) -> TopicEndpointInfo:
    return TopicEndpointInfo(end.owner.name, end.owner.namespace, end.type_name, kind, end.qos)


def _of_node(ends: Sequence[Endpoint], name: str, namespace: str) -> list[Endpoint]:
    owners = [node for node in middleware.nodes if (node.name, node.namespace) == (name, namespace)]
    if not owners:
        raise NodeNameNonExistentError(f"Cannot get names of node {name!r} in namespace {namespace!r}: it is unknown")
    return [end for end in ends if end.owner in owners]


def _names_and_types(ends: Sequence[Endpoint]) -> NamesAndTypes:
    found: dict[str, set[str]] = {}
    for end in ends:
        found.setdefault(end.name, set()).add(end.type_name)
    return [(name, sorted(found[name])) for name in sorted(found)]
