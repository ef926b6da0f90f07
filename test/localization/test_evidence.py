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
    support,
    verdicts,
)
from neumap.localization.localizer import Localizer
from neumap.localization.query import View

POSE = ring(8, radius=0.2)[0]
CELLS = CELL_COLUMNS * CELL_ROWS


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(np.random.default_rng(0), 4000)


@pytest.fixture(scope="module")
def view(scene: Scene) -> View:
    features, rays, _ = features_of(scene, POSE, np.random.default_rng(1))
    return View(features, rays, CAMERA)


def in_cell(view: View, cell: int, count: int) -> IntArray:
    """So many keypoints of one cell."""
    found = np.flatnonzero(cells_of(np.arange(len(view.features)), view) == cell)
    assert len(found) >= count
    return found[:count]


def test_cells_are_counted_by_rows_from_the_left_upper_corner(view: View) -> None:
    cells = cells_of(np.arange(len(view.features)), view)
    assert set(cells) <= set(range(CELLS))
    pixels = view.features.pixels
    assert (cells[(pixels < [CAMERA.width / CELL_COLUMNS, CAMERA.height / CELL_ROWS]).all(axis=1)] == 0).all()
    assert (cells[(pixels[:, 0] > CAMERA.width * 5 / 6) & (pixels[:, 1] > CAMERA.height * 3 / 4)] == CELLS - 1).all()


def test_a_cell_confirms_contradicts_or_says_nothing(view: View) -> None:
    found = in_cell(view, 8, FEWEST_FOUND)
    missing = in_cell(view, 9, EXPECTED)
    too_few = in_cell(view, 10, EXPECTED - 1)
    expected = np.concatenate([found, missing, too_few])
    assert verdicts(expected, found, view) == (1, 1)
    assert verdicts(expected, np.concatenate([found, missing]), view) == (2, 0)
    assert verdicts(expected, in_cell(view, 9, FEWEST_FOUND - 1), view) == (0, 1)
    assert verdicts(expected[:0], expected[:0], view) == (0, 0)


def test_few_found_of_very_many_contradict(view: View) -> None:
    busiest = int(np.bincount(cells_of(np.arange(len(view.features)), view)).argmax())
    crowd = in_cell(view, busiest, 18)
    assert verdicts(crowd[:16], crowd[:2], view) == (1, 0)
    assert verdicts(crowd, crowd[:2], view) == (0, 1)


def part(view: View, number: int) -> IntArray:
    """All keypoints of the part of the image, of those that poses are compared by, with the most but ``number``."""
    parts = cells_of(np.arange(len(view.features)), view, COMPARED_COLUMNS, COMPARED_ROWS)
    return np.flatnonzero(parts == np.argsort(-np.bincount(parts))[number])


def test_the_twin_whose_furniture_was_mapped_from_nearer_explains_less_of_the_image(view: View) -> None:
    """Both rooms hold the same furniture; where it stands before a wall, only one of them has that wall."""
    furniture, *walls = (part(view, number) for number in range(5))
    walls = [wall[:COMPARED_EXPECTED] for wall in walls]
    expected = np.concatenate([furniture, *walls])
    right = support(expected, np.concatenate([furniture[: len(furniture) // 4], *walls]), view)
    twin = support(expected, furniture, view)
    assert twin < 0.1 * right


def test_support_counts_a_few_landmarks_of_a_part_and_what_contradicts(view: View) -> None:
    one, other = part(view, 0), part(view, 1)
    everything = support(one, one, view)
    assert everything == COMPARED_FOUND
    assert support(one, one[: COMPARED_FOUND - 1], view) == COMPARED_FOUND - 1
    both = np.concatenate([one, other[:COMPARED_EXPECTED]])
    assert support(both, one, view) == COMPARED_FOUND / 2
    too_few = np.concatenate([one, other[: COMPARED_EXPECTED - 1]])
    assert support(too_few, one, view) == COMPARED_FOUND
    assert support(one[:0], one[:0], view) == 0


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_a_right_pose_is_confirmed_all_over_the_image(scene: Scene, view: View, make) -> None:  # type: ignore[no-untyped-def]
    solution = Localizer(make(scene)).solve(view)
    assert solution is not None
    assert np.linalg.norm(se3.pose_error(se3.invert_pose(solution.camera_from_map), POSE)[0:3]) < 0.02
    assert solution.evidence.confirming > 0.8 * CELLS
    assert solution.evidence.contradicting == 0


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_another_place_with_one_poster_in_common_is_contradicted(scene: Scene, view: View, make) -> None:  # type: ignore[no-untyped-def]
    """All keypoints but those of a quarter of the image show something that the map does not hold."""
    corner = np.flatnonzero((view.features.pixels < [330, 250]).all(axis=1))
    strange, _, _ = features_of(make_scene(np.random.default_rng(7), 4000), POSE, np.random.default_rng(2))
    descriptors, coarse = view.features.descriptors.copy(), view.features.coarse.copy()
    others = np.setdiff1d(np.arange(len(descriptors)), corner)
    taken = np.random.default_rng(3).integers(0, len(strange), len(others))
    descriptors[others], coarse[others] = strange.descriptors[taken], strange.coarse[taken]
    features = type(view.features)(**{**vars(view.features), "descriptors": descriptors, "coarse": coarse})
    localizer = Localizer(make(scene))
    mixed = View(features, view.rays, CAMERA)
    solution = localizer.solve(mixed)
    assert solution is not None
    assert solution.evidence.inliers >= 2 * localizer.map.calibration.min_inliers
    assert solution.evidence.confirming < solution.evidence.contradicting
    estimate = localizer.localize_view(mixed)
    assert not estimate.localized
    assert "contradict: another place" in estimate.reason
