"""The drift of the given mapping poses: their deviation from the adjusted map as a smooth function of the viewpoint.

The adjustment gives the deviations at the mapping images. A Gaussian process (Rasmussen and Williams 2006, chapter 2)
predicts the deviation at a query's viewpoint and its variance; far from all mapping images it predicts zero, with the
prior variance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.geometry import se3
from neumap.progress import ignore

# MAX_SUPPORT: viewpoints that are fitted and solved together, which takes milliseconds. NEAREST: viewpoints around a
# query that are used of a field with more of them.
MAX_SUPPORT, NEAREST = 256, 128
# LENGTHS_M, ANGLES_RAD, NOISE: candidates of the kernel's length scales, metres and radians, and its share of noise.
LENGTHS_M, ANGLES_RAD, NOISE = (0.1, 0.2, 0.4, 0.8, 1.6), (0.1, 0.2, 0.4, 0.8), (0.03, 0.1, 0.3)
# STRETCHES: folds of the cross-validation, consecutive viewpoints each.
STRETCHES = 16
SQRT3 = np.sqrt(3.0)


def _embed(poses: FloatArray, length_m: float, angle_rad: float) -> FloatArray:
    """Embed poses (N, 4, 4) as vectors (N, 12): positions over ``length_m``, and rotations over ``angle_rad``.

    The kernel is positive definite for the chordal distance of rotations, but not for the geodesic one.
    """
    rotation = poses[:, :3, :3].reshape(-1, 9) / (np.sqrt(2.0) * angle_rad)
    return np.concatenate([poses[:, :3, 3] / length_m, rotation], axis=1)


def _matern32(a: FloatArray, b: FloatArray) -> FloatArray:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = SQRT3 * np.sqrt(np.maximum(squared, 0))
    return np.asarray((1 + distance) * np.exp(-distance))


@dataclass(frozen=True)
class DriftField:
    """Deviations (S, 6) of the given from the adjusted poses, at viewpoints ``poses`` (S, 4, 4).

    A deviation is the translation in metres and the rotation vector in radians of ``adjusted^-1 @ given``, in the
    camera frame. ``scale`` (6,) is the prior standard deviation of each component; ``noise`` is the variance of the
    noise as a share of it.
    """

    poses: FloatArray
    deviations: FloatArray
    scale: FloatArray
    length_m: float
    angle_rad: float
    noise: float

    @cached_property
    def _viewpoints(self) -> FloatArray:
        return _embed(self.poses, self.length_m, self.angle_rad)

    @cached_property
    def _solved(self) -> tuple[FloatArray, FloatArray]:
        """The solution for all viewpoints, made on first access since it imports torch."""
        return _solve(self._viewpoints, self.deviations, self.noise)

    def check(self) -> None:
        """Raise numpy's LinAlgError if the covariance of the viewpoints is not positive definite."""
        if len(self.poses) <= MAX_SUPPORT:
            np.linalg.cholesky(_covariance(self._viewpoints, self.noise))

    def predict(self, pose: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the deviation (6,) at viewpoint ``pose`` (4, 4), and its standard deviation (6,).

        A field of many viewpoints is solved for the nearest ones; the others would hardly change the result.
        """
        from scipy.linalg import solve_triangular  # as in _solve

        if not len(self.poses):
            return np.zeros(6), self.scale
        x = self._viewpoints
        at = _embed(pose[None], self.length_m, self.angle_rad)
        if len(x) <= MAX_SUPPORT:
            lower, alpha = self._solved
        else:
            near = np.sort(np.argpartition(((x - at) ** 2).sum(axis=1), NEAREST)[:NEAREST])
            x = x[near]
            lower, alpha = _solve(x, self.deviations[near], self.noise)
        k = _matern32(at, x)[0]
        known = solve_triangular(lower, k, lower=True)
        variance = max(1.0 - float(known @ known), 0.0)
        return np.asarray(k @ alpha), self.scale * np.sqrt(variance)


def _covariance(x: FloatArray, noise: float) -> FloatArray:
    """Return the covariance (S, S) of deviations, over their prior variance, at viewpoints (S, 12)."""
    return np.asarray(_matern32(x, x) + noise * np.eye(len(x)))


def _solve(x: FloatArray, deviations: FloatArray, noise: float) -> tuple[FloatArray, FloatArray]:
    """Return the Cholesky factor (S, S) of the viewpoints' covariance, and the weights (S, 6) of their deviations.

    Raises numpy's LinAlgError if the covariance is not positive definite.
    """
    # not numpy: on a busy machine its threads wait for each other a hundred times as long; not imported at the top,
    # since reading a map needs neither torch nor SciPy
    import torch
    from scipy.linalg import cho_solve

    try:
        lower: FloatArray = torch.linalg.cholesky(torch.from_numpy(_covariance(x, noise))).numpy()
    except RuntimeError as error:
        raise np.linalg.LinAlgError(str(error)) from error
    # older versions of SciPy reject empty arrays
    return lower, cho_solve((lower, True), deviations) if len(x) else deviations


def apply_deviation(pose: FloatArray, deviation: FloatArray) -> FloatArray:
    """Move ``pose`` (4, 4) of the adjusted map by ``deviation`` (6,) to the frame of the given poses."""
    return np.asarray(pose @ se3.make_pose(se3.rotation_exp(deviation[3:]), deviation[:3]))


def deviations_between(adjusted: FloatArray, given: FloatArray) -> FloatArray:
    """Return deviations (N, 6) of ``given`` from ``adjusted`` poses (N, 4, 4)."""
    step = se3.invert_pose(adjusted) @ given
    return np.concatenate([step[:, :3, 3], se3.rotation_log(step[:, :3, :3])], axis=1)


def evenly(count: int, most: int) -> IntArray:
    """Return up to ``most`` evenly spaced indices below ``count``."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(most, count))).astype(np.int64))


def thin_field(field: DriftField, most: int) -> DriftField:
    """Return the field with at most ``most`` of its viewpoints, evenly spaced."""
    keep = evenly(len(field.poses), most)
    return replace(field, poses=field.poses[keep], deviations=field.deviations[keep])


def fit_drift(adjusted: FloatArray, given: FloatArray, progress: Callable[[int, int], object] = ignore) -> DriftField:
    """Fit the field of the deviations of ``given`` from ``adjusted`` mapping poses (F, 4, 4), ordered by time.

    Cross-validation chooses length scales and noise: each stretch of the trajectory is predicted from all others, as
    for a query between mapping images. Errors larger than predicted widen the prior. A long drive keeps one viewpoint
    in four, and parts of ``MAX_SUPPORT`` are evaluated separately. ``progress`` is called with the number of choices
    done and their total.
    """
    keep = evenly(len(given), max(MAX_SUPPORT, len(given) // 4))
    poses, deviations = adjusted[keep], deviations_between(adjusted, given)[keep]
    scale = np.maximum(np.sqrt((deviations**2).mean(axis=0)), 1e-5)
    parts = np.array_split(np.arange(len(poses)), -(-len(poses) // MAX_SUPPORT))

    def score(settings: tuple[float, float, float]) -> tuple[float, float]:
        """Return the log predictive density of each stretch given the rest, and the mean squared normalized error."""
        length, angle, noise = settings
        density, squared = 0.0, 0.0
        for part in parts:
            x = _embed(poses[part], length, angle)
            inverse = np.linalg.inv(_matern32(x, x) + noise * np.eye(len(x)))
            weights = inverse @ (deviations[part] / scale)
            for s in np.array_split(np.arange(len(x)), min(STRETCHES, len(x))):
                # leave-out prediction from the full inverse (Rasmussen and Williams 2006, eq. 5.12, for blocks)
                error = np.linalg.solve(inverse[np.ix_(s, s)], weights[s])
                variance = np.diag(np.linalg.inv(inverse[np.ix_(s, s)]))[:, None]
                density -= 0.5 * float((error**2 / variance + np.log(variance)).sum())
                squared += float((error**2 / variance).sum())
        return density, squared / deviations.size

    choices = list(product(LENGTHS_M, ANGLES_RAD, NOISE))
    scores = []
    for done, choice in enumerate(choices):
        progress(done, len(choices))
        scores.append(score(choice))
    progress(len(choices), len(choices))
    best = max(range(len(choices)), key=lambda i: scores[i][0])
    (length, angle, noise), (_, normalized) = choices[best], scores[best]
    return DriftField(poses, deviations, scale * np.sqrt(max(normalized, 1.0)), length, angle, noise)
