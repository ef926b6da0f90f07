"""A building whose rooms look alike in part."""

from __future__ import annotations

import numpy as np
import pytest

from neumap.errors import ConfigError
from neumap.virtual.curriculum import FURNITURE, ROOM_M, Building, building


@pytest.mark.parametrize(("rooms", "columns"), [(1, 1), (3, 2), (4, 2), (16, 4), (64, 8)])
def test_rooms_stand_side_by_side(rooms: int, columns: int) -> None:
    place = building(rooms)
    assert place.columns == columns
    corners = np.array([place.offset(index) for index in range(rooms)])
    apart = np.abs(corners[:, None] - corners)[..., :2]
    clear = (apart >= np.array(ROOM_M[:2])).any(axis=2)
    assert (clear | np.eye(rooms, dtype=bool)).all()


def test_rooms_of_one_furniture_are_not_neighbours() -> None:
    place = building(64)
    kinds = np.array([place.furniture(index) for index in range(64)]).reshape(8, 8)
    assert sorted(np.bincount(kinds.ravel()).tolist()) == [64 // FURNITURE] * FURNITURE
    for step in ((0, 1), (1, 0), (1, 1)):
        assert (kinds[step[0] :, step[1] :] != kinds[: 8 - step[0], : 8 - step[1]]).all()
    assert (kinds[1:, :-1] != kinds[:-1, 1:]).all()


@pytest.fixture(scope="module")
def small() -> Building:
    return Building(rooms=9, columns=1, seed=0, images=6, queries=2)


def test_frames_are_in_their_room(small: Building) -> None:
    frames = small.room(1)
    assert (len(frames.mapping), len(frames.query)) == (6, 2)
    low = np.array(small.offset(1))
    for frame in (*frames.mapping, *frames.query):
        assert frame.map_from_camera is not None
        position = frame.map_from_camera[:3, 3]
        assert ((position > low) & (position < low + ROOM_M)).all()
    looks = np.array([frame.map_from_camera[:3, 2] for frame in frames.mapping])  # type: ignore[index]
    # the drive looks around: there are views in opposite directions
    assert (looks @ looks.T).min() < -0.3


def test_the_same_furniture_is_within_other_walls(small: Building) -> None:
    twins = [index for index in range(1, 9) if small.furniture(index) == small.furniture(0)]
    first, twin = (small.room(index).mapping[0].read_image() for index in (0, twins[0]))
    again = small.room(0).mapping[0].read_image()
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - twin).mean() > 2


def test_what_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match="rooms"):
        building(0)
    with pytest.raises(ConfigError, match="no room 3"):
        building(3).room(3)
