"""Relative poses of consecutive images, from odometry and from the images."""

from __future__ import annotations

import numpy as np
import scipy.optimize

from neumap.arrays import FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.pnp import RansacSettings, noise_of, pose_gradient, ransac_pose, residuals_px
from neumap.mapping.correspondences import match_by_looks, off_epipolar_px
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.pose_graph import Measurements
from neumap.progress import Step, ignore

# SHARE, TURN_RAD: standard deviations of odometry after a metre, as a fraction and in radians, growing with the square
# root of the distance. TURN_SHARE: standard deviation of a rotation, as a fraction.
SHARE, TURN_RAD, TURN_SHARE = 0.02, np.deg2rad(0.5), 0.02
# STEP_M, STEP_RAD: additional standard deviations of each step, metres and radians.
STEP_M, STEP_RAD = 0.002, np.deg2rad(0.05)
# LAGS: distances, in images, between images that are matched. KEYPOINTS: strongest keypoints used of an image.
LAGS, KEYPOINTS = (1, 2, 4), 1000
# MAX_ERROR_PX: largest error of an inlier, pixels. FEWEST: inliers required.
MAX_ERROR_PX, FEWEST = 4.0, 25
# SEEN_TWICE: factor on the standard deviation from reprojection errors, since keypoints of both images have errors.
SEEN_TWICE = 2.0
# LEAST_M: smallest baseline, metres, for a direction of motion without depth. SOFT_PX: scales of the Cauchy loss in
# successive rounds, pixels.
LEAST_M, SOFT_PX = 0.03, (4.0, 1.5)


def odometry_steps(given: FloatArray) -> Measurements:
    """Return the steps between odometry poses ``given`` (N, 4, 4), with their usual uncertainty."""
    motion = se3.invert_pose(given[:-1]) @ given[1:]
    first = np.arange(len(motion))
    doubtful = np.zeros(len(motion), dtype=bool)
    information = np.asarray(np.linalg.inv(_odometry_covariance(motion)), dtype=np.float64)
    return Measurements(first, first + 1, motion, information, doubtful)


def _odometry_covariance(motion: FloatArray) -> FloatArray:
    """Return the covariances (..., 6, 6) that motions (..., 4, 4) have by odometry."""
    metres = np.linalg.norm(motion[..., :3, 3], axis=-1)
    turned = np.linalg.norm(se3.rotation_log(motion[..., :3, :3]), axis=-1)
    shift = SHARE**2 * metres + STEP_M**2
    turn = TURN_RAD**2 * metres + (TURN_SHARE * turned) ** 2 + STEP_RAD**2
    return np.asarray(np.stack([shift] * 3 + [turn] * 3, axis=-1)[..., None] * np.eye(6))


def visual_steps(keyframes: Keyframes, progress: Step = ignore) -> Measurements:
    """Return the steps between images that show the same things, by their looks; without depth their length is not
    measured.
    """
    first, second, motions, informations = [], [], [], []
    for i in range(len(keyframes)):
        progress(1)
        for j in (i + lag for lag in LAGS if i + lag < len(keyframes)):
            found = (_by_depth if keyframes.depth_measured else _by_rays)(
                keyframes, i, j, *match_by_looks(keyframes, i, j, KEYPOINTS)
            )
            if found is not None:
                first.append(i)
                second.append(j)
                motions.append(found[0])
                informations.append(_with_floor(found[1] / SEEN_TWICE**2))
    return Measurements(
        np.array(first, dtype=np.int64),
        np.array(second, dtype=np.int64),
        np.array(motions).reshape(-1, 4, 4),
        np.array(informations).reshape(-1, 6, 6),
        np.ones(len(first), dtype=bool),
    )


def _with_floor(information: FloatArray) -> FloatArray:
    """Return an information matrix (6, 6), which may be singular, with what any step may be wrong by besides."""
    floor = np.diag([STEP_M**2] * 3 + [STEP_RAD**2] * 3)
    return np.asarray(np.linalg.solve(np.eye(6) + information @ floor, information))


def _by_depth(
    keyframes: Keyframes, i: int, j: int, here: IntArray, there: IntArray
) -> tuple[FloatArray, FloatArray] | None:
    """Return the motion (4, 4) and its information (6, 6) by the depth of the first image's keypoints."""
    known = keyframes.depth[here] > 0
    here, there = here[known], there[known]
    points = keyframes.rays3(here) * keyframes.depth[here, None]
    rays, focal = keyframes.rays[there], float(keyframes.focal_px[j])
    found = ransac_pose(rays, points, focal, RansacSettings(max_error_px=MAX_ERROR_PX))
    if found is None or found[1].sum() < FEWEST:
        return None
    pose, agree = found
    _, information = pose_gradient(pose, rays[agree], points[agree], focal)
    noise = noise_of(np.linalg.norm(residuals_px(pose, rays[agree], points[agree], focal), axis=1))
    return se3.invert_pose(pose), information / noise


def _by_rays(
    keyframes: Keyframes, i: int, j: int, here: IntArray, there: IntArray
) -> tuple[FloatArray, FloatArray] | None:
    """Return the motion (4, 4) and its information (6, 6), which is none along the way, by epipolar lines.

    From what odometry says and not far from it: a wall alone fits two motions.
    """
    told = se3.invert_pose(keyframes.map_from_camera[i]) @ keyframes.map_from_camera[j]
    if len(here) < FEWEST or np.linalg.norm(told[:3, 3]) < LEAST_M:
        return None
    a, b, focal = keyframes.rays3(here), keyframes.rays3(there), float(keyframes.focal_px[[i, j]].mean())
    sigma = np.sqrt(np.diag(_odometry_covariance(told)))

    def errors(step: FloatArray) -> FloatArray:
        return np.concatenate([off_epipolar_px(told @ _small(step), a, b, focal), step / sigma])

    step = np.zeros(6)
    for soft in SOFT_PX:
        step = scipy.optimize.least_squares(errors, step, x_scale=sigma, loss="cauchy", f_scale=soft).x
    motion: FloatArray = told @ _small(step)
    error = off_epipolar_px(motion, a, b, focal)
    agree = np.abs(error) < MAX_ERROR_PX
    if agree.sum() < FEWEST:
        return None
    tiny = 1e-6
    by_motion = np.array([off_epipolar_px(motion @ _small(tiny * axis), a, b, focal) for axis in np.eye(6)])
    by_motion = (by_motion - error) / tiny
    weight = agree / (1 + (error / SOFT_PX[-1]) ** 2)
    return motion, (by_motion * weight) @ by_motion.T / (2 * noise_of(np.abs(error[agree])))


def _small(step: FloatArray) -> FloatArray:
    return np.asarray(se3.make_pose(se3.rotation_exp(step[3:]), step[:3]))
