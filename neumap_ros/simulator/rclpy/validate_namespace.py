"""Names of namespaces."""

from __future__ import annotations

from neumap_ros.simulator.rclpy.exceptions import InvalidNamespaceException
from neumap_ros.simulator.rclpy.validate_full_topic_name import FULL_NAME


def validate_namespace(namespace: str) -> bool:
    """True; raises InvalidNamespaceException."""
    if namespace != "/" and not FULL_NAME.match(namespace):
        raise InvalidNamespaceException(
            namespace, "it must be made of names of letters, digits and underscores, each after a slash"
        )
    return True
