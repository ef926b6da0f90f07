"""A virtual building of many rooms that look alike in part: the same few sets of furniture within other walls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from neumap.errors import ConfigError
from neumap.geometry.cameras import make_camera
from neumap.virtual.curriculum import WALLS_M, Place, record_drive
from neumap.virtual.layout import make_room

CAMERA = make_camera(640, 480, [430, 0, 319.5, 0, 430, 239.5, 0, 0, 1])
ROOM_M = (4.2, 3.8, 2.5)
# so many sets of furniture are there, in turn along a row, and so much further on in the next row
FURNITURE, _SHIFT = 8, 3
_DETAIL = 220.0
_MOST_ROOMS = 10_000
# a drive turns a few degrees from frame to frame: in one of few frames it would look at one wall only
_STRIDE = 8


@dataclass(frozen=True)
class Building:
    """``rooms`` rooms in rows of ``columns``, wall to wall, all of them from ``seed``. A room is made when it is asked
    for, since all of them at once take gigabytes.
    """

    rooms: int
    columns: int
    seed: int
    images: int
    queries: int

    def offset(self, index: int) -> tuple[float, float, float]:
        """Where the corner of room ``index`` is, metres in the map frame."""
        row, column = divmod(index, self.columns)
        return (column * (ROOM_M[0] + WALLS_M), row * (ROOM_M[1] + WALLS_M), 0.0)

    def furniture(self, index: int) -> int:
        """Which set of furniture is in room ``index``: rooms with the same are not next to each other."""
        return (index + _SHIFT * (index // self.columns)) % FURNITURE

    def room(self, index: int) -> Place:
        """The frames of room ``index``, in the frame of the building; they render when they are read.

        Raises :class:`~neumap.errors.ConfigError` where there is no such room.
        """
        if not 0 <= index < self.rooms:
            raise ConfigError(f"there is no room {index} in a building of {self.rooms}")
        furniture, drive_seed = self.furniture(index), self.seed * _MOST_ROOMS + index
        room = make_room(self.seed * FURNITURE + furniture, ROOM_M, detail=_DETAIL, decoration_seed=index)
        record = partial(record_drive, room, CAMERA, seed=drive_seed, offset=self.offset(index))
        return Place(
            description=f"room {index}, furniture {furniture}",
            mapping=tuple(record(count=_STRIDE * self.images, kind="mapping")[::_STRIDE]),
            query=tuple(record(count=_STRIDE * self.queries, kind="query")[::_STRIDE]),
        )


def building(rooms: int, seed: int = 0, images: int = 32, queries: int = 6) -> Building:
    """A building of ``rooms`` rooms on a grid about as wide as it is deep, each with so many frames.

    Raises :class:`~neumap.errors.ConfigError` for a number of rooms that cannot be.
    """
    if not 1 <= rooms <= _MOST_ROOMS:
        raise ConfigError(f"a virtual building has 1 to {_MOST_ROOMS} rooms, not {rooms}")
    columns = next(count for count in range(1, rooms + 1) if count * count >= rooms)
    return Building(rooms, columns, seed, images, queries)
