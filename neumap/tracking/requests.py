"""Requests to a running localizer, and its answers, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.geometry import se3
from neumap.tracking.fix import Fix

# QUATERNION_NORM_TOLERANCE: largest difference of a quaternion's norm from 1.
QUATERNION_NORM_TOLERANCE = 1e-2
# UNSAID_VARIANCES: variances of x, y, z in m^2 and of rotations in rad^2 in place of zeros in a message: those of RViz'
# "2D Pose Estimate", 0.5 m and 15 degrees.
UNSAID_VARIANCES = np.array([0.25, 0.25, 0.25, 0.0685, 0.0685, 0.0685])


@dataclass(frozen=True)
class PoseClaim:
    """A claimed pose of the base, as in a PoseWithCovarianceStamped, not checked yet.

    ``xyz`` in metres and ``quat_xyzw`` in ``frame_id``; ``covariance`` has 36 numbers, row by row.
    """

    frame_id: str
    xyz: Sequence[float]
    quat_xyzw: Sequence[float]
    covariance: Sequence[float]

    def checked(self, map_frame: str) -> tuple[FloatArray, FloatArray]:
        """Return pose (4, 4) and covariance (6, 6) in the map's frame; variances of zero become those of RViz.

        Raises :class:`~neumap.errors.DataError` for another frame, values that are not finite, a quaternion that is not
        normalized or a covariance that is not positive definite.
        """
        if self.frame_id.lstrip("/") != map_frame:
            raise DataError(f"the pose is in the frame '{self.frame_id}': give it in '{map_frame}'")
        xyz, quat = np.array(self.xyz, dtype=np.float64), np.array(self.quat_xyzw, dtype=np.float64)
        covariance = np.array(self.covariance, dtype=np.float64).reshape(6, 6)
        if not (np.isfinite(xyz).all() and np.isfinite(quat).all() and np.isfinite(covariance).all()):
            raise DataError("the pose or its covariance holds values that are not finite")
        norm = float(np.linalg.norm(quat))
        if abs(norm - 1) > QUATERNION_NORM_TOLERANCE:
            raise DataError(f"the quaternion's norm is {norm:.3g} instead of 1")
        covariance = 0.5 * (covariance + covariance.T)
        unsaid = np.diag(covariance) == 0
        covariance[unsaid, unsaid] = UNSAID_VARIANCES[unsaid]
        if np.linalg.eigvalsh(covariance).min() <= 0:
            raise DataError("the covariance is not positive definite")
        return se3.make_pose(se3.matrix_from_quat(quat), xyz), covariance


def planar_claim(frame_id: str, x: float, y: float, z: float, yaw: float) -> PoseClaim:
    """Make a claim from metres and radians, with the default covariance."""
    return PoseClaim(frame_id, (x, y, z), (0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2))), (0.0,) * 36)


@dataclass(frozen=True)
class RelocalizeRequest:
    """A search of the whole map; ``prior`` decides between places that look alike.

    With ``timeout_s`` 0 the parameter relocalize_timeout holds.
    """

    prior: PoseClaim | None = None
    timeout_s: float = 0.0


@dataclass(frozen=True)
class RelocalizeAnswer:
    """The answer: the ``fix`` of the image that decided, or the ``reason`` for none.

    ``inliers`` is the number of distinct landmarks that agree; ``alternatives`` are other places that look alike with
    their inliers, best first. ``image_ns`` is the stamp of the last image searched.
    """

    fix: Fix | None
    reason: str
    map_id: str
    inliers: int = 0
    image_ns: int | None = None
    latency_s: float = 0.0
    alternatives: tuple[tuple[Fix, int], ...] = ()

    @property
    def success(self) -> bool:
        """Whether the robot was found."""
        return self.fix is not None


@dataclass(frozen=True)
class LoadAnswer:
    """Whether another map was loaded, or the ``reason`` why the old one stays.

    ``map_id`` is that of the map in use, ``path`` the file that was requested.
    """

    success: bool
    reason: str
    map_id: str
    path: str
