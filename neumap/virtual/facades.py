"""Painters of large places: fronts of houses, walls and roofs of halls, paving and the sky.

Their textures have some 40 to 150 pixels a metre, enough for distances of 5 to 40 m.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from neumap.arrays import ImageArray
from neumap.virtual import fittings, pictures, textures
from neumap.virtual.textures import Canvas, Colour, Range, edged, random_colour, shaded, tinted


@dataclass(frozen=True)
class Style:
    """The style of a front: its colour, courses of stone, and the grid of its windows; lengths in metres.

    Fronts of one style have windows in the same places; what is in them, signs and stains are each front's own.
    """

    colour: Colour
    frame: Colour
    stone: tuple[float, float]
    contrast: float
    storey: float
    bay: float
    window: tuple[float, float]
    indoors: bool


def random_style(rng: np.random.Generator, indoors: bool) -> Style:
    """Draw the style of a front; halls have higher storeys, and light walls."""
    colour = random_colour(rng, (0.02, 0.3), (0.6, 0.85)) if indoors else random_colour(rng, (0.05, 0.6), (0.45, 0.85))
    bay = float(rng.uniform(2.0, 4.0))
    storey = float(rng.uniform(4.0, 5.5) if indoors else rng.uniform(2.9, 3.8))
    return Style(
        colour=colour,
        frame=random_colour(rng, (0.0, 0.4), (0.3, 0.95)),
        stone=(float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.4, 1.2))),
        contrast=float(rng.uniform(0.03, 0.1)),
        storey=storey,
        bay=bay,
        window=(float(bay * rng.uniform(0.35, 0.6)), float(min(0.55 * storey, rng.uniform(1.3, 2.2)))),
        indoors=indoors,
    )


def front(c: Canvas, style: Style) -> ImageArray:
    """Paint a front: stone, stains, rows of windows, doors, signs and posters at the bottom, a gutter at the top."""
    image = _stone(c, style.stone, style.contrast, style.colour)
    _blots(c, image, 0.12, (0.3, 1.6))
    columns = max(1, int(c.width / c.scale / style.bay))
    rows = max(1, int(c.height / c.scale / style.storey))
    bay, storey = c.width / columns, style.storey * c.scale
    pipes = (c.rng.integers(columns, size=max(1, columns // 4)) * bay).tolist()
    beams = (0.012 * c.height, c.height - 0.35 * c.scale)
    textures.ruled(image, pipes, beams, shaded(style.colour, 0.55), max(1, int(0.1 * c.scale)))
    for row, column in np.ndindex(rows, columns):
        middle, bottom = (column + 0.5) * bay, c.height - row * storey
        if row == 0:
            painter, width, height, lift = _at_the_bottom(c, style)
        else:
            painter, (width, height), lift = _upstairs(c, style), style.window, 0.25 * style.storey
        width, height = width * c.scale, height * c.scale
        _paste(c, image, painter, (middle - width / 2, bottom - lift * c.scale - height, width, height))
    return image


def paving(c: Canvas) -> ImageArray:
    """Paint a ground of slabs or asphalt with stains, joints, painted lines and covers of manholes."""
    colour = random_colour(c.rng, (0.02, 0.2), (0.35, 0.7))
    stone = (float(c.rng.uniform(0.3, 1.0)), float(c.rng.uniform(0.3, 1.2)))
    image = _stone(c, stone, float(c.rng.uniform(0.03, 0.11)), colour)
    _blots(c, image, 0.25, (0.15, 1.2))
    paint = random_colour(c.rng, (0.0, 0.7), (0.75, 0.95))
    for _ in c.many(0.02, 3):
        x, y = int(c.rng.integers(c.width)), int(c.rng.integers(c.height))
        length = c.px(1.0, 6.0)
        end = (int(x + length), y) if c.rng.random() < 0.5 else (x, int(y + length))
        cv2.line(image, (x, y), end, paint, max(2, int(0.12 * c.scale)))
    for _ in c.many(0.012, 2):
        centre, radius = (int(c.rng.integers(c.width)), int(c.rng.integers(c.height))), int(c.px(0.25, 0.4))
        cv2.circle(image, centre, radius, shaded(colour, 0.5), -1, cv2.LINE_AA)
        for spoke in np.arange(0, np.pi, np.pi / int(c.rng.integers(3, 7))):
            reach = 0.8 * radius * np.array([np.cos(spoke), np.sin(spoke)])
            ends = [(int(centre[0] + s * reach[0]), int(centre[1] + s * reach[1])) for s in (-1, 1)]
            cv2.line(image, ends[0], ends[1], shaded(colour, 0.85), 1, cv2.LINE_AA)
    return image


def roof(c: Canvas) -> ImageArray:
    """Paint the roof of a hall from below: sheets, beams, lamps and ducts."""
    colour = random_colour(c.rng, (0.0, 0.15), (0.55, 0.8))
    image = _stone(c, (float(c.rng.uniform(0.5, 1.2)), float(c.rng.uniform(1.0, 3.0))), 0.05, colour)
    _blots(c, image, 0.05, (0.2, 1.0))
    for at in np.arange(0.5, c.height / c.scale, float(c.rng.uniform(2.5, 5.0))) * c.scale:
        dark = shaded(colour, float(c.rng.uniform(0.35, 0.7)))
        cv2.line(image, (0, int(at)), (c.width, int(at)), dark, max(2, int(0.25 * c.scale)))
    for _ in c.many(0.05, 4):
        x, y = int(c.rng.integers(c.width)), int(c.rng.integers(c.height))
        far = (x + int(c.px(0.2, 1.6)), y + int(c.px(0.2, 0.6)))
        lamp = shaded((250.0, 252.0, 252.0), float(c.rng.choice([1.0, 1.0, 0.3])))
        cv2.rectangle(image, (x, y), far, lamp, -1)
        cv2.rectangle(image, (x, y), far, shaded(colour, 0.4), max(1, int(0.03 * c.scale)))
    return image


def sky(c: Canvas) -> ImageArray:
    """Paint a sky without features: clouds move, and must not be mapped."""
    colour = random_colour(c.rng, (0.05, 0.45), (0.8, 1.0), (200.0, 225.0))
    return tinted(1 + np.float32(0.03) * c.noise(c.width / 2, 0.4, c.width / 4), colour)


def vehicle_side(c: Canvas, colour: Colour) -> ImageArray:
    """Paint the side of a van: sheet metal, wheels, windows, a firm's name."""
    image = textures.plain(c, colour, 0.03)
    glass, dark = (70.0, 60.0, 55.0), (35.0, 32.0, 30.0)
    top, bottom = int(0.12 * c.height), int(0.42 * c.height)
    for left, right in ((0.06, 0.3), (0.34, 0.62), (0.66, 0.94)):
        if c.rng.random() < 0.75:
            corner, far = (int(left * c.width), top), (int(right * c.width), bottom)
            cv2.rectangle(image, corner, far, shaded(glass, float(c.rng.uniform(0.6, 1.8))), -1)
            cv2.rectangle(image, corner, far, dark, max(1, int(0.03 * c.scale)))
    for x in (0.2, 0.8):
        centre = (int(x * c.width), int(0.86 * c.height))
        cv2.circle(image, centre, int(0.32 * c.scale), dark, -1, cv2.LINE_AA)
        cv2.circle(image, centre, int(0.17 * c.scale), (170.0, 170.0, 170.0), -1, cv2.LINE_AA)
        for angle in np.arange(5) * 2 * np.pi / 5:
            end = (int(centre[0] + 0.17 * c.scale * np.cos(angle)), int(centre[1] + 0.17 * c.scale * np.sin(angle)))
            cv2.line(image, centre, end, dark, 2, cv2.LINE_AA)
    ink = random_colour(c.rng, (0.2, 0.9), (0.1, 0.9))
    spot = (int(0.1 * c.width), int(0.62 * c.height))
    c.write(image, c.words(2).upper(), spot, 0.14 * c.height, ink, 0.7 * c.width)
    cv2.line(image, (c.width // 2, top), (c.width // 2, c.height), shaded(colour, 0.5), 1)
    return image


def _stone(c: Canvas, stone: tuple[float, float], contrast: float, colour: Colour) -> ImageArray:
    """Courses of stones (height, width) in metres, each of its own tone, with joints and grain; each course is shifted
    against the next.

    The grain is painted at half the resolution, where it takes a quarter of the time.
    """
    rows, columns = max(2, round(c.height / c.scale / stone[0])), max(2, round(c.width / c.scale / stone[1]))
    tones = (1 + contrast * c.rng.standard_normal((rows, columns))).astype(np.float32)
    height, width = (max(2, n // 2) for n in (c.height, c.width))
    grain = c.part(height, width, c.scale / 2).noise(0.6 * c.scale, 0.75)
    grain = np.float32(0.5 * contrast + 0.012) * grain
    edges = np.linspace(0, height, rows + 1).astype(int)
    for row, (top, bottom) in enumerate(pairwise(edges.tolist())):
        course = np.repeat(tones[row], -(-width // columns))[:width]
        course = np.roll(np.pad(course, (0, width - len(course)), "edge"), (row % 2) * width // columns // 2)
        grain[top:bottom] += course
    tone = cv2.resize(grain, (c.width, c.height), interpolation=cv2.INTER_LINEAR)
    # at few pixels there would be nothing but joints
    if stone[0] * c.scale >= 8:
        tone[np.linspace(0, c.height, rows + 1)[1:-1].astype(int)] *= np.float32(0.75)
    return tinted(tone, colour)


def _blots(c: Canvas, image: ImageArray, per_square_metre: float, size_m: Range) -> None:
    """Darken or lighten irregular spots, which make parts of the stone distinct."""
    for _ in c.many(per_square_metre, 4):
        radius = c.px(*size_m)
        corners = int(c.rng.integers(5, 11))
        reach = radius * c.rng.uniform(0.3, 1.0, corners)
        angle = np.sort(c.rng.uniform(0, 2 * np.pi, corners))
        middle = np.array([c.rng.integers(c.width), c.rng.integers(c.height)])
        outline = middle + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        low = np.clip(outline.min(axis=0).astype(int) - 1, 0, (c.width - 1, c.height - 1))
        high = np.clip(outline.max(axis=0).astype(int) + 2, 1, (c.width, c.height))
        part = image[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(part.shape[:2], dtype=np.uint8)
        cv2.fillPoly(mask, [np.rint(outline - low).astype(np.int32)], 1)
        changed = cv2.convertScaleAbs(part, alpha=float(c.rng.choice([0.75, 0.85, 0.92, 1.1])))
        np.copyto(part, changed, where=mask[..., None] > 0)


# _Area: x, y, width and height in pixels.
_Area = tuple[float, float, float, float]


def _paste(c: Canvas, image: ImageArray, painter: textures.Painter | None, area: _Area) -> None:
    """Paint an ``area`` (x, y, width, height) in pixels, as far as it is on the canvas."""
    x, y, width, height = (round(v) for v in area)
    x, y = max(0, x), max(0, y)
    width, height = min(width, c.width - x), min(height, c.height - y)
    if painter is None or width < 12 or height < 12:
        return
    image[y : y + height, x : x + width] = painter(c.part(height, width))


def _upstairs(c: Canvas, style: Style) -> textures.Painter | None:
    """Paint a bay of an upper storey: mostly a window; in a hall banners, or nothing."""
    draw = c.rng.random()
    if style.indoors:
        return pictures.picture if draw < 0.35 else partial(_window, style=style) if draw < 0.75 else None
    return None if draw < 0.06 else partial(_window, style=style)


def _at_the_bottom(c: Canvas, style: Style) -> tuple[textures.Painter | None, float, float, float]:
    """What is in a bay at the bottom, its width and height in metres, and how far it is above the ground."""
    draw = c.rng.random()
    wide = 0.8 * style.bay
    if draw < 0.2:
        return fittings.door, min(1.3, wide), 2.3, 0.0
    if draw < 0.4:
        return partial(_shop, style=style), wide, 2.6, 0.15
    if draw < 0.55:
        return pictures.notice_board, min(1.8, wide), 1.2, 0.9
    if draw < 0.75:
        return pictures.poster if c.rng.random() < 0.5 else pictures.picture, min(1.4, wide), 1.7, 0.7
    return (None if draw < 0.8 else partial(_window, style=style)), style.window[0], style.window[1], 0.9


def _window(c: Canvas, style: Style) -> ImageArray:
    """Paint a window from outside: a dark interior, curtains or a blind, and its frame."""
    rng, width, height = c.rng, c.width, c.height
    glass = random_colour(rng, (0.05, 0.4), (0.15, 0.55), (190.0, 240.0))
    mirrored = np.linspace(1.35, 0.75, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    image = tinted(mirrored + np.float32(0.12) * c.noise(max(4.0, height / 3), 0.6, 3.0), glass)
    draw = rng.random()
    cloth = random_colour(rng, (0.0, 0.4), (0.5, 0.95))
    if draw < 0.25:
        image[: int(rng.uniform(0.15, 0.9) * height)] = cloth
    elif draw < 0.5:
        for left, right in ((0.0, rng.uniform(0.1, 0.35)), (rng.uniform(0.65, 0.9), 1.0)):
            image[:, int(left * width) : int(right * width)] = cloth
    elif draw < 0.7:
        size = int(rng.uniform(0.2, 0.5) * min(width, height))
        x, y = int(rng.integers(0, width - size)), height - size
        image[y:, x : x + size] = pictures.abstract(c.part(size, size))
    bar = max(1, int(0.07 * c.scale))
    xs = np.linspace(0, width - 1, int(2 + width / c.scale / 0.7)).tolist()
    ys: Iterable[float] = [0.3 * height] if rng.random() < 0.6 else []
    textures.ruled(image, xs[1:-1], ys, style.frame, bar)
    edged(image, shaded(style.frame, 0.6), max(1, bar // 2))
    edged(image, style.frame, bar, bar // 2)
    image[-max(2, int(0.08 * c.scale)) :] = shaded(style.colour, 0.7)
    return image


def _shop(c: Canvas, style: Style) -> ImageArray:
    """Paint a shop window under a sign."""
    image = _window(c, style)
    sign = max(6, int(0.22 * c.height))
    ground, ink = random_colour(c.rng, (0.3, 0.9), (0.15, 0.5)), random_colour(c.rng, (0.0, 0.5), (0.8, 1.0))
    image[:sign] = ground
    c.write(image, c.words(2).upper(), (int(0.06 * c.width), int(0.78 * sign)), 0.55 * sign, ink, 0.85 * c.width)
    for k in range(int(c.rng.integers(1, 4))):
        size = int(0.22 * c.height)
        x, y = int((0.08 + 0.3 * k) * c.width), int(c.rng.uniform(0.3, 0.65) * c.height)
        _paste(c, image, pictures.poster, (x, y, 0.8 * size, size))
    return image
