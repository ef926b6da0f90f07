"""What confirms a pose, and what contradicts it."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_scene import CAMERA, Scene, features_of, make_latent_map, make_map, make_scene, ring

from neumap.arrays import IntArray
from neumap.geometry import se3
from neumap.localization.evidence import (
    CELL_COLUMNS,
    CELL_ROWS,
    COMPARED_COLUMNS,
    COMPARED_EXPECTED,
    COMPARED_FOUND,
    COMPARED_ROWS,
    EXPECTED,
    FEWEST_FOUND,
    cells_of,
    count_cells,
    support,
)
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query

POSE = ring(8, radius=0.2)[0]
CELLS = CELL_COLUMNS * CELL_ROWS


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(np.random.default_rng(0), 4000)


@pytest.fixture(scope="module")
def query(scene: Scene) -> Query:
    features, rays, _ = features_of(scene, POSE, np.random.default_rng(1))
    return Localizer(make_map(scene)).query(features, rays, CAMERA)


def in_cell(query: Query, cell: int, count: int) -> IntArray:
    """So many keypoints of one cell."""
    found = np.flatnonzero(cells_of(np.arange(len(query.features)), query) == cell)
    assert len(found) >= count
    return found[:count]


def test_cells_are_counted_by_rows_from_the_left_upper_corner(query: Query) -> None:
    cells = cells_of(np.arange(len(query.features)), query)
    assert set(cells) <= set(range(CELLS))
    pixels = query.features.pixels
    assert (cells[(pixels < [CAMERA.width / CELL_COLUMNS, CAMERA.height / CELL_ROWS]).all(axis=1)] == 0).all()
    assert (cells[(pixels[:, 0] > CAMERA.width * 5 / 6) & (pixels[:, 1] > CAMERA.height * 3 / 4)] == CELLS - 1).all()


def test_a_cell_confirms_contradicts_or_says_nothing(query: Query) -> None:
    found = in_cell(query, 8, FEWEST_FOUND)
    missing = in_cell(query, 9, EXPECTED)
    too_few = in_cell(query, 10, EXPECTED - 1)
    expected = np.concatenate([found, missing, too_few])
    assert count_cells(expected, found, query) == (1, 1)
    assert count_cells(expected, np.concatenate([found, missing]), query) == (2, 0)
    assert count_cells(expected, in_cell(query, 9, FEWEST_FOUND - 1), query) == (0, 1)
    assert count_cells(expected[:0], expected[:0], query) == (0, 0)


def test_few_found_of_very_many_contradict(query: Query) -> None:
    busiest = int(np.bincount(cells_of(np.arange(len(query.features)), query)).argmax())
    crowd = in_cell(query, busiest, 18)
    assert count_cells(crowd[:16], crowd[:2], query) == (1, 0)
    assert count_cells(crowd, crowd[:2], query) == (0, 1)


def part(query: Query, number: int) -> IntArray:
    """All keypoints of the part of the image, of those that poses are compared by, with the most but ``number``."""
    parts = cells_of(np.arange(len(query.features)), query, COMPARED_COLUMNS, COMPARED_ROWS)
    return np.flatnonzero(parts == np.argsort(-np.bincount(parts))[number])


def test_the_twin_whose_furniture_was_mapped_from_nearer_explains_less_of_the_image(query: Query) -> None:
    """Both rooms hold the same furniture; where it stands before a wall, only one of them has that wall."""
    furniture, *walls = (part(query, number) for number in range(5))
    walls = [wall[:COMPARED_EXPECTED] for wall in walls]
    expected = np.concatenate([furniture, *walls])
    right = support(expected, np.concatenate([furniture[: len(furniture) // 4], *walls]), query)
    twin = support(expected, furniture, query)
    assert twin < 0.1 * right


def test_support_counts_a_few_landmarks_of_a_part_and_what_contradicts(query: Query) -> None:
    one, other = part(query, 0), part(query, 1)
    everything = support(one, one, query)
    assert everything == COMPARED_FOUND
    assert support(one, one[: COMPARED_FOUND - 1], query) == COMPARED_FOUND - 1
    both = np.concatenate([one, other[:COMPARED_EXPECTED]])
    assert support(both, one, query) == COMPARED_FOUND / 2
    too_few = np.concatenate([one, other[: COMPARED_EXPECTED - 1]])
    assert support(too_few, one, query) == COMPARED_FOUND
    assert support(one[:0], one[:0], query) == 0


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_a_right_pose_is_confirmed_all_over_the_image(scene: Scene, query: Query, make) -> None:  # type: ignore[no-untyped-def]
    localizer = Localizer(make(scene))
    found = localizer.solve(localizer.query(query.features, query.rays, CAMERA)).found
    assert found is not None
    assert np.linalg.norm(se3.pose_error(se3.invert_pose(found.camera_from_map), POSE)[0:3]) < 0.02
    assert found.evidence.confirming > 0.8 * CELLS
    assert found.evidence.contradicting == 0


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_another_place_with_one_poster_in_common_is_contradicted(scene: Scene, query: Query, make) -> None:  # type: ignore[no-untyped-def]
    """All keypoints but those of a quarter of the image show something that the map does not hold."""
    corner = np.flatnonzero((query.features.pixels < [330, 250]).all(axis=1))
    strange, _, _ = features_of(make_scene(np.random.default_rng(7), 4000), POSE, np.random.default_rng(2))
    descriptors, coarse = query.features.descriptors.copy(), query.features.coarse.copy()
    others = np.setdiff1d(np.arange(len(descriptors)), corner)
    taken = np.random.default_rng(3).integers(0, len(strange), len(others))
    descriptors[others], coarse[others] = strange.descriptors[taken], strange.coarse[taken]
    features = type(query.features)(**{**vars(query.features), "descriptors": descriptors, "coarse": coarse})
    localizer = Localizer(make(scene))
    mixed = localizer.query(features, query.rays, CAMERA)
    found = localizer.solve(mixed).found
    assert found is not None
    assert found.evidence.inliers >= 2 * localizer.map.calibration.min_inliers
    assert found.evidence.confirming < found.evidence.contradicting
    estimate = localizer.locate(mixed)
    assert not estimate.localized
    assert "contradict: another place" in estimate.reason
    assert estimate.inliers == found.evidence.inliers
    assert estimate.evidence == int(found.evidence.weight) < estimate.inliers
