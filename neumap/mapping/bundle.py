"""Bundle adjustment of the mapping poses, with the given poses as prior.

Poses from SLAM or motion capture drift by centimetres between visits of a place, which blurs points averaged over them.
Adjusted poses make one consistent map; their deviation from the given ones is stored as a :mod:`~neumap.maps.drift`
field, so that estimates are in the frame of the given poses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import NEAREST_M, Tracks, depth_sigma, in_parts, sum_by
from neumap.progress import Step, ignore

# POSE_LOSS_PX: scale of the Cauchy loss on reprojection errors.
POSE_LOSS_PX = 1.5
# DEPTH_WEIGHT: factor on depth errors over their standard deviation, as depth errors of one sensor are correlated.
DEPTH_WEIGHT = 0.3
# SOLVED: relative residual at which conjugate gradients stop; poses are then accurate to 1e-8 m. MOST_STEPS: iterations
# at most.
SOLVED, MOST_STEPS = 1e-5, 2000


def adjust_poses(
    tracks: Tracks,
    keyframes: Keyframes,
    prior_translation_m: float,
    prior_rotation_rad: float,
    iterations: int = 6,
    step: Step = ignore,
) -> tuple[Tracks, FloatArray]:
    """Return the tracks with adjusted points, and adjusted ``map_from_camera`` (F, 4, 4).

    Gauss-Newton on poses and points with Cauchy weights on reprojection and depth errors. Points are eliminated by the
    Schur complement (Triggs et al. 2000), which is solved by conjugate gradients without forming the matrix (Agarwal et
    al. 2010), so memory and time are linear in the observations. The given poses are a Gaussian prior, which also fixes
    the frame. ``step`` is called with 1 after each iteration.
    """
    given = se3.invert_pose(keyframes.map_from_camera)
    camera_from_map = given.copy()
    prior = np.array([prior_translation_m**-2] * 3 + [prior_rotation_rad**-2] * 3)
    for _ in range(iterations):
        parts = [_linearized(some, keyframes, camera_from_map) for some in in_parts(tracks)]
        away = given @ se3.invert_pose(camera_from_map)
        pull = sum(part.pose_pull for part in parts) - prior * np.concatenate(
            [away[:, :3, 3], se3.rotation_log(away[:, :3, :3])], axis=1
        )
        block = sum(part.pose_block for part in parts) + np.diag(prior)
        moves = _solve(parts, block, pull)
        points = [part.moved(moves) for part in parts]
        tracks = replace(tracks, points=np.concatenate([tracks.points[:0], *points]))
        # else they are in memory beside those of the next iteration
        del parts
        camera_from_map = se3.make_pose(se3.rotation_exp(moves[:, 3:]), moves[:, :3]) @ camera_from_map
        step(1)
    return tracks, se3.invert_pose(camera_from_map)


@dataclass(frozen=True)
class _Linear:
    """The normal equations of T tracks with O observations, linearized at the current poses and points.

    ``pose_block`` (F, 6, 6) and ``pose_pull`` (F, 6) are the Hessian and the gradient of the poses, ``half`` (T, 3, 3)
    the Cholesky factors of the inverse Hessians of the points. ``pull`` (T, 3) is the gradient of the points, and
    ``scaled`` (3T, 6F) the mixed Hessian, both times ``half``; ``diagonal`` (F, 6, 6) are the diagonal blocks of
    ``scaled.T @ scaled``.
    """

    points: FloatArray
    pose_block: FloatArray
    pose_pull: FloatArray
    half: FloatArray
    pull: FloatArray
    scaled: scipy.sparse.csr_matrix
    diagonal: FloatArray

    def moved(self, moves: FloatArray) -> FloatArray:
        """Return the points (T, 3) for ``moves`` (F, 6) of the poses."""
        right = self.pull + (self.scaled @ moves.ravel()).reshape(-1, 3)
        return np.asarray(self.points - np.einsum("nij,nj->ni", self.half, right))


def _linearized(tracks: Tracks, keyframes: Keyframes, camera_from_map: FloatArray) -> _Linear:
    frames, count = len(keyframes), len(tracks)
    image, track, points = keyframes.image[tracks.keypoint], tracks.track, tracks.points
    rays, focal = keyframes.rays[tracks.keypoint], keyframes.focal_px[image]
    depth = keyframes.depth[tracks.keypoint].astype(np.float64) if keyframes.depth_measured else np.zeros(len(image))
    sigma = depth_sigma(depth)
    rotation = camera_from_map[image, :3, :3]
    seen = np.einsum("nij,nj->ni", rotation, points[track]) + camera_from_map[image, :3, 3]
    inverse = 1 / np.maximum(seen[:, 2], NEAREST_M)
    residual = np.empty((len(image), 3))
    residual[:, :2] = (seen[:, :2] * inverse[:, None] - rays) * focal[:, None]
    residual[:, 2] = np.where(depth > 0, seen[:, 2] - depth, 0)
    by_camera_point = np.zeros((len(image), 3, 3))
    by_camera_point[:, 0, 0] = by_camera_point[:, 1, 1] = focal * inverse
    by_camera_point[:, 0, 2] = -focal * seen[:, 0] * inverse**2
    by_camera_point[:, 1, 2] = -focal * seen[:, 1] * inverse**2
    by_camera_point[:, 2, 2] = 1
    error = np.linalg.norm(residual[:, :2], axis=1)
    weight = np.empty_like(residual)
    weight[:, :2] = ((seen[:, 2] > NEAREST_M) / (1 + (error / POSE_LOSS_PX) ** 2))[:, None]
    robust_depth = 1 + (residual[:, 2] / (2 * sigma)) ** 2
    weight[:, 2] = np.where(depth > 0, DEPTH_WEIGHT**2 / sigma**2 / robust_depth, 0)

    information = np.einsum("nki,nk,nkj->nij", by_camera_point, weight, by_camera_point)
    pull = np.einsum("nki,nk->ni", by_camera_point, weight * residual)
    by_pose = np.concatenate([np.broadcast_to(np.eye(3), (len(image), 3, 3)), -se3.skew(seen)], axis=2)
    by_pose_t = np.swapaxes(by_pose, 1, 2)
    information_r = information @ rotation
    point_block = sum_by(track, (np.swapaxes(rotation, 1, 2) @ information_r).reshape(-1, 9), count)
    half = np.linalg.cholesky(np.linalg.inv(point_block.reshape(-1, 3, 3) + 1e-2 * np.eye(3)))
    point_pull = sum_by(track, np.einsum("nji,nj->ni", rotation, pull), count)
    scaled = by_pose_t @ information_r @ half[track]
    rows = 3 * track[:, None, None] + np.arange(3) + np.zeros((6, 1), np.int64)
    columns = 6 * image[:, None, None] + np.arange(6)[:, None] + np.zeros((1, 3), np.int64)
    return _Linear(
        points=points,
        pose_block=sum_by(image, (by_pose_t @ information @ by_pose).reshape(-1, 36), frames).reshape(-1, 6, 6),
        pose_pull=sum_by(image, np.einsum("nij,nj->ni", by_pose_t, pull), frames),
        half=half,
        pull=np.einsum("nji,nj->ni", half, point_pull),
        scaled=scipy.sparse.csr_matrix(
            (scaled.ravel(), (rows.ravel(), columns.ravel())), shape=(3 * count, 6 * frames)
        ),
        diagonal=sum_by(image, (scaled @ np.swapaxes(scaled, 1, 2)).reshape(-1, 36), frames).reshape(-1, 6, 6),
    )


def _solve(parts: list[_Linear], block: FloatArray, pull: FloatArray) -> FloatArray:
    """Solve the Schur complement for the moves (F, 6) of the poses, by conjugate gradients with a block-diagonal
    preconditioner. ``block`` (F, 6, 6) and ``pull`` (F, 6) are the Hessian and the gradient of poses and prior.
    """

    def product(x: FloatArray) -> FloatArray:
        own = np.einsum("nij,nj->ni", block, x.reshape(-1, 6)).ravel()
        return np.asarray(own - sum(part.scaled.T @ (part.scaled @ x) for part in parts))

    inverse = np.linalg.inv(block - sum(part.diagonal for part in parts))
    left = -pull.ravel() + sum(part.scaled.T @ part.pull.ravel() for part in parts)
    moves: FloatArray = np.zeros_like(pull)
    along, power = np.zeros_like(left), 1.0
    enough = SOLVED * np.linalg.norm(left)
    for _ in range(MOST_STEPS):
        if np.linalg.norm(left) <= enough:
            break
        towards = np.einsum("nij,nj->ni", inverse, left.reshape(-1, 6)).ravel()
        power, before = float(left @ towards), power
        along = towards + power / before * along
        turned = product(along)
        far = power / float(along @ turned)
        moves += far * along.reshape(-1, 6)
        left -= far * turned
    return moves
