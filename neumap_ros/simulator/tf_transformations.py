"""tf_transformations: rotations as matrices, quaternions and Euler angles, and rigid transforms as 4x4 matrices.

Quaternions are x, y, z, w. Angles are radians. ``axes`` names the order of turns: "s" or "r" for fixed or turning axes,
then three letters; "sxyz" are ROS' roll, pitch and yaw. Unknown axes raise KeyError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Quaternion = tuple[float, float, float, float]
Angles = tuple[float, float, float]

EPSILON = float(np.finfo(float).eps)


def _parse_axes(axes: str) -> tuple[bool, list[int]]:
    letters = ["xyz".find(letter) for letter in axes[1:]]
    distinct = len(letters) == 3 and letters[0] != letters[1] != letters[2]
    if axes[:1] not in ("s", "r") or not distinct or min(letters) < 0:
        raise KeyError(axes)
    return axes[0] == "s", letters


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: str = "sxyz") -> Quaternion:
    """Quaternion of three turns."""
    fixed, letters = _parse_axes(axes)
    result: Quaternion = (0.0, 0.0, 0.0, 1.0)
    for axis, angle in zip(letters, (ai, aj, ak), strict=True):
        turn = quaternion_about_axis(angle, np.eye(3)[axis])
        result = quaternion_multiply(turn, result) if fixed else quaternion_multiply(result, turn)
    return result


def euler_from_quaternion(quaternion: Sequence[float], axes: str = "sxyz") -> Angles:
    """Three turns of a quaternion."""
    return euler_from_matrix(quaternion_matrix(quaternion), axes)


def euler_matrix(ai: float, aj: float, ak: float, axes: str = "sxyz") -> FloatArray:
    """(4, 4) matrix of three turns."""
    return quaternion_matrix(quaternion_from_euler(ai, aj, ak, axes))


def euler_from_matrix(matrix: npt.ArrayLike, axes: str = "sxyz") -> Angles:
    """Three turns of a (3, 3) or (4, 4) matrix."""
    fixed, letters = _parse_axes(axes)
    if not fixed:
        # Turning axes are the same turns about fixed axes in the opposite order.
        first, second, third = euler_from_matrix(matrix, "s" + axes[:0:-1])
        return third, second, first
    m = np.asarray(matrix, dtype=float)
    i, j = letters[:2]
    k = 3 - i - j
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    if letters[2] == i:
        length = math.hypot(m[i, j], m[i, k])
        angles = [math.atan2(-m[j, k], m[j, j]), math.atan2(length, m[i, i]), 0.0]
        if length > 4 * EPSILON:
            angles[0], angles[2] = math.atan2(m[i, j], m[i, k]), math.atan2(m[j, i], -m[k, i])
    else:
        length = math.hypot(m[i, i], m[j, i])
        angles = [math.atan2(-m[j, k], m[j, j]), math.atan2(-m[k, i], length), 0.0]
        if length > 4 * EPSILON:
            angles[0], angles[2] = math.atan2(m[k, j], m[k, k]), math.atan2(m[j, i], m[i, i])
    return sign * angles[0], sign * angles[1], sign * angles[2]


def quaternion_matrix(quaternion: Sequence[float]) -> FloatArray:
    """(4, 4) matrix of a quaternion of any length; the identity for one of length 0."""
    x, y, z, w = (float(value) for value in quaternion)
    squared = x * x + y * y + z * z + w * w
    matrix = np.eye(4)
    if squared < EPSILON:
        return matrix
    s = 2 / squared
    matrix[:3, :3] = [
        [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
    ]
    return matrix


def quaternion_from_matrix(matrix: npt.ArrayLike) -> Quaternion:
    """Quaternion with w >= 0 of a (4, 4) matrix, the closest one if its rotation is not quite one.

    Raises ValueError for another shape.
    """
    m = np.asarray(matrix, dtype=float)
    if m.shape != (4, 4):
        raise ValueError(f"a 4x4 matrix is needed, not one of the shape {m.shape}")
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = m[:3, :3].T
    # The eigenvector of the largest eigenvalue is the closest quaternion (Bar-Itzhack 2000).
    lower = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [xy + yx, yy - xx - zz, 0, 0],
            [xz + zx, yz + zy, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = (float(value) for value in np.linalg.eigh(lower / 3)[1][:, -1])
    return (-x, -y, -z, -w) if w < 0 else (x, y, z, w)


def quaternion_multiply(quaternion1: Sequence[float], quaternion0: Sequence[float]) -> Quaternion:
    """First ``quaternion0``, then ``quaternion1``."""
    a, b, c, d = quaternion1
    x, y, z, w = quaternion0
    return (
        d * x + a * w + b * z - c * y,
        d * y + b * w + c * x - a * z,
        d * z + c * w + a * y - b * x,
        d * w - a * x - b * y - c * z,
    )


def quaternion_conjugate(quaternion: Sequence[float]) -> Quaternion:
    x, y, z, w = quaternion
    return -x, -y, -z, w


def quaternion_inverse(quaternion: Sequence[float]) -> Quaternion:
    x, y, z, w = quaternion_conjugate(quaternion)
    squared = x * x + y * y + z * z + w * w
    return x / squared, y / squared, z / squared, w / squared


def quaternion_about_axis(angle: float, axis: Sequence[float] | FloatArray) -> Quaternion:
    """Quaternion of a turn about an axis of any length."""
    x, y, z = math.sin(angle / 2) * unit_vector(axis)
    return float(x), float(y), float(z), math.cos(angle / 2)


def quaternion_slerp(quat0: Sequence[float], quat1: Sequence[float], fraction: float) -> FloatArray:
    """The rotation ``fraction`` of the short way from one quaternion to another."""
    first, second = unit_vector(quat0), unit_vector(quat1)
    cosine = float(first @ second)
    angle = math.acos(min(abs(cosine), 1.0))
    if fraction == 0 or angle < 4 * EPSILON:
        return first
    ends = math.sin((1 - fraction) * angle), math.copysign(math.sin(fraction * angle), cosine)
    return np.asarray((ends[0] * first + ends[1] * second) / math.sin(angle))


def rotation_matrix(angle: float, direction: Sequence[float], point: Sequence[float] | None = None) -> FloatArray:
    """(4, 4) matrix of a turn about an axis through the origin or ``point``."""
    matrix = quaternion_matrix(quaternion_about_axis(angle, direction))
    if point is not None:
        centre = np.asarray(point[:3], dtype=float)
        matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


def identity_matrix() -> FloatArray:
    return np.eye(4)


def translation_matrix(direction: Sequence[float]) -> FloatArray:
    """(4, 4) matrix of a translation."""
    matrix = np.eye(4)
    matrix[:3, 3] = direction[:3]
    return matrix


def translation_from_matrix(matrix: npt.ArrayLike) -> FloatArray:
    return np.array(matrix, dtype=float)[:3, 3]


def concatenate_matrices(*matrices: npt.ArrayLike) -> FloatArray:
    """The product, from left to right."""
    result = np.eye(4)
    for matrix in matrices:
        result = result @ np.asarray(matrix, dtype=float)
    return result


def inverse_matrix(matrix: npt.ArrayLike) -> FloatArray:
    return np.asarray(np.linalg.inv(np.asarray(matrix, dtype=float)))


def compose_matrix(
    scale: Sequence[float] = (1.0, 1.0, 1.0),
    shear: Sequence[float] = (0.0, 0.0, 0.0),
    angles: Sequence[float] = (0.0, 0.0, 0.0),
    translate: Sequence[float] = (0.0, 0.0, 0.0),
) -> FloatArray:
    """(4, 4) matrix that scales, shears (xy, xz, yz), turns about the fixed axes x, y, z, and translates."""
    ai, aj, ak = angles
    matrix = concatenate_matrices(translation_matrix(translate), euler_matrix(ai, aj, ak))
    xy, xz, yz = shear
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[1, xy, xz], [0, 1, yz], [0, 0, 1]]) @ np.diag(scale)
    return matrix


def decompose_matrix(matrix: npt.ArrayLike) -> tuple[Any, Any, Angles, FloatArray, FloatArray]:
    """Scale, shear, angles, translation and perspective of a (4, 4) matrix, as ``compose_matrix`` takes them.

    Raises NotImplementedError for a perspective, ValueError for a singular matrix.
    """
    m = np.array(matrix, dtype=float)
    if not np.array_equal(m[3], [0, 0, 0, 1]):
        raise NotImplementedError("matrices with a perspective")
    if abs(np.linalg.det(m)) < EPSILON:
        raise ValueError("matrix is singular")
    rotation, upper = np.linalg.qr(m[:3, :3])
    signs = np.sign(np.diag(upper))
    rotation, upper = rotation * signs, upper * signs[:, None]
    scale = np.diag(upper)
    shear = [float(upper[0, 1] / scale[1]), float(upper[0, 2] / scale[2]), float(upper[1, 2] / scale[2])]
    if np.linalg.det(rotation) < 0:
        rotation, scale = -rotation, -scale
    return scale.copy(), shear, euler_from_matrix(rotation), m[:3, 3], m[3]


def vector_norm(data: npt.ArrayLike) -> float:
    """Length of a vector."""
    return float(np.linalg.norm(np.asarray(data, dtype=float)))


def unit_vector(data: npt.ArrayLike) -> FloatArray:
    """A vector, scaled to the length 1."""
    vector = np.array(data, dtype=float)
    return np.asarray(vector / vector_norm(vector))
