"""Names of topics after expansion."""

from __future__ import annotations

import re

from neumap_ros.simulator.rclpy.exceptions import InvalidServiceNameException, InvalidTopicNameException

FULL_NAME = re.compile(r"(?:/[A-Za-z_][A-Za-z0-9_]*)+\Z")


def validate_full_topic_name(name: str, *, is_service: bool = False) -> bool:
    """True; raises InvalidTopicNameException or InvalidServiceNameException."""
    if not FULL_NAME.match(name):
        kind = InvalidServiceNameException if is_service else InvalidTopicNameException
        raise kind(name, "it must be made of names of letters, digits and underscores, each after a slash")
    return True
