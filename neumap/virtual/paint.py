"""What the painters of the virtual room have in common: a canvas, colours, print, and drawing over a whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray

# Colour: BGR, 0 to 255; Point: a pixel (x, y).
Colour: TypeAlias = tuple[float, float, float]
Point: TypeAlias = tuple[int, int]
INK: Colour = (35.0, 30.0, 30.0)

_CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr", "ch", "br")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou", "ea")
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
# _CAPITAL_PX: height of a capital letter of the Hershey fonts at scale 1, in pixels.
_CAPITAL_PX = 21.0


@dataclass(frozen=True)
class Canvas:
    """What is to be painted at random: ``height`` x ``width`` pixels, ``scale`` of which are a metre.

    A painter returns the (H, W, 3) uint8 BGR image. By the scale a plank or a letter has its real size whatever the
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
        """Return a range of so many things as there are on a canvas of this size."""
        return range(int(per_square_metre * self.height * self.width / self.scale**2) + more)

    def noise(self, coarsest: float | tuple[float, float], roughness: float = 0.6, finest: float = 1.0) -> Float32Array:
        """Draw noise (H, W) of zero mean and unit deviation whose octaves go from ``coarsest`` to ``finest`` pixels.

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
        """Write ``text`` in a random font with its base line at ``origin``, squeezed into ``width_px``."""
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
    saturation: tuple[float, float] = (0.1, 0.8),
    value: tuple[float, float] = (0.2, 0.95),
    hue_degrees: tuple[float, float] | None = None,
) -> Colour:
    """Draw a colour with hue (0 red, 120 green, 240 blue), saturation and value (0 to 1) in the ranges.

    Without a range any hue may come, but violet as seldom as people choose it for their rooms.
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
    """Draw a line all around, so far from the border."""
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
