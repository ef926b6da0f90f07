"""On a floor: a pose is x, y and yaw, as AMCL and the two_d_mode of robot_localization have it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3

if TYPE_CHECKING:
    from neumap.tracking.tracker import Fix

# MOST_TILTED_RAD: what a robot on a floor may be tilted by in one image, radians: ramps, bumps, a camera that shakes.
# On average it may be by MEAN_TILT_RAD, over so many images: then distances on the floor are wrong by 0.4 %.
MOST_TILTED_RAD = np.deg2rad(25.0)
MEAN_TILT_RAD, MEAN_OF = np.deg2rad(5.0), 100
_ON_FLOOR = (
    "on a floor (two_d_mode, mode initializer) z of the map must point up, and /tf must say how the camera is mounted"
)
# of the six numbers that a covariance is of: x, y and yaw, and the rest
_KEPT, _GIVEN_UP = np.ix_([0, 1, 5], [0, 1, 5]), [2, 3, 4]


def tilt_doubt(map_from_base: FloatArray) -> str:
    """Say why a base's pose (4, 4) is none of a robot on a floor; empty where it may be one."""
    tilt_rad = _tilt_rad(map_from_base[:3, 2])
    if tilt_rad <= MOST_TILTED_RAD:
        return ""
    return f"the robot would be tilted by {np.rad2deg(tilt_rad):.0f} deg: {_ON_FLOOR}"


class MeanTilt:
    """How robots were tilted on average: they shake, a map does not."""

    def __init__(self) -> None:
        self._up, self._count = np.zeros(3), 0

    def doubt(self, map_from_base: FloatArray) -> str:
        """Count a base's pose (4, 4); say, once, that the map seems to be tilted, if it does."""
        self._up, self._count = self._up + map_from_base[:3, 2], self._count + 1
        tilt_rad = _tilt_rad(self._up / np.linalg.norm(self._up))
        if self._count != MEAN_OF or tilt_rad <= MEAN_TILT_RAD:
            return ""
        return f"the robot was tilted by {np.rad2deg(tilt_rad):.0f} deg in {MEAN_OF} images: {_ON_FLOOR}"


def _tilt_rad(up: FloatArray) -> float:
    """The angle of a unit vector (3,) from the map's z."""
    return float(np.arccos(np.clip(up[2], -1.0, 1.0)))


def flattened(pose: FloatArray) -> FloatArray:
    """Return x, y and yaw of a pose (4, 4), as a pose."""
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    return se3.make_pose(se3.rotation_exp(np.array([0.0, 0.0, yaw])), pose[:3, 3] * [1.0, 1.0, 0.0])


def planar(fix: Fix) -> Fix:
    """Return a fix on the floor, with the transform of the map on it, too.

    x, y and yaw keep their covariance. z, roll and pitch are 0 now, and as uncertain as they were and as far as they
    have moved, so that who reads them is told no more than is known.
    """
    pose = flattened(fix.map_from_base)
    moved = se3.pose_error(fix.map_from_base, pose)[_GIVEN_UP]
    covariance = np.zeros((6, 6))
    covariance[_KEPT] = fix.covariance[_KEPT]
    rest = np.ix_(_GIVEN_UP, _GIVEN_UP)
    covariance[rest] = fix.covariance[rest] + np.outer(moved, moved)
    odom_from_base = None if fix.odom_from_base is None else flattened(fix.odom_from_base)
    return replace(fix, map_from_base=pose, covariance=covariance, odom_from_base=odom_from_base)
