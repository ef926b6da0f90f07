"""Adjusted poses of a scene whose true poses are known."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import make_keyframes, make_scene, sideways, true_tracks

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.mapping.bundle import adjust_poses
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import Tracks, refine_points

PRIOR_M, PRIOR_RAD = 0.03, np.deg2rad(1.0)


class Drifted:
    """Keyframes whose given poses are 1 cm and 0.3 degrees off, with tracks triangulated from those."""

    def __init__(self, with_depth: bool) -> None:
        rng = np.random.default_rng(8)
        scene = make_scene(rng, 1200)
        self.truth = sideways(12)
        keyframes, point = make_keyframes(scene, self.truth, rng, noise_px=0.3)
        off = se3.make_pose(
            se3.rotation_exp(rng.normal(size=(12, 3)) * np.deg2rad(0.3)), rng.normal(size=(12, 3)) * 0.01
        )
        # outliers, that neither points nor poses may follow
        wrong = rng.random(len(point)) < 0.03
        rays = keyframes.rays + wrong[:, None] * rng.choice([-1, 1], (len(point), 2)) * 30 / keyframes.focal_px[0]
        self.keyframes: Keyframes = replace(
            keyframes, rays=rays, map_from_camera=self.truth @ off, depth_measured=with_depth
        )
        tracks = true_tracks(scene, point, min_views=3)
        self.tracks: Tracks = refine_points(tracks, self.keyframes, self.keyframes.map_from_camera)[0]


@pytest.fixture(scope="module", params=[False, True], ids=["without depth", "with depth"])
def drifted(request: pytest.FixtureRequest) -> Drifted:
    return Drifted(request.param)


def relative(poses: FloatArray) -> FloatArray:
    """All poses as the first camera sees them."""
    return np.asarray(se3.invert_pose(poses[0]) @ poses)


def apart(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Root mean square of the translations and rotations between poses."""
    error = se3.pose_error(a, b)
    return float(np.sqrt((error[:, :3] ** 2).sum(axis=1).mean())), float(
        np.sqrt((error[:, 3:] ** 2).sum(axis=1).mean())
    )


def test_the_relative_poses_are_recovered(drifted: Drifted) -> None:
    given = drifted.keyframes.map_from_camera
    _, adjusted = adjust_poses(drifted.tracks, drifted.keyframes, PRIOR_M, PRIOR_RAD)
    before, after = (apart(relative(p), relative(drifted.truth)) for p in (given, adjusted))
    assert before[0] > 0.01
    assert after[0] < 0.25 * before[0]
    assert after[1] < 0.1 * before[1]


def test_residuals_fall_to_the_noise(drifted: Drifted) -> None:
    given = drifted.keyframes.map_from_camera
    _, before = refine_points(drifted.tracks, drifted.keyframes, given)
    moved, adjusted = adjust_poses(drifted.tracks, drifted.keyframes, PRIOR_M, PRIOR_RAD)
    _, after = refine_points(moved, drifted.keyframes, adjusted)
    assert np.median(before) > 1.0
    # noise of 0.3 px on each axis has a median length of 0.35 px
    assert np.median(after) < 0.4


def test_the_points_that_come_back_fit_the_poses_that_come_back(drifted: Drifted) -> None:
    moved, adjusted = adjust_poses(drifted.tracks, drifted.keyframes, PRIOR_M, PRIOR_RAD)
    _, error = refine_points(moved, drifted.keyframes, adjusted, iterations=0)
    assert np.median(error) < 0.45
    np.testing.assert_array_equal(moved.keypoint, drifted.tracks.keypoint)


def test_poses_move_towards_the_truth_up_to_what_all_share(drifted: Drifted) -> None:
    """The prior fixes the frame: what is left is about the mean of twelve deviations."""
    given = drifted.keyframes.map_from_camera
    _, adjusted = adjust_poses(drifted.tracks, drifted.keyframes, PRIOR_M, PRIOR_RAD)
    before, after = apart(given, drifted.truth), apart(adjusted, drifted.truth)
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.6 * before[1]
    np.testing.assert_allclose(
        adjusted[:, :3, :3] @ adjusted[:, :3, :3].swapaxes(1, 2), np.eye(3) + np.zeros((12, 3, 3)), atol=1e-9
    )


def test_a_prior_that_is_sure_keeps_the_poses(drifted: Drifted) -> None:
    given = drifted.keyframes.map_from_camera
    _, adjusted = adjust_poses(drifted.tracks, drifted.keyframes, 1e-6, 1e-6)
    np.testing.assert_allclose(adjusted, given, atol=1e-5)


def test_the_prior_pulls_in_every_iteration(drifted: Drifted) -> None:
    given = drifted.keyframes.map_from_camera
    _, adjusted = adjust_poses(drifted.tracks, drifted.keyframes, 1e-5, 1e-5, iterations=60)
    np.testing.assert_allclose(adjusted, given, atol=1e-4)


def test_a_long_drive_takes_memory_with_its_length_not_its_square() -> None:
    """Equations of all poses with all others would take 300 MB."""
    rng = np.random.default_rng(3)
    scene = make_scene(rng, 120)
    poses = np.tile(sideways(40), (25, 1, 1))
    keyframes, point = make_keyframes(scene, poses, rng, noise_px=0.3)
    tracks = true_tracks(scene, point, min_views=3)
    off = se3.make_pose(se3.rotation_exp(rng.normal(size=(1000, 3)) * 0.002), rng.normal(size=(1000, 3)) * 0.01)
    tracemalloc.start()
    _, adjusted = adjust_poses(tracks, replace(keyframes, map_from_camera=poses @ off), PRIOR_M, PRIOR_RAD, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
    assert apart(relative(adjusted), relative(poses))[0] < 0.5 * apart(relative(poses @ off), relative(poses))[0]


def test_true_poses_stay(drifted: Drifted) -> None:
    keyframes = replace(drifted.keyframes, map_from_camera=drifted.truth)
    tracks, _ = refine_points(drifted.tracks, keyframes, drifted.truth)
    _, adjusted = adjust_poses(tracks, keyframes, PRIOR_M, PRIOR_RAD)
    metres, radians = apart(adjusted, drifted.truth)
    assert metres < 0.002
    assert radians < 0.001
