"""Which tracks become landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from synthetic_scene import make_keyframes, make_scene, ring, true_tracks

from neumap.arrays import IntArray
from neumap.localization.evidence import CELL_COLUMNS, CELL_ROWS
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.selection import (
    TWIN_RADIUS_M,
    choose_by_coverage,
    image_cells,
    make_candidates,
    mean_descriptors,
)
from neumap.mapping.tracks import Tracks


@pytest.fixture(scope="module")
def scene() -> tuple[Keyframes, IntArray, Tracks]:
    """Keyframes, the point of each keypoint, and true tracks."""
    rng = np.random.default_rng(6)
    made = make_scene(rng, 300)
    keyframes, point = make_keyframes(made, ring(20), rng, descriptor_noise=0.2)
    return keyframes, point, true_tracks(made, point, min_views=2)


def halves(tracks: Tracks, which: int) -> Tracks:
    """The tracks with the one named ``which`` torn into its odd and its even observations."""
    track = tracks.track.copy()
    seen = np.flatnonzero(track == which)
    track[seen[1::2]] = len(tracks)
    order = np.argsort(track, kind="stable")
    points = np.concatenate([tracks.points, tracks.points[which : which + 1]])
    return Tracks(tracks.keypoint[order], track[order], points)


def test_one_landmark_per_track_with_where_it_was_seen(scene: tuple[Keyframes, IntArray, Tracks]) -> None:
    keyframes, _, tracks = scene
    landmarks = make_candidates(tracks, keyframes)
    assert len(landmarks) == len(tracks)
    order = np.argsort(-tracks.lengths, kind="stable")
    np.testing.assert_array_equal(landmarks.points, tracks.points[order])
    for row, track in enumerate(order[:50]):
        cells = image_cells(keyframes, tracks.keypoint[tracks.track == track])
        np.testing.assert_array_equal(np.sort(landmarks.visibility[row].indices), np.sort(cells))
    assert set(landmarks.visibility.data) == {1}


def test_descriptors_are_unit_means(scene: tuple[Keyframes, IntArray, Tracks]) -> None:
    keyframes, _, tracks = scene
    mean = mean_descriptors(tracks, keyframes.descriptors)
    own = keyframes.descriptors[tracks.keypoint[tracks.track == 7]].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean[7], own / np.linalg.norm(own), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(mean, axis=1), 1, atol=1e-5)


def test_a_point_that_was_tracked_twice_is_one_landmark(scene: tuple[Keyframes, IntArray, Tracks]) -> None:
    keyframes, _, tracks = scene
    longest = int(np.argmax(tracks.lengths))
    torn = halves(tracks, longest)
    torn.points[-1] += [0, 0, 0.9 * TWIN_RADIUS_M]
    landmarks = make_candidates(torn, keyframes)
    assert len(landmarks) == len(tracks)
    row = int(np.argmin(np.linalg.norm(landmarks.points - tracks.points[longest], axis=1)))
    cells = image_cells(keyframes, tracks.keypoint[tracks.track == longest])
    np.testing.assert_array_equal(np.sort(landmarks.visibility[row].indices), np.unique(cells))
    assert landmarks.visibility[row].max() == 1


def test_points_apart_or_unlike_stay_two(scene: tuple[Keyframes, IntArray, Tracks]) -> None:
    keyframes, _, tracks = scene
    torn = halves(tracks, 0)
    torn.points[-1] += [0, 0, 1.1 * TWIN_RADIUS_M]
    assert len(make_candidates(torn, keyframes)) == len(tracks) + 1
    points = tracks.points.copy()
    points[1] = points[0]
    assert len(make_candidates(Tracks(tracks.keypoint, tracks.track, points), keyframes)) == len(tracks)


def test_no_tracks_no_landmarks(scene: tuple[Keyframes, IntArray, Tracks]) -> None:
    keyframes, _, tracks = scene
    landmarks = make_candidates(tracks.select(np.zeros(len(tracks), dtype=bool)), keyframes)
    assert len(landmarks) == 0
    assert landmarks.visibility.shape == (0, len(keyframes) * CELL_COLUMNS * CELL_ROWS)


def test_cells_cut_every_image_in_columns_and_rows(scene: tuple[Keyframes, IntArray, Tracks]) -> None:
    keyframes, _, _ = scene
    left, top, right, bottom = keyframes.view
    x, y = 1e-6 * (right - left), 1e-6 * (bottom - top)
    corners = np.array([[left + x, top + y], [right - x, top + y], [right - x, bottom - y], [right + 1, top]])
    first = replace(keyframes, rays=corners, image=np.array([0, 0, 2, 1]))
    count, last_column = CELL_COLUMNS * CELL_ROWS, CELL_COLUMNS - 1
    np.testing.assert_array_equal(
        image_cells(first, np.arange(4)), [0, last_column, 3 * count - 1, count + last_column]
    )


@pytest.mark.parametrize("batch", [None, 32])
def test_the_first_choices_already_cover_all(batch: int | None) -> None:
    """Of 40 images each has 100 landmarks of its own, the first of which a second image sees as well."""
    dense = np.kron(np.eye(40, dtype=np.float32), np.ones((100, 1), np.float32))
    dense[::100, :] += np.roll(np.eye(40, dtype=np.float32), 1, axis=1)
    chosen = choose_by_coverage(scipy.sparse.csr_matrix(dense), 4000, batch)
    assert set(chosen[:40] // 100) == set(range(40))
    held = np.bincount(chosen[:2000] // 100, minlength=40)
    assert held.min() >= 10


def test_every_image_gets_landmarks_even_where_few_see_little() -> None:
    """99 images share 2000 landmarks that many see; one sees 30 of its own that none else does."""
    rng = np.random.default_rng(1)
    dense = np.zeros((2030, 100), np.float32)
    dense[:2000, :99] = rng.random((2000, 99)) < 0.1
    dense[2000:, 99] = 1
    chosen = choose_by_coverage(scipy.sparse.csr_matrix(dense), 400)
    covered = dense[chosen].sum(axis=0)
    assert covered.min() >= 20
    assert len(chosen) == 400


@given(st.integers(0, 60), st.integers(1, 9), st.integers(0, 80), st.integers(0, 2**16))
def test_chosen_landmarks_are_different_ones(count: int, images: int, wanted: int, seed: int) -> None:
    dense = np.random.default_rng(seed).random((count, images)) < 0.4
    chosen = choose_by_coverage(scipy.sparse.csr_matrix(dense.astype(np.float32)), wanted)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, wanted)
    assert ((chosen >= 0) & (chosen < count)).all()
