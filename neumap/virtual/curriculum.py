"""Places to evaluate a decoder in, and half of those to train it in: virtual rooms, halls, corridors and buildings.

Everything follows from seeds. Places differ in size, furniture, texture, camera, lens and roll; the query drive of a
place differs from its mapping drive also in light, blur and noise. Some places are two rooms with the same furniture
within different walls, as in an office building.
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

# WALLS_M: distance between rooms of a building, metres.
WALLS_M = 0.3
# KINDS: fraction of each kind of place, and the range of its width, metres.
KINDS = {
    "room": (0.5, (3.6, 7.5)),
    "hall": (0.15, (7.5, 12.0)),
    "corridor": (0.15, (3.5, 4.0)),
    "twins": (0.2, (3.6, 5.0)),
}
# STEADY, CHANGED: the light of mapping drives and of query drives.
STEADY = Light(gain=(0.1, 0.5, 1.5), gamma=(0.1, 0.5, 1.8), noise=(1.0, 2.0), shake_px=0.75)
CHANGED = Light(gain=(0.3, 0.5, 1.5), gamma=(0.35, 0.5, 1.8), noise=(1.0, 4.0), shake_px=2.0)
# ROOM_M: size of a building's rooms, metres; FURNITURE: number of sets of furniture, which alternate along a row,
# shifted by _SHIFT in the next one; _DETAIL: resolution of its textures, pixels per metre.
ROOM_M, FURNITURE, _SHIFT, _DETAIL = (4.2, 3.8, 2.5), 8, 3, 220.0
_MOST_ROOMS = 10_000
# SEEDS: offset of the seeds of drives through the next part of a place.
SEEDS = 100_000
# _STRIDE: step in frames of a longer drive: consecutive frames would show one wall only.
_STRIDE = 8
_CAMERA = make_camera(640, 480, [430, 0, 319.5, 0, 430, 239.5, 0, 0, 1])


@dataclass(frozen=True)
class Place:
    """Posed frames to map a place, and query frames. All render when read.

    All have exact depth; ``depth_reach_m`` is the range of depth that mapping may use, 0 none.
    """

    description: str
    mapping: tuple[Frame, ...]
    query: tuple[Frame, ...]
    depth_reach_m: float = math.inf


def random_place(seed: int, images: int = 40, queries: int = 12) -> Place:
    """Make the place of a ``seed`` with up to ``images`` mapping images, on some drives fewer, and ``queries``."""
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
    """Return the ``decoration_seed`` of each part of a place; twins have two parts with the same furniture."""
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
    """Record ``count`` frames of a drive through ``room``, whose position in the map is ``offset``."""
    rng = np.random.default_rng([seed, 5 if kind == "mapping" else 6])
    poses = spread_drive(room, seed, count, kind)
    if rolled:
        poses = photos.rolled(poses, rng.uniform(-photos.MAX_ROLL_RAD, photos.MAX_ROLL_RAD, len(poses)))
    return photos.take(room, camera, poses, name=kind, light=light, seed=seed, offset=offset)


def spread_drive(room: Room, seed: int, count: int, kind: Kind) -> FloatArray:
    """Return ``count`` poses of a drive; queries are spread over a longer one."""
    stride = 1 if kind == "mapping" else 4
    return drive(room, seed, count * stride, kind)[::stride]


@dataclass(frozen=True)
class Building:
    """A grid of ``rooms`` rooms in rows of ``columns``, wall to wall; some have the same furniture.

    Rooms are made on demand, since all at once take gigabytes.
    """

    rooms: int
    columns: int
    seed: int = 0
    images: int = 32
    queries: int = 6

    def offset(self, index: int) -> Offset:
        """Return the corner of room ``index`` in the map frame, metres."""
        row, column = divmod(index, self.columns)
        return (column * (ROOM_M[0] + WALLS_M), row * (ROOM_M[1] + WALLS_M), 0.0)

    def furniture(self, index: int) -> int:
        """Return the set of furniture in room ``index``; neighbouring rooms have different ones."""
        return (index + _SHIFT * (index // self.columns)) % FURNITURE

    def room(self, index: int) -> Place:
        """Make room ``index`` in the frame of the building.

        Raises :class:`~neumap.errors.ConfigError` if there is no such room.
        """
        room, seed = self._made(index), self.seed * _MOST_ROOMS + index
        record = partial(record_drive, room, _CAMERA, seed=seed, offset=self.offset(index))
        return Place(
            description=f"room {index}, furniture {self.furniture(index)}",
            mapping=tuple(record(count=_STRIDE * self.images, kind="mapping")[::_STRIDE]),
            query=tuple(record(count=_STRIDE * self.queries, kind="query")[::_STRIDE]),
        )

    def seen_from(self, index: int, map_from_camera: FloatArray) -> tuple[Frame, ...]:
        """Make frames at given poses (N, 4, 4) in room ``index``, in the light of its query drive.

        Raises as :meth:`room`.
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
    """Make a building of ``rooms`` rooms on a grid about as wide as deep, each with ``images`` and ``queries`` frames.

    Raises :class:`~neumap.errors.ConfigError` for an invalid number of rooms.
    """
    if not 1 <= rooms <= _MOST_ROOMS:
        raise ConfigError(f"a virtual building has 1 to {_MOST_ROOMS} rooms, not {rooms}")
    return Building(rooms, math.isqrt(rooms - 1) + 1, seed, images, queries)
