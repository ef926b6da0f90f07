"""Whether the camera can be mounted on the robot as the transforms say, by where that puts the robot."""

from __future__ import annotations

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose

# LYING, UPRIGHT: how much of a robot's vertical axis is along the map's, at most where it lies on its side and at least
# where it stands.
LYING, UPRIGHT = 0.5, 0.87
_BODY_FROM_OPTICAL = make_pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def doubt(map_from_camera: FloatArray, base_from_camera: FloatArray, frame: str) -> str:
    """Say why the camera's frame is none of an optical frame; empty where it may be one.

    By the poses (4, 4) the robot would lie on its side, and stand if x of the frame pointed forward, as body frames
    have it.
    """
    given = map_from_camera @ np.linalg.inv(base_from_camera)
    as_body = map_from_camera @ np.linalg.inv(base_from_camera @ _BODY_FROM_OPTICAL)
    if abs(given[2, 2]) > LYING or as_body[2, 2] < UPRIGHT:
        return ""
    return (
        f"the robot would lie on its side: the images' frame '{frame}' has x forward, as body frames have it; give the "
        "optical frame (z forward) as camera_frame_id"
    )
