"""Where in a place a robot will be lost: a room of 8 x 4 m whose west was mapped, by cameras that looked west."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from point_maps import CAMERA, WEST, half_mapped_room, looking

from neumap.geometry import se3
from neumap.maps.neural_map import NeuralMap
from neumap.report.forecast import LIKELY, Forecast, blanks, foresee


def silent(*_: object) -> None: ...


@pytest.fixture(scope="module")
def half_mapped() -> NeuralMap:
    """With one more camera that was driven to the east and saw nothing that the map holds."""
    mapped = half_mapped_room()
    (east,) = se3.make_pose(looking(0.0), np.array([[7.0, 2.0, 1.2]]))
    drift = replace(mapped.drift, poses=np.append(mapped.drift.poses, [east], axis=0), deviations=np.zeros((10, 6)))
    return replace(mapped, drift=drift)


@pytest.fixture(scope="module")
def forecast(half_mapped: NeuralMap) -> Forecast:
    return foresee(half_mapped, CAMERA, silent, cell_m=0.5)


def test_the_half_that_was_not_mapped_is_told_to_fail(forecast: Forecast) -> None:
    middles, inside = forecast.middles(), forecast.inside
    west = int(np.argmin(np.abs(forecast.headings_rad - WEST)))
    near_cameras = inside & (np.abs(middles - [3.0, 2.0]) < 0.6).all(axis=2)
    unmapped = inside & (middles[:, :, 0] > 5.0)
    assert near_cameras.sum() >= 4
    assert unmapped.sum() >= 4
    assert (forecast.probability[near_cameras][:, west] > 0.9).all()
    assert (forecast.probability[near_cameras][:, 0] < 0.1).all()
    east_of_all = np.abs(np.angle(np.exp(1j * forecast.headings_rad))) < 1.0
    assert (forecast.probability[unmapped][:, east_of_all] < 0.1).all()
    assert (forecast.share[unmapped] < LIKELY).all()
    # a metre is foreseen where something is seen, and nothing where nothing is
    assert np.isfinite(forecast.error_m[near_cameras][:, west]).all()
    assert np.isnan(forecast.error_m[unmapped][:, 0]).all()


def test_where_to_drive_again(forecast: Forecast) -> None:
    worst, *_ = blanks(forecast)
    column, row = (([worst.x, worst.y] - forecast.origin) / forecast.cell_m).astype(int)
    assert forecast.share[row, column] < LIKELY
    assert worst.localized < LIKELY
    assert worst.area_m2 <= forecast.inside.sum() * forecast.cell_m**2
    # west is what was mapped
    assert np.cos(np.deg2rad(worst.worst_heading_deg) - WEST) < 0


def test_places_are_as_high_as_the_nearest_mapping_camera(half_mapped: NeuralMap) -> None:
    raised = half_mapped.drift.poses.copy()
    raised[-1, 2, 3] = 2.0
    mapped = replace(half_mapped, drift=replace(half_mapped.drift, poses=raised))
    heights = foresee(mapped, CAMERA, silent, cell_m=0.5).height_m
    assert heights[4, 6] == pytest.approx(1.2)
    assert np.nanmax(heights) == pytest.approx(2.0)
    asked = foresee(mapped, CAMERA, silent, cell_m=0.5, height_m=0.7)
    assert set(asked.height_m[asked.inside]) == {0.7}


def test_what_is_of_the_whole_grid_is_made_once(half_mapped: NeuralMap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid may have 100,000 cells."""
    made, middles = [], Forecast.middles
    monkeypatch.setattr(Forecast, "middles", lambda forecast: made.append(forecast) or middles(forecast))
    assert foresee(half_mapped, CAMERA, silent, cell_m=1.0).inside.sum() > 4
    assert len(made) == 1


def test_two_floors_and_a_map_that_lies_on_its_side_are_said(half_mapped: NeuralMap) -> None:
    poses = half_mapped.drift.poses.copy()
    poses[:5, 2, 3] += 3.0
    floors = replace(half_mapped, drift=replace(half_mapped.drift, poses=poses))
    (note,) = foresee(floors, CAMERA, silent, cell_m=2.0).notes
    assert note.startswith("mapping cameras were 1.2 to 4.2 m high: places are at the height of the nearest one")
    assert foresee(floors, CAMERA, silent, cell_m=2.0, height_m=1.2).notes == ()
    poses = half_mapped.drift.poses.copy()
    poses[:, :3, :3] = np.eye(3)  # the map is a camera's frame: y is down
    lying = replace(half_mapped, drift=replace(half_mapped.drift, poses=poses))
    assert any(note.startswith("the map's z is not up") for note in foresee(lying, CAMERA, silent, cell_m=2.0).notes)
