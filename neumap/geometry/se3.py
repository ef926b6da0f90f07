"""Rotations and rigid transforms on plain arrays: float64, batched over leading dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neumap.arrays import FloatArray


def skew(v: FloatArray) -> FloatArray:
    """Return the matrices (..., 3, 3) of the cross product with the vectors (..., 3)."""
    v = np.asarray(v, dtype=np.float64)
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def rotation_exp(w: FloatArray) -> FloatArray:
    """Return rotation matrices (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues' formula)."""
    w = np.asarray(w, dtype=np.float64)
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    k = skew(w)
    # sin(x)/x and (1-cos(x))/x^2 by np.sinc, which is exact at and near zero
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.asarray(np.eye(3) + a * k + b * (k @ k))


def rotation_log(r: FloatArray) -> FloatArray:
    """Return rotation vectors (..., 3) in radians, of norm at most pi, of rotation matrices (..., 3, 3)."""
    q = quat_from_matrix(r)
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., 3:])
    scale = np.where(sine < 1e-12, 2.0, angle / np.maximum(sine, 1e-12))
    return np.asarray(scale * q[..., :3])


def matrix_from_quat(quat_xyzw: FloatArray) -> FloatArray:
    """Return rotation matrices (..., 3, 3) of quaternions (..., 4), xyzw; they are normalized first."""
    q = np.asarray(quat_xyzw, dtype=np.float64)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    v, w = q[..., :3], q[..., 3]
    k = skew(v)
    return np.asarray(np.eye(3) + 2 * w[..., None, None] * k + 2 * (k @ k))


def quat_from_matrix(r: FloatArray) -> FloatArray:
    """Return unit quaternions (..., 4) in xyzw order of rotation matrices (..., 3, 3); the sign is arbitrary.

    Of the four expressions for the quaternion the one with the largest pivot is taken (Shepperd 1978), which is
    stable for every angle.
    """
    r = np.asarray(r, dtype=np.float64)
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    xy, xz, yz = r[..., 1, 0] + r[..., 0, 1], r[..., 2, 0] + r[..., 0, 2], r[..., 2, 1] + r[..., 1, 2]
    xw, yw, zw = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    c = np.empty((*r.shape[:-2], 4, 4))
    c[..., 0, 0], c[..., 1, 1] = 1 + xx - yy - zz, 1 - xx + yy - zz
    c[..., 2, 2], c[..., 3, 3] = 1 - xx - yy + zz, 1 + xx + yy + zz
    c[..., 0, 1], c[..., 0, 2], c[..., 1, 2] = xy, xz, yz
    c[..., 1, 0], c[..., 2, 0], c[..., 2, 1] = xy, xz, yz
    c[..., 0, 3], c[..., 1, 3], c[..., 2, 3] = xw, yw, zw
    c[..., 3, 0], c[..., 3, 1], c[..., 3, 2] = xw, yw, zw
    best = np.argmax(np.diagonal(c, axis1=-2, axis2=-1), axis=-1)[..., None, None]
    q = np.take_along_axis(c, best, axis=-2)[..., 0, :]
    return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True))


def make_pose(rotation: FloatArray, translation: FloatArray) -> FloatArray:
    """Make 4x4 matrices (..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    rotation, translation = np.asarray(rotation, dtype=np.float64), np.asarray(translation, dtype=np.float64)
    out = np.zeros((*translation.shape[:-1], 4, 4))
    out[..., :3, :3], out[..., :3, 3], out[..., 3, 3] = rotation, translation, 1.0
    return out


def adjoint(pose: FloatArray) -> FloatArray:
    """Return the adjoints (..., 6, 6) of poses (..., 4, 4): ``pose @ exp(d) == exp(adjoint(pose) @ d) @ pose``, for a
    motion ``d`` of translation, then rotation.
    """
    out = np.zeros((*pose.shape[:-2], 6, 6))
    out[..., :3, :3] = out[..., 3:, 3:] = pose[..., :3, :3]
    out[..., :3, 3:] = skew(pose[..., :3, 3]) @ pose[..., :3, :3]
    return out


def poses_of(rows: Sequence[Sequence[float]]) -> FloatArray:
    """Make poses (N, 4, 4) of rows x y z qx qy qz qw."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return make_pose(matrix_from_quat(table[:, 3:]), table[:, :3])


def invert_pose(pose: FloatArray) -> FloatArray:
    """Invert rigid transforms (..., 4, 4), without a general matrix inverse."""
    rt = np.swapaxes(pose[..., :3, :3], -1, -2)
    return make_pose(rt, -(rt @ pose[..., :3, 3:])[..., 0])


def interpolate(start: FloatArray, end: FloatArray, share: FloatArray | float) -> FloatArray:
    """Return poses (..., 4, 4) at a ``share`` (...) of the way from ``start`` to ``end``, 0 to 1.

    Positions go straight, rotations along the shortest arc at an even rate (slerp), as tf2 interpolates.
    """
    share = np.asarray(share, dtype=np.float64)[..., None]
    turn = rotation_log(np.swapaxes(start[..., :3, :3], -1, -2) @ end[..., :3, :3])
    rotation = start[..., :3, :3] @ rotation_exp(share * turn)
    return make_pose(rotation, start[..., :3, 3] + share * (end[..., :3, 3] - start[..., :3, 3]))


def transform_points(pose: FloatArray, points: FloatArray) -> FloatArray:
    """Move points (N, 3) by one rigid transform (4, 4)."""
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def yaw_pose(x: float, y: float, z: float, yaw: float) -> FloatArray:
    """Make the pose (4, 4) at a position in metres, rotated about z by ``yaw`` radians."""
    return make_pose(rotation_exp(np.array([0.0, 0.0, yaw])), np.array([x, y, z]))


def fit_rigid(source: FloatArray, target: FloatArray) -> FloatArray:
    """Fit rigid transforms (..., 4, 4) of points ``source`` (..., N, 3) to ``target`` (..., N, 3) by least squares
    (Kabsch 1976). For N below 3, or collinear points, the rotation is not unique.
    """
    from_middle, to_middle = source.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(target - to_middle, -1, -2) @ (source - from_middle))
    # no reflection
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]
    turn = u @ vt
    return make_pose(turn, (to_middle - from_middle @ np.swapaxes(turn, -1, -2))[..., 0, :])


def fit_planar(source: FloatArray, target: FloatArray) -> FloatArray:
    """Fit the planar transform (4, 4) of points ``source`` (N, 2) to ``target`` (N, 2) by least squares; z stays."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    yaw = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    turned = yaw_pose(0, 0, 0, yaw)
    turned[:2, 3] = target.mean(axis=0) - turned[:2, :2] @ source.mean(axis=0)
    return turned


def pose_error(estimate: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the errors (..., 6) that the covariance of :class:`~neumap.records.PoseEstimate` refers to.

    Translation difference in metres, then the rotation vector in radians of ``R_estimate @ R_truth^T``, about the map
    frame's fixed axes (REP-103).
    """
    translation = estimate[..., :3, 3] - truth[..., :3, 3]
    rotation = rotation_log(estimate[..., :3, :3] @ np.swapaxes(truth[..., :3, :3], -1, -2))
    return np.concatenate([translation, rotation], axis=-1)


def kept_by_motion(poses: FloatArray, every_m: float | None, every_deg: float | None) -> list[int]:
    """Return the indices of poses (N, 4, 4) to keep: the first, and each that moved or turned enough since the last.

    ``every_m`` is in metres, ``every_deg`` in degrees; None: no limit of that kind.
    """
    metres, degrees = (np.inf if limit is None else limit for limit in (every_m, every_deg))
    kept: list[int] = []
    for index, pose in enumerate(poses):
        motion = pose_error(pose, poses[kept[-1]]) if kept else np.full(6, np.inf)
        if np.linalg.norm(motion[:3]) >= metres or np.rad2deg(np.linalg.norm(motion[3:])) >= degrees:
            kept.append(index)
    return kept


def optical_axes(yaw: FloatArray, pitch: FloatArray, roll: FloatArray) -> FloatArray:
    """Return rotations (N, 3, 3) of the optical frame: ``yaw`` left about z, ``pitch`` up, ``roll`` clockwise."""
    forward = np.stack([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)], axis=-1)
    level = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], axis=-1)
    below = np.cross(forward, level)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return np.stack([c * level + s * below, c * below - s * level, forward], axis=-1)
