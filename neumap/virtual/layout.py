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
from neumap.virtual.paint import Canvas, Colour, Painter, random_colour, timber_colour
from neumap.virtual.scene import Room, Solid, assemble

_Piece: TypeAlias = Callable[[Furnisher, Place, float, float, float], None]
_Ranges: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

_SMALLEST = 3.5
_BLANK_WIDTH = 2.2
# between what stands in the middle and everything else: room to walk through with 0.4 m to spare on both sides
_PASSAGE = 1.05

# width, depth and height in metres of what stands along the walls and in the middle
_ALONG_WALLS: tuple[tuple[_Piece, _Ranges], ...] = (
    (furniture.bookcase, ((0.8, 1.3), (0.28, 0.35), (1.7, 2.15))),
    (furniture.cupboard, ((0.8, 1.5), (0.38, 0.50), (0.7, 1.0))),
    (furniture.sofa, ((1.4, 1.9), (0.75, 0.85), (0.78, 0.9))),
    (furniture.desk, ((1.1, 1.5), (0.60, 0.70), (0.74, 0.74))),
    (furniture.bookcase, ((0.7, 1.2), (0.28, 0.35), (0.8, 1.2))),
    (furniture.cupboard, ((0.6, 1.1), (0.40, 0.55), (1.5, 1.9))),
    (furniture.parcels, ((0.45, 0.6), (0.40, 0.50), (0.4, 1.1))),
    (furniture.plant, ((0.5, 0.7), (0.50, 0.70), (1.1, 1.6))),
)
_DIVIDER: tuple[_Piece, _Ranges] = (furniture.bookcase, ((0.6, 0.85), (0.25, 0.35), (1.3, 1.9)))
_IN_THE_MIDDLE: tuple[tuple[_Piece, _Ranges], ...] = (
    (furniture.partition, ((0.9, 1.4), (0.35, 0.45), (1.5, 1.8))),
    (furniture.bookcase, ((0.6, 0.9), (0.30, 0.40), (1.0, 1.5))),
    (furniture.parcels, ((0.45, 0.6), (0.40, 0.50), (0.5, 1.2))),
    (furniture.plant, ((0.5, 0.6), (0.50, 0.60), (1.1, 1.5))),
)


@dataclass(frozen=True)
class _Hanging:
    """An area of a wall, in metres from its top left, and what is painted there (None: hidden by furniture)."""

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
    hangings: list[_Hanging] = field(default_factory=list)

    def place(self, along: float, out: float) -> Place:
        """The place ``along`` the wall and ``out`` from it, facing the room."""
        x, y = self.corner + along * self.right + out * self.inward
        return Place(float(x), float(y), 0.0, float(np.arctan2(self.inward[0], -self.inward[1])))


def make_room(
    seed: int,
    size: tuple[float, float, float] = (6.0, 5.0, 2.7),
    *,
    detail: float = 420.0,
    decoration_seed: int | None = None,
) -> Room:
    """A furnished room of ``size`` (x, y, z) in metres, another one for every ``seed``.

    ``detail`` is the resolution of the textures in pixels per metre. Rooms of one ``seed`` and size but several
    ``decoration_seed`` have the very same furniture within other walls, pictures and floors. Raises
    :class:`~neumap.errors.ConfigError` for a room too small to furnish.
    """
    if min(size[:2]) < _SMALLEST or not 2.3 <= size[2] <= 4 or detail < 50:
        raise ConfigError(f"a virtual room is {_SMALLEST} m wide, 2.3 to 4 m high, with 50 pixels a metre, at least")
    rng = np.random.default_rng(seed)
    f = Furnisher(rng, detail)
    walls = [_walls(size)[k] for k in rng.permutation(4)]
    blank_left = float(rng.choice([0.3, walls[0].length - _BLANK_WIDTH - 0.3]))
    taken = _fixed_parts(rng, walls, blank_left, size[2])
    island = _dining_table(f, size)
    _along_walls(f, walls, taken, island, size[2])
    _in_the_middle(f, size, [*taken, island])
    if decoration_seed is not None:
        rng = f.rng = np.random.default_rng([seed, decoration_seed])
    for wall in walls:
        _hang_pictures(rng, wall, size[2])
    blank_wall = _shell(f, size, walls, blank_left)
    lamps = _lamps(f, size)
    return assemble(size, f.rectangles, f.solids, lamps, blank_wall)


def _walls(size: tuple[float, float, float]) -> list[_Wall]:
    x, y = size[:2]
    corners = np.array([(x, 0.0), (x, y), (0.0, y), (0.0, 0.0)])
    inward = np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)])
    right = np.array([(-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0)])
    return [_Wall(corners[k], right[k], inward[k], x if k % 2 == 0 else y) for k in range(4)]


def _fixed_parts(rng: np.random.Generator, walls: list[_Wall], blank_left: float, height: float) -> list[Solid]:
    """Blank stretch, door and window go on three of the walls; returns the floor to keep free before them."""
    walls[0].hangings.append(_Hanging(None, blank_left, 0, _BLANK_WIDTH, height))
    door_at = float(rng.uniform(0.8, walls[1].length - 0.8))
    walls[1].hangings.append(_Hanging(fittings.door, door_at - 0.46, height - 2.05, 0.92, 2.05))
    width = float(rng.uniform(1.3, min(2.4, walls[2].length - 1.5)))
    left = float(rng.uniform(0.7, walls[2].length - width - 0.7))
    walls[2].hangings.append(_Hanging(fittings.window, left, 0.35, width, height - 1.4))
    blank = walls[0].place(blank_left + _BLANK_WIDTH / 2, 0.6)
    return [_footprint(blank, _BLANK_WIDTH, 1.2), _footprint(walls[1].place(door_at, 0.5), 1.1, 1.0)]


def _footprint(place: Place, width: float, depth: float) -> Solid:
    return Solid("footprint", np.array([place.x, place.y, 0.5]), np.array([width, depth, 1.0]), place.yaw)


def _gap(first: Solid, second: Solid) -> float:
    """The distance in metres between two footprints, negative where they overlap (sampled every few centimetres)."""
    out = np.inf
    t = np.linspace(-0.5, 0.5, 25)
    edge = np.concatenate([np.stack([t, s + 0 * t], axis=1) for s in (-0.5, 0, 0.5)])
    for a, b in ((first, second), (second, first)):
        c, s = np.cos(a.yaw), np.sin(a.yaw)
        grid = np.concatenate([edge, edge[:, ::-1]]) * a.size[:2]
        points = a.centre[:2] + grid @ np.array([[c, s], [-s, c]])
        out = min(out, float(b.distance(points).min()))
    return out


def _dining_table(f: Furnisher, size: tuple[float, float, float]) -> Solid:
    """A table with chairs near the middle of the room; returns the floor they take."""
    rng = f.rng
    width, depth = rng.uniform(1.1, 1.4), rng.uniform(0.7, 0.8)
    middle = np.array(size[:2]) / 2 + rng.uniform(-0.25, 0.25, 2)
    along_x = size[0] > size[1]
    place = Place(float(middle[0]), float(middle[1]), 0.0, float(rng.normal(0, 0.12) + (0 if along_x else np.pi / 2)))
    furniture.table(f, place, width, depth, rng.uniform(0.72, 0.78))
    for side in (0.0, np.pi):
        for x in (-0.28, 0.28):
            if rng.random() < 0.7:
                seat = place.beside(0, 0, 0, side).beside(x * width, depth / 2 + 0.02, 0, rng.normal(0, 0.15))
                furniture.chair(f, seat)
    return _footprint(place, width, depth + 0.6)


def _along_walls(f: Furnisher, walls: list[_Wall], taken: list[Solid], island: Solid, height: float) -> None:
    """Stand furniture along the walls wherever it fits; ``taken`` grows by what was placed."""
    rng, dividers = f.rng, 0
    for turn in range(9):
        for k in rng.permutation(4):
            wall = walls[k]
            # the big pieces first, in an order that differs between rooms; before all a shelf that divides the room
            divider = turn == 0
            if divider and dividers >= 1:
                continue
            piece, ranges = _DIVIDER if divider else _ALONG_WALLS[int(rng.integers(min(len(_ALONG_WALLS), 3 + turn)))]
            width, depth, tall = (float(rng.uniform(*r)) for r in ranges)
            across, out = (depth, width) if divider else (width, depth)
            for _ in range(12):
                along = float(rng.uniform(across / 2 + 0.05, wall.length - across / 2 - 0.05))
                place = wall.place(along, out / 2 + rng.uniform(0.02, 0.06))
                if divider:
                    place = place.beside(0, 0, 0, float(rng.choice([-0.5, 0.5])) * np.pi)
                before = 0.45 if piece is furniture.desk else 0.0
                footprint = _footprint(place.beside(0, -before / 2), width, depth + before)
                behind = _Hanging(None, along - across / 2, height - tall, across, tall)
                hides = any(h.painter is not None and h.overlaps(behind) for h in wall.hangings) and tall > 1.2
                if hides or _gap(footprint, island) < _PASSAGE or any(_gap(footprint, t) < 0.06 for t in taken):
                    continue
                piece(f, place, width, depth, tall)
                taken.append(footprint)
                wall.hangings.append(behind)
                if divider:
                    dividers += 1
                break


def _in_the_middle(f: Furnisher, size: tuple[float, float, float], taken: list[Solid]) -> None:
    """One or two more things away from the walls, so that the room has no single loop around it."""
    rng = f.rng
    placed = 0
    for _ in range(80):
        piece, ranges = _IN_THE_MIDDLE[int(rng.integers(len(_IN_THE_MIDDLE)))]
        width, depth, tall = (float(rng.uniform(*r)) for r in ranges)
        x, y = (float(rng.uniform(_PASSAGE, s - _PASSAGE)) for s in size[:2])
        place = Place(x, y, 0.0, float(rng.uniform(0, 2 * np.pi)))
        footprint = _footprint(place, width, depth)
        half = float(np.hypot(width, depth)) / 2
        if min(x, y, size[0] - x, size[1] - y) - half < _PASSAGE or any(_gap(footprint, t) < _PASSAGE for t in taken):
            continue
        piece(f, place, width, depth, tall)
        taken.append(footprint)
        placed += 1
        if placed == 2:
            break


def _hang_pictures(rng: np.random.Generator, wall: _Wall, height: float) -> None:
    """Fill the free parts of a wall with pictures, big ones first."""
    for largest in (1.1, 0.9, 0.7, 0.5, 0.35):
        for _ in range(10):
            width = float(rng.uniform(0.6, 1.0) * largest)
            tall = min(width * float(rng.uniform(0.6, 1.5)), height - 1.0)
            left = float(rng.uniform(0.08, wall.length - width - 0.08))
            top = float(rng.uniform(0.25, max(0.3, height - 0.6 - tall)))
            painter = pictures.whiteboard if largest == 1.1 and rng.random() < 0.2 else pictures.picture
            hanging = _Hanging(painter, left, top, width, tall)
            if not any(hanging.overlaps(other, 0.07) for other in wall.hangings):
                wall.hangings.append(hanging)


def _shell(f: Furnisher, size: tuple[float, float, float], walls: list[_Wall], blank_left: float) -> FloatArray:
    """Add walls, floor and ceiling; returns the geometry of the blank stretch of the first wall."""
    rng, height = f.rng, size[2]
    shade = random_colour(rng, (0.03, 0.25), (0.65, 0.85))
    down = np.array([0.0, 0.0, -height])
    for k, wall in enumerate(walls):
        colour = random_colour(rng, (0.1, 0.45), (0.45, 0.75)) if k == 3 else shade
        blank = (blank_left, _BLANK_WIDTH) if k == 0 else None
        corner, right = np.append(wall.corner, height), np.append(wall.right * wall.length, 0.0)
        f.rectangle(f"wall {k}", corner, right, down, partial(_wall, colour=colour, wall=wall, blank=blank))
    x, y = size[:2]
    f.rectangle("floor", np.array([0.0, y, 0.0]), np.array([x, 0.0, 0.0]), np.array([0.0, -y, 0.0]), textures.floor)
    f.rectangle(
        "ceiling", np.array([0.0, 0.0, height]), np.array([x, 0.0, 0.0]), np.array([0.0, y, 0.0]), textures.ceiling
    )
    first = walls[0]
    start = np.append(first.corner + blank_left * first.right, height)
    return np.stack([start, np.append(first.right * _BLANK_WIDTH, 0.0), down])


def _wall(c: Canvas, colour: Colour, wall: _Wall, blank: tuple[float, float] | None) -> ImageArray:
    image = textures.wallpaper(c, colour)
    if blank is not None:
        left, right = round(blank[0] * c.scale), round((blank[0] + blank[1]) * c.scale)
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


def _lamps(f: Furnisher, size: tuple[float, float, float]) -> FloatArray:
    """Hang lit panels just below the ceiling; returns points (K, 3) spread over them."""
    x, y, z = size
    points = []
    for k in range(2):
        along, across = (0.6, 0.6) if f.rng.random() < 0.5 else (1.2, 0.2)
        cx, cy = (0.3 + 0.4 * k) * x + f.rng.uniform(-0.3, 0.3), 0.5 * y + f.rng.uniform(-0.7, 0.7)
        corner = np.array([cx - along / 2, cy - across / 2, z - 0.02])
        lit = partial(textures.plain, colour=(235.0, 248.0, 252.0), contrast=0.01)
        edges = np.array([along, 0.0, 0.0]), np.array([0.0, across, 0.0])
        f.rectangle("lamp", corner, *edges, lit, luminous=True)
        points += [corner + a * edges[0] + b * edges[1] - (0, 0, 0.02) for a in (0.1, 0.9) for b in (0.1, 0.9)]
    return np.array(points)
