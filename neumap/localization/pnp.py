"""From matches of keypoints and map points to a camera pose with a covariance.

PoseLib does it where it is installed; there are no wheels of it for ARM, and there OpenCV's USAC serves.
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

# CAUCHY_PX: from which reprojection error on a match counts less for a refined pose (Cauchy's scale).
CAUCHY_PX = 1.5
# FEWEST_MATCHES: RANSAC needs more than the three that make a pose.
FEWEST_MATCHES = 6
# MIN_NOISE_PX: what the standard deviation of a reprojection error along one axis is taken for at least; fewer or
# luckier matches do not make a better camera.
MIN_NOISE_PX = 0.2
# EXACT_DIGITS: decimals of what PoseLib finds for several cameras; its last bits depend on where arrays lie in memory,
# and a replay is to be bit-equal.
EXACT_DIGITS = 9
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

    LO-RANSAC on undistorted rays (M, 2) and map points (M, 3). None where too few matches are given or no pose fits.
    """
    if len(rays) < FEWEST_MATCHES:
        return None
    found = (_ransac_by_opencv if poselib is None else _ransac_by_poselib)(rays, points, focal_px, settings)
    return found if found is not None and found[1].sum() >= FEWEST_MATCHES else None


def _ransac_by_poselib(
    rays: FloatArray, points: FloatArray, focal_px: float, settings: RansacSettings
) -> tuple[FloatArray, BoolArray] | None:
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
    return (_matrix(found), inliers) if inliers.shape == (len(rays),) else None


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
    except cv2.error:  # points that are all in one place, say
        return None
    if not ok or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
        return None
    turn, shift = (np.asarray(each, dtype=np.float64)[:, 0] for each in (turn, shift))
    pose = se3.make_pose(se3.rotation_exp(turn), shift)
    # refined on what agrees, twice: that may be more then
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
    """Return the pose ``camera_from_map`` (4, 4) with the least Cauchy loss of reprojection errors, from one that is
    near it.

    Levenberg-Marquardt on undistorted rays (N, 2) and map points (N, 3), N of 3 or more. The loss makes a
    step about half as long as the one before: ten are within millimetres for most poses, fifty converge but for those
    that their points hardly determine.
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
    """Refine as :func:`refine_pose`, by Newton steps where the loss curves upwards, damped where they lead nowhere."""
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
    """Return Cauchy's loss of a pose, its gradient (6,) and Hessian (6, 6), which is never negative."""
    error, ju, jv, front = _linearized(pose, rays, points, focal_px)
    squared = (error**2).sum(axis=0)
    weight = front / (1 + squared / CAUCHY_PX**2)
    # the part of each Hessian along the error, down to none (Triggs et al., "Bundle adjustment", 4.3)
    along = np.sqrt(np.minimum(2 * weight**2 / CAUCHY_PX**2, weight / np.maximum(squared, 1e-12)))
    radial = along * (ju * error[0] + jv * error[1])
    hessian = (ju * weight) @ ju.T + (jv * weight) @ jv.T - radial @ radial.T
    gradient = (ju * weight) @ error[0] + (jv * weight) @ error[1]
    # what is behind the camera is as wrong as can be
    loss = 0.5 * CAUCHY_PX**2 * (np.log1p(squared / CAUCHY_PX**2)[front].sum() + 20.0 * (~front).sum())
    return float(loss), gradient, hessian


def _linearized(
    camera_from_map: FloatArray, rays: FloatArray, points: FloatArray, focal_px: float
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Return errors (2, N) in pixels, their derivatives (6, N) each by a motion of the camera as of
    :func:`pose_gradient`, and which points are in front (N,).
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
    """Tell whether several cameras can be solved together."""
    return poselib is not None


def ransac_rig(
    rays: Sequence[FloatArray],
    points: Sequence[FloatArray],
    cameras_from_rig: Sequence[FloatArray],
    focal_px: Sequence[float],
    settings: RansacSettings,
) -> FloatArray | None:
    """Return ``rig_from_map`` (4, 4) of what several cameras see: of each its rays (M, 2), map points (M, 3),
    ``camera_from_rig`` (4, 4) and focal length, which turns errors into pixels. None where no pose fits.
    """
    options = {
        "max_reproj_error": settings.max_error_px,
        "max_iterations": settings.max_iterations,
        "min_iterations": settings.min_iterations,
        "success_prob": 0.9999,
        "seed": settings.seed,
    }
    found, info = poselib.estimate_generalized_absolute_pose(
        [ray * focal for ray, focal in zip(rays, focal_px, strict=True)],
        list(points),
        [_camera_pose(each) for each in cameras_from_rig],
        [_camera(focal) for focal in focal_px],
        options,
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
    """Return the pose ``rig_from_map`` (4, 4) refined as by :func:`refine_pose`, on what several cameras see, as of
    :func:`ransac_rig`.
    """
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
    """Return the gradient (6,) of half the squared errors of a pose, and its information matrix (6, 6) once it is
    refined, on these rays (N, 2) and points (N, 3), each of which ``counts`` (N,) for as much as so many.

    Both are of translation, then rotation, as a small motion of the *camera frame* on the left
    (``exp(d) @ camera_from_map``), for errors of one pixel, weighted as the Cauchy loss weights them.
    """
    error, ju, jv, front = _linearized(camera_from_map, rays, points, focal_px)
    weight = counts * front * cauchy_weights(np.linalg.norm(error, axis=0))
    gradient = (ju * weight) @ error[0] + (jv * weight) @ error[1]
    return gradient, np.asarray((ju * weight) @ ju.T + (jv * weight) @ jv.T)


def cauchy_weights(error_px: FloatArray) -> FloatArray:
    """Return what reprojection errors (N,) count for in a pose of :func:`refine_pose`, from 0 to 1."""
    return np.asarray(1 / (1 + (error_px / CAUCHY_PX) ** 2))


def noise_of(error_px: FloatArray) -> float:
    """Return the variance, in square pixels, that reprojection errors (M,) tell of along each of two axes, weighted as
    in the information.
    """
    weight = cauchy_weights(error_px)
    noise = float(weight @ error_px**2) / (2 * weight.sum()) if len(weight) else 1.0
    return max(noise, MIN_NOISE_PX**2)


def _camera(focal_px: float) -> dict[str, Any]:
    """Describe the camera of undistorted rays in pixels, as PoseLib takes it."""
    return {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal_px, 0.0, 0.0]}


def _camera_pose(pose: FloatArray) -> Any:
    """Make PoseLib's pose of a matrix (4, 4)."""
    made = poselib.CameraPose()
    made.R, made.t = pose[:3, :3], pose[:3, 3]
    return made


def _matrix(found: Any) -> FloatArray:
    """Return (4, 4) of what PoseLib returns: a pose or, in later versions, an image that has one."""
    pose = np.eye(4)
    pose[:3] = getattr(found, "pose", found).Rt
    return pose
