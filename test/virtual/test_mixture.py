"""The places that the decoder is trained in: large ones among them, seen in many ways, and what frames tell is true."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neumap.geometry.cameras import make_camera
from neumap.virtual.curriculum import STEADY, Place, spread_drive
from neumap.virtual.hardships import COVER_M, Hardship
from neumap.virtual.layout import make_room
from neumap.virtual.mixture import curriculum_place
from neumap.virtual.photos import rolled, take

# seeds of a courtyard and of two small halls of the same build
COURT, TWINS = 25, 14


@pytest.fixture(scope="module")
def court() -> Place:
    return curriculum_place(COURT)


def test_the_same_seed_is_the_same_place(court: Place) -> None:
    again = curriculum_place(COURT)
    assert (again.description, again.depth_reach_m) == (court.description, court.depth_reach_m)
    for one, other in zip((*court.mapping, *court.query), (*again.mapping, *again.query), strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.map_from_camera, other.map_from_camera)
        np.testing.assert_array_equal(one.camera.matrix, other.camera.matrix)
    for one, other in ((court.mapping[0], again.mapping[0]), (court.query[-1], again.query[-1])):
        assert one.read_image().tobytes() == other.read_image().tobytes()


def test_a_courtyard_tells_what_it_is(court: Place) -> None:
    assert court.description.startswith("courtyard of ")
    assert f"{len(court.mapping)} images" in court.description
    assert 15 <= len(court.mapping) <= 40
    assert 7 <= len(court.query) <= 12
    assert 6.0 <= court.depth_reach_m <= 10.0
    assert f"depth up to {court.depth_reach_m:.1f} m" in court.description


def test_large_twins_are_side_by_side() -> None:
    twins = curriculum_place(TWINS)
    assert twins.description.startswith("hall twins")
    for frames in (twins.mapping, twins.query):
        x = np.array([frame.map_from_camera[0, 3] for frame in frames if frame.map_from_camera is not None])
        half = len(x) // 2
        assert x[:half].max() < x[half:].min()


def test_what_covers_an_image_has_depth_too() -> None:
    room = make_room(3, (4.5, 4.0, 2.6), detail=60.0)
    camera = make_camera(160, 120, [120, 0, 79.5, 0, 120, 59.5, 0, 0, 1])
    poses = spread_drive(room, 1, 2, "mapping")
    hard = [Hardship(), Hardship(cover="person", seed=4)]
    free, covered = take(room, camera, poses, name="query", light=STEADY, seed=1, hardships=hard)
    shape = (camera.height, camera.width)
    assert free.read_depth is not None
    assert covered.read_depth is not None
    assert (free.read_depth() != np.float32(COVER_M)).all()
    np.testing.assert_array_equal(covered.read_depth() == np.float32(COVER_M), hard[1].covered(shape))
    assert covered.read_image().shape == shape


def test_a_camera_turns_about_its_axis() -> None:
    poses = np.tile(np.eye(4), (2, 1, 1))
    turned = rolled(poses, np.array([0.0, math.pi / 2]))
    np.testing.assert_allclose(turned[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(turned[1, :3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned[1, :3, 2], [0, 0, 1], atol=1e-12)
