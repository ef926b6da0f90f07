"""Poses and transforms of geometry_msgs, whoever read them: rosbags or rclpy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from neumap.geometry.transform_tree import Row
from neumap.io.stamps import stamp_of


def row_of(message: Any) -> Row:
    """Read the numbers x y z qx qy qz qw of a geometry_msgs Pose or Transform, as they are."""
    is_pose = hasattr(message, "orientation")
    t, q = (message.position, message.orientation) if is_pose else (message.translation, message.rotation)
    return float(t.x), float(t.y), float(t.z), float(q.x), float(q.y), float(q.z), float(q.w)


def transforms_of(transforms: Iterable[Any]) -> Iterator[tuple[str, str, int, Sequence[float], Sequence[float]]]:
    """Yield parent, child, stamp (ns), xyz and quaternion of TransformStamped messages, for a transform tree."""
    for each in transforms:
        row = row_of(each.transform)
        yield each.header.frame_id, each.child_frame_id, stamp_of(each.header), row[:3], row[3:]
