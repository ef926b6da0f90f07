"""Poses that measurements agree on: graphs whose truth is known."""

from __future__ import annotations

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.mapping.pose_graph import CHI2_99, Measurements, is_upright, solve, together
from neumap.mapping.steps import odometry_steps
from neumap.virtual.recording import wandering_odometry

SIGMA = np.array([0.005] * 3 + [0.003] * 3)


def rounds(count: int = 120, turns: int = 3) -> FloatArray:
    """A camera that goes round a circle of 3 m several times, up and down a little, looking ahead and rolling."""
    angle = np.linspace(0, 2 * np.pi * turns, count)
    place = np.stack([3 * np.cos(angle), 3 * np.sin(angle), 1 + 0.1 * np.sin(3 * angle)], axis=1)
    roll = se3.rotation_exp(np.outer(np.sin(2 * angle), [0.1, 0.05, 0.0]))
    optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    return se3.make_pose(se3.rotation_exp(np.outer(angle, [0, 0, 1])) @ roll @ optical, place)


def measured(poses: FloatArray, first: np.ndarray, second: np.ndarray, seed: int = 0) -> Measurements:
    """What images would tell of poses, with errors of SIGMA."""
    error = np.random.default_rng(seed).normal(size=(len(first), 6)) * SIGMA
    motion = se3.invert_pose(poses[first]) @ poses[second]
    motion = motion @ se3.make_pose(se3.rotation_exp(error[:, 3:]), error[:, :3])
    information = np.broadcast_to(np.diag(SIGMA**-2), (len(first), 6, 6))
    return Measurements(first, second, motion, information, np.ones(len(first), dtype=bool))


def loops_of(poses: FloatArray) -> Measurements:
    first = np.arange(0, 80, 4)
    return measured(poses, first, first + 40)


def off_m(poses: FloatArray, truth: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(poses[:, :3, 3] - truth[:, :3, 3], axis=1))


def test_loops_take_the_drift_out() -> None:
    truth = rounds()
    told = wandering_odometry(truth, 1)
    assert off_m(told, truth).max() > 0.25
    # what odometry alone says is where it begins
    alone = solve(told, odometry_steps(told))
    assert np.abs(alone.poses - told).max() < 1e-9
    found = solve(told, together(odometry_steps(told), loops_of(truth)))
    assert np.abs(found.poses[0] - told[0]).max() == 0
    # rounds are tied to each other at every fourth place, and what is between errs as odometry does
    again = se3.invert_pose(found.poses[:40]) @ found.poses[40:80]
    right = se3.invert_pose(truth[:40]) @ truth[40:80]
    assert np.median(off_m(again, right)) < 0.03
    assert np.median(off_m(found.poses, truth)) < 0.5 * np.median(off_m(told, truth))


def test_wrong_loops_bend_nothing() -> None:
    truth = rounds()
    told = wandering_odometry(truth, 1)
    right = together(odometry_steps(told), loops_of(truth))
    # rooms that look alike: half a round away and, three of them, agreeing with each other
    wrong = measured(truth, np.array([3, 17, 90, 91, 92]), np.array([70, 110, 20, 21, 22]))
    wrong.motion[:2] = se3.make_pose(se3.rotation_exp(np.zeros(3)), np.array([0.5, 0.2, 0.0]))
    wrong.motion[2:] = se3.make_pose(se3.rotation_exp(np.array([0.0, 0.0, 0.1])), np.array([0.1, 0.0, 0.0]))
    without, found = solve(told, right), solve(told, together(right, wrong))
    assert np.abs(found.trust[-5:]).max() < 0.01
    assert found.trust[len(told) - 1 : -5].min() > 0.3
    assert off_m(found.poses, without.poses).max() < 0.01
    assert (wrong.squared(found.poses) > 10 * CHI2_99).all()


def test_the_scale_that_images_tell_wins() -> None:
    truth = rounds()
    told = wandering_odometry(truth, 2, too_long=0.01)
    first = np.arange(len(truth) - 1)
    found = solve(told, together(odometry_steps(told), measured(truth, first, first + 1), loops_of(truth)))

    def length(poses: FloatArray) -> float:
        return float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())

    assert length(told) > 1.005 * length(truth)
    assert abs(length(found.poses) / length(truth) - 1) < 0.005


def test_what_is_not_measured_is_left_to_odometry() -> None:
    # images without depth tell how the camera turned and which way it went, not how far
    truth = rounds(30, 1)
    first = np.arange(len(truth) - 1)
    exact = se3.invert_pose(truth[first]) @ truth[first + 1]
    way = exact[:, :3, 3] / np.linalg.norm(exact[:, :3, 3], axis=1, keepdims=True)
    information = np.broadcast_to(1e8 * np.eye(6), (len(first), 6, 6)).copy()
    # as seen from the second camera
    ahead = np.einsum("nji,nj->ni", exact[:, :3, :3], way)
    information[:, :3, :3] -= 1e8 * ahead[:, :, None] * ahead[:, None]
    exact[:, :3, 3] *= 3
    seen = Measurements(first, first + 1, exact, information, np.zeros(len(first), dtype=bool))
    told = wandering_odometry(truth, 3)
    found = solve(told, together(odometry_steps(told), seen))
    step, asked, right = (se3.invert_pose(poses[:-1]) @ poses[1:] for poses in (found.poses, told, truth))
    assert np.abs(step[:, :3, :3] - right[:, :3, :3]).max() < 1e-3
    along = np.einsum("ni,ni->n", step[:, :3, 3], way)
    assert np.abs(step[:, :3, 3] - along[:, None] * way).max() < 1e-3
    assert np.abs(along - np.einsum("ni,ni->n", asked[:, :3, 3], way)).max() < 1e-3


def test_the_map_stays_upright() -> None:
    truth = rounds()
    told = wandering_odometry(truth, 1)
    # what images tell leans by a quarter of a degree more with every step, 27 degrees in all
    first = np.arange(len(truth) - 1)
    leaning = measured(truth, first, first + 1)
    lean = se3.make_pose(se3.rotation_exp(np.array([0.004, 0.0, 0.0])), np.zeros(3))
    leaning = Measurements(first, first + 1, leaning.motion @ lean, leaning.information, leaning.doubtful)
    found = solve(told, together(odometry_steps(told), leaning))
    tilt = np.arccos(np.clip((found.poses[:, 2, :3] * truth[:, 2, :3]).sum(axis=1), -1, 1))
    assert np.rad2deg(tilt).max() < 3.0


def test_in_the_frame_of_the_first_camera_nothing_is_taken_for_level() -> None:
    # as visual odometry tells poses: z is ahead
    truth = rounds()
    told = wandering_odometry(truth, 1)
    turned = se3.invert_pose(truth[0])
    assert is_upright(told)
    assert not is_upright(turned @ told)
    found = solve(turned @ told, together(odometry_steps(turned @ told), loops_of(truth)))
    assert np.median(off_m(found.poses, turned @ truth)) < 0.1


def test_the_covariance_is_that_of_the_errors() -> None:
    truth = rounds(40, 1)
    asked, at = 10, np.array([0, 10, 25, 39])
    errors, told = [], None
    for seed in range(40):
        first = np.arange(len(truth) - 1)
        steps = measured(truth, first, first + 1, seed)
        found = solve(truth, Measurements(first, first + 1, steps.motion, steps.information, np.zeros(39, dtype=bool)))
        told = found.covariance_between(asked, at)
        right = se3.invert_pose(truth[asked]) @ truth[at]
        step = se3.invert_pose(right) @ se3.invert_pose(found.poses[asked]) @ found.poses[at]
        errors.append(np.concatenate([step[:, :3, 3], se3.rotation_log(step[:, :3, :3])], axis=1))
    assert told is not None
    assert np.abs(told[1]).max() < 1e-12
    assert np.allclose(told, np.swapaxes(told, 1, 2))
    for i in (0, 2, 3):
        ratio = np.std([error[i] for error in errors], axis=0) / np.sqrt(np.diag(told[i]))
        assert (np.abs(np.log(ratio)) < 0.4).all()
