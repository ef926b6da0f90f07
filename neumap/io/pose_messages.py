"""Poses and transforms of geometry_msgs, whoever read them: rosbags or rclpy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neumap.geometry.transform_tree import Row, TransformTree
from neumap.io.stamps import stamp_of


def row_of(message: Any) -> Row:
    """The numbers x y z qx qy qz qw of a geometry_msgs Pose or Transform, as they are."""
    is_pose = hasattr(message, "orientation")
    t, q = (message.position, message.orientation) if is_pose else (message.translation, message.rotation)
    return float(t.x), float(t.y), float(t.z), float(q.x), float(q.y), float(q.z), float(q.w)


def add_transforms(tree: TransformTree, transforms: Iterable[Any], static: bool) -> list[str]:
    """Adds the TransformStamped of a TFMessage to a tree; what :meth:`TransformTree.add` said of those it skipped."""
    said = []
    for each in transforms:
        row = row_of(each.transform)
        stamp = stamp_of(each.header)
        said.append(tree.add(each.header.frame_id, each.child_frame_id, stamp, row[:3], row[3:], static))
    return [problem for problem in said if problem]
