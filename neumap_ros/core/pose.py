"""From 2D-3D hypotheses to a camera pose with a covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import poselib

from neumap_ros.core import geometry
from neumap_ros.core.keyframes import BoolArray
from neumap_ros.records import FloatArray

CAUCHY_PX = 1.5


@dataclass(frozen=True)
class RansacSettings:
    """How long and how strictly PnP searches; ``by_confidence``: the most confident hypotheses first (PROSAC)."""

    max_error_px: float = 10.0
    max_iterations: int = 1000
    min_iterations: int = 50
    by_confidence: bool = True
    seed: int = 0


def ransac_pose(
    rays: FloatArray, points: FloatArray, focal_px: float, settings: RansacSettings
) -> tuple[FloatArray, BoolArray] | None:
    """``camera_from_map`` (4, 4) and the inliers (H,) of hypotheses ordered by confidence, best first.

    LO-RANSAC from PoseLib on undistorted rays (H, 2) and map points (H, 3).
    None where fewer than 6 hypotheses are given or no model fits.
    """
    if len(rays) < 6:
        return None
    camera = {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal_px, 0.0, 0.0]}
    options = {
        "max_reproj_error": settings.max_error_px,
        "max_iterations": settings.max_iterations,
        "min_iterations": settings.min_iterations,
        "success_prob": 0.9999,
        "progressive_sampling": settings.by_confidence,
        "max_prosac_iterations": settings.max_iterations,
        "seed": settings.seed,
    }
    found, info = poselib.estimate_absolute_pose(rays * focal_px, points, camera, options, {"loss_type": "CAUCHY"})
    inliers = np.asarray(info["inliers"], dtype=bool)
    if inliers.shape != (len(rays),) or inliers.sum() < 6:
        return None
    pose = np.eye(4)
    pose[:3] = getattr(found, "pose", found).Rt
    return pose, inliers


def residuals_px(camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float) -> FloatArray:
    """Reprojection errors (N, 2) in pixels of the undistorted image; infinite behind the camera."""
    seen = geometry.transform_points(camera_from_map, points)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = (seen[:, :2] / seen[:, 2:] - rays) * focal_px
    out[seen[:, 2] < 0.05] = np.inf
    return np.asarray(out)


def refine_pose(
    camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float, iterations: int = 8
) -> tuple[FloatArray, FloatArray]:
    """Robust Gauss-Newton on the pose; returns ``camera_from_map`` and the information matrix (6, 6).

    The information is of translation, then rotation, as a small motion of the *camera frame* on the left
    (``exp(d) @ camera_from_map``), for errors of one pixel, weighted as the Cauchy loss weights them.
    """
    pose = camera_from_map.copy()
    information = np.eye(6)
    for _ in range(iterations):
        x, y, z = pose[:3, :3] @ points.T + pose[:3, 3:]
        inverse = 1 / np.maximum(z, 0.05)
        x, y = x * inverse, y * inverse
        du, dv = (x - rays[:, 0]) * focal_px, (y - rays[:, 1]) * focal_px
        weight = (z > 0.05) / (1 + (du**2 + dv**2) / CAUCHY_PX**2)
        zero = np.zeros_like(x)
        ju = np.stack([inverse, zero, -x * inverse, -x * y, 1 + x * x, -y]) * focal_px
        jv = np.stack([zero, inverse, -y * inverse, -1 - y * y, x * y, x]) * focal_px
        weighted_u, weighted_v = ju * weight, jv * weight
        information = weighted_u @ ju.T + weighted_v @ jv.T
        gradient = weighted_u @ du + weighted_v @ dv
        damping = 1e-9 * np.trace(information) + 1e-9
        step = -np.linalg.solve(information + damping * np.eye(6), gradient)
        pose = geometry.make_pose(geometry.rotation_exp(step[3:]), step[:3]) @ pose
        if np.abs(step).max() < 1e-6:
            break
    return pose, information
