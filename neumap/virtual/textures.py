"""Materials of the virtual room: plaster, wood, tiles, cloth, cardboard, and the floor and ceiling made of them.

Each function is a painter, or one once it has its ``colour``: see :class:`~neumap.virtual.paint.Canvas`.
"""

from __future__ import annotations

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.virtual.paint import Canvas, Colour, random_colour, rounded, ruled, shaded, tinted


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
    # scuffs, nail holes and scratches: what makes one square metre of a real wall differ from the next
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
