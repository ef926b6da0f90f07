"""Poses of a query with one or several views: reprojection errors, RANSAC, refinement and information.

Poses are those of the rig. Errors are in pixels of the keypoint's image. A single view is solved as one camera, several
views by generalized absolute pose, which needs PoseLib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry import se3
from neumap.localization import pnp
from neumap.localization.pnp import RansacSettings
from neumap.localization.query import Query, View

# CONFIDENT: RANSAC on several cameras tries these numbers of the most confident matches before all of them, since
# PoseLib has no PROSAC for generalized poses.
CONFIDENT = (32, 128, 512)
# ROUNDS: iterations of moving uncertain views at most. SETTLED: they stop at smaller steps, metres and radians. FAR: at
# larger moves they have diverged, metres and radians.
ROUNDS, SETTLED, FAR = 10, 1e-4, 0.5

# One of the views with keypoints among M: the view, indices into the M, and the rays of these keypoints.
Seen = tuple[View, IntArray, FloatArray]


def errors_px(camera_from_map: FloatArray, query: Query, keypoint: IntArray, points: FloatArray) -> FloatArray:
    """Return the reprojection errors (M,) in pixels of keypoints (M,) and map ``points`` (M, 3)."""
    seen = _seen(query, keypoint)
    return _errors_px(seen, points, [camera_from_map] * len(seen))


def _errors_px(seen: Sequence[Seen], points: FloatArray, rig_from_map: Sequence[FloatArray]) -> FloatArray:
    error = np.zeros(len(points))
    for (view, mine, rays), pose in zip(seen, rig_from_map, strict=True):
        residuals = pnp.residuals_px(view.camera_from_rig @ pose, rays, points[mine], view.query.focal_px)
        error[mine] = np.linalg.norm(residuals, axis=1)
    return error


def find_pose(query: Query, keypoint: IntArray, points: FloatArray, settings: RansacSettings) -> FloatArray | None:
    """Find ``camera_from_map`` (4, 4) by RANSAC on keypoints (M,) and map ``points`` (M, 3), most confident first.

    Returns None if no pose fits. Thresholds of ``settings`` are for the usual focal length. Raises
    :class:`~neumap.errors.DataError` for several views without PoseLib.
    """
    counts = [count for count in CONFIDENT if count < len(keypoint)] if settings.by_confidence and query.views else []
    poses = [_drawn(query, keypoint[:count], points[:count], settings) for count in (*counts, len(keypoint))]

    def agreeing(pose: FloatArray) -> int:
        limit = query.scales[keypoint] * settings.max_error_px
        return int((errors_px(pose, query, keypoint, points) < limit).sum())

    return max((pose for pose in poses if pose is not None), key=agreeing, default=None)


def _drawn(query: Query, keypoint: IntArray, points: FloatArray, settings: RansacSettings) -> FloatArray | None:
    """Find the pose as :func:`find_pose`, in one run of RANSAC."""
    if len(keypoint) < pnp.FEWEST_MATCHES:
        return None
    seen = _seen(query, keypoint)
    if len(seen) == 1:
        view, mine, rays = seen[0]
        settings = replace(settings, max_error_px=view.query.scale * settings.max_error_px)
        found = pnp.ransac_pose(rays, points[mine], view.query.focal_px, settings)
        return None if found is None else view.rig_from_camera @ found[0]
    if not pnp.has_poselib():
        raise DataError("several views are solved together by PoseLib, which is not installed: pip install poselib")
    rays_of, points_of, cameras_from_rig, focal_px = _as_lists(seen, points)
    usual = [focal / view.query.scale for focal, (view, _, _) in zip(focal_px, seen, strict=True)]
    return pnp.ransac_rig(rays_of, points_of, cameras_from_rig, usual, settings)


def refine(
    camera_from_map: FloatArray, query: Query, keypoint: IntArray, points: FloatArray, iterations: int
) -> FloatArray:
    """Refine the pose as :func:`~neumap.localization.pnp.refine_pose`, on keypoints (M,) and map ``points`` (M, 3);
    the views stay where they are on the rig.
    """
    seen = _seen(query, keypoint)
    if len(seen) == 1:
        view, mine, rays = seen[0]
        there = view.camera_from_rig @ camera_from_map
        return view.rig_from_camera @ pnp.refine_pose(there, rays, points[mine], view.query.focal_px, iterations)
    return pnp.refine_rig(camera_from_map, *_as_lists(seen, points), iterations)


@dataclass(frozen=True)
class Weighed:
    """A pose ``camera_from_map`` (4, 4) from views weighted by the certainty of their poses on the rig.

    ``query`` has the views at their most likely poses. ``information`` (6, 6) is the sum over the views, as of
    :func:`~neumap.localization.pnp.pose_gradient`; ``carried`` (6, 6) is the covariance that the uncertain poses of
    views add.
    """

    camera_from_map: FloatArray
    query: Query
    information: FloatArray
    carried: FloatArray


def weigh(camera_from_map: FloatArray, query: Query, keypoint: IntArray, points: FloatArray) -> Weighed:
    """Weight the views by the certainty of their poses on the rig, from a pose refined on keypoints (M,) and map
    ``points`` (M, 3).

    Errors of the views' poses accumulate in their order, as those of odometry do. They are variables of a Gauss-Newton
    estimate with a Gaussian prior, and marginalized.
    """
    seen = _seen(query, keypoint)
    places, known = [], np.zeros((6, 6))
    for view, _, _ in seen:
        scale, axes = np.linalg.eigh(view.motion_covariance - known)
        known = known + (axes * np.maximum(scale, 0)) @ axes.T
        places.append(known)
    if not known.any():
        each = [says for _, says in _says(seen, points, [camera_from_map] * len(seen))]
        return Weighed(camera_from_map, query, sum(each, np.zeros((6, 6))), known)
    # the joint covariance of the errors of the views' poses
    count = len(seen)
    joint = np.block([[places[min(i, j)] for j in range(count)] for i in range(count)])
    every, one = np.tile(np.eye(6), (count, 1)), np.eye(6 * count)
    step, moves = np.zeros(6), np.zeros(6 * count)
    covariance, noise, told = known, 1.0, np.zeros((6, 6))
    # the pose of the rig by each view
    there = [camera_from_map] * count
    for _ in range(ROUNDS):
        error = _errors_px(seen, points, there)
        # errors are infinite behind a moved view
        noise = pnp.noise_of(error[np.isfinite(error)])
        pulls, says = zip(*_says(seen, points, there), strict=True)
        told, precise = sum(says, np.zeros((6, 6))), scipy.linalg.block_diag(*says) / noise
        wanted = precise @ moves - np.concatenate(pulls) / noise
        left = every.T @ np.linalg.inv(one + precise @ joint)
        covariance = np.linalg.pinv(left @ precise @ every, hermitian=True)
        further = covariance @ left @ wanted
        moved = every @ further
        moved = moved + joint @ np.linalg.solve(one + precise @ joint, wanted - precise @ moved)
        if not np.abs(moved).max() <= FAR:
            break
        before, step, moves = moves, further, moved
        there = [_moved(camera_from_map, move) for move in moves.reshape(count, 6)]
        if np.abs(moves - before).max() < SETTLED:
            break
    pose = _moved(camera_from_map, step)
    carried = np.asarray(covariance - noise * np.linalg.pinv(told, hermitian=True))
    placed = {id(view): view.moved(pose @ se3.invert_pose(has)) for (view, _, _), has in zip(seen, there, strict=True)}
    views = tuple(placed.get(id(view), view) for view in query.rig)
    return Weighed(pose, replace(query, views=views), told, carried)


def _says(
    seen: Sequence[Seen], points: FloatArray, rig_from_map: Sequence[FloatArray]
) -> list[tuple[FloatArray, FloatArray]]:
    """Return the gradient (6,) and the information (6, 6) of the rig's pose from each view, at one pose per view."""
    said = []
    for (view, mine, rays), pose in zip(seen, rig_from_map, strict=True):
        carry = se3.adjoint(view.camera_from_rig)
        pull, says = pnp.pose_gradient(view.camera_from_rig @ pose, rays, points[mine], view.query.focal_px)
        said.append((carry.T @ pull, carry.T @ says @ carry))
    return said


def _moved(pose: FloatArray, motion: FloatArray) -> FloatArray:
    """Move a pose by a small motion (6,) on its left."""
    return se3.make_pose(se3.rotation_exp(motion[3:]), motion[:3]) @ pose


def _seen(query: Query, keypoint: IntArray) -> list[Seen]:
    """Return the views that have some of ``keypoint`` (M,)."""
    return [(view, mine, query.rays[keypoint[mine]]) for view, mine in query.by_view(keypoint) if len(mine)]


def _as_lists(
    seen: Sequence[Seen], points: FloatArray
) -> tuple[list[FloatArray], list[FloatArray], list[FloatArray], list[float]]:
    return (
        [rays for _, _, rays in seen],
        [points[mine] for _, mine, _ in seen],
        [view.camera_from_rig for view, _, _ in seen],
        [view.query.focal_px for view, _, _ in seen],
    )
