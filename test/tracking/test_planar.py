"""Poses on the floor."""

from __future__ import annotations

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, pose_error, rotation_exp
from neumap.tracking.fix import Fix
from neumap.tracking.planar import MeanTilt, flattened, planar, tilt_doubt
from neumap.tracking.requests import planar_claim
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import apart_from_claim


def pose(x: float, y: float, z: float, yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> FloatArray:
    """A pose as roll, pitch and yaw of REP-103 give it."""
    turns = [rotation_exp(np.deg2rad(v)) for v in ([0, 0, yaw_deg], [0, pitch_deg, 0], [roll_deg, 0, 0])]
    return make_pose(turns[0] @ turns[1] @ turns[2], np.array([x, y, z]))


def spread() -> FloatArray:
    """A covariance in which everything hangs together."""
    root = np.diag([0.02, 0.03, 0.04, 0.01, 0.012, 0.008]) @ np.random.default_rng(0).normal(size=(6, 6))
    return np.asarray(root @ root.T + 1e-6 * np.eye(6))


def test_x_y_and_yaw_stay_and_the_rest_is_on_the_floor() -> None:
    np.testing.assert_allclose(flattened(pose(1.0, 2.0, 0.3, 30.0, 4.0, -3.0)), pose(1.0, 2.0, 0.0, 30.0), atol=1e-12)
    np.testing.assert_allclose(flattened(pose(1.0, 2.0, 0.3, -170.0)), pose(1.0, 2.0, 0.0, -170.0), atol=1e-12)


def test_the_transform_of_the_map_is_on_the_floor_and_leads_to_the_pose() -> None:
    # odometry of an IMU that has the robot's pitch, and a base above the wheels
    fix = Fix(0, pose(3.0, -1.0, 0.5, 80.0, 3.0, 2.0), spread(), pose(7.0, 2.0, 0.1, -25.0, 5.0, 1.0))
    flat = planar(fix)
    np.testing.assert_allclose(flat.map_from_odom[2, :], [0, 0, 1, 0], atol=1e-12)
    assert fix.odom_from_base is not None
    led = flattened(flat.map_from_odom @ fix.odom_from_base)
    np.testing.assert_allclose(led, pose(3.0, -1.0, 0.0, 80.0), atol=1e-12)


def test_the_covariance_is_that_of_x_y_and_yaw_and_tells_how_far_the_rest_was_moved() -> None:
    fix = Fix(0, pose(3.0, -1.0, 0.5, 80.0, 3.0), spread())
    covariance = planar(fix).covariance
    kept = np.ix_([0, 1, 5], [0, 1, 5])
    np.testing.assert_array_equal(covariance[kept], fix.covariance[kept])
    assert covariance[2, 2] == pytest.approx(0.5**2 + fix.covariance[2, 2])
    tilted = np.trace(covariance[3:5, 3:5]) - np.trace(fix.covariance[3:5, 3:5])
    assert tilted == pytest.approx(np.deg2rad(3.0) ** 2, rel=1e-3)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_the_covariance_is_honest() -> None:
    rng, true = np.random.default_rng(1), pose(3.0, -1.0, 0.0, 80.0)
    inverse, squared = np.linalg.inv(np.linalg.cholesky(spread())), []
    for _ in range(2000):
        error = np.linalg.solve(inverse, rng.normal(size=6))
        seen = make_pose(rotation_exp(error[3:]) @ true[:3, :3], true[:3, 3] + error[:3])
        fix = planar(Fix(0, seen, spread()))
        wrong = pose_error(fix.map_from_base, true)[[0, 1, 5]]
        squared.append(wrong @ np.linalg.solve(fix.covariance[np.ix_([0, 1, 5], [0, 1, 5])], wrong))
    assert np.mean(squared) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0.0, 0.0), (6.0, -6.0), (-19.0, 0.0)])
def test_a_robot_on_a_bumpy_ramp_is_on_a_floor(pitch_deg: float, roll_deg: float) -> None:
    assert tilt_doubt(pose(0.0, 0.0, 1.2, 170.0, pitch_deg, roll_deg)) == ""


@pytest.mark.parametrize(("pitch_deg", "roll_deg", "said"), [(27.0, 0.0, 27), (0.0, -90.0, 90), (0.0, 180.0, 180)])
def test_a_robot_that_lies_is_on_none(pitch_deg: float, roll_deg: float, said: int) -> None:
    assert tilt_doubt(pose(0.0, 0.0, 0.0, 20.0, pitch_deg, roll_deg)) == (
        f"the robot would be tilted by {said} deg: on a floor (two_d_mode, mode initializer) z of the map must point "
        "up, and /tf must say how the camera is mounted"
    )


@pytest.mark.parametrize(("tilted_deg", "said"), [(7.0, "the robot was tilted by 7 deg in 100 images: "), (3.0, "")])
def test_a_map_that_is_tilted_a_little_is_told_of_once(tilted_deg: float, said: str) -> None:
    rng, mean = np.random.default_rng(2), MeanTilt()
    tilted = pose(0.0, 0.0, 0.0, 0.0, tilted_deg)
    doubts = [mean.doubt(tilted @ pose(0.0, 0.0, 0.0, 3.6 * i, *rng.normal(0.0, 4.0, 2))) for i in range(300)]
    told = list(filter(None, doubts))
    assert len(told) == bool(said)
    assert all(each.startswith(said) for each in told)


def test_a_claim_on_a_floor_says_nothing_of_its_height() -> None:
    claimed, covariance = planar_claim("map", 3.0, -1.0, 0.0, np.deg2rad(80.0)).checked("map")
    prior, seen = Fix(0, claimed, covariance), Fix(0, pose(3.1, -1.0, 3.2, 82.0, 2.0), spread())
    assert apart_from_claim(prior, seen, Settings(two_d_mode=True)).confirms
    assert not apart_from_claim(prior, seen, Settings()).confirms
