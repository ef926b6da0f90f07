"""Procedural textures of the virtual room: plaster, wood, tiles, cloth, books, pictures and print.

Every function draws an (H, W, 3) uint8 BGR image from a random generator. ``scale`` is the texture's resolution in
pixels per metre, so that a plank or a letter has its real size whatever the resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray

Colour: TypeAlias = tuple[float, float, float]
Painter: TypeAlias = Callable[[np.random.Generator, int, int, float], ImageArray]

INK: Colour = (35.0, 30.0, 30.0)

_CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr", "ch", "br")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou", "ea")
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
# height of a capital letter of the Hershey fonts at scale 1, in pixels
_CAPITAL_PX = 21.0


def random_colour(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.1, 0.8),
    value: tuple[float, float] = (0.2, 0.95),
    hue_degrees: tuple[float, float] | None = None,
) -> Colour:
    """A BGR colour, 0 to 255, with hue (0 red, 120 green, 240 blue), saturation and value (0 to 1) in the ranges.

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
    """The colour of natural or painted wood."""
    if rng.random() < 0.25:
        return random_colour(rng, (0.0, 0.15), (0.6, 0.95))
    return random_colour(rng, (0.3, 0.65), (0.3, 0.85), (18.0, 38.0))


def shaded(colour: Colour, factor: float) -> Colour:
    """The colour made darker (below 1) or lighter (above 1)."""
    blue, green, red = (min(255.0, channel * factor) for channel in colour)
    return blue, green, red


def fractal_noise(
    rng: np.random.Generator,
    height: int,
    width: int,
    coarsest: float | tuple[float, float],
    roughness: float = 0.6,
    finest: float = 1.0,
) -> Float32Array:
    """Noise (H, W) of zero mean and unit deviation whose octaves go from ``coarsest`` to ``finest`` pixels.

    Each octave has ``roughness`` times the amplitude of the one twice as coarse. A pair (y, x) as ``coarsest``
    stretches the grain.
    """
    cell_y, cell_x = coarsest if isinstance(coarsest, tuple) else (coarsest, coarsest)
    out: Float32Array | None = None
    amplitude = 1.0
    while True:
        shape = (max(2, round(height / max(cell_y, 1.0))), max(2, round(width / max(cell_x, 1.0))))
        octave = rng.standard_normal(shape, dtype=np.float32)
        octave *= np.float32(amplitude)
        if out is not None:
            octave += np.asarray(cv2.resize(out, shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)
        out = octave
        if min(cell_y, cell_x) < 2 * finest:
            break
        cell_y, cell_x, amplitude = cell_y / 2, cell_x / 2, amplitude * roughness
    noise = np.asarray(cv2.resize(out, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    noise -= np.float32(noise.mean())
    noise /= np.float32(noise.std() + 1e-6)
    return noise


def tinted(brightness: Float32Array, colour: Colour) -> ImageArray:
    """The image (H, W, 3) of one colour times a brightness (H, W) around 1."""
    positive = np.maximum(brightness, 0)
    return np.asarray(cv2.merge([cv2.convertScaleAbs(positive, alpha=channel) for channel in colour]), dtype=np.uint8)


def plain(
    rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour, contrast: float = 0.012
) -> ImageArray:
    """Paint: one colour with a faint unevenness."""
    return tinted(1 + np.float32(contrast) * fractal_noise(rng, height, width, 0.8 * scale, 0.7, 2.0), colour)


def wallpaper(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> ImageArray:
    """Low-contrast wall covering: rough plaster, stripes or a printed pattern with blemishes."""
    tone = 1 + 0.025 * fractal_noise(rng, height, width, 0.8 * scale, 0.72, 1.0)
    style = rng.integers(3)
    if style == 1:
        stripes = np.sin(np.arange(width) * (2 * np.pi / (rng.uniform(0.06, 0.18) * scale)))
        tone += np.float32(0.035) * np.tanh(3 * stripes).astype(np.float32)
    elif style == 2:
        size = int(rng.uniform(0.12, 0.25) * scale)
        motif = fractal_noise(rng, size, size, size / 3, 0.5, 2.0)
        motif = np.tanh(2 * (motif + motif[:, ::-1])) * np.hanning(size)[:, None] * np.hanning(size)
        repeats = (height // size + 1, width // size + 1)
        tone += np.float32(0.05) * np.tile(motif, repeats)[:height, :width].astype(np.float32)
    image = tinted(tone, colour)
    # scuffs, nail holes and scratches: what makes one square metre of a real wall differ from the next
    for _ in range(int(10 * height * width / scale**2)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        length, angle = rng.exponential(0.02) * scale, rng.uniform(0, np.pi)
        end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
        cv2.line(image, (x, y), end, shaded(colour, rng.uniform(0.72, 0.93)), int(rng.integers(1, 3)), cv2.LINE_AA)
    return image


def wood(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> ImageArray:
    """One board with its grain along the longer side."""
    if height > width:
        return np.ascontiguousarray(wood(rng, width, height, scale, colour).transpose(1, 0, 2))
    warp = fractal_noise(rng, height, width, (0.12 * scale, 1.0 * scale), 0.5, 4.0)
    across = np.arange(height, dtype=np.float32)[:, None] / np.float32(0.012 * scale)
    rings: Float32Array = np.sin(across + np.float32(2.2) * warp)
    fibre = fractal_noise(rng, height, width, (0.006 * scale, 0.12 * scale), 0.7, 1.0)
    blotch = fractal_noise(rng, height, width, 0.3 * scale, 0.6, 3.0)
    return tinted(1 + 0.05 * rings + 0.05 * fibre + 0.04 * blotch, colour)


def planks(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> ImageArray:
    """A floor of staggered boards, each of its own tone."""
    image = wood(rng, height, width, scale, colour)
    tone = np.ones((height, width), dtype=np.float32)
    board, length = int(rng.uniform(0.09, 0.2) * scale), rng.uniform(0.7, 1.4) * scale
    for y in range(0, height, board):
        x = -rng.random() * length
        while x < width:
            end = x + length * rng.uniform(0.7, 1.3)
            tone[y : y + board, max(0, int(x)) : int(end)] *= np.float32(rng.normal(1, 0.11))
            cv2.line(tone, (int(end), y), (int(end), y + board), 0.45, 1)
            x = end
        cv2.line(tone, (0, y), (width, y), 0.45, 1)
    return _scaled(image, tone)


def tiles(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> ImageArray:
    """Stone tiles with veins and grout; every fourth or so in a second colour."""
    size = int(rng.uniform(0.25, 0.45) * scale)
    grain = fractal_noise(rng, height, width, 0.25 * scale, 0.65, 1.0)
    veins: Float32Array = np.exp(-np.square(5 * fractal_noise(rng, height, width, 0.5 * scale, 0.55, 2.0)))
    image = tinted(1 + 0.05 * grain - 0.16 * veins, colour)
    tone = np.ones((height, width), dtype=np.float32)
    odd = rng.random() < 0.5
    for row, y in enumerate(range(0, height, size)):
        for column, x in enumerate(range(0, width, size)):
            dark = 0.62 if odd and (row + column) % 2 else 1.0
            tone[y : y + size, x : x + size] = dark * rng.normal(1, 0.06)
    grout = max(1, int(0.005 * scale))
    for y in range(0, height, size):
        cv2.line(tone, (0, y), (width, y), 0.6, grout)
    for x in range(0, width, size):
        cv2.line(tone, (x, 0), (x, height), 0.6, grout)
    return _scaled(image, tone)


def carpet(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A patterned rug: bands, a mirrored ornament and a woven grain."""
    small = (max(8, height // 2), max(8, width // 2))
    field = fractal_noise(rng, *small, 0.25 * scale, 0.75, 2.0)
    levels = np.digitize(cv2.resize(field, (width, height)), [-1.1, -0.3, 0.4, 1.2])
    colours = np.array([random_colour(rng, (0.2, 0.7), (0.2, 0.8)) for _ in range(5)], dtype=np.float32)
    image = colours[levels].astype(np.uint8)
    for inset in (0.02, 0.06, 0.12, 0.15):
        edge = int(inset * scale)
        thickness = max(1, int(rng.uniform(0.008, 0.03) * scale))
        cv2.rectangle(image, (edge, edge), (width - edge, height - edge), random_colour(rng), thickness)
    return _scaled(image, 1 + 0.10 * rng.standard_normal((height, width), dtype=np.float32))


def fabric(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> ImageArray:
    """Upholstery: folds, a weave and on some a print."""
    folds = fractal_noise(rng, height, width, 0.4 * scale, 0.5, 4.0)
    weave = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), 0.8)
    image = tinted(1 + 0.06 * folds + 0.14 * weave, colour)
    if rng.random() < 0.5:
        second = shaded(colour, rng.choice([0.6, 1.5]))
        for _ in range(int(60 * height * width / scale**2)):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.uniform(0.005, 0.03) * scale), int(rng.uniform(0.005, 0.02) * scale))
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, second, -1, cv2.LINE_AA)
    return image


def cardboard(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """One side of a parcel: corrugation, tape, a label with a bar code, some print."""
    tone = 1 + 0.05 * fractal_noise(rng, height, width, 0.3 * scale, 0.7, 1.0)
    tone += np.float32(0.02) * np.sin(np.arange(width, dtype=np.float32) * (2 * np.pi / (0.006 * scale)))
    image = tinted(tone, (95 + rng.uniform(-15, 15), 140 + rng.uniform(-15, 15), 180 + rng.uniform(-20, 20)))
    if rng.random() < 0.7:
        y, thick = int(rng.uniform(0.3, 0.6) * height), max(2, int(0.05 * scale))
        image[y : y + thick] = cv2.addWeighted(image, 0.5, np.full_like(image, 200), 0.5, 0)[y : y + thick]
    if min(height, width) > 0.12 * scale:
        label_h, label_w = int(rng.uniform(0.25, 0.45) * height), int(rng.uniform(0.3, 0.55) * width)
        y, x = int(rng.integers(height - label_h)), int(rng.integers(width - label_w))
        image[y : y + label_h, x : x + label_w] = _label(rng, label_h, label_w)
        text = random_words(rng, 1).upper()
        spot = (int(0.05 * width), int(rng.uniform(0.2, 0.95) * height))
        write(rng, image, text, spot, rng.uniform(0.02, 0.05) * scale, (40, 50, 60))
    return image


def random_words(rng: np.random.Generator, count: int) -> str:
    """Pronounceable nonsense."""
    words = []
    for _ in range(count):
        syllables = rng.integers(1, 4)
        words.append("".join(str(rng.choice(_CONSONANTS)) + str(rng.choice(_VOWELS)) for _ in range(syllables)))
    return " ".join(words)


def write(
    rng: np.random.Generator,
    image: ImageArray,
    text: str,
    origin: tuple[int, int],
    height_px: float,
    colour: Colour,
    width_px: float | None = None,
) -> None:
    """Write ``text`` in a random font with its base line at ``origin`` (x, y), squeezed into ``width_px``."""
    font = int(rng.choice(_FONTS))
    size = height_px / _CAPITAL_PX
    thickness = max(1, round(height_px / rng.uniform(6, 14)))
    if width_px is not None:
        (natural, _), _ = cv2.getTextSize(text, font, size, thickness)
        size *= min(1.0, width_px / max(natural, 1))
    cv2.putText(image, text, origin, font, size, colour, thickness, cv2.LINE_AA)


def paragraph(
    rng: np.random.Generator,
    image: ImageArray,
    area: tuple[int, int, int, int],
    letter_px: float,
    colour: Colour,
) -> None:
    """Fill the ``area`` (x, y, width, height) of the image with lines of text."""
    x, y, width, height = area
    line = y + letter_px
    while line < y + height:
        count = max(1, int(width / (letter_px * 4.5)))
        write(rng, image, random_words(rng, count), (x, int(line)), letter_px, colour, width * rng.uniform(0.75, 1.0))
        line += letter_px * 1.9


def _label(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    image = np.full((height, width, 3), 235, dtype=np.uint8)
    x = 3
    while x < 0.6 * width:
        bar = int(rng.integers(1, 4))
        cv2.rectangle(image, (x, int(0.55 * height)), (x + bar - 1, int(0.92 * height)), (20, 20, 20), -1)
        x += bar + int(rng.integers(1, 4))
    paragraph(rng, image, (3, 2, width - 6, int(0.45 * height)), max(4.0, 0.1 * height), (30, 30, 30))
    return image


def _scaled(image: ImageArray, tone: Float32Array) -> ImageArray:
    return np.asarray(cv2.convertScaleAbs(image * tone[..., None]), dtype=np.uint8)
