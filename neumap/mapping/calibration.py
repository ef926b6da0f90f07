"""How far a pose can be trusted: fitted on mapping images that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.verdict import Verdict
from neumap.maps.neural_map import Calibration, ExpectedAccuracy
from neumap.records import PoseEstimate

BLOCK = 3
# quantiles of chi-square with 6 degrees of freedom
CHI2_90, CHI2_50 = 10.645, 5.348
STUDENT_DOF = 4.0
# images set aside were taken on the same drive as those mapped; those of another day will be harder
GENERALIZATION = 1.35


def set_aside(count: int) -> IntArray:
    """Which of ``count`` images are not mapped but used to measure: blocks of consecutive ones, about one in
    thirteen of many, up to a sixth of few.

    Blocks, because the neighbour of an image taken 0.1 s before is no test. None of fewer than 12 images.
    """
    if count < 12:
        return np.zeros(0, np.int64)
    # nine images, in three places, are the least that tells anything
    blocks = int(np.clip(count // 40, 3 if count >= 54 else 1, 12))
    size = BLOCK if count >= 40 else 2
    starts = np.rint((np.arange(blocks) + 0.5) * count / blocks - size / 2).astype(int)
    return np.concatenate([start + np.arange(size) for start in starts])


@dataclass(frozen=True)
class Parts:
    """What the covariance of one estimate is made of, in the camera frame: the error (6,) that was made, the unit
    covariance (6, 6) of one pixel's noise at the residuals seen, and the drift field's standard deviation (6,)."""

    error: FloatArray
    unit: FloatArray
    drift_sigma: FloatArray


def fit_calibration(parts: Sequence[Parts], start: Calibration) -> Calibration:
    """Noise and floors that maximize a Student likelihood of the errors, then inflated so that nine in ten errors are
    inside the 90 % ellipsoid. ``start`` where fewer than 8 images were localized.

    Errors are clipped to 25 cm, 10 degrees: a blunder is the verdict's business, not the covariance's.
    """
    usable = [p for p in parts if np.linalg.norm(p.error[:3]) < 0.25 and np.linalg.norm(p.error[3:]) < np.deg2rad(10)]
    if len(usable) < 8:
        return start
    errors = np.stack([p.error for p in usable])
    unit = np.stack([p.unit for p in usable])
    drift = np.stack([np.diag(p.drift_sigma**2) for p in usable])

    def distances(pixel: float, floor_m: float, floor_rad: float) -> tuple[FloatArray, FloatArray]:
        covariance = pixel**2 * unit + drift + np.diag([floor_m**2] * 3 + [floor_rad**2] * 3)
        solved = np.linalg.solve(covariance, errors[..., None])[..., 0]
        return np.einsum("ni,ni->n", errors, solved), np.linalg.slogdet(covariance)[1]

    def likelihood(values: tuple[float, float, float]) -> float:
        d2, logdet = distances(*values)
        return float((-0.5 * logdet - 0.5 * (STUDENT_DOF + 6) * np.log1p(d2 / STUDENT_DOF)).sum())

    grid = product(
        (1.0, 2.0, 3.0, 4.0, 6.0, 8.0), (0.001, 0.002, 0.004, 0.008, 0.016), (0.001, 0.002, 0.004, 0.008, 0.016)
    )
    pixel, floor_m, floor_rad = max(grid, key=likelihood)
    d2, _ = distances(pixel, floor_m, floor_rad)
    inflation = max(np.sqrt(np.quantile(d2, 0.9) / CHI2_90), np.sqrt(np.median(d2) / CHI2_50), 0.7)
    inflation = float(min(GENERALIZATION * inflation, 4.0))
    return replace(start, pixel_sigma=pixel, floor_m=floor_m, floor_rad=floor_rad, inflation=inflation)


def more_cautious(first: Calibration, second: Calibration) -> Calibration:
    """The larger of both in everything: wider covariances, and more inliers asked for."""
    return Calibration(**{f.name: max(getattr(first, f.name), getattr(second, f.name)) for f in fields(Calibration)})


def measure(estimates: Sequence[PoseEstimate | Verdict], truth: FloatArray) -> ExpectedAccuracy:
    """The accuracy of poses against true ``map_from_camera`` (N, 4, 4)."""
    errors, distances = [], []
    for estimate, true in zip(estimates, truth, strict=True):
        if estimate.map_from_camera is None or estimate.covariance is None:
            continue
        error = se3.pose_error(estimate.map_from_camera, true)
        errors.append((np.linalg.norm(error[:3]), np.rad2deg(np.linalg.norm(error[3:]))))
        distances.append(float(error @ np.linalg.solve(estimate.covariance, error)))
    count = len(estimates)
    if not count:
        return ExpectedAccuracy()
    if not errors:
        return ExpectedAccuracy(images=count, localized=0.0, within_5cm_5deg=0.0, within_25cm_10deg=0.0)
    metres, degrees = np.array(errors).T
    return ExpectedAccuracy(
        images=count,
        localized=len(errors) / count,
        median_m=float(np.median(metres)),
        median_deg=float(np.median(degrees)),
        within_5cm_5deg=float(((metres < 0.05) & (degrees < 5)).sum() / count),
        within_25cm_10deg=float(((metres < 0.25) & (degrees < 10)).sum() / count),
        in_90_percent_ellipsoid=float((np.array(distances) < CHI2_90).mean()),
    )
