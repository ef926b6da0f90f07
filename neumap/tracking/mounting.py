"""A check of the camera's mounting in /tf, by the resulting pose of the robot."""

from __future__ import annotations

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose

# LYING, UPRIGHT: cosine of the angle between the vertical axes of robot and map: at most LYING for a robot on its side,
# at least UPRIGHT for a standing one.
LYING, UPRIGHT = 0.5, 0.87
_BODY_FROM_OPTICAL = make_pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def doubt(map_from_camera: FloatArray, base_from_camera: FloatArray, frame: str) -> str:
    """Return why the camera's frame is not an optical frame; empty if it may be one.

    It is not if by the poses (4, 4) the robot lies on its side, and stands if x of the frame points forward, as in body
    frames.
    """
    given = map_from_camera @ np.linalg.inv(base_from_camera)
    as_body = map_from_camera @ np.linalg.inv(base_from_camera @ _BODY_FROM_OPTICAL)
    if abs(given[2, 2]) > LYING or as_body[2, 2] < UPRIGHT:
        return ""
    return (
        f"the robot would lie on its side: the images' frame '{frame}' has x forward, as body frames have it; give the "
        "optical frame (z forward) as camera_frame_id"
    )
