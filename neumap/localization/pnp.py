"""From matches of keypoints and map points to a camera pose with a covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import poselib

from neumap.arrays import BoolArray, FloatArray
from neumap.geometry import se3

# CAUCHY_PX: from which reprojection error on a match counts less for a refined pose (Cauchy's scale).
CAUCHY_PX = 1.5
# FEWEST_MATCHES: RANSAC needs more than the three that make a pose.
FEWEST_MATCHES = 6
# BEHIND_M: what is nearer to the camera is behind it, or as good as.
BEHIND_M = 0.05


@dataclass(frozen=True)
class RansacSettings:
    """How long and how strictly PnP searches; ``by_confidence``: the most confident matches first (PROSAC)."""

    max_error_px: float = 10.0
    max_iterations: int = 1000
    min_iterations: int = 50
    by_confidence: bool = True
    seed: int = 0


def ransac_pose(
    rays: FloatArray, points: FloatArray, focal_px: float, settings: RansacSettings
) -> tuple[FloatArray, BoolArray] | None:
    """Return ``camera_from_map`` (4, 4) and the inliers (M,) of matches ordered by confidence, best first.

    LO-RANSAC from PoseLib on undistorted rays (M, 2) and map points (M, 3).
    None where too few matches are given or no pose fits.
    """
    if len(rays) < FEWEST_MATCHES:
        return None
    options = {
        "max_reproj_error": settings.max_error_px,
        "max_iterations": settings.max_iterations,
        "min_iterations": settings.min_iterations,
        "success_prob": 0.9999,
        "progressive_sampling": settings.by_confidence,
        "max_prosac_iterations": settings.max_iterations,
        "seed": settings.seed,
    }
    found, info = poselib.estimate_absolute_pose(
        rays * focal_px, points, _camera(focal_px), options, {"loss_type": "CAUCHY"}
    )
    inliers = np.asarray(info["inliers"], dtype=bool)
    if inliers.shape != (len(rays),) or inliers.sum() < FEWEST_MATCHES:
        return None
    return _matrix(found), inliers


def residuals_px(camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float) -> FloatArray:
    """Return reprojection errors (N, 2) in pixels of the undistorted image; infinite behind the camera."""
    seen = se3.transform_points(camera_from_map, points)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = (seen[:, :2] / seen[:, 2:] - rays) * focal_px
    out[seen[:, 2] < BEHIND_M] = np.inf
    return np.asarray(out)


def refine_pose(
    camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float, iterations: int = 50
) -> FloatArray:
    """Return the pose ``camera_from_map`` (4, 4) with the least Cauchy loss of reprojection errors, from one that is
    near it.

    Levenberg-Marquardt from PoseLib on undistorted rays (N, 2) and map points (N, 3), N of 3 or more. The loss makes a
    step about half as long as the one before: ten are within millimetres for most poses, fifty converge but for those
    that their points hardly determine.
    """
    start = poselib.CameraPose()
    start.R, start.t = camera_from_map[:3, :3], camera_from_map[:3, 3]
    options = {"loss_type": "CAUCHY", "loss_scale": CAUCHY_PX, "max_iterations": iterations}
    found, _ = poselib.refine_absolute_pose(rays * focal_px, points, start, _camera(focal_px), options)
    return _matrix(found)


def pose_information(camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float) -> FloatArray:
    """Return the information matrix (6, 6) of a pose refined on these rays (N, 2) and points (N, 3).

    It is of translation, then rotation, as a small motion of the *camera frame* on the left
    (``exp(d) @ camera_from_map``), for errors of one pixel, weighted as the Cauchy loss weights them.
    """
    x, y, z = camera_from_map[:3, :3] @ points.T + camera_from_map[:3, 3:]
    inverse = 1 / np.maximum(z, BEHIND_M)
    x, y = x * inverse, y * inverse
    du, dv = (x - rays[:, 0]) * focal_px, (y - rays[:, 1]) * focal_px
    weight = (z > BEHIND_M) / (1 + (du**2 + dv**2) / CAUCHY_PX**2)
    zero = np.zeros_like(x)
    ju = np.stack([inverse, zero, -x * inverse, -x * y, 1 + x * x, -y]) * focal_px
    jv = np.stack([zero, inverse, -y * inverse, -1 - y * y, x * y, x]) * focal_px
    return np.asarray((ju * weight) @ ju.T + (jv * weight) @ jv.T)


def _camera(focal_px: float) -> dict[str, Any]:
    """Describe the camera of undistorted rays in pixels, as PoseLib takes it."""
    return {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal_px, 0.0, 0.0]}


def _matrix(found: Any) -> FloatArray:
    """Return (4, 4) of what PoseLib returns: a pose or, in later versions, an image that has one."""
    pose = np.eye(4)
    pose[:3] = getattr(found, "pose", found).Rt
    return pose
