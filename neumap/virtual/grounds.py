"""Large places: courtyards under an open sky between fronts of houses, and halls, of 10 to 60 m."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.virtual import facades, fittings, furniture, pictures
from neumap.virtual.furniture import Furnisher, Place
from neumap.virtual.scene import Room, Size, assemble
from neumap.virtual.textures import random_colour

# _SMALLEST: smallest width of a large place, metres: smaller ones are rooms.
_SMALLEST = 10.0
# SHELL_PIXELS: pixels of all textures of walls, floor and roof; with their mip levels they take 80 MB.
SHELL_PIXELS = 20e6
# _DETAIL: range of the resolution of the walls, pixels per metre; _OF_THINGS: resolution of the furniture.
_DETAIL, _OF_THINGS = (35.0, 200.0), 130.0
# _LIGHT_CELL_M: cell size of the light grid, metres: shadows of houses and vans, not of mugs.
_LIGHT_CELL_M = 0.5
# _SKY_M: height and half-width of the sky, metres: no camera between houses sees its end.
_SKY_M = (300.0, 6000.0)
# _APART_M: smallest gap between two things, metres, for a robot to pass; _THINGS, _MOST_THINGS: their number per square
# metre, and at most.
_APART_M, _THINGS, _MOST_THINGS = 1.3, 0.035, 22

# _Thing: the builder of a thing, and the ranges of its width, depth and height, metres.
_Thing: TypeAlias = tuple[Callable[[Furnisher, Place, float, float, float], None], tuple[tuple[float, float], ...]]


def _van(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    paint = random_colour(f.rng, (0.0, 0.8), (0.3, 0.95))
    f.box("van", place, (width, depth, height), partial(facades.vehicle_side, colour=paint))


def _stand(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """A kiosk with posters around it."""
    f.box("stand", place, (width, depth, height), pictures.notice_board, fittings.bookshelf)


def _bench(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    furniture.table(f, place, width, depth, height)


def _column(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    stone = partial(facades.front, style=facades.random_style(f.rng, True))
    f.box("column", place, (width, width, height), stone, pictures.poster)


# _IN_COURTS, _IN_HALLS: the things in courtyards and in halls.
_IN_COURTS: tuple[_Thing, ...] = (
    (_van, ((3.8, 5.2), (1.7, 2.0), (1.5, 2.2))),
    (furniture.plant, ((1.5, 2.5), (1.5, 2.5), (2.0, 3.5))),
    (furniture.parcels, ((0.9, 1.5), (0.9, 1.5), (0.8, 2.2))),
    (_bench, ((1.6, 2.2), (0.7, 0.8), (0.7, 0.8))),
    (_stand, ((1.2, 2.5), (1.0, 2.0), (2.0, 2.6))),
    (furniture.partition, ((1.4, 2.4), (0.5, 0.7), (1.8, 2.3))),
)
_IN_HALLS: tuple[_Thing, ...] = (
    (furniture.bookcase, ((1.8, 3.0), (0.5, 0.9), (1.8, 3.2))),
    (furniture.parcels, ((0.9, 1.5), (0.9, 1.5), (0.8, 2.6))),
    (furniture.cupboard, ((1.2, 2.0), (0.6, 0.9), (0.9, 2.0))),
    (furniture.partition, ((1.4, 2.4), (0.5, 0.7), (1.8, 2.3))),
    (_bench, ((1.6, 2.4), (0.7, 1.0), (0.7, 0.9))),
    (_column, ((0.5, 0.9), (0.5, 0.9), (2.5, 4.0))),
)


def make_ground(
    seed: int, size: Size, *, roofed: bool, decoration_seed: int | None = None, pixels: float = SHELL_PIXELS
) -> Room:
    """Make a large place of ``size`` (x, y, z) in metres from a ``seed``.

    It is a hall if ``roofed``, else a courtyard; its textures have about ``pixels`` pixels. Places of one ``seed`` and
    size but different ``decoration_seed`` have the same things and fronts with different textures. Raises
    :class:`~neumap.errors.ConfigError` for a place that is too small.
    """
    if min(size[:2]) < _SMALLEST or size[2] < 3:
        raise ConfigError(f"a large virtual place is {_SMALLEST:g} m wide and 3 m high at least")
    rng = np.random.default_rng([seed, 11])
    x, y, z = size
    area = 2 * (x + y) * z + x * y * (2 if roofed else 1)
    shell = Furnisher(rng, float(np.clip(np.sqrt(pixels / area), *_DETAIL)))
    things = Furnisher(rng, _OF_THINGS)
    styles = [facades.random_style(rng, roofed) for _ in range(4)]
    heights = [z if roofed else z * float(rng.uniform(0.75, 1.0)) for _ in range(4)]
    taken = _wing(shell, size, styles[0], rng) if rng.random() < 0.5 else []
    _scatter(things, size, _IN_HALLS if roofed else _IN_COURTS, taken)
    lamps = _lamps(rng, size, roofed)
    if decoration_seed is not None:
        shell.rng = np.random.default_rng([seed, 11, decoration_seed])
    walls = _walls(size, heights)
    for k, (edges, style) in enumerate(zip(walls, styles, strict=True)):
        shell.rectangle(f"wall {k}", edges, partial(facades.front, style=style))
    shell.rectangle("floor", np.array([(0.0, y, 0.0), (x, 0.0, 0.0), (0.0, -y, 0.0)]), facades.paving)
    if roofed:
        shell.rectangle("roof", np.array([(0.0, 0.0, z), (x, 0.0, 0.0), (0.0, y, 0.0)]), facades.roof)
    else:
        _sky(shell)
    solids = [*shell.solids, *things.solids]
    return assemble(size, [*shell.rectangles, *things.rectangles], solids, lamps, walls[0], light_cell=_LIGHT_CELL_M)


def _lamps(rng: np.random.Generator, size: Size, roofed: bool) -> FloatArray:
    """Return the positions (K, 3) of lamps under a roof, or of the sun, far enough for parallel light."""
    x, y, z = size
    if roofed:
        return np.array([(a * x, b * y, z - 0.1) for a in (0.25, 0.75) for b in (0.3, 0.7)])
    turn = rng.uniform(0, 2 * np.pi)
    return np.array([(x / 2 + 300 * np.cos(turn), y / 2 + 300 * np.sin(turn), rng.uniform(150, 500))])


def _sky(f: Furnisher) -> None:
    """Add a sky of a few pixels."""
    high, far = _SKY_M
    coarse = Furnisher(f.rng, 64 / (2 * far))
    edges = np.array([(-far, -far, high), (2 * far, 0.0, 0.0), (0.0, 2 * far, 0.0)])
    coarse.rectangle("sky", edges, facades.sky, luminous=True)
    f.rectangles += coarse.rectangles


def _walls(size: Size, heights: list[float]) -> list[FloatArray]:
    """Return the edges of four walls of these heights, seen from inside."""
    x, y, _ = size
    feet = (((x, 0), (-x, 0)), ((x, y), (0, -y)), ((0, y), (x, 0)), ((0, 0), (0, y)))
    return [
        np.array([(*corner, tall), (*right, 0.0), (0.0, 0.0, -tall)], dtype=np.float64)
        for (corner, right), tall in zip(feet, heights, strict=True)
    ]


def _wing(f: Furnisher, size: Size, style: facades.Style, rng: np.random.Generator) -> list[FloatArray]:
    """Build a part of a house into a corner; returns a circle (x, y, radius) to keep free of things."""
    width, depth = (float(rng.uniform(0.15, 0.3) * s) for s in size[:2])
    x = width / 2 if rng.random() < 0.5 else size[0] - width / 2
    y = depth / 2 if rng.random() < 0.5 else size[1] - depth / 2
    painter = partial(facades.front, style=style)
    f.box("wing", Place(x, y), (width, depth, size[2] * float(rng.uniform(0.5, 0.95))), painter)
    return [np.array([x, y, float(np.hypot(width, depth)) / 2])]


def _scatter(f: Furnisher, size: Size, kinds: tuple[_Thing, ...], taken: list[FloatArray]) -> None:
    """Place things, near the walls rather than in the middle; ``taken`` (x, y, radius) grows by them."""
    rng = f.rng
    wanted = min(_MOST_THINGS, max(6, int(_THINGS * size[0] * size[1])))
    most = len(taken) + wanted
    for _ in range(30 * wanted):
        piece, ranges = kinds[int(rng.integers(len(kinds)))]
        width, depth, tall = (float(rng.uniform(*r)) for r in ranges)
        radius = float(np.hypot(width, depth)) / 2
        # two thirds of the things stand in the outer half
        share = rng.beta(0.6, 0.6, 2)
        x, y = (float(0.3 + radius + a * (s - 0.6 - 2 * radius)) for a, s in zip(share, size[:2], strict=True))
        if any(np.hypot(x - a, y - b) < radius + r + _APART_M for a, b, r in taken):
            continue
        yaw = float(rng.integers(4) * np.pi / 2 + rng.normal(0, 0.2))
        piece(f, Place(x, y, 0.0, yaw), width, depth, min(tall, size[2] - 0.3))
        taken.append(np.array([x, y, radius]))
        if len(taken) == most:
            break
