"""The deviation of given from adjusted poses, between and away from the mapping images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic_scene import look_at, no_drift, ring, turned

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.maps.drift import (
    MAX_SUPPORT,
    DriftField,
    apply_deviation,
    deviations_between,
    fit_drift,
    thin_field,
)

vectors = arrays(np.float64, 3, elements=st.floats(-1.5, 1.5))


@given(vectors, vectors, vectors, vectors)
def test_applying_the_deviation_between_two_poses_takes_one_to_the_other(
    w1: FloatArray, t1: FloatArray, w2: FloatArray, t2: FloatArray
) -> None:
    adjusted, given_pose = turned(w1, t1), turned(w2, t2)
    deviation = deviations_between(adjusted[None], given_pose[None])[0]
    np.testing.assert_allclose(apply_deviation(adjusted, deviation), given_pose, atol=1e-9)


@given(vectors, vectors, arrays(np.float64, 6, elements=st.floats(-1.5, 1.5)))
def test_the_deviation_that_was_applied_is_found_between(w: FloatArray, t: FloatArray, deviation: FloatArray) -> None:
    pose = turned(w, t)
    moved = apply_deviation(pose, deviation)
    np.testing.assert_allclose(deviations_between(pose[None], moved[None])[0], deviation, atol=1e-9)


def walk(x: FloatArray) -> FloatArray:
    """Viewpoints (N, 4, 4) along a winding path, ``x`` (N,) metres along it."""
    eye = np.stack([x, 0.5 * np.sin(x), np.zeros(len(x))], axis=1)
    ahead = np.stack([np.cos(0.3 * np.sin(x)), np.sin(0.3 * np.sin(x)), np.zeros(len(x))], axis=1)
    return np.array([look_at(e, e + a) for e, a in zip(eye, ahead, strict=True)])


def smooth_deviation(x: FloatArray) -> FloatArray:
    """Centimetres and tenths of degrees that change over metres (N, 6)."""
    metres = np.stack([0.02 * np.sin(x), 0.01 * np.cos(1.3 * x), 0.015 * np.sin(0.7 * x + 1)], axis=1)
    return np.concatenate([metres, 0.3 * metres[:, ::-1]], axis=1)


def drifted(x: FloatArray, noise: float = 0.0) -> tuple[FloatArray, FloatArray]:
    adjusted, deviation = walk(x), smooth_deviation(x)
    deviation = deviation + np.random.default_rng(0).normal(size=deviation.shape) * noise * [1, 1, 1, 0.3, 0.3, 0.3]
    return adjusted, np.array([apply_deviation(p, d) for p, d in zip(adjusted, deviation, strict=True)])


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_a_smooth_field_is_predicted_between_the_mapping_images(noise: float) -> None:
    field = fit_drift(*drifted(np.linspace(0, 10, 200), noise))
    between = np.linspace(0.3, 9.7, 41)
    predictions = [field.predict(pose) for pose in walk(between)]
    error = np.array([p for p, _ in predictions]) - smooth_deviation(between)
    sigma = np.array([s for _, s in predictions])
    truth = smooth_deviation(between)
    assert np.sqrt((error**2).mean()) < 0.15 * np.sqrt((truth**2).mean())
    # honest: hardly ever beyond three standard deviations, and those well below the prior's
    assert (np.abs(error) < 3 * sigma).mean() > 0.98
    assert (sigma < 0.6 * field.scale).all()


def test_a_gap_is_less_certain_than_its_surroundings() -> None:
    x = np.concatenate([np.linspace(0, 4, 80), np.linspace(6, 10, 80)])
    field = fit_drift(*drifted(x))
    there, gap = (field.predict(walk(np.array([at]))[0])[1] for at in (2.0, 5.0))
    assert (gap > 2 * there).all()


def test_far_away_nothing_is_predicted_with_the_whole_prior() -> None:
    field = fit_drift(*drifted(np.linspace(0, 10, 100)))
    deviation, sigma = field.predict(walk(np.array([100.0]))[0])
    np.testing.assert_allclose(deviation, 0, atol=1e-9)
    np.testing.assert_allclose(sigma, field.scale, rtol=1e-9)


def test_looking_the_other_way_is_far_away_too() -> None:
    field = fit_drift(*drifted(np.linspace(0, 10, 100)))
    back = walk(np.array([5.0]))[0] @ turned(np.array([0, np.pi, 0]), np.zeros(3))
    deviation, sigma = field.predict(back)
    there, _ = field.predict(walk(np.array([5.0]))[0])
    assert np.abs(deviation).max() < 0.3 * np.abs(there).max()
    assert (sigma > 0.8 * field.scale).all()


def test_without_drift_nothing_is_predicted() -> None:
    poses = ring(40)
    field = fit_drift(poses, poses)
    deviation, sigma = field.predict(poses[3])
    np.testing.assert_allclose(deviation, 0, atol=1e-9)
    assert (sigma < 1e-4).all()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_make_a_field_too(count: int) -> None:
    field = fit_drift(*drifted(np.linspace(0, 1, count)))
    deviation, sigma = field.predict(walk(np.array([0.5]))[0])
    assert np.isfinite(deviation).all()
    assert (sigma > 0).all()


def test_support_is_limited() -> None:
    field = fit_drift(*drifted(np.linspace(0, 10, MAX_SUPPORT + 50)))
    assert len(field.poses) == len(field.deviations) == MAX_SUPPORT


def test_of_a_long_drive_one_viewpoint_in_four_predicts_the_others() -> None:
    x = np.linspace(0, 120, 1600)
    adjusted, given_poses = drifted(x)
    told: list[tuple[int, int]] = []
    field = fit_drift(adjusted, given_poses, lambda done, total: told.append((done, total)))
    assert len(field.poses) == 400
    assert told[-1] == (len(told) - 1, len(told) - 1)
    for i in range(10, 1600, 150):
        deviation, sigma = field.predict(adjusted[i])
        true = deviations_between(adjusted[i : i + 1], given_poses[i : i + 1])[0]
        assert np.linalg.norm((deviation - true)[:3]) < 0.002
        assert (sigma < 0.5 * field.scale).all()


def test_a_thinned_field_keeps_viewpoints_from_end_to_end_and_what_it_predicts() -> None:
    field = fit_drift(*drifted(np.linspace(0, 10, 200)))
    thin = thin_field(field, 50)
    assert len(thin.poses) == 50
    np.testing.assert_array_equal(thin.poses[[0, -1]], field.poses[[0, -1]])
    for pose in walk(np.linspace(1, 9, 7)):
        np.testing.assert_allclose(thin.predict(pose)[0], field.predict(pose)[0], atol=0.004)
    assert len(thin_field(field, 500).poses) == 200


def test_a_field_without_viewpoints_knows_only_its_prior() -> None:
    field = no_drift()
    deviation, sigma = field.predict(np.eye(4))
    np.testing.assert_array_equal(deviation, np.zeros(6))
    np.testing.assert_array_equal(sigma, field.scale)


def test_a_single_viewpoint_is_believed_by_its_share_of_noise() -> None:
    deviation = np.arange(1.0, 7.0)
    field = DriftField(np.eye(4)[None], deviation[None], np.ones(6), 0.5, 0.5, noise=0.25)
    predicted, sigma = field.predict(np.eye(4))
    np.testing.assert_allclose(predicted, deviation / 1.25)
    np.testing.assert_allclose(sigma, np.sqrt(1 - 1 / 1.25))
    half_metre = se3.make_pose(np.eye(3), np.array([0.5, 0, 0]))
    k = (1 + np.sqrt(3)) * np.exp(-np.sqrt(3))
    np.testing.assert_allclose(field.predict(half_metre)[0], deviation * k / 1.25)


def test_a_field_of_many_viewpoints_is_that_of_the_near_ones() -> None:
    x = np.linspace(0, 60, 4 * MAX_SUPPORT)
    adjusted, given_poses = drifted(x, noise=0.002)
    deviations = deviations_between(adjusted, given_poses)
    scale = np.full(6, 0.02)
    many = DriftField(adjusted, deviations, scale, length_m=0.4, angle_rad=0.4, noise=0.1)
    near = np.argsort(np.abs(x - 30.03))[:MAX_SUPPORT]
    few = DriftField(adjusted[near], deviations[near], scale, length_m=0.4, angle_rad=0.4, noise=0.1)
    at = walk(np.array([30.03]))[0]
    for found, expected in zip(many.predict(at), few.predict(at), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    deviation, sigma = many.predict(walk(np.array([500.0]))[0])
    np.testing.assert_allclose(deviation, 0, atol=1e-9)
    np.testing.assert_allclose(sigma, scale)
