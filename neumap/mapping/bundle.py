"""Bundle adjustment of the mapping poses around the poses that were given.

Poses from a SLAM system or a motion capture carry a drift of centimetres between visits of a place; points averaged
over such poses are blurred. Adjusted poses make one consistent map; how they differ from the given ones is kept as a
:mod:`~neumap.maps.drift` field, so that answers stay in the frame the user gave.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg
import scipy.sparse

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import NEAREST_M, Tracks, depth_sigma, sum_by

# POSE_LOSS_PX: from which reprojection error on an observation counts less (Cauchy's scale).
POSE_LOSS_PX = 1.5
# DEPTH_WEIGHT: what a depth counts for of what its own noise says, as depths of one sensor err together.
DEPTH_WEIGHT = 0.3


def adjust_poses(
    tracks: Tracks,
    keyframes: Keyframes,
    prior_translation_m: float,
    prior_rotation_rad: float,
    iterations: int = 6,
) -> tuple[Tracks, FloatArray]:
    """Return the tracks with adjusted points, and adjusted ``map_from_camera`` (F, 4, 4).

    Levenberg-free Gauss-Newton on poses and points with Cauchy weights on reprojection and depth errors, points
    eliminated by the Schur complement (Triggs et al. 2000). The given poses are a Gaussian prior, which also fixes
    the frame. F is limited by the dense reduced system of 6F unknowns.
    """
    frames, count = len(keyframes), len(tracks)
    image, track = keyframes.image[tracks.keypoint], tracks.track
    rays, focal = keyframes.rays[tracks.keypoint], keyframes.focal_px[image]
    depth = keyframes.depth[tracks.keypoint] if keyframes.depth_measured else np.zeros(len(image))
    sigma = depth_sigma(depth)
    points = tracks.points.copy()
    given = se3.invert_pose(keyframes.map_from_camera)
    camera_from_map = given.copy()
    prior = np.array([prior_translation_m**-2] * 3 + [prior_rotation_rad**-2] * 3)
    rows = (6 * image[:, None, None] + np.arange(6)[:, None] + np.zeros((1, 3), np.int64)).ravel()
    columns = (3 * track[:, None, None] + np.zeros((6, 1), np.int64) + np.arange(3)).ravel()
    diagonal = np.arange(6 * frames).reshape(frames, 6)

    for _ in range(iterations):
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
        cross = by_pose_t @ information_r
        pose_block = sum_by(image, (by_pose_t @ information @ by_pose).reshape(-1, 36), frames).reshape(-1, 6, 6)
        pose_pull = sum_by(image, np.einsum("nij,nj->ni", by_pose_t, pull), frames)
        point_block = sum_by(track, (np.swapaxes(rotation, 1, 2) @ information_r).reshape(-1, 9), count)
        point_block = point_block.reshape(-1, 3, 3) + 1e-2 * np.eye(3)
        point_pull = sum_by(track, np.einsum("nji,nj->ni", rotation, pull), count)
        away = given @ se3.invert_pose(camera_from_map)
        pose_block += np.diag(prior)
        pose_pull -= prior * np.concatenate([away[:, :3, 3], se3.rotation_log(away[:, :3, :3])], axis=1)

        half = np.linalg.cholesky(np.linalg.inv(point_block))
        scaled = scipy.sparse.csr_matrix(
            ((cross @ half[track]).ravel(), (rows, columns)), shape=(6 * frames, 3 * count)
        )
        reduced = -(scaled @ scaled.T).toarray()
        reduced[diagonal[:, :, None], diagonal[:, None, :]] += pose_block
        solved = np.linalg.solve(point_block, point_pull[..., None])[..., 0]
        right = -(pose_pull - sum_by(image, np.einsum("nij,nj->ni", cross, solved[track]), frames)).ravel()
        step = scipy.linalg.solve(reduced, right, assume_a="pos").reshape(frames, 6)
        back = sum_by(track, np.einsum("nij,ni->nj", cross, step[image]), count)
        points -= np.linalg.solve(point_block, (point_pull + back)[..., None])[..., 0]
        camera_from_map = se3.make_pose(se3.rotation_exp(step[:, 3:]), step[:, :3]) @ camera_from_map
    return replace(tracks, points=points), se3.invert_pose(camera_from_map)
