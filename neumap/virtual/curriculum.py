"""Places without end to pre-train a decoder in: virtual rooms, halls and corridors, and drives through them.

Everything follows from seeds. A place differs from the next in size, furniture, texture, camera, lens and roll; its
query drive also in light, blur and noise from its own mapping drive. Some places are two rooms with the same furniture
within other walls, as in an office building.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose
from neumap.records import Camera, Frame
from neumap.virtual.drive import drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import expose, render
from neumap.virtual.scene import Room

# rooms of a building stand this far apart, in metres
WALLS_M = 0.3
_MAX_ROLL_RAD = np.deg2rad(25.0)


@dataclass(frozen=True)
class Place:
    """What was seen of a place: posed frames with depth to map it, and others to be localized. All render when read."""

    description: str
    mapping: tuple[Frame, ...]
    query: tuple[Frame, ...]


@dataclass(frozen=True)
class _Light:
    """How far exposure, tone, blur and noise of a drive may be from the usual."""

    gain: float
    gamma: float
    blur_px: float
    noise: float


_STEADY = _Light(0.1, 0.1, 1.5, 2.0)
_CHANGED = _Light(0.3, 0.35, 4.0, 4.0)


def random_place(seed: int, images: int = 40, queries: int = 12) -> Place:
    """The place of ``seed``, with up to ``images`` mapping images (some drives are sparse) and ``queries`` others."""
    rng = np.random.default_rng([seed, 77])
    kind = rng.choice(["room", "hall", "corridor", "twins"], p=[0.5, 0.15, 0.15, 0.2])
    height = float(rng.uniform(2.4, 3.2))
    low, high = {"room": (3.6, 7.5), "hall": (7.5, 12.0), "corridor": (3.5, 4.0), "twins": (3.6, 5.0)}[str(kind)]
    width, length = rng.uniform(low, high, 2)
    size = (float(rng.uniform(9.0, 15.0) if kind == "corridor" else length), float(width), height)
    detail = float(rng.uniform(220, 420)) * min(1.0, np.sqrt(40.0 / (size[0] * size[1])))
    camera = random_camera(rng)
    count = int(images * rng.choice([0.5, 0.75, 1.0]))
    rolled = bool(rng.random() < 0.3)
    decorations: list[int | None] = [1, 2] if kind == "twins" else [None]
    mapping, query = [], []
    for index, decoration in enumerate(decorations):
        room = make_room(seed, size, detail=detail, decoration_seed=decoration)
        record = partial(
            record_drive,
            room,
            camera,
            seed=seed + 100_000 * index,
            rolled=rolled,
            offset=(index * (size[0] + WALLS_M), 0.0, 0.0),
        )
        mapping += record(count=count // len(decorations), kind="mapping", light=_STEADY)
        query += record(count=queries // len(decorations), kind="query", light=_CHANGED)
    text = f"{kind} of {size[0]:.1f} x {size[1]:.1f} m, {len(mapping)} images"
    return Place(text, tuple(mapping), tuple(query))


def random_camera(rng: np.random.Generator) -> Camera:
    """A camera of 640 x 480 pixels, from a wide to a usual lens, some with distortion."""
    focal = float(rng.uniform(380, 620))
    distortion = [float(rng.uniform(-0.25, 0.1)), float(rng.uniform(-0.02, 0.05)), 0.0, 0.0, 0.0]
    centre = 319.5 + rng.normal(0, 8), 239.5 + rng.normal(0, 8)
    matrix = [focal, 0, centre[0], 0, focal, centre[1], 0, 0, 1]
    return make_camera(640, 480, matrix, "plumb_bob", distortion if rng.random() < 0.5 else [0.0] * 5)


def record_drive(
    room: Room,
    camera: Camera,
    *,
    seed: int,
    count: int,
    kind: Literal["mapping", "query"],
    light: _Light = _STEADY,
    rolled: bool = False,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[Frame]:
    """``count`` frames of a drive through ``room``, which stands ``offset`` from the map's origin."""
    rng = np.random.default_rng([seed, 5 if kind == "mapping" else 6])
    # queries are spread over the whole of a longer drive
    stride = 1 if kind == "mapping" else 4
    poses = drive(room, seed, count * stride, kind)[::stride]
    if rolled:
        poses = poses @ make_pose(_rolls(rng, len(poses)), np.zeros((len(poses), 3)))
    frames = []
    for index, pose in enumerate(poses):
        read = _Reader(room, camera, pose, seed * 1000 + index, light)
        moved = pose.copy()
        moved[:3, 3] += offset
        frames.append(
            Frame(
                name=f"{kind} {index}",
                stamp_ns=index * 200_000_000,
                camera=camera,
                read_image=read.image,
                read_depth=read.depth,
                map_from_camera=moved,
            )
        )
    return frames


def _rolls(rng: np.random.Generator, count: int) -> FloatArray:
    angle = rng.uniform(-_MAX_ROLL_RAD, _MAX_ROLL_RAD, count)
    out = np.tile(np.eye(3), (count, 1, 1))
    out[:, 0, 0] = out[:, 1, 1] = np.cos(angle)
    out[:, 1, 0] = np.sin(angle)
    out[:, 0, 1] = -out[:, 1, 0]
    return out


@dataclass(frozen=True)
class _Reader:
    """Renders one image when it is asked for."""

    room: Room
    camera: Camera
    pose: FloatArray
    seed: int
    light: _Light

    def image(self) -> ImageArray:
        rng = np.random.default_rng(self.seed)
        light = self.light
        image, _ = render(self.room, self.camera, self.pose)
        blur = rng.normal(0, light.blur_px / 2, 2)
        image = expose(
            np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8),
            rng,
            gain=float(np.clip(rng.normal(1.0, light.gain), 0.5, 1.5)),
            gamma=float(np.clip(rng.normal(1.0, light.gamma), 0.5, 1.8)),
            noise_sigma=float(rng.uniform(1.0, light.noise)),
            motion_px=(float(blur[0]), float(blur[1])),
        )
        return image

    def depth(self) -> Float32Array:
        return render(self.room, self.camera, self.pose, supersample=1)[1]
