"""Pose graph optimization: estimates poses from uncertain relative measurements.

Sparse Gauss-Newton on SE(3). Visual measurements may be outliers and have the Geman-McClure loss, whose scale shrinks
from round to round, so that the result does not depend on the initial poses (graduated non-convexity, Yang et al.
2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry import se3

# CHI2_99: 99 % quantile of chi-square with 6 degrees of freedom, the scale of the loss in the last round.
CHI2_99 = 16.8
# SOFTNESS: factor on that scale in each round. STEPS: iterations of a round at most. CONVERGED: step size, metres or
# radians, below which a round ends.
SOFTNESS, STEPS, CONVERGED = (64.0, 16.0, 4.0, 1.0), 10, 1e-4
# UPRIGHT_RAD: standard deviation of odometry's roll and pitch, radians: a floor is flat, and a drone has an IMU.
UPRIGHT_RAD = np.deg2rad(3.0)
# HELD_UP: mean cosine between z of the frame and the upward axis of the cameras above which z points up.
HELD_UP = 0.5


@dataclass(frozen=True)
class Measurements:
    """M measurements of pose ``second`` (M,) in pose ``first`` (M,): ``motion`` (M, 4, 4), with the ``information`` (M,
    6, 6), the inverse covariance, of a small motion on its right, translation in metres, then rotation in radians; it
    is zero along what is not measured. ``doubtful`` (M,): those that may be wrong altogether.
    """

    first: IntArray
    second: IntArray
    motion: FloatArray
    information: FloatArray
    doubtful: BoolArray

    def __len__(self) -> int:
        return len(self.first)

    def select(self, index: IntArray | BoolArray) -> Measurements:
        """Return those at ``index``."""
        return Measurements(
            self.first[index], self.second[index], self.motion[index], self.information[index], self.doubtful[index]
        )

    def errors(self, poses: FloatArray) -> FloatArray:
        """Return the errors (M, 6) of poses (N, 4, 4)."""
        step = se3.invert_pose(self.motion) @ se3.invert_pose(poses[self.first]) @ poses[self.second]
        return np.concatenate([step[:, :3, 3], se3.rotation_log(step[:, :3, :3])], axis=1)

    def squared(self, poses: FloatArray) -> FloatArray:
        """Return the squared Mahalanobis distances (M,) of the errors."""
        error = self.errors(poses)
        return np.asarray(np.einsum("ni,nij,nj->n", error, self.information, error))


def together(*parts: Measurements) -> Measurements:
    """Return all measurements as one."""
    return Measurements(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("first", "second", "motion", "information", "doubtful")
        )
    )


@dataclass(frozen=True)
class Solution:
    """Poses (N, 4, 4) that measurements agree on, and how certain they are: the first one is as it was given.

    ``trust`` (M,) is what each measurement counts for, 0 to 1.
    """

    poses: FloatArray
    trust: FloatArray
    _factor: scipy.sparse.linalg.SuperLU

    def covariance_between(self, first: int, second: IntArray) -> FloatArray:
        """Return the covariances (S, 6, 6) of poses ``second`` (S,) in pose ``first``, of a small motion on the
        right.
        """
        wanted = np.unique(np.r_[0, first, second])
        right = np.zeros((6 * len(self.poses), 6 * len(wanted)))
        right[(6 * wanted[:, None] + np.arange(6)).ravel(), np.arange(right.shape[1])] = 1
        solved = np.zeros_like(right)  # the first pose is certain
        solved[6:] = self._factor.solve(right[6:])
        column = {int(node): 6 * i for i, node in enumerate(wanted)}

        def block(a: int, b: int) -> FloatArray:
            return solved[6 * a : 6 * a + 6, column[b] : column[b] + 6]

        out = np.empty((len(second), 6, 6))
        motion = se3.invert_pose(self.poses[first]) @ self.poses[second]
        carry = se3.adjoint(se3.invert_pose(motion))
        for k, other in enumerate(second.tolist()):
            cross = carry[k] @ block(first, other)
            out[k] = block(other, other) + carry[k] @ block(first, first) @ carry[k].T - cross - cross.T
        return out


def is_upright(map_from_camera: FloatArray) -> bool:
    """Return whether z of the frame points up, judged by cameras at poses (N, 4, 4)."""
    return bool(-map_from_camera[:, 2, 1].mean() > HELD_UP)


def solve(given: FloatArray, measurements: Measurements, start: FloatArray | None = None) -> Solution:
    """Return the poses that ``measurements`` agree on, from those ``given`` (N, 4, 4), the first of which stays, or
    from those to ``start`` with.

    Which way is up, z of their frame, is about as each given pose has it, where these are poses of cameras that say
    that it is up. Every pose must hang together with the first.
    """
    poses, up = (given if start is None else start).copy(), given[:, 2, :3].copy() if is_upright(given) else None
    doubtful = measurements.doubtful
    trust = np.ones(len(measurements))
    factor = None
    for softness in SOFTNESS if doubtful.any() else SOFTNESS[-1:]:
        limit = softness * CHI2_99
        for _ in range(STEPS):
            trust = np.where(doubtful, (limit / (limit + measurements.squared(poses))) ** 2, 1.0)
            factor, pull = _linearized(poses, up, measurements, trust[:, None, None] * measurements.information)
            step = np.zeros((len(poses), 6))
            step[1:] = -factor.solve(pull[1:].ravel()).reshape(-1, 6)
            poses = poses @ se3.make_pose(se3.rotation_exp(step[:, 3:]), step[:, :3])
            if np.abs(step).max() < CONVERGED:
                break
    return Solution(poses, trust, factor)


def _linearized(
    poses: FloatArray, up: FloatArray | None, measurements: Measurements, information: FloatArray
) -> tuple[scipy.sparse.linalg.SuperLU, FloatArray]:
    """Return the normal equations of all poses but the first, factorized, and the gradient (N, 6) of half the squared
    errors by a small motion on the right of each pose.
    """
    count, first, second = len(poses), measurements.first, measurements.second
    error = measurements.errors(poses)
    back = se3.adjoint(se3.invert_pose(measurements.motion))
    half = 0.5 * se3.skew(error[:, 3:])
    by_first, by_second = -back, np.zeros_like(back)
    by_first[:, :3] += se3.skew(error[:, :3]) @ back[:, 3:]
    by_first[:, 3:] += half @ back[:, 3:]
    by_second[:, :3, :3] = se3.rotation_exp(error[:, 3:])
    by_second[:, 3:, 3:] = np.eye(3) + half
    blocks, rows, columns = [], [], []
    pull = np.zeros((count, 6))
    for a, by_a in ((first, by_first), (second, by_second)):
        weighed = np.swapaxes(by_a, 1, 2) @ information
        np.add.at(pull, a, (weighed @ error[..., None])[..., 0])
        for b, by_b in ((first, by_first), (second, by_second)):
            blocks.append(weighed @ by_b)
            rows.append(a)
            columns.append(b)
    if up is not None:
        # in the frame of each pose
        turned = np.zeros((count, 3, 6))
        turned[:, :, 3:] = se3.skew(poses[:, 2, :3])
        tilted = np.swapaxes(turned, 1, 2) / UPRIGHT_RAD**2
        pull += (tilted @ (poses[:, 2, :3] - up)[..., None])[..., 0]
        blocks.append(tilted @ turned)
        rows.append(np.arange(count))
        columns.append(np.arange(count))
    block, row, column = (np.concatenate(each) for each in (blocks, rows, columns))
    free = (row > 0) & (column > 0)
    block, row, column = block[free], 6 * (row[free] - 1), 6 * (column[free] - 1)
    index = np.arange(6)
    at = np.broadcast_arrays(row[:, None, None] + index[:, None], column[:, None, None] + index)
    size = 6 * (count - 1)
    matrix = scipy.sparse.csc_matrix((block.ravel(), (at[0].ravel(), at[1].ravel())), shape=(size, size))
    return scipy.sparse.linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}), pull
