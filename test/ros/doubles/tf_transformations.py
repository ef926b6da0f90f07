"""Stands for tf_transformations, which no wheel has: of it, quaternions (x, y, z, w) from and to matrices (4, 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation


def quaternion_matrix(quaternion: Sequence[float]) -> Any:
    """Returns the matrix of a quaternion."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    return matrix


def quaternion_from_matrix(matrix: Any) -> Any:
    """Returns the quaternion of a matrix."""
    return Rotation.from_matrix(np.asarray(matrix)[:3, :3]).as_quat()
