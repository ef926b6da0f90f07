"""From matches to points, where it is known which keypoints are one point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_scene import make_keyframes, make_scene, ring, true_tracks

from neumap.arrays import IntArray
from neumap.geometry import se3
from neumap.mapping.tracks import (
    Tracks,
    depth_sigma,
    drop_outliers,
    group_by_leader,
    mean_descriptors,
    refine_points,
    sum_by,
    tracks_from_labels,
)


def star(leader: int, followers: range) -> list[tuple[int, int]]:
    return [(leader, f) for f in followers]


def test_stars_are_groups_named_by_their_leader() -> None:
    matches = np.array(star(3, range(4, 8)) + star(10, range(11, 13)))
    label = group_by_leader([matches], 14)
    np.testing.assert_array_equal(label, [0, 1, 2, 3, 3, 3, 3, 3, 8, 9, 10, 10, 10, 13])


def test_one_wrong_match_does_not_weld_two_groups() -> None:
    """Two points seen five times each, everything matched with everything of its own, and a wrong match between."""
    groups = [(i, j) for base in (0, 5) for i in range(base, base + 5) for j in range(i + 1, base + 5)]
    label = group_by_leader([np.array([*groups, (4, 5)])], 10)
    assert len(set(label[:4])) == 1
    assert len(set(label[6:])) == 1
    assert label[0] != label[9]


def test_a_chain_is_cut() -> None:
    label = group_by_leader([np.array([(i, i + 1) for i in range(9)])], 10)
    assert np.bincount(label).max() <= 3


@st.composite
def match_lists(draw: st.DrawFn) -> tuple[IntArray, int]:
    count = draw(st.integers(1, 15))
    keypoint = st.integers(0, count - 1)
    pairs = (
        draw(st.lists(st.tuples(keypoint, keypoint).filter(lambda p: p[0] < p[1]), unique=True, max_size=30))
        if count > 1
        else []
    )
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), count


@given(match_lists())
def test_everything_in_a_group_was_matched_with_its_leader(drawn: tuple[IntArray, int]) -> None:
    matches, count = drawn
    label = group_by_leader([matches], count)
    edges = {tuple(m) for m in matches.tolist()}
    for keypoint, leader in enumerate(label.tolist()):
        assert label[leader] == leader
        assert keypoint == leader or (min(keypoint, leader), max(keypoint, leader)) in edges


@given(match_lists(), st.randoms(use_true_random=False))
def test_order_and_direction_of_matches_do_not_matter(drawn: tuple[IntArray, int], random: object) -> None:
    matches, count = drawn
    shuffled = matches.tolist()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    turned = np.array([p[::-1] if i % 2 else p for i, p in enumerate(shuffled)], dtype=np.int64).reshape(-1, 2)
    np.testing.assert_array_equal(group_by_leader([matches], count), group_by_leader([turned], count))


@given(st.permutations(range(14)))
def test_groups_do_not_depend_on_how_keypoints_are_numbered(order: list[int]) -> None:
    """Where no two neighbours have the same number of matches; a tie is settled by number."""
    matches = np.array(star(3, range(4, 8)) + star(10, range(11, 13)) + [(0, 3)])
    number = np.array(order)
    label, other = group_by_leader([matches], 14), group_by_leader([number[matches]], 14)
    np.testing.assert_array_equal(number[label], other[number])


def test_tracks_average_the_known_points_of_long_groups() -> None:
    label = np.array([0, 0, 0, 3, 3, 5, 5, 5, 8, 8, 8])
    points = np.arange(33, dtype=np.float64).reshape(11, 3)
    known = np.ones(11, dtype=bool)
    known[[1, 5, 6, 7]] = False
    tracks = tracks_from_labels(label, points.__getitem__, known, min_views=3)
    np.testing.assert_array_equal(tracks.keypoint, [0, 1, 2, 8, 9, 10])
    np.testing.assert_array_equal(tracks.track, [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(tracks.points, [points[[0, 2]].mean(axis=0), points[8:].mean(axis=0)])
    np.testing.assert_array_equal(tracks.lengths, [3, 3])
    assert len(tracks_from_labels(label, points.__getitem__, known, min_views=4)) == 0


def test_select_renumbers() -> None:
    tracks = Tracks(np.arange(6), np.array([0, 0, 1, 1, 2, 2]), np.arange(9.0).reshape(3, 3))
    kept = tracks.select(np.array([True, False, True]))
    np.testing.assert_array_equal(kept.keypoint, [0, 1, 4, 5])
    np.testing.assert_array_equal(kept.track, [0, 0, 1, 1])
    np.testing.assert_array_equal(kept.points, tracks.points[[0, 2]])


def test_sums_by_group() -> None:
    values = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(sum_by(np.array([2, 0, 2, 2]), values, 4), [[2, 3], [0, 0], [10, 13], [0, 0]])


@pytest.mark.parametrize("views", [1, 400])
def test_mean_descriptors_in_half_precision_are_unit_vectors(views: int) -> None:
    alike = np.random.default_rng(0).normal(size=(2, 64))
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    descriptors = np.repeat(alike, views, axis=0).astype(np.float16)
    tracks = Tracks(np.arange(2 * views), np.repeat(np.arange(2), views), np.zeros((2, 3)))
    mean = mean_descriptors(tracks, descriptors, dtype=np.float16)
    assert mean.dtype == np.float16
    np.testing.assert_allclose(mean, alike, atol=2e-3)


def test_a_track_without_descriptors_has_none() -> None:
    tracks = Tracks(np.arange(2), np.zeros(2, np.int32), np.zeros((1, 3)))
    assert not mean_descriptors(tracks, np.zeros((2, 4), np.float16), dtype=np.float16).any()


@pytest.mark.parametrize("with_depth", [False, True])
def test_points_are_recovered_from_noisy_observations_with_outliers(with_depth: bool) -> None:
    rng = np.random.default_rng(5)
    scene = make_scene(rng, 400)
    poses = ring(30)
    keyframes, point = make_keyframes(scene, poses, rng, noise_px=0.5)
    wrong = rng.random(len(point)) < 0.05
    rays = keyframes.rays + wrong[:, None] * rng.choice([-1, 1], (len(point), 2)) * 30 / keyframes.focal_px[0]
    keyframes = replace(keyframes, rays=rays, depth_measured=with_depth)
    exact = true_tracks(scene, point, min_views=4)
    truth = exact.points
    tracks = replace(exact, points=truth + rng.normal(size=truth.shape) * 0.05)
    before = np.median(np.linalg.norm(tracks.points - truth, axis=1))
    refined, error = refine_points(tracks, keyframes, poses)
    after = np.linalg.norm(refined.points - truth, axis=1)
    assert before > 0.03
    assert np.median(after) < 0.01
    assert np.quantile(after, 0.9) < 0.03
    # noise of half a pixel on both axes is five standard deviations below 3 px
    found_wrong, is_wrong = error > 3, wrong[tracks.keypoint]
    assert (found_wrong == is_wrong).mean() > 0.98
    cleaned = drop_outliers(refined, error, max_error_px=3, min_views=4)
    assert wrong[cleaned.keypoint].mean() < 0.005
    assert cleaned.lengths.min() >= 4
    assert len(cleaned) > 0.8 * len(tracks)


def test_observations_from_behind_are_infinitely_wrong() -> None:
    rng = np.random.default_rng(2)
    scene = make_scene(rng, 60)
    keyframes, point = make_keyframes(scene, ring(12), rng)
    tracks = true_tracks(scene, point, min_views=2)
    turn = se3.make_pose(se3.rotation_exp(np.array([0, np.pi, 0])), np.zeros(3))
    _, error = refine_points(tracks, keyframes, keyframes.map_from_camera @ turn, iterations=0)
    assert np.isinf(error).all()
    _, error = refine_points(tracks, keyframes, keyframes.map_from_camera, iterations=0)
    assert error.max() < 1e-3


def test_drop_outliers_leaves_out_what_is_then_too_short() -> None:
    tracks = Tracks(np.arange(6), np.array([0, 0, 0, 1, 1, 1]), np.zeros((2, 3)))
    kept = drop_outliers(tracks, np.array([0.1, 0.2, 9, 0.1, 9, np.inf]), max_error_px=5, min_views=2)
    np.testing.assert_array_equal(kept.keypoint, [0, 1])
    np.testing.assert_array_equal(kept.track, [0, 0])


def test_depth_noise_grows_with_the_square() -> None:
    assert depth_sigma(np.array([2.0]))[0] - depth_sigma(np.array([0.0]))[0] == pytest.approx(0.02)


def test_picking_tracks_in_another_order() -> None:
    tracks = Tracks(np.array([7, 3, 5, 2, 9]), np.array([0, 0, 1, 2, 2]), np.arange(9.0).reshape(3, 3))
    picked = tracks.pick(np.array([2, 0]))
    np.testing.assert_array_equal(picked.keypoint, [2, 9, 7, 3])
    np.testing.assert_array_equal(picked.track, [0, 0, 1, 1])
    np.testing.assert_array_equal(picked.points, tracks.points[[2, 0]])
