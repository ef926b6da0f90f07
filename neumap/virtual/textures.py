"""A canvas, colours and print for all painters of the virtual room, and its materials: wood, tiles, cloth ...

A painter takes a :class:`Canvas` and returns its image; functions with a ``colour`` become painters by ``partial``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray

# Colour: BGR, 0 to 255; Point: a pixel (x, y); Range: least and greatest.
Colour: TypeAlias = tuple[float, float, float]
Point: TypeAlias = tuple[int, int]
Range: TypeAlias = tuple[float, float]
INK: Colour = (35.0, 30.0, 30.0)

_CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr", "ch", "br")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou", "ea")
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
# _CAPITAL_PX: height of a capital letter of the Hershey fonts at scale 1, in pixels.
_CAPITAL_PX = 21.0


@dataclass(frozen=True)
class Canvas:
    """A canvas of ``height`` x ``width`` pixels with ``scale`` pixels per metre, and its random generator.

    A painter returns the (H, W, 3) uint8 BGR image. The scale gives planks and letters their real size at any
    resolution.
    """

    rng: np.random.Generator
    height: int
    width: int
    scale: float

    def part(self, height: int, width: int, scale: float | None = None) -> Canvas:
        """Return a canvas of another size."""
        return Canvas(self.rng, height, width, scale or self.scale)

    def px(self, least_m: float, greatest_m: float) -> float:
        """Draw a length in pixels between two in metres."""
        return self.rng.uniform(least_m, greatest_m) * self.scale

    def many(self, per_square_metre: float, more: int = 0) -> range:
        """Return a range over the number of things on a canvas of this size."""
        return range(int(per_square_metre * self.height * self.width / self.scale**2) + more)

    def noise(self, coarsest: float | tuple[float, float], roughness: float = 0.6, finest: float = 1.0) -> Float32Array:
        """Draw noise (H, W) of zero mean and unit deviation with octaves from ``coarsest`` to ``finest`` pixels.

        Each octave has ``roughness`` times the amplitude of the one twice as coarse. A pair (y, x) as ``coarsest``
        stretches the grain.
        """
        cell_y, cell_x = coarsest if isinstance(coarsest, tuple) else (coarsest, coarsest)
        out, amplitude = np.zeros((1, 1), dtype=np.float32), 1.0
        while True:
            shape = (max(2, round(self.height / max(cell_y, 1.0))), max(2, round(self.width / max(cell_x, 1.0))))
            octave = np.float32(amplitude) * self.rng.standard_normal(shape, dtype=np.float32)
            out = octave + cv2.resize(out, shape[::-1], interpolation=cv2.INTER_CUBIC)
            if min(cell_y, cell_x) < 2 * finest:
                break
            cell_y, cell_x, amplitude = cell_y / 2, cell_x / 2, amplitude * roughness
        noise = np.asarray(cv2.resize(out, (self.width, self.height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
        noise -= np.float32(noise.mean())
        noise /= np.float32(noise.std() + 1e-6)
        return noise

    def words(self, count: int) -> str:
        """Draw pronounceable nonsense."""
        words = []
        for _ in range(count):
            syllables = range(self.rng.integers(1, 4))
            words.append("".join(self.rng.choice(_CONSONANTS) + self.rng.choice(_VOWELS) for _ in syllables))
        return " ".join(words)

    def write(
        self, image: ImageArray, text: str, origin: Point, height_px: float, colour: Colour, width_px: float = np.inf
    ) -> None:
        """Write ``text`` in a random font with its base line at ``origin`` (x, y), squeezed into ``width_px``."""
        font = int(self.rng.choice(_FONTS))
        size = height_px / _CAPITAL_PX
        thickness = max(1, round(height_px / self.rng.uniform(6, 14)))
        (natural, _), _ = cv2.getTextSize(text, font, size, thickness)
        size *= min(1.0, width_px / max(natural, 1))
        cv2.putText(image, text, origin, font, size, colour, thickness, cv2.LINE_AA)

    def paragraph(self, image: ImageArray, area: tuple[int, int, int, int], letter_px: float, colour: Colour) -> None:
        """Fill the ``area`` (x, y, width, height) of an image with lines of text."""
        x, y, width, height = area
        line = y + letter_px
        while line < y + height:
            words = self.words(max(1, int(width / (letter_px * 4.5))))
            self.write(image, words, (x, int(line)), letter_px, colour, width * self.rng.uniform(0.75, 1.0))
            line += letter_px * 1.9


Painter: TypeAlias = Callable[[Canvas], ImageArray]


def random_colour(
    rng: np.random.Generator,
    saturation: Range = (0.1, 0.8),
    value: Range = (0.2, 0.95),
    hue_degrees: Range | None = None,
) -> Colour:
    """Draw a colour with hue (0 red, 120 green, 240 blue), saturation and value (0 to 1) in the ranges.

    Without a range the hue is random; violet is rare, as in real rooms.
    """
    if hue_degrees is None:
        hue = float(np.interp(rng.random(), (0.0, 0.4, 0.6, 0.92, 1.0), (-15.0, 55.0, 160.0, 245.0, 345.0))) / 60
    else:
        hue = rng.uniform(*hue_degrees) / 60
    sat, val = rng.uniform(*saturation), rng.uniform(*value) * 255
    red, green, blue = (val * (1 - sat * min(max(min((hue + n) % 6, 4 - (hue + n) % 6), 0), 1)) for n in (5, 3, 1))
    return blue, green, red


def timber_colour(rng: np.random.Generator) -> Colour:
    """Draw the colour of natural or painted wood."""
    if rng.random() < 0.25:
        return random_colour(rng, (0.0, 0.15), (0.6, 0.95))
    return random_colour(rng, (0.3, 0.65), (0.3, 0.85), (18.0, 38.0))


def shaded(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (below 1) or lighter (above 1)."""
    blue, green, red = (min(255.0, channel * factor) for channel in colour)
    return blue, green, red


def tinted(brightness: Float32Array, colour: Colour) -> ImageArray:
    """Return the image (H, W, 3) of one colour times a brightness (H, W) around 1."""
    positive = np.maximum(brightness, 0)
    return np.asarray(cv2.merge([cv2.convertScaleAbs(positive, alpha=channel) for channel in colour]), dtype=np.uint8)


def rounded(image: Float32Array) -> ImageArray:
    """Return the levels (H, W, 3) of an image in bytes."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), dtype=np.uint8)


def edged(image: ImageArray, colour: Colour, thickness: int, inset: int = 0) -> None:
    """Draw a frame, ``inset`` pixels from the border."""
    height, width = image.shape[:2]
    cv2.rectangle(image, (inset, inset), (width - 1 - inset, height - 1 - inset), colour, thickness)


def ruled(
    image: ImageArray | Float32Array, xs: Iterable[float], ys: Iterable[float], colour: Colour | float, thickness: int
) -> None:
    """Draw lines from edge to edge, upright at ``xs`` and level at ``ys``."""
    height, width = image.shape[:2]
    lines = [(int(x), 0, int(x), height) for x in xs] + [(0, int(y), width, int(y)) for y in ys]
    for x0, y0, x1, y1 in lines:
        cv2.line(image, (x0, y0), (x1, y1), colour, thickness)


def plain(c: Canvas, colour: Colour, contrast: float = 0.012) -> ImageArray:
    """Paint one colour with a faint unevenness."""
    return tinted(1 + np.float32(contrast) * c.noise(0.8 * c.scale, 0.7, 2.0), colour)


def wallpaper(c: Canvas, colour: Colour) -> ImageArray:
    """Paint a low-contrast wall covering: rough plaster, stripes or a printed pattern with blemishes."""
    tone = 1 + 0.025 * c.noise(0.8 * c.scale, 0.72)
    style = c.rng.integers(3)
    if style == 1:
        stripes = np.sin(np.arange(c.width) * (2 * np.pi / c.px(0.06, 0.18)))
        tone += np.float32(0.035) * np.tanh(3 * stripes).astype(np.float32)
    elif style == 2:
        size = int(c.px(0.12, 0.25))
        motif = c.part(size, size).noise(size / 3, 0.5, 2.0)
        motif = np.tanh(2 * (motif + motif[:, ::-1])) * np.hanning(size)[:, None] * np.hanning(size)
        repeats = (c.height // size + 1, c.width // size + 1)
        tone += np.float32(0.05) * np.tile(motif, repeats)[: c.height, : c.width].astype(np.float32)
    image = tinted(tone, colour)
    # scuffs, nail holes and scratches, which make parts of a real wall distinct
    for _ in c.many(10):
        x, y = int(c.rng.integers(c.width)), int(c.rng.integers(c.height))
        length, angle = c.rng.exponential(0.02) * c.scale, c.rng.uniform(0, np.pi)
        end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
        cv2.line(image, (x, y), end, shaded(colour, c.rng.uniform(0.72, 0.93)), int(c.rng.integers(1, 3)), cv2.LINE_AA)
    return image


def wood(c: Canvas, colour: Colour) -> ImageArray:
    """Paint one board with its grain along the longer side."""
    if c.height > c.width:
        return np.ascontiguousarray(wood(c.part(c.width, c.height), colour).transpose(1, 0, 2))
    warp = c.noise((0.12 * c.scale, 1.0 * c.scale), 0.5, 4.0)
    across = np.arange(c.height, dtype=np.float32)[:, None] / np.float32(0.012 * c.scale)
    rings: Float32Array = np.sin(across + np.float32(2.2) * warp)
    fibre = c.noise((0.006 * c.scale, 0.12 * c.scale), 0.7)
    blotch = c.noise(0.3 * c.scale, 0.6, 3.0)
    return tinted(1 + 0.05 * rings + 0.05 * fibre + 0.04 * blotch, colour)


def planks(c: Canvas, colour: Colour) -> ImageArray:
    """Paint a floor of staggered boards, each of its own tone."""
    image = wood(c, colour)
    tone = np.ones((c.height, c.width), dtype=np.float32)
    board, length = int(c.px(0.09, 0.2)), c.px(0.7, 1.4)
    for y in range(0, c.height, board):
        x = -c.rng.random() * length
        while x < c.width:
            end = x + length * c.rng.uniform(0.7, 1.3)
            tone[y : y + board, max(0, int(x)) : int(end)] *= np.float32(c.rng.normal(1, 0.11))
            cv2.line(tone, (int(end), y), (int(end), y + board), 0.45, 1)
            x = end
        ruled(tone, (), [y], 0.45, 1)
    return rounded(image * tone[..., None])


def tiles(c: Canvas, colour: Colour) -> ImageArray:
    """Paint stone tiles with veins and grout; on some floors every other one is darker."""
    size = int(c.px(0.25, 0.45))
    grain = c.noise(0.25 * c.scale, 0.65)
    veins: Float32Array = np.exp(-np.square(5 * c.noise(0.5 * c.scale, 0.55, 2.0)))
    image = tinted(1 + 0.05 * grain - 0.16 * veins, colour)
    chequered = c.rng.random() < 0.5
    ys, xs = range(0, c.height, size), range(0, c.width, size)
    of_tile = c.rng.normal(1, 0.06, (len(ys), len(xs)))
    if chequered:
        of_tile[np.indices(of_tile.shape).sum(axis=0) % 2 == 1] *= 0.62
    tone = of_tile.repeat(size, axis=0).repeat(size, axis=1)[: c.height, : c.width].astype(np.float32)
    ruled(tone, xs, ys, 0.6, max(1, int(0.005 * c.scale)))
    return rounded(image * tone[..., None])


def carpet(c: Canvas) -> ImageArray:
    """Paint a patterned rug: bands, an ornament and a woven grain."""
    field = c.part(max(8, c.height // 2), max(8, c.width // 2)).noise(0.25 * c.scale, 0.75, 2.0)
    levels = np.digitize(cv2.resize(field, (c.width, c.height)), [-1.1, -0.3, 0.4, 1.2])
    colours = np.array([random_colour(c.rng, (0.2, 0.7), (0.2, 0.8)) for _ in range(5)], dtype=np.float32)
    image = colours[levels].astype(np.uint8)
    for inset in (0.02, 0.06, 0.12, 0.15):
        edge, thickness = int(inset * c.scale), max(1, int(c.px(0.008, 0.03)))
        cv2.rectangle(image, (edge, edge), (c.width - edge, c.height - edge), random_colour(c.rng), thickness)
    return rounded(image * (1 + 0.10 * c.rng.standard_normal((c.height, c.width, 1), dtype=np.float32)))


def fabric(c: Canvas, colour: Colour) -> ImageArray:
    """Paint upholstery: folds, a weave and on some a print."""
    folds = c.noise(0.4 * c.scale, 0.5, 4.0)
    weave = cv2.GaussianBlur(c.rng.standard_normal((c.height, c.width), dtype=np.float32), (0, 0), 0.8)
    image = tinted(1 + 0.06 * folds + 0.14 * weave, colour)
    if c.rng.random() < 0.5:
        second = shaded(colour, c.rng.choice([0.6, 1.5]))
        for _ in c.many(60):
            centre = (int(c.rng.integers(c.width)), int(c.rng.integers(c.height)))
            axes = (int(c.px(0.005, 0.03)), int(c.px(0.005, 0.02)))
            cv2.ellipse(image, centre, axes, c.rng.uniform(0, 180), 0, 360, second, -1, cv2.LINE_AA)
    return image


def cardboard(c: Canvas) -> ImageArray:
    """Paint one side of a parcel: corrugation, tape, a label with a bar code, some print."""
    rng = c.rng
    tone = 1 + 0.05 * c.noise(0.3 * c.scale, 0.7)
    tone += np.float32(0.02) * np.sin(np.arange(c.width, dtype=np.float32) * (2 * np.pi / (0.006 * c.scale)))
    image = tinted(tone, (95 + rng.uniform(-15, 15), 140 + rng.uniform(-15, 15), 180 + rng.uniform(-20, 20)))
    if rng.random() < 0.7:
        y, thick = int(rng.uniform(0.3, 0.6) * c.height), max(2, int(0.05 * c.scale))
        tape = image[y : y + thick]
        tape[:] = cv2.addWeighted(tape, 0.5, np.full_like(tape, 200), 0.5, 0)
    if min(c.height, c.width) > 0.12 * c.scale:
        height, width = int(rng.uniform(0.25, 0.45) * c.height), int(rng.uniform(0.3, 0.55) * c.width)
        y, x = int(rng.integers(c.height - height)), int(rng.integers(c.width - width))
        image[y : y + height, x : x + width] = _label(c.part(height, width))
        text, spot = c.words(1).upper(), (int(0.05 * c.width), int(rng.uniform(0.2, 0.95) * c.height))
        c.write(image, text, spot, c.px(0.02, 0.05), (40, 50, 60))
    return image


def _label(c: Canvas) -> ImageArray:
    image = np.full((c.height, c.width, 3), 235, dtype=np.uint8)
    x = 3
    while x < 0.6 * c.width:
        bar = int(c.rng.integers(1, 4))
        cv2.rectangle(image, (x, int(0.55 * c.height)), (x + bar - 1, int(0.92 * c.height)), (20, 20, 20), -1)
        x += bar + int(c.rng.integers(1, 4))
    c.paragraph(image, (3, 2, c.width - 6, int(0.45 * c.height)), max(4.0, 0.1 * c.height), (30, 30, 30))
    return image


def floor(c: Canvas) -> ImageArray:
    """Paint planks or tiles with two rugs on them."""
    rng = c.rng
    if rng.random() < 0.6:
        image = planks(c, random_colour(rng, (0.3, 0.6), (0.4, 0.8), (18.0, 38.0)))
    else:
        image = tiles(c, random_colour(rng, (0.0, 0.3), (0.5, 0.85)))
    for _ in range(2):
        width, height = int(c.px(1.2, 2.2)), int(c.px(0.8, 1.5))
        x, y = int(rng.integers(0, max(1, c.width - width))), int(rng.integers(0, max(1, c.height - height)))
        width, height = min(width, c.width - x), min(height, c.height - y)
        image[y : y + height, x : x + width] = carpet(c.part(height, width))
    return image


def ceiling(c: Canvas) -> ImageArray:
    """Paint white plaster, or panels."""
    image = plain(c, random_colour(c.rng, (0.0, 0.06), (0.88, 0.96)), 0.01)
    if c.rng.random() < 0.5:
        step = 0.6 * c.scale
        xs, ys = (np.arange(step / 2, end, step) for end in (c.width, c.height))
        ruled(image, xs, ys, (165, 165, 165), max(1, int(0.012 * c.scale)))
    return image
