"""Names of nodes."""

from __future__ import annotations

import re

from neumap_ros.simulator.rclpy.exceptions import InvalidNodeNameException

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")


def validate_node_name(node_name: str) -> bool:
    """True; raises InvalidNodeNameException."""
    if not NAME.match(node_name):
        raise InvalidNodeNameException(
            node_name, "it must be made of letters, digits and underscores, and not begin with a digit"
        )
    return True
