"""Poses and depth that were given otherwise than they are wanted, on views of a made-up room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import make_keyframes, make_scene, ring

from neumap.arrays import FloatArray
from neumap.errors import MappingError
from neumap.geometry import se3
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.suspects import check

OPTICAL_FROM_BODY = se3.make_pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.zeros(3))


@pytest.fixture(scope="module")
def keyframes() -> Keyframes:
    rng = np.random.default_rng(0)
    poses = ring(30)
    poses[:, :3, 3] += np.random.default_rng(1).normal(0, 0.3, (30, 3))
    found, _ = make_keyframes(make_scene(rng, 1500), poses, rng, noise_px=0.5, descriptor_noise=0.2)
    return found


def scalar_first(poses: FloatArray) -> FloatArray:
    quaternion = se3.quat_from_matrix(poses[:, :3, :3])
    return se3.make_pose(se3.matrix_from_quat(np.roll(quaternion, 1, axis=1)), poses[:, :3, 3])


def scaled(poses: FloatArray, scale: float) -> FloatArray:
    return se3.make_pose(poses[:, :3, :3], scale * poses[:, :3, 3])


def test_nothing_is_said_of_what_is_right(keyframes: Keyframes) -> None:
    check(keyframes)
    check(replace(keyframes, depth=np.zeros_like(keyframes.depth)))
    # poses that are off by centimetres, and depth by a tenth
    moved = keyframes.map_from_camera.copy()
    moved[:, :3, 3] += np.random.default_rng(2).normal(0, 0.02, (30, 3))
    check(replace(keyframes, map_from_camera=moved, depth=1.1 * keyframes.depth))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            lambda poses: poses @ OPTICAL_FROM_BODY,
            "the images fit the poses if these are of a frame whose x axis points forward, as body frames have it: "
            "give those of the camera's optical frame (x right, y down, z forward; of a bag by --camera-frame)",
        ),
        (
            lambda poses: poses @ np.diag([1.0, -1.0, -1.0, 1.0]),
            "the images fit the poses if these are of a camera as OpenGL has it, with y up and z backward: turn them "
            "to the optical frame (x right, y down, z forward)",
        ),
        (
            se3.invert_pose,
            "the images fit the poses if these are of the map in the camera: give those of the camera in the map",
        ),
        (scalar_first, "the images fit the poses if these are written with qw first: write qx qy qz qw"),
    ],
    ids=["body", "OpenGL", "inverse", "qw first"],
)
@pytest.mark.parametrize("depth", [True, False])
def test_poses_of_another_kind(
    keyframes: Keyframes, given: Callable[[FloatArray], FloatArray], said: str, depth: bool
) -> None:
    changed = replace(keyframes, map_from_camera=given(keyframes.map_from_camera), depth=depth * keyframes.depth)
    with pytest.raises(MappingError) as refused:
        check(changed)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("depth", "poses", "said"),
    [
        (0.2, 1, "5 times larger"),
        (5, 1, "5 times smaller"),
        (1, 100, "100 times larger"),
        (1, 0.01, "100 times smaller"),
    ],
)
def test_depth_of_another_scale(keyframes: Keyframes, depth: float, poses: float, said: str) -> None:
    given = scaled(keyframes.map_from_camera, poses)
    with pytest.raises(MappingError) as refused:
        check(replace(keyframes, depth=depth * keyframes.depth, map_from_camera=given))
    assert str(refused.value) == (
        f"the images fit the poses if depth is {said} than it is read: are depth images in millimetres (those of a TUM "
        "folder have 5000 units to the metre), or poses not in metres? Mend that, or map with --no-depth"
    )


@pytest.mark.parametrize("scale", [0.01, 100])
def test_poses_that_are_not_in_metres(keyframes: Keyframes, scale: float) -> None:
    given = scaled(keyframes.map_from_camera, scale)
    with pytest.raises(
        MappingError, match=r"is (0\.02\d|2\d0) m away .*0\.1 to 150 m can be mapped: give poses in metres"
    ):
        check(replace(keyframes, depth=np.zeros_like(keyframes.depth), map_from_camera=given))


def test_poses_that_are_just_wrong_are_not_explained(keyframes: Keyframes) -> None:
    check(replace(keyframes, map_from_camera=np.random.default_rng(0).permutation(keyframes.map_from_camera)))
