"""Where the frames of two maps lie to each other is found by what both show, or told to be unknown."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import Scene, make_latent_map, make_scene

from neumap.errors import ConfigError
from neumap.geometry import se3
from neumap.mapping.align import Alignment, aligned, check_one_frame, find_alignment
from neumap.mapping.merge import merge_all
from neumap.maps.moving import transformed
from neumap.maps.neural_map import NeuralMap

MOVE = se3.make_pose(se3.rotation_exp(np.array([0.4, -0.3, 2.0])), np.array([12.3, -7.7, 1.9]))
BACK = se3.invert_pose(MOVE)
NAMES = ("A", "B")


def of(*scenes: Scene) -> NeuralMap:
    together = (np.concatenate([getattr(s, n) for s in scenes]) for n in ("points", "fine", "coarse"))
    return make_latent_map(Scene(*together), parts=12, anchor_bits=16, voxel_m=5.0)


def part(scene: Scene, first: int, last: int) -> Scene:
    return Scene(scene.points[first:last], scene.fine[first:last], scene.coarse[first:last])


def shifted(scene: Scene, x: float, y: float = 0.0, z: float = 0.0) -> Scene:
    return replace(scene, points=scene.points + np.array([x, y, z]))


@pytest.fixture(scope="module")
def room() -> Scene:
    return make_scene(np.random.default_rng(0), 2400)


def test_two_drives_through_one_room(room: Scene) -> None:
    noisy = replace(room, points=room.points + 0.01 * np.random.default_rng(1).normal(size=room.points.shape))
    first, second = of(part(room, 0, 1600)), transformed(of(part(noisy, 800, 2400)), MOVE)
    found = find_alignment(first, second, NAMES)
    off = se3.pose_error(found.first_from_second, BACK)
    assert np.linalg.norm(off[:3]) < 0.01
    assert np.rad2deg(np.linalg.norm(off[3:])) < 0.05
    assert 720 < found.agreeing <= 810
    assert found.confirming > 0.9 * found.heard
    assert str(found) == (
        f"{found.agreeing} landmarks agree, in {found.confirming} of {found.heard} parts of the space they share"
    )


def test_frames_may_be_kilometres_apart(room: Scene) -> None:
    move = se3.make_pose(MOVE[:3, :3], np.array([5000.0, -3000.0, 100.0]))
    first, second = of(part(room, 0, 1600)), transformed(of(part(room, 800, 2400)), move)
    found = find_alignment(first, second, NAMES)
    middle = se3.transform_points(found.first_from_second @ move, np.zeros((1, 3)))[0]
    assert np.linalg.norm(middle) < 0.01


def test_a_few_centimetres_are_no_other_frame(room: Scene) -> None:
    drifted = shifted(room, 0.02, -0.02, 0.01)
    found = find_alignment(of(part(room, 0, 1600)), of(part(drifted, 800, 2400)), NAMES)
    np.testing.assert_array_equal(found.first_from_second, np.eye(4))


def test_one_place_told_in_two_frames_is_noticed(room: Scene) -> None:
    first, second = of(part(room, 0, 1600)), of(part(room, 800, 2400))
    with pytest.raises(ConfigError) as refused:
        check_one_frame([first, transformed(second, MOVE)], NAMES)
    assert re.fullmatch(
        r"B shows the same as A, but elsewhere \(\d+ landmarks agree, in \d+ of \d+ parts of the space they share\): "
        r"give --align if their frames differ, or --apart if these are two places that look alike",
        str(refused.value),
    )
    drifted = of(shifted(part(room, 800, 2400), 0.1, -0.1))
    beside = of(shifted(make_scene(np.random.default_rng(8), 1600), 7.0))
    check_one_frame([first, second, drifted, beside], ("A", "B", "C", "D"))


def test_a_part_of_a_larger_place(room: Scene) -> None:
    beyond = [make_scene(np.random.default_rng(seed), 1200) for seed in (1, 2, 3)]
    hall, cellar, attic = shifted(beyond[0], 7.0), shifted(beyond[1], -7.0), shifted(beyond[2], 0.0, 7.0)
    first, second = of(part(room, 0, 1400), hall, cellar), transformed(of(part(room, 700, 2100), attic), MOVE)
    off = se3.pose_error(find_alignment(first, second, NAMES).first_from_second, BACK)
    assert np.linalg.norm(off[:3]) < 0.01


def test_the_same_furniture_within_other_walls_is_another_room() -> None:
    furniture = make_scene(np.random.default_rng(5), 800)
    furniture = replace(furniture, points=0.5 * furniture.points)
    rooms = [of(furniture, make_scene(np.random.default_rng(seed), 1600)) for seed in (6, 7)]
    with pytest.raises(ConfigError) as refused:
        find_alignment(rooms[0], transformed(rooms[1], MOVE), NAMES)
    said = str(refused.value)
    assert said.startswith(
        "B cannot be joined to A: they share too little to tell how their frames lie to each other (at best, "
    )
    assert said.endswith(
        ": drive through more of what is mapped, or tell it with 'neumap transform --by' or '--points'"
    )
    assert int(said.partition("at best, ")[2].split()[0]) > 700


def test_strangers_share_nothing(room: Scene) -> None:
    other = of(make_scene(np.random.default_rng(8), 1600))
    with pytest.raises(ConfigError, match="B cannot be joined to A: they share too little"):
        find_alignment(of(part(room, 0, 1600)), other, NAMES)
    tiny = of(part(room, 0, 3))
    with pytest.raises(ConfigError, match="they share too little"):
        find_alignment(of(part(room, 0, 1600)), tiny, NAMES)


def test_a_room_that_is_there_twice_may_be_either(room: Scene) -> None:
    seen, flips = part(room, 0, 1600), np.random.default_rng(9)

    def altered(scene: Scene, which: np.ndarray) -> Scene:
        fine = scene.fine.copy()
        fine[which, 0] = flips.integers(0, 256, which.sum())
        return replace(scene, fine=fine)

    half = flips.random(1600) < 0.5
    copy = shifted(altered(seen, half), 9.0)
    with pytest.raises(ConfigError, match=r"fit together in several ways \(\d+ landmarks agree, .* and elsewhere \d+"):
        find_alignment(of(altered(seen, ~half), copy), transformed(of(seen), MOVE), NAMES)


def test_all_come_into_the_frame_of_the_first(room: Scene) -> None:
    """The third shares nothing with the first, but with the second."""
    corridor = shifted(make_scene(np.random.default_rng(10), 2400), 8.0)
    first = of(part(room, 0, 1600))
    second = replace(transformed(of(part(room, 800, 2400), part(corridor, 0, 1600)), MOVE), frame_id="hall")
    third = transformed(of(part(corridor, 800, 2400)), BACK)
    placed = aligned([first, third, second], ["one", "three", "two"])
    assert [found is None for _, found in placed] == [True, False, False]
    assert placed[0][0] is first
    for (one, found), truth in zip(placed[1:], (MOVE, BACK), strict=True):
        assert isinstance(found, Alignment)
        assert np.linalg.norm(se3.pose_error(found.first_from_second, truth)[:3]) < 0.01
        assert one.frame_id == "map"
    merged = merge_all([one for one, _ in placed])
    assert len(merged.landmarks) == pytest.approx(4800, rel=0.05)
    with pytest.raises(ConfigError, match="three cannot be joined to one: they share too little"):
        aligned([first, third], ["one", "three"])
    unlike = replace(second, decoder_id="0123")
    with pytest.raises(ConfigError, match="the maps differ in their frozen decoder"):
        aligned([first, unlike], ["one", "two"])
