"""Poses of the robot's base with covariances: predicted by odometry, compared with each other, and averaged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.localization.query import Near
from neumap.tracking.settings import Settings

# GATE: largest squared Mahalanobis distance of two poses that agree. A chi-squared variable with six degrees of freedom
# exceeds it once in 30,000 draws: consecutive images must all pass.
GATE = 30.0
# CLAIM_GATE: as GATE, for a claimed pose, exceeded once in 100 draws: an image must confirm the claim.
CLAIM_GATE = 16.8
# FLOOR_M, FLOOR_RAD: standard deviations, metres and radians, by which two poses of a standing robot differ in addition
# to their covariances, because map and calibration have errors.
FLOOR_M, FLOOR_RAD = 0.03, 0.02


@dataclass(frozen=True)
class Fix:
    """A pose of the robot's base in the map at one time, measured in an image or claimed.

    ``covariance`` (6, 6) follows the convention of :class:`~neumap.records.PoseEstimate`; ``odom_from_base`` (4, 4) is
    odometry's pose at the same time, None without odometry. ``sure``: one image has evidence enough to start tracking.
    """

    stamp_ns: int
    map_from_base: FloatArray
    covariance: FloatArray
    odom_from_base: FloatArray | None = None
    sure: bool = False

    @property
    def map_from_odom(self) -> FloatArray:
        """The transform (4, 4) of the odometry frame; map_from_base without odometry."""
        if self.odom_from_base is None:
            return self.map_from_base
        return np.asarray(self.map_from_base @ se3.invert_pose(self.odom_from_base))


@dataclass(frozen=True)
class Difference:
    """The difference of two poses in metres and radians, and their squared Mahalanobis distance."""

    metres: float
    radians: float
    squared: float

    @property
    def agrees(self) -> bool:
        """Whether the two may be the same pose."""
        return self.squared < GATE

    @property
    def confirms(self) -> bool:
        """Whether a pose confirms a claimed one."""
        return self.squared < CLAIM_GATE

    def __str__(self) -> str:
        return f"{self.metres:.2f} m, {np.rad2deg(self.radians):.0f} deg"


def moved_covariance(covariance: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the covariance (6, 6) of the pose of another point of the same rigid body.

    ``offset`` (3,) leads to that point, in metres along the map's axes: a rotation error w moves it by ``w x offset``.
    """
    lever = np.eye(6)
    lever[:3, 3:] = -se3.skew(offset)
    moved = lever @ covariance @ lever.T
    return np.asarray(0.5 * (moved + moved.T))


def fix_of(
    map_from_camera: FloatArray,
    covariance: FloatArray,
    stamp_ns: int,
    base_from_camera: FloatArray,
    odom_from_base: FloatArray | None,
    sure: bool,
) -> Fix:
    """Convert a camera's pose (4, 4) and its ``covariance`` (6, 6) to those of the base."""
    pose = map_from_camera @ se3.invert_pose(base_from_camera)
    offset = pose[:3, 3] - map_from_camera[:3, 3]
    return Fix(stamp_ns, pose, moved_covariance(covariance, offset), odom_from_base, sure)


def predict(fix: Fix, stamp_ns: int, odom_from_base: FloatArray | None, settings: Settings) -> Fix:
    """Move a ``fix`` to another time by odometry; its covariance grows with time and distance."""
    dt = abs(stamp_ns - fix.stamp_ns) * 1e-9
    pose = fix.map_from_base
    if fix.odom_from_base is not None and odom_from_base is not None:
        motion = se3.invert_pose(fix.odom_from_base) @ odom_from_base
        pose = pose @ motion
        distance = float(np.linalg.norm(motion[:3, 3]))
        turn = float(np.linalg.norm(se3.rotation_log(motion[:3, :3])))
        metres = np.hypot(settings.odom_drift * distance, settings.odom_noise * np.sqrt(dt))
        radians = np.hypot(settings.odom_turn_drift * turn, settings.odom_turn_noise * np.sqrt(dt))
    else:
        # three standard deviations cover the farthest that the robot can have moved
        metres, radians = settings.max_speed * dt / 3, settings.max_turn_rate * dt / 3
    covariance = moved_covariance(fix.covariance, pose[:3, 3] - fix.map_from_base[:3, 3])
    covariance += np.diag([metres**2] * 3 + [radians**2] * 3)
    return replace(fix, stamp_ns=stamp_ns, map_from_base=pose, covariance=covariance, odom_from_base=odom_from_base)


def difference(earlier: Fix, later: Fix, settings: Settings) -> Difference:
    """Compare ``later`` with the prediction from ``earlier``."""
    expected = predict(earlier, later.stamp_ns, later.odom_from_base, settings)
    error = se3.pose_error(later.map_from_base, expected.map_from_base)
    floor = np.diag([FLOOR_M**2] * 3 + [FLOOR_RAD**2] * 3)
    squared = error @ np.linalg.solve(expected.covariance + later.covariance + floor, error)
    return Difference(float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:])), float(squared))


def agreeing(candidates: tuple[Fix, ...], fix: Fix, settings: Settings) -> tuple[Fix, ...]:
    """Return the candidates that agree with a later ``fix``, followed by this fix."""
    return (*(each for each in candidates if difference(each, fix, settings).agrees), fix)


def claimed_near(prior: Fix, base_from_camera: FloatArray, max_sigma_m: float) -> Near:
    """Return the region of camera positions in which an image can confirm the ``prior``.

    The image's pose has a standard deviation of at most ``max_sigma_m`` metres.
    """
    offset = prior.map_from_base[:3, :3] @ base_from_camera[:3, 3]
    spread = np.linalg.eigvalsh(moved_covariance(prior.covariance, offset)[:3, :3])[-1]
    return Near(prior.map_from_base[:3, 3] + offset, float(np.sqrt(CLAIM_GATE * (spread + max_sigma_m**2))))


def averaged(expected: Fix, seen: Fix) -> Fix:
    """Return the average of the measurement ``seen`` and the prediction, weighted by their covariances.

    The result keeps the covariance of ``seen``: errors of map and calibration are common to both and do not average
    out, so a filter that assumed independence would become overconfident.
    """
    error = se3.pose_error(expected.map_from_base, seen.map_from_base)
    step = seen.covariance @ np.linalg.solve(expected.covariance + seen.covariance, error)
    turn = se3.rotation_exp(step[3:]) @ seen.map_from_base[:3, :3]
    return replace(seen, map_from_base=se3.make_pose(turn, seen.map_from_base[:3, 3] + step[:3]))
