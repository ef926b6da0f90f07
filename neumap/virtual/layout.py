"""The plan of the virtual room: its walls, floor and ceiling, and where the furniture stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import ConfigError
from neumap.virtual import fittings, furniture, pictures, textures
from neumap.virtual.furniture import Furnisher, Place
from neumap.virtual.scene import Room, Size, Solid, assemble
from neumap.virtual.textures import Canvas, Colour, Painter, random_colour, timber_colour

# _Piece: the builder of a piece of furniture, and the ranges of its width, depth and height, metres.
_Piece: TypeAlias = tuple[Callable[[Furnisher, Place, float, float, float], None], tuple[tuple[float, float], ...]]

# _SMALLEST: smallest width of a room with space to drive between the furniture, metres.
_SMALLEST = 3.5
# _BLANK_WIDTH: width of the stretch of wall with nothing on it nor before it, metres.
_BLANK_WIDTH = 2.2
# _PASSAGE: smallest distance of things in the middle from everything else, metres: 0.4 m clearance for a robot on both
# sides.
_PASSAGE = 1.05

_ALONG_WALLS: tuple[_Piece, ...] = (
    (furniture.bookcase, ((0.8, 1.3), (0.28, 0.35), (1.7, 2.15))),
    (furniture.cupboard, ((0.8, 1.5), (0.38, 0.50), (0.7, 1.0))),
    (furniture.sofa, ((1.4, 1.9), (0.75, 0.85), (0.78, 0.9))),
    (furniture.desk, ((1.1, 1.5), (0.60, 0.70), (0.74, 0.74))),
    (furniture.bookcase, ((0.7, 1.2), (0.28, 0.35), (0.8, 1.2))),
    (furniture.cupboard, ((0.6, 1.1), (0.40, 0.55), (1.5, 1.9))),
    (furniture.parcels, ((0.45, 0.6), (0.40, 0.50), (0.4, 1.1))),
    (furniture.plant, ((0.5, 0.7), (0.50, 0.70), (1.1, 1.6))),
)
_DIVIDER: _Piece = (furniture.bookcase, ((0.6, 0.85), (0.25, 0.35), (1.3, 1.9)))
_IN_THE_MIDDLE: tuple[_Piece, ...] = (
    (furniture.partition, ((0.9, 1.4), (0.35, 0.45), (1.5, 1.8))),
    (furniture.bookcase, ((0.6, 0.9), (0.30, 0.40), (1.0, 1.5))),
    (furniture.parcels, ((0.45, 0.6), (0.40, 0.50), (0.5, 1.2))),
    (furniture.plant, ((0.5, 0.6), (0.50, 0.60), (1.1, 1.5))),
)
# _LINES: points (N, 2) on outline and middle lines of a square of width 1.
_LINES = np.array([(t, s) for s in (-0.5, 0.0, 0.5) for t in np.linspace(-0.5, 0.5, 25)])
_LINES = np.concatenate([_LINES, _LINES[:, ::-1]])


@dataclass(frozen=True)
class _Hanging:
    """An area of a wall, in metres from its top left, and its painter (None: hidden by furniture)."""

    painter: Painter | None
    left: float
    top: float
    width: float
    height: float

    def overlaps(self, other: _Hanging, margin: float = 0.0) -> bool:
        return (
            self.left < other.left + other.width + margin
            and other.left < self.left + self.width + margin
            and self.top < other.top + other.height + margin
            and other.top < self.top + self.height + margin
        )


@dataclass
class _Wall:
    """A wall from its left corner, seen from inside, along ``right`` (2,); ``inward`` (2,) points into the room."""

    corner: FloatArray
    right: FloatArray
    inward: FloatArray
    length: float
    height: float
    hangings: list[_Hanging] = field(default_factory=list)

    def place(self, along: float, out: float) -> Place:
        """Return the place ``along`` the wall and ``out`` from it, facing the room."""
        x, y = self.corner + along * self.right + out * self.inward
        return Place(float(x), float(y), 0.0, float(np.arctan2(self.inward[0], -self.inward[1])))

    def stretch(self, start: float, length: float) -> FloatArray:
        """Return origin, right and down (3, 3) of a part of the wall, as those of a rectangle."""
        origin = np.append(self.corner + start * self.right, self.height)
        return np.stack([origin, np.append(self.right * length, 0.0), [0.0, 0.0, -self.height]])


def make_room(
    seed: int, size: Size = (6.0, 5.0, 2.7), *, detail: float = 420.0, decoration_seed: int | None = None
) -> Room:
    """Furnish a room of ``size`` (x, y, z) in metres from a ``seed``.

    ``detail`` is the resolution of the textures in pixels per metre. Rooms of one ``seed`` and size but different
    ``decoration_seed`` have the same furniture with other walls, pictures and floors. Raises
    :class:`~neumap.errors.ConfigError` for a room too small to furnish.
    """
    if min(size[:2]) < _SMALLEST or not 2.3 <= size[2] <= 4 or detail < 50:
        raise ConfigError(f"a virtual room is {_SMALLEST} m wide, 2.3 to 4 m high, with 50 pixels a metre, at least")
    f = Furnisher(np.random.default_rng(seed), detail)
    walls = [_walls(size)[k] for k in f.rng.permutation(4)]
    blank_left = float(f.rng.choice([0.3, walls[0].length - _BLANK_WIDTH - 0.3]))
    taken = _fixed_parts(f.rng, walls, blank_left)
    island = _dining_table(f, size)
    _along_walls(f, walls, taken, island)
    _in_the_middle(f, size, [*taken, island])
    if decoration_seed is not None:
        f.rng = np.random.default_rng([seed, decoration_seed])
    for wall in walls:
        _hang_pictures(f.rng, wall)
    _shell(f, size, walls, blank_left)
    lamps = _lamps(f, size)
    return assemble(size, f.rectangles, f.solids, lamps, walls[0].stretch(blank_left, _BLANK_WIDTH))


def _walls(size: Size) -> list[_Wall]:
    x, y, height = size
    corners = np.array([(x, 0.0), (x, y), (0.0, y), (0.0, 0.0)])
    inward = np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)])
    right = np.array([(-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0)])
    return [_Wall(corners[k], right[k], inward[k], (x, y)[k % 2], height) for k in range(4)]


def _fixed_parts(rng: np.random.Generator, walls: list[_Wall], blank_left: float) -> list[Solid]:
    """Put blank stretch, door and window on three of the walls; return the floor to keep free before them."""
    first, second, third, _ = walls
    first.hangings.append(_Hanging(None, blank_left, 0, _BLANK_WIDTH, first.height))
    door_at = float(rng.uniform(0.8, second.length - 0.8))
    second.hangings.append(_Hanging(fittings.door, door_at - 0.46, second.height - 2.05, 0.92, 2.05))
    width = float(rng.uniform(1.3, min(2.4, third.length - 1.5)))
    left = float(rng.uniform(0.7, third.length - width - 0.7))
    third.hangings.append(_Hanging(fittings.window, left, 0.35, width, third.height - 1.4))
    blank = first.place(blank_left + _BLANK_WIDTH / 2, 0.6)
    return [_footprint(blank, _BLANK_WIDTH, 1.2), _footprint(second.place(door_at, 0.5), 1.1, 1.0)]


def _footprint(place: Place, width: float, depth: float) -> Solid:
    return Solid("footprint", np.array([place.x, place.y, 0.5]), np.array([width, depth, 1.0]), place.yaw)


def _gap(first: Solid, second: Solid) -> float:
    """Return the distance between two footprints in metres, negative where they overlap (sampled in centimetres)."""
    out = np.inf
    for a, b in ((first, second), (second, first)):
        c, s = np.cos(a.yaw), np.sin(a.yaw)
        points = a.centre[:2] + (_LINES * a.size[:2]) @ np.array([[c, s], [-s, c]])
        out = min(out, float(b.distance(points).min()))
    return out


def _dining_table(f: Furnisher, size: Size) -> Solid:
    """Add a table with chairs near the middle of the room; return their footprint."""
    rng = f.rng
    width, depth = rng.uniform(1.1, 1.4), rng.uniform(0.7, 0.8)
    x, y = (float(v) for v in np.array(size[:2]) / 2 + rng.uniform(-0.25, 0.25, 2))
    place = Place(x, y, 0.0, float(rng.normal(0, 0.12) + (0 if size[0] > size[1] else np.pi / 2)))
    furniture.table(f, place, width, depth, rng.uniform(0.72, 0.78))
    for side in (0.0, np.pi):
        for along in (-0.28, 0.28):
            if rng.random() < 0.7:
                seat = place.beside(0, 0, 0, side).beside(along * width, depth / 2 + 0.02, 0, rng.normal(0, 0.15))
                furniture.chair(f, seat)
    return _footprint(place, width, depth + 0.6)


def _along_walls(f: Furnisher, walls: list[_Wall], taken: list[Solid], island: Solid) -> None:
    """Place furniture along the walls wherever it fits; ``taken`` grows by its footprints."""
    rng, divided = f.rng, False
    for turn in range(9):
        for k in rng.permutation(4):
            wall = walls[k]
            # first a shelf that divides the room, then the big pieces in random order
            divider = turn == 0
            if divider and divided:
                continue
            piece, ranges = _DIVIDER if divider else _ALONG_WALLS[int(rng.integers(min(len(_ALONG_WALLS), 3 + turn)))]
            width, depth, tall = (float(rng.uniform(*r)) for r in ranges)
            across, out = (depth, width) if divider else (width, depth)
            before = 0.45 if piece is furniture.desk else 0.0
            for _ in range(12):
                along = float(rng.uniform(across / 2 + 0.05, wall.length - across / 2 - 0.05))
                place = wall.place(along, out / 2 + rng.uniform(0.02, 0.06))
                if divider:
                    place = place.beside(0, 0, 0, float(rng.choice([-0.5, 0.5])) * np.pi)
                footprint = _footprint(place.beside(0, -before / 2), width, depth + before)
                behind = _Hanging(None, along - across / 2, wall.height - tall, across, tall)
                hides = tall > 1.2 and any(h.painter is not None and h.overlaps(behind) for h in wall.hangings)
                if hides or _gap(footprint, island) < _PASSAGE or any(_gap(footprint, t) < 0.06 for t in taken):
                    continue
                piece(f, place, width, depth, tall)
                taken.append(footprint)
                wall.hangings.append(behind)
                divided |= divider
                break


def _in_the_middle(f: Furnisher, size: Size, taken: list[Solid]) -> None:
    """Add one or two things away from the walls, so that the room has more than one loop."""
    rng, most = f.rng, len(taken) + 2
    for _ in range(80):
        piece, ranges = _IN_THE_MIDDLE[int(rng.integers(len(_IN_THE_MIDDLE)))]
        width, depth, tall = (float(rng.uniform(*r)) for r in ranges)
        x, y = (float(rng.uniform(_PASSAGE, s - _PASSAGE)) for s in size[:2])
        place = Place(x, y, 0.0, float(rng.uniform(0, 2 * np.pi)))
        footprint = _footprint(place, width, depth)
        to_wall = min(x, y, size[0] - x, size[1] - y) - float(np.hypot(width, depth)) / 2
        if to_wall >= _PASSAGE and all(_gap(footprint, t) >= _PASSAGE for t in taken):
            piece(f, place, width, depth, tall)
            taken.append(footprint)
            if len(taken) == most:
                break


def _hang_pictures(rng: np.random.Generator, wall: _Wall) -> None:
    """Fill the free parts of a wall with pictures, big ones first."""
    for largest in (1.1, 0.9, 0.7, 0.5, 0.35):
        for _ in range(10):
            width = float(rng.uniform(0.6, 1.0) * largest)
            tall = min(width * float(rng.uniform(0.6, 1.5)), wall.height - 1.0)
            left = float(rng.uniform(0.08, wall.length - width - 0.08))
            top = float(rng.uniform(0.25, max(0.3, wall.height - 0.6 - tall)))
            painter = pictures.whiteboard if largest == 1.1 and rng.random() < 0.2 else pictures.picture
            hanging = _Hanging(painter, left, top, width, tall)
            if not any(hanging.overlaps(other, 0.07) for other in wall.hangings):
                wall.hangings.append(hanging)


def _shell(f: Furnisher, size: Size, walls: list[_Wall], blank_left: float) -> None:
    """Add walls, floor and ceiling."""
    shade = random_colour(f.rng, (0.03, 0.25), (0.65, 0.85))
    for k, wall in enumerate(walls):
        colour = random_colour(f.rng, (0.1, 0.45), (0.45, 0.75)) if k == 3 else shade
        painter = partial(_paint_wall, colour=colour, wall=wall, blank_left=blank_left if k == 0 else None)
        f.rectangle(f"wall {k}", wall.stretch(0.0, wall.length), painter)
    x, y, z = size
    f.rectangle("floor", np.array([(0.0, y, 0.0), (x, 0.0, 0.0), (0.0, -y, 0.0)]), textures.floor)
    f.rectangle("ceiling", np.array([(0.0, 0.0, z), (x, 0.0, 0.0), (0.0, y, 0.0)]), textures.ceiling)


def _paint_wall(c: Canvas, colour: Colour, wall: _Wall, blank_left: float | None) -> ImageArray:
    image = textures.wallpaper(c, colour)
    if blank_left is not None:
        left, right = round(blank_left * c.scale), round((blank_left + _BLANK_WIDTH) * c.scale)
        image[:, left:right] = textures.plain(c.part(c.height, right - left), colour, 0.006)
    skirting = int(0.09 * c.scale)
    image[c.height - skirting :] = textures.wood(c.part(skirting, c.width), timber_colour(c.rng))
    for hanging in wall.hangings:
        if hanging.painter is None:
            continue
        x, y, w, h = (round(v * c.scale) for v in (hanging.left, hanging.top, hanging.width, hanging.height))
        w, h = min(w, c.width - x), min(h, c.height - y)
        # a soft shadow below, as of a frame that stands off the wall
        edge = max(2, int(0.02 * c.scale))
        under = image[y + edge : y + h + 2 * edge, max(0, x - edge) : x + w + edge]
        under[:] = cv2.convertScaleAbs(under, alpha=0.8)
        image[y : y + h, x : x + w] = hanging.painter(c.part(h, w))
    return image


def _lamps(f: Furnisher, size: Size) -> FloatArray:
    """Hang lit panels just below the ceiling; returns points (K, 3) spread over them."""
    x, y, z = size
    lit = partial(textures.plain, colour=(235.0, 248.0, 252.0), contrast=0.01)
    points = []
    for share in (0.3, 0.7):
        across, along = (0.6, 0.6) if f.rng.random() < 0.5 else (1.2, 0.2)
        middle = np.array([share * x + f.rng.uniform(-0.3, 0.3), 0.5 * y + f.rng.uniform(-0.7, 0.7), z - 0.02])
        right, down = np.array([across, 0.0, 0.0]), np.array([0.0, along, 0.0])
        corner = middle - right / 2 - down / 2
        f.rectangle("lamp", np.stack([corner, right, down]), lit, luminous=True)
        points += [corner + a * right + b * down - (0, 0, 0.02) for a in (0.1, 0.9) for b in (0.1, 0.9)]
    return np.array(points)
