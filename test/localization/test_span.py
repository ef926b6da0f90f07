"""Where a camera can have been, and that a pose elsewhere is not believed as easily."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.localization.span import Span
from neumap.maps.map_file import load_map

# landmarks on the four walls of a room of 6 x 4 x 2.4 m
ALONG = np.random.default_rng(0).uniform(0, 1, (4000, 2)) * [6.0, 2.4]
WALLS = np.concatenate(
    [np.column_stack([ALONG[:, 0], np.full(4000, y), ALONG[:, 1]]) for y in (0.0, 4.0)]
    + [np.column_stack([np.full(4000, x), ALONG[:, 0] * 4 / 6, ALONG[:, 1]]) for x in (0.0, 6.0)]
)
CAMERAS = np.array([[1.0, 2.0, 1.2], [5.0, 2.0, 1.2]])


@pytest.mark.parametrize(
    ("position", "within"),
    [
        ((3.0, 2.0, 1.2), True),
        # a corner where no camera was
        ((5.9, 3.9, 0.1), True),
        ((6.1, 2.0, 1.2), False),
        ((3.0, -0.1, 1.2), False),
        ((3.0, 2.0, 2.6), False),
        # beyond an edge of the room
        ((6.2, 4.2, 1.2), False),
    ],
)
def test_a_room_spans_what_is_within_its_walls(position: tuple[float, ...], within: bool) -> None:
    assert (Span(CAMERAS, WALLS).beyond_m(np.array(position)) <= 0) is within


def test_how_far_outside() -> None:
    assert Span(CAMERAS, WALLS).beyond_m(np.array([7.0, 2.0, 1.2])) == pytest.approx(1.0, abs=0.01)


def test_cameras_before_a_facade_are_part_of_the_span() -> None:
    facade = WALLS[:4000]
    span = Span(np.array([[-2.0, 15.0, 1.0], [8.0, 15.0, 1.0]]), facade)
    assert span.beyond_m(np.array([3.0, 14.0, 1.0])) < 0
    assert span.beyond_m(np.array([3.0, 16.0, 1.0])) == pytest.approx(1.0)
    # behind it
    assert span.beyond_m(np.array([3.0, -1.0, 1.0])) == pytest.approx(1.0)


def test_landmarks_astray_do_not_count() -> None:
    astray = np.concatenate([WALLS, np.full((100, 3), 50.0)])
    assert Span(CAMERAS, astray).beyond_m(np.array([8.0, 2.0, 1.2])) > 1.9


def test_where_no_camera_is_known_there_is_no_end() -> None:
    assert Span(CAMERAS[:0], WALLS).beyond_m(np.array([1e6, 0.0, 0.0])) == -np.inf


def test_an_image_of_another_room_leads_outside(virtual_map: Path, virtual_world: Path) -> None:
    """Both rooms have the same door. The pose that it leads to is behind a wall; those of the room's images are not."""
    neural_map = load_map(virtual_map)
    # so few that chance would do
    few = replace(neural_map, calibration=replace(neural_map.calibration, min_inliers=8))
    localizer = Localizer(few)
    negatives = {frame.name: frame for frame in open_source(virtual_world / "negatives", poses=False).frames}
    foreign = negatives["other_room_000.jpg"]
    solved = localizer.solve(localizer.look(foreign.read_image(), foreign.camera))
    assert solved.found is not None
    assert replace(solved.found.evidence, outside=False).suffices(8)
    assert "inliers, but the camera would be outside of all that was mapped: another place" in solved.verdict.reason
    for frame in open_source(virtual_world / "query", poses=True).frames[::4]:
        found = localizer.solve(localizer.look(frame.read_image(), frame.camera)).found
        assert found is not None
        assert not found.evidence.outside
