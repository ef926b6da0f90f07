"""Poses on a floor: x, y and yaw, as in AMCL and in the two_d_mode of robot_localization."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.tracking.fix import Fix

# MOST_TILTED_RAD: largest tilt of a robot on a floor in one image, radians: ramps, bumps, a shaking camera.
# MEAN_TILT_RAD: largest mean tilt over MEAN_OF images, radians: distances on the floor are then wrong by 0.4 %.
MOST_TILTED_RAD = np.deg2rad(25.0)
MEAN_TILT_RAD, MEAN_OF = np.deg2rad(5.0), 100
_ON_FLOOR = (
    "on a floor (two_d_mode, mode initializer) z of the map must point up, and /tf must say how the camera is mounted"
)
# indices into a covariance (6, 6): x, y and yaw; z, roll and pitch
_KEPT, _GIVEN_UP = np.ix_([0, 1, 5], [0, 1, 5]), [2, 3, 4]


def tilt_doubt(map_from_base: FloatArray) -> str:
    """Return why a pose (4, 4) of the base cannot be that of a robot on a floor; empty if it can."""
    tilt_rad = _tilt_rad(map_from_base[:3, 2])
    if tilt_rad <= MOST_TILTED_RAD:
        return ""
    return f"the robot would be tilted by {np.rad2deg(tilt_rad):.0f} deg: {_ON_FLOOR}"


class MeanTilt:
    """The mean tilt of the robot, which shows a tilted map: shaking averages out."""

    def __init__(self) -> None:
        self._up, self._count = np.zeros(3), 0

    def doubt(self, map_from_base: FloatArray) -> str:
        """Add a pose (4, 4) of the base; return a warning, once, if the map seems to be tilted."""
        self._up, self._count = self._up + map_from_base[:3, 2], self._count + 1
        tilt_rad = _tilt_rad(self._up / np.linalg.norm(self._up))
        if self._count != MEAN_OF or tilt_rad <= MEAN_TILT_RAD:
            return ""
        return f"the robot was tilted by {np.rad2deg(tilt_rad):.0f} deg in {MEAN_OF} images: {_ON_FLOOR}"


def _tilt_rad(up: FloatArray) -> float:
    """Return the angle between a unit vector (3,) and the map's z axis."""
    return float(np.arccos(np.clip(up[2], -1.0, 1.0)))


def flattened(pose: FloatArray) -> FloatArray:
    """Return a pose (4, 4) reduced to x, y and yaw."""
    yaw = np.arctan2(pose[1, 0], pose[0, 0])
    return se3.make_pose(se3.rotation_exp(np.array([0.0, 0.0, yaw])), pose[:3, 3] * [1.0, 1.0, 0.0])


def planar(fix: Fix) -> Fix:
    """Return a fix reduced to x, y and yaw, and so is its map -> odom.

    x, y and yaw keep their covariance. z, roll and pitch become 0; their covariance grows by the square of the change,
    so that it stays consistent.
    """
    pose = flattened(fix.map_from_base)
    moved = se3.pose_error(fix.map_from_base, pose)[_GIVEN_UP]
    covariance = np.zeros((6, 6))
    covariance[_KEPT] = fix.covariance[_KEPT]
    rest = np.ix_(_GIVEN_UP, _GIVEN_UP)
    covariance[rest] = fix.covariance[rest] + np.outer(moved, moved)
    odom_from_base = None if fix.odom_from_base is None else flattened(fix.odom_from_base)
    return replace(fix, map_from_base=pose, covariance=covariance, odom_from_base=odom_from_base)
