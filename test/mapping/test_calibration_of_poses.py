"""Calibration of the covariance, on errors whose distribution is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_scene import turned

from neumap.arrays import FloatArray
from neumap.localization.verdict import Corrected, pose_covariance
from neumap.mapping.calibration import BLOCK, CHI2_90, GENERALIZATION, Parts, fit_calibration, measure, set_aside
from neumap.maps.neural_map import Calibration, ExpectedAccuracy
from neumap.records import PoseEstimate, Status


@given(st.integers(0, 1200))
def test_images_set_aside_are_blocks_spread_over_the_drive(count: int) -> None:
    aside = set_aside(count)
    if count < 12:
        assert len(aside) == 0
        return
    assert len(np.unique(aside)) == len(aside)
    assert ((aside >= 0) & (aside < count)).all()
    assert (np.diff(aside) > 0).all()
    assert 2 <= len(aside) <= count / 6
    blocks = np.split(aside, np.flatnonzero(np.diff(aside) > 1) + 1)
    assert {len(b) for b in blocks} == ({BLOCK} if count >= 40 else {2})
    # the ends of the drive are mapped: what lies beyond them is no test of what lies between
    assert aside[0] > 0
    assert aside[-1] < count - 1


def samples(
    rng: np.random.Generator, count: int, pixel: float, share: float, floor_rad: float, heavy: bool = False
) -> list[Parts]:
    """Errors at 2 to 30 m drawn from the covariance of noise, floors and drift; ``heavy``: from a Student's of that."""
    out = []
    for _ in range(count):
        a = rng.normal(size=(6, 6)) * np.repeat([1e-3, 5e-4], 3)[:, None]
        unit = a @ a.T / 6 + np.diag(np.repeat([1e-8, 1e-9], 3))
        drift_sigma = rng.uniform(0.5, 1.5, 6) * np.repeat([2e-3, 1e-3], 3)
        covariance = pixel**2 * unit + np.diag(drift_sigma**2)
        distance_m = rng.uniform(2, 30)
        covariance += np.diag(np.repeat([(share * distance_m) ** 2, floor_rad**2], 3))
        error = np.linalg.cholesky(covariance) @ rng.normal(size=6)
        if heavy:
            error /= np.sqrt(rng.chisquare(5) / 5)
        out.append(Parts(error, unit, drift_sigma, distance_m))
    return out


def covered(parts: list[Parts], calibration: Calibration) -> float:
    """The share of errors in the 90 % ellipsoid of the covariance that the localizer would give."""
    inside = 0
    for p in parts:
        covariance = pose_covariance(
            Corrected(np.eye(4), p.unit, p.drift_sigma, p.distance_m, np.zeros((6, 6))), calibration
        )
        inside += p.error @ np.linalg.solve(covariance, p.error) < CHI2_90
    return inside / len(parts)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(
    ("pixel", "share", "floor_rad"), [(2.0, 0.004, 0.002), (6.0, 0.001, 0.001), (1.0, 0.016, 0.008)]
)
def test_the_fitted_covariance_covers_fresh_errors(pixel: float, share: float, floor_rad: float, heavy: bool) -> None:
    rng = np.random.default_rng(int(1000 * pixel))
    calibration = fit_calibration(samples(rng, 40, pixel, share, floor_rad, heavy), Calibration())
    fresh = samples(rng, 500, pixel, share, floor_rad, heavy)
    # nine in ten, but for the margin that errors of another day are given
    same_day = replace(calibration, inflation=calibration.inflation / GENERALIZATION)
    assert 0.8 <= covered(fresh, same_day) <= 0.98
    assert covered(fresh, calibration) >= 0.9


def test_the_noise_is_recovered() -> None:
    rng = np.random.default_rng(1)
    calibration = fit_calibration(samples(rng, 400, 6.0, 0.001, 0.001), Calibration())
    assert 4 <= calibration.pixel_sigma <= 8
    assert calibration.floor_share <= 0.004
    calibration = fit_calibration(samples(rng, 400, 1.0, 0.016, 0.008), Calibration())
    assert calibration.floor_share == 0.016
    assert calibration.floor_rad == 0.008
    assert 1.0 <= calibration.inflation <= 1.6


def test_blunders_do_not_count() -> None:
    rng = np.random.default_rng(2)
    good = samples(rng, 40, 2.0, 0.004, 0.002)
    blunder = Parts(np.array([9.0, 0, 0, 0.5, 0, 0]), good[0].unit, good[0].drift_sigma, good[0].distance_m)
    assert fit_calibration([*good, blunder], Calibration()) == fit_calibration(good, Calibration())


def test_too_few_images_leave_what_was() -> None:
    start = Calibration(inflation=2.2, min_inliers=9)
    assert fit_calibration(samples(np.random.default_rng(3), 7, 2.0, 0.004, 0.002), start) is start
    assert fit_calibration([], start) is start
    fitted = fit_calibration(samples(np.random.default_rng(3), 8, 2.0, 0.004, 0.002), start)
    assert fitted != start
    assert fitted.min_inliers == 9


def estimate(off: FloatArray | None, sigma: float = 0.01) -> PoseEstimate:
    """A pose that is ``off`` metres from the origin, or none."""
    found = off is not None
    return PoseEstimate(
        status=Status.LOCALIZED if found else Status.LOST,
        reason="",
        map_from_camera=turned(np.zeros(3), off) if off is not None else None,
        covariance=sigma**2 * np.eye(6) if found else None,
        inliers=20,
        reprojection_error_px=1.0,
        keypoints_px=np.zeros((0, 2), np.float32),
        points_map=np.zeros((0, 3), np.float32),
        times_ms={},
    )


def test_shares_are_of_all_images_and_medians_of_the_localized() -> None:
    offs = [np.array([0.02, 0, 0]), np.array([0, 0.1, 0]), np.array([0, 0, 0.5]), None]
    accuracy = measure([estimate(o) for o in offs], np.tile(np.eye(4), (4, 1, 1)))
    assert accuracy == ExpectedAccuracy(
        images=4,
        localized=0.75,
        median_m=pytest.approx(0.1),
        median_deg=pytest.approx(0.0, abs=1e-6),
        within_5cm_5deg=0.25,
        within_25cm_10deg=0.5,
        in_90_percent_ellipsoid=pytest.approx(1 / 3),
    )


def test_rotations_count_in_degrees() -> None:
    truth = np.array([turned(np.array([0, 0, np.deg2rad(d)]), np.zeros(3)) for d in (2.0, 7.0, 20.0)])
    accuracy = measure([estimate(np.zeros(3))] * 3, truth)
    assert accuracy.median_deg == pytest.approx(7.0)
    assert accuracy.within_5cm_5deg == pytest.approx(1 / 3)
    assert accuracy.within_25cm_10deg == pytest.approx(2 / 3)


def test_nothing_measured_and_nothing_localized() -> None:
    assert measure([], np.zeros((0, 4, 4))).images == 0
    nothing = measure([estimate(None)] * 3, np.tile(np.eye(4), (3, 1, 1)))
    assert (nothing.images, nothing.localized, nothing.within_25cm_10deg) == (3, 0.0, 0.0)
    assert np.isnan(nothing.median_m)
