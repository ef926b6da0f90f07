"""Painters of the fronts of fixed things in the virtual room: shelves of books, cupboards, window and door."""

from __future__ import annotations

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.virtual.pictures import abstract, city, landscape, poster, shapes
from neumap.virtual.textures import INK, Canvas, Colour, random_colour, ruled, shaded, timber_colour, tinted, wood


def bookshelf(c: Canvas) -> ImageArray:
    """Paint the front of a shelf: boards, books upright or stacked, things between them, dark gaps."""
    timber = timber_colour(c.rng)
    image = wood(c, timber)
    board = max(2, int(0.022 * c.scale))
    rows = max(1, round(c.height / c.scale / c.rng.uniform(0.3, 0.38)))
    for k in range(rows):
        top, bottom = int(k * c.height / rows) + board, int((k + 1) * c.height / rows)
        if bottom - top >= 8 and c.width > 2 * board + 8:
            row = c.part(bottom - top, c.width - 2 * board)
            image[top:bottom, board : c.width - board] = _book_row(row, timber)
    return image


def window(c: Canvas) -> ImageArray:
    """Paint a window with its frame and the view outside."""
    view = city(c) if c.rng.random() < 0.5 else landscape(c)
    image = np.asarray(cv2.addWeighted(view, 0.75, np.full_like(view, 255), 0.25, 20), dtype=np.uint8)
    bar = max(3, int(0.05 * c.scale))
    colour = random_colour(c.rng, (0.0, 0.2), (0.75, 0.95))
    xs = np.linspace(bar // 2, c.width - bar // 2, int(c.rng.integers(3, 5)))
    ys = (bar // 2, c.height - bar // 2, c.rng.uniform(0.3, 0.4) * c.height)
    for upright, level in [([x], []) for x in xs] + [([], [y]) for y in ys]:
        ruled(image, upright, level, shaded(colour, 0.8), bar)
        ruled(image, upright, level, colour, max(1, bar - 3))
    return image


def door(c: Canvas) -> ImageArray:
    """Paint a door in its frame with panels, a handle and a sign."""
    rng, width, height = c.rng, c.width, c.height
    colour = timber_colour(rng)
    image = wood(c, colour)
    cv2.rectangle(image, (0, 0), (width - 1, height + 20), shaded(colour, 0.6), int(0.07 * c.scale))
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    for row, column in np.ndindex(rows, columns):
        x, y = int((0.14 + 0.74 * column / columns) * width), int((0.1 + 0.86 * row / rows) * height)
        far = (int((0.10 + 0.76 * (column + 1) / columns) * width), int((0.06 + 0.86 * (row + 1) / rows) * height))
        cv2.rectangle(image, (x, y), far, shaded(colour, 0.7), max(2, int(0.012 * c.scale)))
        cv2.rectangle(image, (x + 3, y + 3), far, shaded(colour, 1.15), 1)
    x, y = int(0.86 * width), int(0.52 * height)
    cv2.circle(image, (x, y), int(0.03 * c.scale), (120, 150, 160), -1, cv2.LINE_AA)
    cv2.line(image, (x, y), (x - int(0.1 * c.scale), y), (150, 175, 185), max(1, int(0.018 * c.scale)), cv2.LINE_AA)
    x, y, across, tall = int(0.28 * width), int(0.22 * height), int(0.45 * width), int(0.09 * height)
    cv2.rectangle(image, (x, y), (x + across, y + tall), (225, 225, 225), -1)
    ink = random_colour(rng, (0.5, 1), (0.2, 0.5))
    c.paragraph(image, (x + 5, y + 3, across - 10, tall - 6), 0.022 * c.scale, ink)
    return image


def cupboard_front(c: Canvas, colour: Colour) -> ImageArray:
    """Paint doors or drawers with handles, gaps and perhaps a sticker."""
    rng, image = c.rng, wood(c, colour)
    columns = max(1, round(c.width / c.scale / rng.uniform(0.35, 0.6)))
    rows = max(1, round(c.height / c.scale / rng.uniform(0.2, 0.9)))
    for row, column in np.ndindex(rows, columns):
        x0, x1 = int(column * c.width / columns) + 2, int((column + 1) * c.width / columns) - 3
        y0, y1 = int(row * c.height / rows) + 2, int((row + 1) * c.height / rows) - 3
        cv2.rectangle(image, (x0, y0), (x1, y1), shaded(colour, 0.45), 2)
        cv2.line(image, (x0 + 3, y0 + 3), (x1 - 3, y0 + 3), shaded(colour, 1.25), 1)
        knob = (x1 - int(0.05 * c.scale) if column % 2 == 0 else x0 + int(0.05 * c.scale), (y0 + y1) // 2)
        cv2.circle(image, knob, max(2, int(0.014 * c.scale)), shaded((190, 200, 205), 0.8), -1, cv2.LINE_AA)
        if rng.random() < 0.35 and x1 - x0 > 40 and y1 - y0 > 40:
            sticker = c.part(int(rng.uniform(0.3, 0.5) * (y1 - y0)), int(rng.uniform(0.3, 0.5) * (x1 - x0)))
            painted = poster(sticker) if rng.random() < 0.5 else shapes(sticker)
            y, x = int(rng.integers(y0 + 4, y1 - sticker.height)), int(rng.integers(x0 + 4, x1 - sticker.width))
            image[y : y + sticker.height, x : x + sticker.width] = painted
    return image


def _book_row(c: Canvas, timber: Colour) -> ImageArray:
    rng, height, width = c.rng, c.height, c.width
    row = tinted(0.25 + 0.1 * np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1), timber)
    x = int(rng.integers(0, 6))
    while x < width - 6:
        thick, tall = max(4, int(c.px(0.014, 0.05))), int(rng.uniform(0.6, 0.95) * height)
        roll = rng.random()
        if roll < 0.06:
            # a gap
            x += int(c.px(0.02, 0.12))
        elif roll < 0.16:
            # a stack, one book on the other
            length, y = min(int(c.px(0.16, 0.26)), width - x), height
            while y > 0.35 * height and length > 6:
                y -= thick
                spine = _spine(c, thick, max(6, int(length * rng.uniform(0.8, 1.0))))
                row[max(0, y) : y + thick, x : x + spine.shape[1]] = spine[-(y + thick - max(0, y)) :]
                thick = max(4, int(c.px(0.014, 0.04)))
            x += length + 2
        elif roll < 0.22:
            # a thing
            side = min(int(c.px(0.08, 0.18)), width - x)
            if side > 8:
                row[height - side :, x : x + side][:height] = abstract(c.part(min(side, height), side))
            x += side + 2
        else:
            thick = min(thick, width - x)
            row[height - tall :, x : x + thick] = np.rot90(_spine(c, thick, tall), -1)
            x += thick
    return row


def _spine(c: Canvas, thick: int, tall: int) -> ImageArray:
    rng, colour = c.rng, random_colour(c.rng, (0.1, 0.85), (0.15, 0.95))
    round_off: Float32Array = (0.55 + 0.5 * np.sin(np.linspace(0.15, np.pi - 0.15, thick))).astype(np.float32)
    spine = tinted(np.repeat(round_off[:, None], tall, axis=1), colour)
    if rng.random() < 0.5:
        width, start = int(rng.uniform(0.05, 0.2) * tall), int(rng.uniform(0.0, 0.8) * tall)
        printed = cv2.addWeighted(spine, 0.3, np.full_like(spine, rng.integers(256)), 0.7, 0)
        spine[:, start : start + width] = printed[:, start : start + width]
    letter = 0.45 * thick
    origin = (int(rng.uniform(0.06, 0.15) * tall), int(0.5 * thick + 0.5 * letter))
    ink = (235.0, 240.0, 245.0) if sum(colour) < 330 else INK
    c.write(spine, c.words(int(rng.integers(1, 4))), origin, letter, ink, 0.7 * tall)
    return spine
