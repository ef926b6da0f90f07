"""Camera poses from matches of keypoints and map points: RANSAC, refinement and information.

Uses PoseLib if it is installed, else OpenCV's USAC: PoseLib has no wheels for ARM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from neumap.arrays import BoolArray, FloatArray
from neumap.geometry import se3

try:
    import poselib
except ImportError:
    poselib = None

# CAUCHY_PX: scale of the Cauchy loss on reprojection errors.
CAUCHY_PX = 1.5
# FEWEST_MATCHES: matches that RANSAC needs; more than the three that determine a pose.
FEWEST_MATCHES = 6
# MIN_NOISE_PX: least standard deviation of reprojection errors along one axis: few or lucky matches do not make a
# better camera.
MIN_NOISE_PX = 0.2
# EXACT_DIGITS: decimals kept of PoseLib's poses of several cameras: their last bits depend on the alignment of arrays
# in memory, and replays must be equal bit by bit.
EXACT_DIGITS = 9
# BEHIND_M: points with a smaller depth count as behind the camera, metres.
BEHIND_M = 0.05


@dataclass(frozen=True)
class RansacSettings:
    """Settings of RANSAC; ``by_confidence``: sample the most confident matches first (PROSAC)."""

    max_error_px: float = 10.0
    max_iterations: int = 1000
    min_iterations: int = 50
    by_confidence: bool = True
    seed: int = 0


def ransac_pose(
    rays: FloatArray, points: FloatArray, focal_px: float, settings: RansacSettings
) -> tuple[FloatArray, BoolArray] | None:
    """Return ``camera_from_map`` (4, 4) and the inliers (M,) of matches ordered by confidence, best first.

    LO-RANSAC on undistorted rays (M, 2) and map points (M, 3). None where too few matches are given or no pose fits.
    """
    if len(rays) < FEWEST_MATCHES:
        return None
    found = (_ransac_by_opencv if poselib is None else _ransac_by_poselib)(rays, points, focal_px, settings)
    return found if found is not None and found[1].sum() >= FEWEST_MATCHES else None


def _ransac_by_poselib(
    rays: FloatArray, points: FloatArray, focal_px: float, settings: RansacSettings
) -> tuple[FloatArray, BoolArray] | None:
    prosac = {"progressive_sampling": settings.by_confidence, "max_prosac_iterations": settings.max_iterations}
    found, info = poselib.estimate_absolute_pose(
        rays * focal_px, points, _camera(focal_px), _options(settings) | prosac, {"loss_type": "CAUCHY"}
    )
    inliers = np.asarray(info["inliers"], dtype=bool)
    return (_matrix(found), inliers) if inliers.shape == (len(rays),) else None


def _options(settings: RansacSettings) -> dict[str, Any]:
    return {
        "max_reproj_error": settings.max_error_px,
        "max_iterations": settings.max_iterations,
        "min_iterations": settings.min_iterations,
        "success_prob": 0.9999,
        "seed": settings.seed,
    }


def _ransac_by_opencv(
    rays: FloatArray, points: FloatArray, focal_px: float, settings: RansacSettings
) -> tuple[FloatArray, BoolArray] | None:
    params = cv2.UsacParams()
    params.threshold, params.maxIterations, params.confidence = settings.max_error_px, settings.max_iterations, 0.9999
    params.sampler = cv2.SAMPLING_PROSAC if settings.by_confidence else cv2.SAMPLING_UNIFORM
    params.score, params.loMethod = cv2.SCORE_METHOD_MSAC, cv2.LOCAL_OPTIM_INNER_AND_ITER_LO
    params.loIterations, params.loSampleSize = 10, 14
    params.isParallel, params.randomGeneratorState = False, settings.seed
    matrix = np.diag([focal_px, focal_px, 1.0])
    try:
        ok, _, turn, shift, _ = cv2.solvePnPRansac(points, rays * focal_px, matrix, None, params=params)
    except cv2.error:  # for example all points in one place
        return None
    if not ok or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
        return None
    turn, shift = (np.asarray(each, dtype=np.float64)[:, 0] for each in (turn, shift))
    pose = se3.make_pose(se3.rotation_exp(turn), shift)
    # twice, since a refined pose may have more inliers
    for _ in range(2):
        inliers = _within(pose, rays, points, focal_px, settings.max_error_px)
        if inliers.sum() < FEWEST_MATCHES:
            return None
        pose = refine_pose(pose, rays[inliers], points[inliers], focal_px, iterations=10)
    return pose, _within(pose, rays, points, focal_px, settings.max_error_px)


def _within(pose: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float, most_px: float) -> BoolArray:
    return np.asarray(np.linalg.norm(residuals_px(pose, rays, points, focal_px), axis=1) < most_px)


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
    """Refine the pose ``camera_from_map`` (4, 4) to minimize the Cauchy loss of reprojection errors.

    Levenberg-Marquardt on undistorted rays (N, 2) and map points (N, 3), N of 3 or more. Each step is about half as
    long as the one before: ten bring most poses within millimetres, fifty converge unless the points hardly determine
    the pose.
    """
    if poselib is None:
        return _refined(camera_from_map, rays, points, focal_px, iterations)
    start = _camera_pose(camera_from_map)
    options = {"loss_type": "CAUCHY", "loss_scale": CAUCHY_PX, "max_iterations": iterations}
    found, _ = poselib.refine_absolute_pose(rays * focal_px, points, start, _camera(focal_px), options)
    return _matrix(found)


def _refined(
    camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float, iterations: int
) -> FloatArray:
    """Refine as :func:`refine_pose`, by damped Newton steps."""
    pose, damping = camera_from_map, 1e-4
    loss, gradient, hessian = _cauchy(pose, rays, points, focal_px)
    for _ in range(iterations):
        damped = hessian + damping * np.diag(np.diag(hessian) + 1e-9)
        step: FloatArray = np.linalg.solve(damped, -gradient).astype(np.float64)
        moved = se3.make_pose(se3.rotation_exp(step[3:]), step[:3]) @ pose
        there = _cauchy(moved, rays, points, focal_px)
        if there[0] >= loss:
            damping *= 10
        else:
            pose, damping = moved, max(damping / 10, 1e-9)
            loss, gradient, hessian = there
        if damping > 1e6 or np.abs(step).max() < 1e-10:
            break
    return pose


def _cauchy(
    pose: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float
) -> tuple[float, FloatArray, FloatArray]:
    """Return the Cauchy loss of a pose, its gradient (6,) and its Hessian (6, 6), made positive semidefinite."""
    error, ju, jv, front = _linearized(pose, rays, points, focal_px)
    squared = (error**2).sum(axis=0)
    weight = front / (1 + squared / CAUCHY_PX**2)
    # second-order term of the loss along the error, limited to keep the Hessian semidefinite (Triggs et al. 2000, 4.3)
    along = np.sqrt(np.minimum(2 * weight**2 / CAUCHY_PX**2, weight / np.maximum(squared, 1e-12)))
    radial = along * (ju * error[0] + jv * error[1])
    hessian = (ju * weight) @ ju.T + (jv * weight) @ jv.T - radial @ radial.T
    gradient = (ju * weight) @ error[0] + (jv * weight) @ error[1]
    # a fixed large loss for points behind the camera
    loss = 0.5 * CAUCHY_PX**2 * (np.log1p(squared / CAUCHY_PX**2)[front].sum() + 20.0 * (~front).sum())
    return float(loss), gradient, hessian


def _linearized(
    camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Return reprojection errors (2, N) in pixels, the derivatives (6, N) of x and of y by a motion of the camera, as
    in :func:`pose_gradient`, and which points (N,) are in front.
    """
    x, y, z = camera_from_map[:3, :3] @ points.T + camera_from_map[:3, 3:]
    inverse = 1 / np.maximum(z, BEHIND_M)
    x, y = x * inverse, y * inverse
    error = np.stack([x - rays[:, 0], y - rays[:, 1]]) * focal_px
    zero = np.zeros_like(x)
    ju = np.stack([inverse, zero, -x * inverse, -x * y, 1 + x * x, -y]) * focal_px
    jv = np.stack([zero, inverse, -y * inverse, -1 - y * y, x * y, x]) * focal_px
    return error, ju, jv, z > BEHIND_M


def has_poselib() -> bool:
    """Return whether PoseLib is installed, which solves several cameras together."""
    return poselib is not None


def ransac_rig(
    rays: Sequence[FloatArray],
    points: Sequence[FloatArray],
    cameras_from_rig: Sequence[FloatArray],
    focal_px: Sequence[float],
    settings: RansacSettings,
) -> FloatArray | None:
    """Return ``rig_from_map`` (4, 4) by generalized absolute pose; None if no pose fits.

    Each camera has its rays (M, 2), map points (M, 3), ``camera_from_rig`` (4, 4) and focal length, which converts
    errors to pixels.
    """
    found, info = poselib.estimate_generalized_absolute_pose(
        [ray * focal for ray, focal in zip(rays, focal_px, strict=True)],
        list(points),
        [_camera_pose(each) for each in cameras_from_rig],
        [_camera(focal) for focal in focal_px],
        _options(settings),
        {"loss_type": "CAUCHY"},
    )
    return np.round(_matrix(found), EXACT_DIGITS) if info["num_inliers"] >= FEWEST_MATCHES else None


def refine_rig(
    rig_from_map: FloatArray,
    rays: Sequence[FloatArray],
    points: Sequence[FloatArray],
    cameras_from_rig: Sequence[FloatArray],
    focal_px: Sequence[float],
    iterations: int = 50,
) -> FloatArray:
    """Refine ``rig_from_map`` (4, 4) as :func:`refine_pose`, on several cameras as in :func:`ransac_rig`."""
    found, _ = poselib.refine_generalized_absolute_pose(
        [ray * focal for ray, focal in zip(rays, focal_px, strict=True)],
        list(points),
        _camera_pose(rig_from_map),
        [_camera_pose(each) for each in cameras_from_rig],
        [_camera(focal) for focal in focal_px],
        {"loss_type": "CAUCHY", "loss_scale": CAUCHY_PX, "max_iterations": iterations},
    )
    return np.round(_matrix(found), EXACT_DIGITS)


def pose_gradient(
    camera_from_map: FloatArray,
    rays: FloatArray,
    points: FloatArray,
    focal_px: float,
    counts: FloatArray | float = 1.0,
) -> tuple[FloatArray, FloatArray]:
    """Return the gradient (6,) of half the squared reprojection errors, and the information matrix (6, 6) of a pose.

    ``rays`` (N, 2) and ``points`` (N, 3) have the weights ``counts`` (N,), times those of the Cauchy loss. Both results
    are for translation, then rotation, of a small motion on the left in the *camera frame*
    (``exp(d) @ camera_from_map``), and for errors with a standard deviation of one pixel.
    """
    error, ju, jv, front = _linearized(camera_from_map, rays, points, focal_px)
    weight = counts * front * cauchy_weights(np.linalg.norm(error, axis=0))
    gradient = (ju * weight) @ error[0] + (jv * weight) @ error[1]
    return gradient, np.asarray((ju * weight) @ ju.T + (jv * weight) @ jv.T)


def cauchy_weights(error_px: FloatArray) -> FloatArray:
    """Return the weights (N,), 0 to 1, of reprojection errors in the Cauchy loss."""
    return np.asarray(1 / (1 + (error_px / CAUCHY_PX) ** 2))


def noise_of(error_px: FloatArray) -> float:
    """Estimate the variance along each axis, in square pixels, of reprojection errors (M,), with Cauchy weights."""
    weight = cauchy_weights(error_px)
    noise = float(weight @ error_px**2) / (2 * weight.sum()) if len(weight) else 1.0
    return max(noise, MIN_NOISE_PX**2)


def _camera(focal_px: float) -> dict[str, Any]:
    """Return PoseLib's pinhole camera of undistorted rays times the focal length."""
    return {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal_px, 0.0, 0.0]}


def _camera_pose(pose: FloatArray) -> Any:
    """Convert a matrix (4, 4) to PoseLib's pose."""
    made = poselib.CameraPose()
    made.R, made.t = pose[:3, :3], pose[:3, 3]
    return made


def _matrix(found: Any) -> FloatArray:
    """Convert PoseLib's result to a matrix (4, 4): a pose or, in later versions, an image with a pose."""
    pose = np.eye(4)
    pose[:3] = getattr(found, "pose", found).Rt
    return pose
