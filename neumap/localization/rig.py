"""Poses of the one or several cameras of a query: how well one fits, which one fits best, and how certain it is.

Poses are those of the rig. Errors are in pixels of the image that a keypoint is of. One view is solved by
:mod:`~neumap.localization.pnp` for one camera; several by generalized absolute pose, which takes PoseLib.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry import se3
from neumap.localization import pnp
from neumap.localization.pnp import RansacSettings
from neumap.localization.query import Query, View

# CONFIDENT: with how many of the most confident matches several cameras are tried before all: PoseLib draws those of
# generalized poses without regard to it.
CONFIDENT = (32, 128, 512)
# ROUNDS: at most, to find where uncertain views most likely are. SETTLED: metres and radians that they then move by;
# FAR: what they do not move by, unless the pose is none.
ROUNDS, SETTLED, FAR = 10, 1e-4, 0.5


def can_pool() -> bool:
    """Tell whether several views can be solved together."""
    return pnp.has_poselib()


def errors_px(camera_from_map: FloatArray, query: Query, keypoint: IntArray, points: FloatArray) -> FloatArray:
    """Return how far, in pixels, from the keypoints (M,) a pose projects the ``points`` (M, 3) of the map."""
    error = np.zeros(len(keypoint))
    for view, mine, rays in _seen(query, keypoint):
        there = view.camera_from_rig @ camera_from_map
        error[mine] = np.linalg.norm(pnp.residuals_px(there, rays, points[mine], view.query.focal_px), axis=1)
    return error


def find_pose(query: Query, keypoint: IntArray, points: FloatArray, settings: RansacSettings) -> FloatArray | None:
    """Return ``camera_from_map`` (4, 4) that keypoints (M,) and ``points`` (M, 3) agree on, the most confident first;
    None where no pose fits. ``settings`` are for a camera of the usual focal length.

    Raises :class:`~neumap.errors.DataError` where there are several views and no PoseLib.
    """
    counts = [count for count in CONFIDENT if count < len(keypoint)] if settings.by_confidence and query.views else []
    poses = [_drawn(query, keypoint[:count], points[:count], settings) for count in (*counts, len(keypoint))]

    def agreeing(pose: FloatArray) -> int:
        limit = query.scales[keypoint] * settings.max_error_px
        return int((errors_px(pose, query, keypoint, points) < limit).sum())

    return max((pose for pose in poses if pose is not None), key=agreeing, default=None)


def _drawn(query: Query, keypoint: IntArray, points: FloatArray, settings: RansacSettings) -> FloatArray | None:
    """Find the pose as :func:`find_pose`, in one search."""
    if len(keypoint) < pnp.FEWEST_MATCHES:
        return None
    seen = list(_seen(query, keypoint))
    if len(seen) == 1:
        view, mine, rays = seen[0]
        settings = replace(settings, max_error_px=view.query.scale * settings.max_error_px)
        found = pnp.ransac_pose(rays, points[mine], view.query.focal_px, settings)
        return None if found is None else view.rig_from_camera @ found[0]
    if not can_pool():
        raise DataError("several views are solved together by PoseLib, which is not installed: pip install poselib")
    rays_of, points_of, cameras_from_rig, focal_px = _as_lists(seen, points)
    usual = [focal / view.query.scale for focal, (view, _, _) in zip(focal_px, seen, strict=True)]
    return pnp.ransac_rig(rays_of, points_of, cameras_from_rig, usual, settings)


def refine(
    camera_from_map: FloatArray, query: Query, keypoint: IntArray, points: FloatArray, iterations: int
) -> FloatArray:
    """Return the pose refined on keypoints (M,) and ``points`` (M, 3), as by
    :func:`~neumap.localization.pnp.refine_pose`, with the views where they are said to be.
    """
    seen = list(_seen(query, keypoint))
    if len(seen) == 1:
        view, mine, rays = seen[0]
        there = view.camera_from_rig @ camera_from_map
        return view.rig_from_camera @ pnp.refine_pose(there, rays, points[mine], view.query.focal_px, iterations)
    return pnp.refine_rig(camera_from_map, *_as_lists(seen, points), iterations)


@dataclass(frozen=True)
class Weighed:
    """A pose ``camera_from_map`` (4, 4) in which each view counts for what its place on the rig is certain by; the
    ``query`` with the views where they most likely are; the pose's ``information`` (6, 6) as of
    :func:`~neumap.localization.pnp.pose_gradient`, the sum of what each view says; and the covariance ``carried``
    (6, 6) that it has, too, because these places are uncertain.
    """

    camera_from_map: FloatArray
    query: Query
    information: FloatArray
    carried: FloatArray


def weigh(camera_from_map: FloatArray, query: Query, keypoint: IntArray, points: FloatArray) -> Weighed:
    """Weigh what the views say on keypoints (M,) and ``points`` (M, 3) by what their places are certain by, from a pose
    refined on these.

    What one view's place is wrong by, those after it are wrong by as well: so it is where odometry carried them.
    """
    seen = list(_seen(query, keypoint))
    places, known = [], np.zeros((6, 6))
    for view, _, _ in seen:
        scale, axes = np.linalg.eigh(view.motion_covariance - known)
        known = known + (axes * np.maximum(scale, 0)) @ axes.T
        places.append(known)
    if not known.any():
        return Weighed(
            camera_from_map,
            query,
            sum((each[1] for each in _says(seen, points, [camera_from_map] * len(seen))), np.zeros((6, 6))),
            known,
        )
    # views are elsewhere on the rig by errors with this joint covariance, which are integrated out
    count = len(seen)
    joint = np.block([[places[min(i, j)] for j in range(count)] for i in range(count)])
    every, one = np.tile(np.eye(6), (count, 1)), np.eye(6 * count)
    step, moves = np.zeros(6), np.zeros(6 * count)
    covariance, noise, told = known, 1.0, np.zeros((6, 6))
    # where each view would have the rig
    there = [camera_from_map] * count
    for _ in range(ROUNDS):
        error = np.zeros(len(keypoint))
        for (view, mine, rays), pose in zip(seen, there, strict=True):
            residuals = pnp.residuals_px(view.camera_from_rig @ pose, rays, points[mine], view.query.focal_px)
            error[mine] = np.linalg.norm(residuals, axis=1)
        # what is behind a view that was moved counts for nothing
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
    seen: Sequence[tuple[View, IntArray, FloatArray]], points: FloatArray, rig_from_map: Sequence[FloatArray]
) -> list[tuple[FloatArray, FloatArray]]:
    """Return the gradient (6,) and the information (6, 6) of the rig by each view, which has it elsewhere each."""
    said = []
    for (view, mine, rays), pose in zip(seen, rig_from_map, strict=True):
        carry = se3.adjoint(view.camera_from_rig)
        pull, says = pnp.pose_gradient(view.camera_from_rig @ pose, rays, points[mine], view.query.focal_px)
        said.append((carry.T @ pull, carry.T @ says @ carry))
    return said


def _moved(pose: FloatArray, motion: FloatArray) -> FloatArray:
    """Move a pose by a small motion (6,) on its left."""
    return se3.make_pose(se3.rotation_exp(motion[3:]), motion[:3]) @ pose


def _seen(query: Query, keypoint: IntArray) -> Iterator[tuple[View, IntArray, FloatArray]]:
    """Tell of each view that has some of ``keypoint`` (M,) which these are, and their rays."""
    for view, mine in query.by_view(keypoint):
        if len(mine):
            yield view, mine, query.rays[keypoint[mine]]


def _as_lists(
    seen: Sequence[tuple[View, IntArray, FloatArray]], points: FloatArray
) -> tuple[list[FloatArray], list[FloatArray], list[FloatArray], list[float]]:
    return (
        [rays for _, _, rays in seen],
        [points[mine] for _, mine, _ in seen],
        [view.camera_from_rig for view, _, _ in seen],
        [view.query.focal_px for view, _, _ in seen],
    )
