"""Large places: courtyards and halls, and walks through them."""

from __future__ import annotations

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.features import default_settings, make_extractor
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose
from neumap.virtual.drive import clearance
from neumap.virtual.grounds import make_ground
from neumap.virtual.photos import take
from neumap.virtual.render import Light, render
from neumap.virtual.scene import Room, Size
from neumap.virtual.walk import GAZES, Gaze, Way, close_way, walk

COURT, HALL = (18.0, 14.0, 8.0), (14.0, 12.0, 5.0)
CAMERA = make_camera(540, 360, [430, 0, 269.5, 0, 430, 179.5, 0, 0, 1])
LIGHT = Light(gain=(0.0, 1, 1), gamma=(0.0, 1, 1), noise=(1.0, 2.0), shake_px=0.3)


@pytest.fixture(scope="module")
def court() -> Room:
    return make_ground(4, COURT, roofed=False)


@pytest.fixture(scope="module")
def hall() -> Room:
    return make_ground(5, HALL, roofed=True)


def keypoints(room: Room, poses: FloatArray) -> list[int]:
    extract = make_extractor(default_settings())
    return [
        len(extract.whole(frame.read_image())) for frame in take(room, CAMERA, poses, name="m", light=LIGHT, seed=1)
    ]


def test_a_large_place_that_is_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="10 m wide"):
        make_ground(0, (9.0, 20.0, 6.0), roofed=False)


def test_above_a_court_is_the_sky_and_nothing_to_hold_on_to(court: Room, hall: Room) -> None:
    up = make_pose(np.diag([1.0, -1.0, -1.0]) @ np.diag([1.0, -1.0, -1.0]), np.array([9.0, 7.0, 1.5]))
    depth = {}
    for name, room in (("court", court), ("hall", hall)):
        image, z = render(room, CAMERA, up)
        depth[name] = float(np.median(z))
        assert image.min() > 20 or name == "hall"
    assert depth["court"] > 200
    assert depth["hall"] == pytest.approx(HALL[2] - 1.5, abs=0.1)
    assert keypoints(court, up[None])[0] < 0.3 * keypoints(hall, up[None])[0]


@pytest.mark.parametrize("gaze", GAZES)
def test_images_of_a_walk_have_keypoints_and_are_clear_of_things(court: Room, hall: Room, gaze: Gaze) -> None:
    for room, size in ((court, COURT), (hall, HALL)):
        poses = walk(room, 2, 16, "mapping", Way(gaze))
        position = poses[:, :3, 3]
        assert ((position[:, :2] > 0.5) & (position[:, :2] < np.array(size[:2]) - 0.5)).all()
        assert ((position[:, 2] > 0.3) & (position[:, 2] < 2.0)).all()
        assert clearance(room, position[:, :2]).min() > 0.5
        turn = poses[:, :3, :3]
        np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turn.shape), atol=1e-9)
        assert np.median(keypoints(room, poses[::5])) > 500


def test_a_walk_is_the_same_for_its_seed_and_asks_elsewhere(court: Room) -> None:
    mapping, again, query = (walk(court, 2, 12, kind, Way("across")) for kind in ("mapping", "mapping", "query"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(mapping, again)
    apart = np.linalg.norm(mapping[:, None, :3, 3] - query[:, :3, 3], axis=2)
    assert apart.min() > 0.02
    # but what is asked about was mapped
    alike = np.einsum("ni,mi->nm", query[:, :3, 2], mapping[:, :3, 2])
    assert ((alike > 0.7) & (apart < 8)).any(axis=1).mean() > 0.7


@pytest.mark.parametrize("size", [(12.0, 12.0, 5.0), (60.0, 40.0, 8.0)])
def test_a_close_way_keeps_the_walls_within_reach(size: Size) -> None:
    near = close_way(size, 30, "out", 6.0)
    assert (1 - near.share) * min(size[:2]) / 2 < 6.0
    step = near.span * 2 * np.pi * near.share * float(np.mean(size[:2])) / 2 / 30
    assert step < 1.3


def test_twins_differ_in_what_is_painted_only() -> None:
    one, other = (make_ground(6, HALL, roofed=True, decoration_seed=d, pixels=2e6) for d in (1, 2))
    assert [(s.name, *s.centre.tolist(), s.yaw) for s in one.solids] == [
        (s.name, *s.centre.tolist(), s.yaw) for s in other.solids
    ]
    np.testing.assert_array_equal(one.geometry, other.geometry)
    for first, second in zip(one.rectangles, other.rectangles, strict=True):
        if first.name.startswith("wall"):
            assert np.abs(first.texture.astype(int) - second.texture).mean() > 3


@pytest.mark.parametrize("size", [(12.0, 10.0, 6.0), (60.0, 60.0, 14.0)])
def test_textures_take_as_much_memory_whatever_the_size(size: Size) -> None:
    room = make_ground(1, size, roofed=False)
    assert 10e6 < room.atlas.nbytes < 150e6
