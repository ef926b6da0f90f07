"""Which images and which keypoints belong together, in scenes where that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic_scene import FOCAL_PX, VIEW, look_at, make_keyframes, make_scene, ring, sideways

from neumap.arrays import FloatArray, IntArray
from neumap.geometry import se3
from neumap.mapping import correspondences
from neumap.mapping.correspondences import (
    Matches,
    match_along_epipolar_lines,
    match_with_depth,
    median_depths,
    mutual_best,
    pair_by_overlap,
)
from neumap.mapping.keyframes import Keyframes


@given(st.data())
def test_mutual_best_pairs_are_the_best_of_both_their_ends(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 12))
    ends = arrays(np.int64, n, elements=st.integers(0, 4))
    first, second = data.draw(ends), data.draw(ends)
    score = data.draw(arrays(np.float64, n, elements=st.floats(0, 1), unique=True))
    found = mutual_best(first, second, score)
    expected = [k for k in range(n) if score[k] == score[first == first[k]].max() == score[second == second[k]].max()]
    assert sorted(found.tolist()) == expected


def test_ring_of_cameras_is_paired_with_its_neighbours() -> None:
    poses = ring(24)
    pairs = pair_by_overlap(poses, np.full(24, 2.5), VIEW, nearest=2, spread=0)
    assert {(int(i), int(j)) for i, j in pairs} >= {(k, k + 1) for k in range(23)} | {(0, 23)}
    steps = np.abs(pairs[:, 1] - pairs[:, 0])
    assert (np.minimum(steps, 24 - steps) == 1).all()


def test_pairs_overlap_and_reach_as_far_as_overlap_does() -> None:
    poses = ring(24)
    pairs = pair_by_overlap(poses, np.full(24, 2.5), VIEW, nearest=2, spread=4)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    steps = np.abs(pairs[:, 1] - pairs[:, 0])
    steps = np.minimum(steps, 24 - steps)
    # 65 degrees wide, 15 degrees apart: a third is shared by neighbours of two or three steps, nothing by those of five
    assert steps.max() in (2, 3)
    everything = pair_by_overlap(poses, np.full(24, 2.5), VIEW, nearest=24, spread=0)
    assert {tuple(p) for p in pairs.tolist()} <= {tuple(p) for p in everything.tolist()}


def test_a_close_up_and_a_view_from_afar_are_no_pair() -> None:
    """All of the close-up is in the other image, but takes up too little of it."""
    poses = np.array([look_at(np.array([0, y, 0.0]), np.array([0, 3.0, 0])) for y in (2.5, -0.5)])
    pairs = pair_by_overlap(poses, np.array([0.5, 3.5]), VIEW, nearest=5, spread=5)
    assert len(pairs) == 0
    poses[0, 1, 3] = 0.5
    assert len(pair_by_overlap(poses, np.array([2.5, 3.5]), VIEW, nearest=5, spread=5)) == 1


def test_what_is_far_away_is_not_looked_at() -> None:
    """Three rings of cameras, each out of sight of the others, are paired as each alone."""
    shifts = np.array([[0.0, 0, 0], [40, 0, 0], [0, 25, 0]])
    poses = np.concatenate([se3.make_pose(ring(20)[:, :3, :3], ring(20)[:, :3, 3] + shift) for shift in shifts])
    told: list[int] = []
    pairs = pair_by_overlap(poses, np.full(60, 2.5), VIEW, nearest=3, spread=4, step=told.append)
    assert sum(told) == 60
    alone = pair_by_overlap(poses[:20], np.full(20, 2.5), VIEW, nearest=3, spread=4)
    np.testing.assert_array_equal(pairs, np.concatenate([alone, alone + 20, alone + 40]))


def test_of_many_images_of_one_place_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = ring(96)
    monkeypatch.setattr(correspondences, "MOST_OTHERS", 24)
    some = pair_by_overlap(poses, np.full(96, 2.5), VIEW, nearest=2, spread=4)
    assert {(int(i), int(j)) for i, j in some} >= {(k, k + 1) for k in range(95)}
    steps = np.abs(some[:, 1] - some[:, 0])
    assert np.minimum(steps, 96 - steps).max() >= 7


def test_cameras_back_to_back_are_no_pair() -> None:
    assert pair_by_overlap(ring(2), np.full(2, 2.5), VIEW, nearest=5, spread=5).shape == (0, 2)


def test_median_depths_fall_back_to_that_of_all_images() -> None:
    rng = np.random.default_rng(0)
    keyframes, _ = make_keyframes(make_scene(rng, 600), ring(4), rng)
    depth = keyframes.depth.copy()
    depth[keyframes.slice(1)] = 0
    medians = median_depths(replace(keyframes, depth=depth), default=7.0)
    assert medians[0] == np.median(keyframes.depth[keyframes.slice(0)])
    assert medians[1] == np.median(depth[depth > 0])
    np.testing.assert_array_equal(median_depths(replace(keyframes, depth=0 * depth), default=7.0), np.full(4, 7.0))


@pytest.fixture(scope="module")
def scene() -> tuple[Keyframes, IntArray]:
    rng = np.random.default_rng(3)
    return make_keyframes(make_scene(rng, 900), sideways(5, 0.2), rng, noise_px=0.3, descriptor_noise=0.1)


ALL_PAIRS = np.array([(i, j) for i in range(5) for j in range(i + 1, 5)])


def shared(point: IntArray, keyframes: Keyframes, pairs: IntArray) -> int:
    """How many pairs of keypoints of the same point there are."""
    return sum(len(np.intersect1d(point[keyframes.slice(i)], point[keyframes.slice(j)])) for i, j in pairs.tolist())


def pairs_of(matches: Matches) -> IntArray:
    """All parts together (M, 2), which are the same when they are asked for again."""
    once, again = (np.concatenate(list(matches)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert len(once) == len(matches)
    return once


def test_depth_finds_the_right_matches(scene: tuple[Keyframes, IntArray]) -> None:
    keyframes, point = scene
    told: list[int] = []
    matches = pairs_of(match_with_depth(keyframes, ALL_PAIRS, told.append))
    assert sum(told) == len(ALL_PAIRS)
    assert (point[matches[:, 0]] == point[matches[:, 1]]).mean() > 0.999
    assert len(matches) > 0.97 * shared(point, keyframes, ALL_PAIRS)
    assert (keyframes.image[matches[:, 0]] < keyframes.image[matches[:, 1]]).all()


def test_a_match_may_be_with_a_keypoint_of_unknown_depth(scene: tuple[Keyframes, IntArray]) -> None:
    keyframes, point = scene
    depth = keyframes.depth.copy()
    depth[keyframes.slice(1)] = 0
    matches = match_with_depth(replace(keyframes, depth=depth), np.array([[0, 1]]))
    assert len(matches) > 0.97 * shared(point, keyframes, np.array([[0, 1]]))
    assert len(match_with_depth(replace(keyframes, depth=depth), np.array([[1, 2]]))) == 0


def spoil(values: FloatArray, rows: slice, by: FloatArray | float) -> FloatArray:
    out = values.copy()
    out[rows] = by
    return out


def test_wrong_depth_scale_or_looks_are_no_match(scene: tuple[Keyframes, IntArray]) -> None:
    keyframes, point = scene
    pair, second = np.array([[0, 1]]), keyframes.slice(1)
    possible = shared(point, keyframes, pair)
    spoiled = {
        "depth of one": replace(keyframes, depth=spoil(keyframes.depth, second, keyframes.depth[second] + 0.3)),
        "scale": replace(keyframes, size=spoil(keyframes.size, second, 2 * keyframes.size[second])),
        "looks": replace(keyframes, descriptors=np.roll(keyframes.descriptors, 1, axis=0)),
        "place": replace(keyframes, rays=spoil(keyframes.rays, second, keyframes.rays[second] + 8 / FOCAL_PX)),
    }
    for what, wrong in spoiled.items():
        if what == "looks":
            wrong = replace(
                wrong, descriptors=np.where(keyframes.image[:, None] == 0, keyframes.descriptors, wrong.descriptors)
            )
        right = pairs_of(match_with_depth(wrong, pair))
        right = right[point[right[:, 0]] == point[right[:, 1]]]
        assert len(right) < 0.03 * possible, what


def test_images_without_keypoints_are_passed_over() -> None:
    rng = np.random.default_rng(1)
    scene = make_scene(rng, 300)
    scene = replace(scene, points=scene.points[scene.points[:, 1] > 2.5], fine=scene.fine[scene.points[:, 1] > 2.5])
    scene = replace(scene, coarse=scene.coarse[: len(scene.points)])
    keyframes, _ = make_keyframes(scene, ring(2, 0.5)[::-1], rng)
    empty = int(np.argmin(np.diff(keyframes.offsets)))
    if np.diff(keyframes.offsets)[empty]:
        pytest.fail("the scene is not as it should be")
    pairs = np.array([[0, 1]])
    assert match_with_depth(keyframes, pairs).count == 0
    assert match_along_epipolar_lines(keyframes, pairs).count == 0
    assert match_with_depth(keyframes, pairs[:0]).count == 0


def test_epipolar_lines_find_the_right_matches_without_depth(scene: tuple[Keyframes, IntArray]) -> None:
    keyframes, point = scene
    without = replace(keyframes, depth=np.zeros_like(keyframes.depth), depth_measured=False)
    matches = pairs_of(match_along_epipolar_lines(without, ALL_PAIRS))
    assert (point[matches[:, 0]] == point[matches[:, 1]]).mean() > 0.99
    assert len(matches) > 0.9 * shared(point, keyframes, ALL_PAIRS)


def test_matches_off_the_epipolar_line_are_dropped(scene: tuple[Keyframes, IntArray]) -> None:
    """The cameras move along the image's x axis: lines are nearly horizontal, and a step up leaves them."""
    keyframes, _ = scene
    pair, second = np.array([[0, 1]]), keyframes.slice(1)
    usual = len(match_along_epipolar_lines(keyframes, pair))
    up = replace(keyframes, rays=spoil(keyframes.rays, second, keyframes.rays[second] + [0, 12 / FOCAL_PX]))
    along = replace(keyframes, rays=spoil(keyframes.rays, second, keyframes.rays[second] + [12 / FOCAL_PX, 0]))
    assert len(match_along_epipolar_lines(up, pair)) < 0.05 * usual
    assert len(match_along_epipolar_lines(along, pair)) > 0.8 * usual
