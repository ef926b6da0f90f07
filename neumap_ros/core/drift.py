"""How the given mapping poses deviate from one consistent map, as a smooth function of the viewpoint.

The deviations at the mapping images are known after the adjustment. Between them a Gaussian process (Rasmussen and
Williams 2006, chapter 2) predicts the deviation at a query's viewpoint and says how far to trust it; far from all
mapping images it predicts none, with the whole prior variance. Length scales and noise maximize the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.linalg

from neumap_ros.core import geometry
from neumap_ros.records import FloatArray

MAX_SUPPORT = 256
LENGTHS_M = (0.1, 0.2, 0.4, 0.8, 1.6)
ANGLES_RAD = (0.1, 0.2, 0.4, 0.8)
NOISE = (0.03, 0.1, 0.3)
SQRT3 = np.sqrt(3.0)


def _embed(poses: FloatArray, length_m: float, angle_rad: float) -> FloatArray:
    """Viewpoints (N, 12) whose Euclidean distance is that of positions in lengths and of rotations in angles.

    The chordal distance of rotations keeps the kernel positive definite, which the geodesic one does not.
    """
    rotation = poses[:, :3, :3].reshape(-1, 9) / (np.sqrt(2.0) * angle_rad)
    return np.concatenate([poses[:, :3, 3] / length_m, rotation], axis=1)


def _matern32(a: FloatArray, b: FloatArray) -> FloatArray:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = SQRT3 * np.sqrt(np.maximum(squared, 0))
    return np.asarray((1 + distance) * np.exp(-distance))


@dataclass(frozen=True)
class DriftField:
    """Deviations (S, 6) of the given from the adjusted poses at viewpoints ``poses`` (S, 4, 4).

    A deviation is the translation in metres and rotation vector in radians of ``adjusted^-1 @ given``, in the camera
    frame. ``scale`` (6,) is the prior standard deviation of each component, ``noise`` the share of it that is not smooth.
    """

    poses: FloatArray
    deviations: FloatArray
    scale: FloatArray
    length_m: float
    angle_rad: float
    noise: float

    def __post_init__(self) -> None:
        x = _embed(self.poses, self.length_m, self.angle_rad)
        lower = np.linalg.cholesky(_matern32(x, x) + self.noise * np.eye(len(x)))
        object.__setattr__(self, "_x", x)
        object.__setattr__(self, "_lower", lower)
        object.__setattr__(self, "_alpha", scipy.linalg.cho_solve((lower, True), self.deviations))

    def predict(self, pose: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The deviation (6,) at viewpoint ``pose`` (4, 4), and its standard deviation (6,)."""
        if not len(self.poses):
            return np.zeros(6), self.scale
        k = _matern32(_embed(pose[None], self.length_m, self.angle_rad), self._x)[0]  # type: ignore[attr-defined]
        known = scipy.linalg.solve_triangular(self._lower, k, lower=True)  # type: ignore[attr-defined]
        variance = max(1.0 - float(known @ known), 0.0)
        return np.asarray(k @ self._alpha), self.scale * np.sqrt(variance)  # type: ignore[attr-defined]


def apply_deviation(pose: FloatArray, deviation: FloatArray) -> FloatArray:
    """``pose`` (4, 4) of the adjusted map, moved by ``deviation`` (6,) to the frame of the given poses."""
    return np.asarray(pose @ geometry.make_pose(geometry.rotation_exp(deviation[3:]), deviation[:3]))


def deviations_between(adjusted: FloatArray, given: FloatArray) -> FloatArray:
    """Deviations (N, 6) of ``given`` from ``adjusted`` poses (N, 4, 4)."""
    step = geometry.invert_pose(adjusted) @ given
    return np.concatenate([step[:, :3, 3], geometry.rotation_log(step[:, :3, :3])], axis=1)


def fit_drift(adjusted: FloatArray, given: FloatArray) -> DriftField:
    """The field of the deviations of ``given`` from ``adjusted`` mapping poses (F, 4, 4)."""
    keep = np.unique(np.rint(np.linspace(0, len(given) - 1, min(len(given), MAX_SUPPORT))).astype(int))
    poses, deviations = adjusted[keep], deviations_between(adjusted, given)[keep]
    scale = np.maximum(np.sqrt((deviations**2).mean(axis=0)), 1e-5)
    whitened = deviations / scale

    def log_likelihood(settings: tuple[float, float, float]) -> float:
        length, angle, noise = settings
        x = _embed(poses, length, angle)
        lower = np.linalg.cholesky(_matern32(x, x) + noise * np.eye(len(x)))
        fitted = scipy.linalg.solve_triangular(lower, whitened, lower=True)
        return float(-0.5 * (fitted**2).sum() - whitened.shape[1] * np.log(np.diag(lower)).sum())

    length, angle, noise = max(product(LENGTHS_M, ANGLES_RAD, NOISE), key=log_likelihood)
    return DriftField(poses, deviations, scale, length, angle, noise)
