"""Messages as bytes."""

from __future__ import annotations

from neumap_ros.simulator.messages import deserialize_message, serialize_message

__all__ = ["deserialize_message", "serialize_message"]
