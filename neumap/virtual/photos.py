"""Frames of a camera at given poses, rendered when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.geometry.se3 import make_pose
from neumap.records import Camera, Frame
from neumap.virtual.hardships import COVER_M, Hardship
from neumap.virtual.render import Light, render
from neumap.virtual.scene import Room

# MAX_ROLL_RAD: largest roll of a hand-held camera, radians.
MAX_ROLL_RAD = np.deg2rad(25.0)
# _FRAME_NS: time between two frames, 5 Hz. _SEEDS: spacing of the noise seeds of two drives.
_FRAME_NS, _SEEDS = 200_000_000, 1000
# _EASY: no degradation: mapping images and most queries.
_EASY = Hardship()


def take(
    room: Room,
    camera: Camera,
    poses: FloatArray,
    *,
    name: str,
    light: Light,
    seed: int,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    hardships: Sequence[Hardship] | None = None,
) -> list[Frame]:
    """Make a frame with exact depth at each of the poses (N, 4, 4) in ``room``.

    ``offset`` is the room's position in the map. Each frame may have a hardship; an occluder has depth, too.
    """
    moved = poses.copy()
    moved[:, :3, 3] += offset
    hard = hardships or [_EASY] * len(poses)
    return [
        Frame(
            name=f"{name} {index}",
            stamp_ns=index * _FRAME_NS,
            camera=camera,
            read_image=partial(_image, room, camera, poses[index], light, seed * _SEEDS + index, hard[index]),
            read_depth=partial(_depth, room, camera, poses[index], hard[index]),
            map_from_camera=moved[index],
        )
        for index in range(len(poses))
    ]


def rolled(poses: FloatArray, angles: FloatArray) -> FloatArray:
    """Return poses (N, 4, 4) turned about their optical axes by angles (N,) in radians."""
    c, s, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    turns = np.stack([c, -s, zero, s, c, zero, zero, zero, zero + 1], axis=1).reshape(-1, 3, 3)
    return np.asarray(poses @ make_pose(turns, np.zeros((len(poses), 3))))


def _image(room: Room, camera: Camera, pose: FloatArray, light: Light, seed: int, hard: Hardship) -> ImageArray:
    image, _ = render(room, camera, pose)
    gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    return light.expose(hard.spoil(gray), np.random.default_rng(seed), hard.motion_px)


def _depth(room: Room, camera: Camera, pose: FloatArray, hard: Hardship) -> Float32Array:
    depth = render(room, camera, pose, supersample=1)[1]
    if hard.cover != "none":
        depth[hard.covered(depth.shape)] = COVER_M
    return depth
