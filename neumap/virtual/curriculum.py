"""Places to judge a decoder in, and half of those to train it in: virtual rooms, halls, corridors and buildings.

Everything follows from seeds. A place differs from the next in size, furniture, texture, camera, lens and roll; its
query drive also in light, blur and noise from its own mapping drive. Some places are two rooms with the same furniture
within other walls, as in an office building.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.geometry.cameras import make_camera
from neumap.records import Camera, Frame
from neumap.virtual import photos
from neumap.virtual.drive import Kind, drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import Light
from neumap.virtual.scene import Room, Size

# Offset: from the map's origin along x, y and z, in metres.
Offset: TypeAlias = tuple[float, float, float]

# WALLS_M: rooms of a building stand this far apart, in metres.
WALLS_M = 0.3
# KINDS: of a place, how many of each there are, and between what widths in metres they are.
KINDS = {
    "room": (0.5, (3.6, 7.5)),
    "hall": (0.15, (7.5, 12.0)),
    "corridor": (0.15, (3.5, 4.0)),
    "twins": (0.2, (3.6, 5.0)),
}
# STEADY, CHANGED: the light of a mapping drive, and of one that asks.
STEADY = Light(gain=(0.1, 0.5, 1.5), gamma=(0.1, 0.5, 1.8), noise=(1.0, 2.0), shake_px=0.75)
CHANGED = Light(gain=(0.3, 0.5, 1.5), gamma=(0.35, 0.5, 1.8), noise=(1.0, 4.0), shake_px=2.0)
# ROOM_M: size of a building's rooms in metres; FURNITURE: so many sets of furniture are there, in turn along a row, and
# _SHIFT further on in the next row; _DETAIL: of its textures, pixels per metre.
ROOM_M, FURNITURE, _SHIFT, _DETAIL = (4.2, 3.8, 2.5), 8, 3, 220.0
_MOST_ROOMS = 10_000
# SEEDS: how much further the seed of the drive through another part of a place is.
SEEDS = 100_000
# _STRIDE: a drive turns a few degrees from frame to frame: of few frames it would look at one wall only.
_STRIDE = 8
_CAMERA = make_camera(640, 480, [430, 0, 319.5, 0, 430, 239.5, 0, 0, 1])


@dataclass(frozen=True)
class Place:
    """What was seen of a place: posed frames to map it, and others to be localized. All render when read.

    All have exact depth; ``depth_reach_m`` is how far those to map it may use it, 0 not at all.
    """

    description: str
    mapping: tuple[Frame, ...]
    query: tuple[Frame, ...]
    depth_reach_m: float = math.inf


def random_place(seed: int, images: int = 40, queries: int = 12) -> Place:
    """Make the place of ``seed`` with up to ``images`` to map it (some drives are sparse) and ``queries`` others."""
    rng = np.random.default_rng([seed, 77])
    kind = str(rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))
    size, detail = random_size(rng, kind)
    camera = random_camera(rng)
    count = int(images * rng.choice([0.5, 0.75, 1.0]))
    rolled = bool(rng.random() < 0.3)
    decorations = decorations_of(kind)
    mapping, query = [], []
    for index, decoration in enumerate(decorations):
        room = make_room(seed, size, detail=detail, decoration_seed=decoration)
        offset = (index * (size[0] + WALLS_M), 0.0, 0.0)
        record = partial(record_drive, room, camera, seed=seed + SEEDS * index, rolled=rolled, offset=offset)
        mapping += record(count=count // len(decorations), kind="mapping", light=STEADY)
        query += record(count=queries // len(decorations), kind="query", light=CHANGED)
    text = f"{kind} of {size[0]:.1f} x {size[1]:.1f} m, {len(mapping)} images"
    return Place(text, tuple(mapping), tuple(query))


def random_size(rng: np.random.Generator, kind: str) -> tuple[Size, float]:
    """Draw the size of a room of one of the ``KINDS`` in metres, and its textures' pixels per metre."""
    height = float(rng.uniform(2.4, 3.2))
    width, length = rng.uniform(*KINDS[kind][1], 2)
    size = (float(rng.uniform(9.0, 15.0) if kind == "corridor" else length), float(width), height)
    return size, float(rng.uniform(220, 420)) * min(1.0, np.sqrt(40.0 / (size[0] * size[1])))


def decorations_of(kind: str) -> list[int | None]:
    """Return the ``decoration_seed`` of each part of a place: of two with the same furniture for twins."""
    return [1, 2] if kind.endswith("twins") else [None]


def random_camera(rng: np.random.Generator) -> Camera:
    """Make a camera of 640 x 480 pixels, from a wide to a usual lens, some with distortion."""
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
    kind: Kind,
    light: Light = STEADY,
    rolled: bool = False,
    offset: Offset = (0.0, 0.0, 0.0),
) -> list[Frame]:
    """Record ``count`` frames of a drive through ``room``, which stands ``offset`` from the map's origin."""
    rng = np.random.default_rng([seed, 5 if kind == "mapping" else 6])
    poses = spread_drive(room, seed, count, kind)
    if rolled:
        poses = photos.rolled(poses, rng.uniform(-photos.MAX_ROLL_RAD, photos.MAX_ROLL_RAD, len(poses)))
    return photos.take(room, camera, poses, name=kind, light=light, seed=seed, offset=offset)


def spread_drive(room: Room, seed: int, count: int, kind: Kind) -> FloatArray:
    """Return ``count`` poses of a drive; queries are spread over the whole of a longer one."""
    stride = 1 if kind == "mapping" else 4
    return drive(room, seed, count * stride, kind)[::stride]


@dataclass(frozen=True)
class Building:
    """``rooms`` rooms in rows of ``columns``, wall to wall, all of them from ``seed``: some have the same furniture.

    A room is made when it is asked for, since all of them at once take gigabytes.
    """

    rooms: int
    columns: int
    seed: int = 0
    images: int = 32
    queries: int = 6

    def offset(self, index: int) -> Offset:
        """Return where the corner of room ``index`` is, metres in the map frame."""
        row, column = divmod(index, self.columns)
        return (column * (ROOM_M[0] + WALLS_M), row * (ROOM_M[1] + WALLS_M), 0.0)

    def furniture(self, index: int) -> int:
        """Return which set of furniture is in room ``index``: rooms with the same are not next to each other."""
        return (index + _SHIFT * (index // self.columns)) % FURNITURE

    def room(self, index: int) -> Place:
        """Make room ``index`` in the frame of the building.

        Raises :class:`~neumap.errors.ConfigError` where there is no such room.
        """
        room, seed = self._made(index), self.seed * _MOST_ROOMS + index
        record = partial(record_drive, room, _CAMERA, seed=seed, offset=self.offset(index))
        return Place(
            description=f"room {index}, furniture {self.furniture(index)}",
            mapping=tuple(record(count=_STRIDE * self.images, kind="mapping")[::_STRIDE]),
            query=tuple(record(count=_STRIDE * self.queries, kind="query")[::_STRIDE]),
        )

    def seen_from(self, index: int, map_from_camera: FloatArray) -> tuple[Frame, ...]:
        """Take frames at other poses (N, 4, 4) in room ``index``, in the light of its query drive. Raises as
        :meth:`room`.
        """
        room, offset = self._made(index), self.offset(index)
        poses, seed = map_from_camera.copy(), (self.seed + 1) * _MOST_ROOMS * SEEDS + index
        poses[:, :3, 3] -= offset
        return tuple(photos.take(room, _CAMERA, poses, name="query", light=CHANGED, seed=seed, offset=offset))

    def _made(self, index: int) -> Room:
        if not 0 <= index < self.rooms:
            raise ConfigError(f"there is no room {index} in a building of {self.rooms}")
        seed = self.seed * FURNITURE + self.furniture(index)
        return make_room(seed, ROOM_M, detail=_DETAIL, decoration_seed=index)


def building(rooms: int, seed: int = 0, images: int = 32, queries: int = 6) -> Building:
    """Make a building of ``rooms`` rooms on a grid about as wide as it is deep, each with so many frames.

    Raises :class:`~neumap.errors.ConfigError` for a number of rooms that cannot be.
    """
    if not 1 <= rooms <= _MOST_ROOMS:
        raise ConfigError(f"a virtual building has 1 to {_MOST_ROOMS} rooms, not {rooms}")
    return Building(rooms, math.isqrt(rooms - 1) + 1, seed, images, queries)
