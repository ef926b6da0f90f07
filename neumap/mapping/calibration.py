"""Calibrate the covariance of poses, and measure the accuracy, on mapping images that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import UnreadableError
from neumap.geometry import se3
from neumap.localization.localizer import Localizer
from neumap.localization.verdict import Verdict, judge
from neumap.maps.drift import deviations_between
from neumap.maps.neural_map import Calibration, ExpectedAccuracy, NeuralMap
from neumap.progress import Progress, count_up
from neumap.records import Frame, PoseEstimate

# FEWEST_FRAMES: none of fewer frames are set aside. BLOCK, SMALL_BLOCK: consecutive frames set aside together, of
# MANY_FRAMES or more, and of fewer.
FEWEST_FRAMES, MANY_FRAMES, BLOCK, SMALL_BLOCK = 12, 40, 3, 2
# FEWEST_LOCALIZED: localized images that a fit needs.
FEWEST_LOCALIZED = 8
# BLUNDER_SHARE, BLUNDER_RAD: larger errors, as a share of the landmarks' distance and in radians, are outliers, which
# the verdict should reject and the covariance need not cover.
BLUNDER_SHARE, BLUNDER_RAD = 0.1, np.deg2rad(10)
# CHI2_90, CHI2_50: quantiles of chi-square with 6 degrees of freedom.
CHI2_90, CHI2_50 = 10.645, 5.348
# STUDENT_DOF: degrees of freedom of the likelihood; few, for robustness against single bad images.
STUDENT_DOF = 4.0
# PIXEL_SIGMAS: candidates of the noise, pixels. FLOORS: candidates of the floors, as a share of the distance and in
# radians.
PIXEL_SIGMAS, FLOORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0), (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)
# GENERALIZATION: factor on the errors of images set aside, which are from the same drive as the mapped ones; images of
# another day are harder. INFLATIONS: lower limit before this factor, and upper limit after it.
GENERALIZATION, INFLATIONS = 1.35, (0.7, 4.0)


def set_aside(count: int) -> IntArray:
    """Return the indices of the images, of ``count``, that are set aside for measurement: about one in thirteen of
    many, up to a sixth of few, none of fewer than ``FEWEST_FRAMES``.

    They are blocks of consecutive images, since an image whose neighbour 0.1 s before is mapped is no test.
    """
    if count < FEWEST_FRAMES:
        return np.zeros(0, np.int64)
    # at least nine images in three places, for a meaningful result
    blocks = int(np.clip(count // 40, 3 if count >= 54 else 1, 12))
    size = BLOCK if count >= MANY_FRAMES else SMALL_BLOCK
    starts = np.rint((np.arange(blocks) + 0.5) * count / blocks - size / 2).astype(int)
    return np.concatenate([start + np.arange(size) for start in starts])


def calibrate(
    neural_map: NeuralMap, frames: Sequence[Frame], progress: Progress, least: Calibration | None = None
) -> NeuralMap:
    """Return the map with the covariance calibrated and the accuracy measured on ``frames``, which were not mapped.

    The calibration is at least as cautious as ``least``.
    """
    if not frames:
        return neural_map
    step = count_up(progress, "calibrate", len(frames))
    localizer = Localizer(neural_map)
    found, parts, poses = [], [], []
    for i, frame in enumerate(frames):
        step(min(i, 1))
        try:
            image = frame.read_image()
        except UnreadableError:
            continue
        true = np.asarray(frame.map_from_camera)
        poses.append(true)
        # the map's initial calibration decides whether a quick look suffices
        found.append(localizer.solve(localizer.look(image, frame.camera)).found)
        if found[-1] is not None and not localizer.doubt(found[-1]):
            seen = localizer.corrected(found[-1])
            error = deviations_between(seen.map_from_camera[None], true[None])[0]
            parts.append(Parts(error, seen.unit, seen.drift_sigma, seen.distance_m))
    truth = np.array(poses).reshape(-1, 4, 4)
    calibration = fit_calibration(parts, neural_map.calibration)
    if least is not None:
        calibration = more_cautious(calibration, least)
    verdicts = [judge(one, localizer.needed(), neural_map.drift, calibration) for one in found]
    step(1)
    return replace(neural_map, calibration=calibration, expected=measure(verdicts, truth))


@dataclass(frozen=True)
class Parts:
    """The error (6,) of one estimate and the parts of its covariance, in the camera frame: the ``unit`` covariance
    (6, 6) of reprojection errors, the drift's standard deviation (6,), and the median distance of the landmarks.
    """

    error: FloatArray
    unit: FloatArray
    drift_sigma: FloatArray
    distance_m: float


def fit_calibration(parts: Sequence[Parts], start: Calibration) -> Calibration:
    """Fit noise and floors by maximum Student likelihood of the errors, then inflate them so that nine in ten errors
    are inside the 90 % ellipsoid; outliers are left out. Returns ``start`` if too few images were localized.
    """
    usable = [
        part
        for part in parts
        if np.linalg.norm(part.error[:3]) < BLUNDER_SHARE * part.distance_m
        and np.linalg.norm(part.error[3:]) < BLUNDER_RAD
    ]
    if len(usable) < FEWEST_LOCALIZED:
        return start
    errors = np.stack([p.error for p in usable])
    unit = np.stack([p.unit for p in usable])
    drift = np.stack([np.diag(p.drift_sigma**2) for p in usable])
    seen = np.array([[p.distance_m] * 3 + [1.0] * 3 for p in usable])

    def distances(pixel: float, share: float, floor_rad: float) -> tuple[FloatArray, FloatArray]:
        floor = np.array([share] * 3 + [floor_rad] * 3) * seen
        covariance = pixel**2 * unit + drift + floor[:, None] ** 2 * np.eye(6)
        solved = np.linalg.solve(covariance, errors[..., None])[..., 0]
        return np.einsum("ni,ni->n", errors, solved), np.linalg.slogdet(covariance)[1]

    def likelihood(values: tuple[float, float, float]) -> float:
        d2, logdet = distances(*values)
        return float((-0.5 * logdet - 0.5 * (STUDENT_DOF + 6) * np.log1p(d2 / STUDENT_DOF)).sum())

    pixel, share, floor_rad = max(product(PIXEL_SIGMAS, FLOORS, FLOORS), key=likelihood)
    d2, _ = distances(pixel, share, floor_rad)
    inflation = max(np.sqrt(np.quantile(d2, 0.9) / CHI2_90), np.sqrt(np.median(d2) / CHI2_50), INFLATIONS[0])
    inflation = float(min(GENERALIZATION * inflation, INFLATIONS[1]))
    return replace(start, pixel_sigma=pixel, floor_share=share, floor_rad=floor_rad, inflation=inflation)


def more_cautious(first: Calibration, second: Calibration) -> Calibration:
    """Return the maximum of each field: the larger covariance, and more inliers needed."""
    return Calibration(**{f.name: max(getattr(first, f.name), getattr(second, f.name)) for f in fields(Calibration)})


def measure(estimates: Sequence[PoseEstimate | Verdict], truth: FloatArray) -> ExpectedAccuracy:
    """Return the accuracy of poses against true ``map_from_camera`` (N, 4, 4)."""
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
