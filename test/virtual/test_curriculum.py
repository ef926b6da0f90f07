"""Places to train a decoder in: what their frames tell is true, and no two are the same."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry.cameras import normalize, project
from neumap.geometry.se3 import invert_pose, transform_points
from neumap.records import Frame
from neumap.virtual.curriculum import WALLS_M, Place, random_camera, random_place, record_drive
from neumap.virtual.layout import make_room
from neumap.virtual.scene import Room

KINDS: tuple[Literal["mapping"], Literal["query"]] = ("mapping", "query")
# seeds of a room, another one, and of two with the same furniture
ROOM, OTHER, TWINS = 10, 14, 12
SIZE = (4.5, 4.0, 2.6)


@pytest.fixture(scope="module")
def place() -> Place:
    return random_place(ROOM, images=6, queries=3)


@pytest.fixture(scope="module")
def twins() -> Place:
    return random_place(TWINS, images=8, queries=4)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(3, SIZE, detail=60.0)


def size_of(place: Place) -> FloatArray:
    """Width and length in metres, as the description tells."""
    found = re.search(r"of (\d+\.\d) x (\d+\.\d) m", place.description)
    assert found is not None
    return np.array([float(found[1]), float(found[2])])


def positions(frames: tuple[Frame, ...] | list[Frame]) -> FloatArray:
    return np.array([pose_of(frame)[:3, 3] for frame in frames])


def pose_of(frame: Frame) -> FloatArray:
    assert frame.map_from_camera is not None
    return frame.map_from_camera


def seen_points(frame: Frame, step: int = 8) -> FloatArray:
    """Points (N, 3) in the map by the frame's depth."""
    assert frame.read_depth is not None
    depth = frame.read_depth()
    grid = np.stack(np.meshgrid(np.arange(4, 640, step), np.arange(4, 480, step)), axis=-1).reshape(-1, 2)
    z = depth[grid[:, 1], grid[:, 0]].astype(np.float64)
    rays = normalize(frame.camera, grid.astype(np.float64))
    good = (z > 0) & np.isfinite(rays).all(axis=1)
    return transform_points(pose_of(frame), np.column_stack([rays, np.ones(len(rays))])[good] * z[good, None])


def test_the_same_seed_is_the_same_place(place: Place) -> None:
    again = random_place(ROOM, images=6, queries=3)
    assert again.description == place.description
    for one, other in zip((*place.mapping, *place.query), (*again.mapping, *again.query), strict=True):
        assert (one.name, one.stamp_ns) == (other.name, other.stamp_ns)
        np.testing.assert_array_equal(one.map_from_camera, other.map_from_camera)
        np.testing.assert_array_equal(one.camera.matrix, other.camera.matrix)
        np.testing.assert_array_equal(one.camera.distortion, other.camera.distortion)
    for one, other in ((place.mapping[0], again.mapping[0]), (place.query[-1], again.query[-1])):
        image = one.read_image()
        assert image.shape == (480, 640)
        assert image.dtype == np.uint8
        assert image.tobytes() == one.read_image().tobytes() == other.read_image().tobytes()


def test_another_seed_is_another_place(place: Place, twins: Place) -> None:
    assert place.description != twins.description
    assert not np.array_equal(place.mapping[0].camera.matrix, twins.mapping[0].camera.matrix)
    difference = place.mapping[0].read_image().astype(int) - twins.mapping[0].read_image()
    assert np.abs(difference).mean() > 10


def test_a_place_has_as_many_frames_as_it_says(place: Place, twins: Place) -> None:
    for made, images, queries in ((place, 6, 3), (twins, 8, 4)):
        assert images // 2 - 1 <= len(made.mapping) <= images
        assert len(made.query) == queries
        assert f"{len(made.mapping)} images" in made.description
        assert len({frame.name for frame in (*made.mapping, *made.query)}) >= len(made.query)


def test_poses_are_inside_and_no_query_is_where_the_map_was_made(place: Place) -> None:
    mapping, query = positions(place.mapping), positions(place.query)
    for drive in (mapping, query):
        assert (drive[:, :2] > 0.3).all()
        assert (drive[:, :2] < size_of(place) - 0.3 + 0.05).all()
        assert ((drive[:, 2] > 0.4) & (drive[:, 2] < 1.7)).all()
    # the drives are at different heights, if nothing else
    assert np.linalg.norm(mapping[:, None] - query, axis=2).min() > 0.02
    for frame in (*place.mapping, *place.query):
        turn = pose_of(frame)[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize("rolled", [False, True])
@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.0), (20.0, -3.0, 1.0)])
def test_depth_agrees_with_the_pose(room: Room, rolled: bool, offset: tuple[float, float, float]) -> None:
    camera = random_camera(np.random.default_rng(3))
    frames = record_drive(room, camera, seed=1, count=60, kind="mapping", rolled=rolled, offset=offset)
    first, second = frames[10], frames[11]
    points = seen_points(first)
    assert len(points) > 2000
    # nothing that is seen is outside the room
    assert (points > np.array(offset) - 0.01).all()
    assert (points < np.array(offset) + SIZE + 0.01).all()
    there = transform_points(invert_pose(pose_of(second)), points)
    pixels = project(camera, there)
    inside = (pixels >= 1).all(axis=1) & (pixels <= [638, 478]).all(axis=1) & (there[:, 2] > 0.2)
    assert inside.sum() > 300
    at = np.rint(pixels[inside]).astype(int)
    assert second.read_depth is not None
    depth = second.read_depth()[at[:, 1], at[:, 0]]
    # a few are hidden from the second camera
    assert (np.abs(depth - there[inside, 2]) < 0.03 * there[inside, 2]).mean() > 0.85


def test_a_drive_rolls_where_it_is_told_to(room: Room) -> None:
    camera = random_camera(np.random.default_rng(3))
    level, rolled = (
        np.array([pose_of(f) for f in record_drive(room, camera, seed=1, count=30, kind="mapping", rolled=r)])
        for r in (False, True)
    )
    np.testing.assert_allclose(level[:, :3, 3], rolled[:, :3, 3])
    np.testing.assert_allclose(level[:, :3, 2], rolled[:, :3, 2], atol=1e-12)
    angle = np.rad2deg(np.arccos(np.clip(np.einsum("ni,ni->n", level[:, :3, 0], rolled[:, :3, 0]), -1, 1)))
    assert angle.max() <= 25.0 + 1e-6
    assert angle.max() > 15.0
    # to the left and to the right
    side = np.einsum("ni,ni->n", level[:, :3, 1], rolled[:, :3, 0])
    assert side.min() < -0.1
    assert side.max() > 0.1


def test_a_query_drive_is_another_one(room: Room) -> None:
    camera = random_camera(np.random.default_rng(3))
    mapping, query = (positions(record_drive(room, camera, seed=1, count=8, kind=k)) for k in ("mapping", "query"))
    assert np.linalg.norm(mapping[:, None] - query, axis=2).min() > 0.02
    # spread along more than eight frames of a drive, which is at most 0.12 m a frame
    assert np.linalg.norm(np.diff(query, axis=0), axis=1).max() > 0.2


def solids(room: Room) -> list[tuple[object, ...]]:
    return [(s.name, *s.centre.tolist(), *s.size.tolist(), s.yaw) for s in room.solids]


def test_decoration_changes_the_walls_and_leaves_the_furniture() -> None:
    first, again, other, plain = (make_room(3, SIZE, detail=60.0, decoration_seed=d) for d in (1, 1, 2, None))
    np.testing.assert_array_equal(first.atlas, again.atlas)
    assert solids(first) == solids(other) == solids(plain)

    def textures(room: Room) -> dict[str, np.ndarray]:
        return {r.name: r.texture.astype(int) for r in room.rectangles}

    one, two = textures(first), textures(other)
    for name in ("wall 0", "wall 1", "wall 2", "wall 3", "floor"):
        assert one[name].shape == two[name].shape
        assert np.abs(one[name] - two[name]).mean() > 5, name
    shell = {"wall 0", "wall 1", "wall 2", "wall 3", "floor", "ceiling", "lamp"}
    furniture = [r.name for r in first.rectangles if r.name not in shell]
    assert len(furniture) > 20
    assert furniture == [r.name for r in other.rectangles if r.name not in shell]
    np.testing.assert_array_equal(first.blank_wall, other.blank_wall)


def test_twins_are_side_by_side(twins: Place) -> None:
    assert twins.description.startswith("twins")
    width = size_of(twins)[0]
    for frames in (twins.mapping, twins.query):
        x = positions(frames)[:, 0]
        first, second = x[: len(x) // 2], x[len(x) // 2 :]
        assert ((first > 0) & (first < width + 0.05)).all()
        assert ((second > width - 0.05 + WALLS_M) & (second < 2 * width + 0.1 + WALLS_M)).all()
    # the second drives elsewhere than the first
    middle = len(twins.mapping) // 2
    moved = positions(twins.mapping[middle:]) - [width + WALLS_M, 0, 0]
    assert np.linalg.norm(moved - positions(twins.mapping[:middle]), axis=1).max() > 0.1
    for frame in (twins.mapping[0], twins.mapping[-1]):
        points = seen_points(frame, step=32)
        low = 0.0 if frame is twins.mapping[0] else width + WALLS_M
        # the description rounds the width
        assert (points[:, 0] > low - 0.12).all()
        assert (points[:, 0] < low + width + 0.12).all()


def test_cameras_differ_and_see_nearly_all_of_their_image() -> None:
    cameras = [random_camera(np.random.default_rng(seed)) for seed in range(40)]
    focal = np.array([camera.matrix[0, 0] for camera in cameras])
    assert focal.min() < 430 < 570 < focal.max()
    bent = [camera for camera in cameras if camera.distortion.any()]
    assert 8 < len(bent) < 32
    border = np.stack(np.meshgrid(np.linspace(0, 639, 20), np.linspace(0, 479, 20)), axis=-1).reshape(-1, 2)
    for camera in cameras:
        seen = np.isfinite(rays := normalize(camera, border)).all(axis=1)
        assert seen.mean() > 0.8
        back = project(camera, np.column_stack([rays[seen], np.ones(seen.sum())]))
        np.testing.assert_allclose(back, border[seen], atol=0.01)
