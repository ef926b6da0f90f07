"""The fronts of fixed things in the virtual room: shelves of books, cupboards, window and door.

As in :mod:`neumap.virtual.textures`, each function draws an (H, W, 3) uint8 BGR image; ``scale`` is in pixels
per metre.
"""

from __future__ import annotations

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.virtual.pictures import abstract, city, landscape, poster, shapes
from neumap.virtual.textures import (
    INK,
    Colour,
    paragraph,
    random_colour,
    random_words,
    shaded,
    timber_colour,
    tinted,
    wood,
    write,
)


def bookshelf(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """The front of a shelf: boards, books upright, leaning or stacked, things between them, dark gaps."""
    timber = timber_colour(rng)
    image = wood(rng, height, width, scale, timber)
    board = max(2, int(0.022 * scale))
    rows = max(1, round(height / scale / rng.uniform(0.3, 0.38)))
    for k in range(rows):
        top, bottom = int(k * height / rows) + board, int((k + 1) * height / rows)
        if bottom - top < 8 or width <= 2 * board + 8:
            continue
        image[top:bottom, board : width - board] = _book_row(rng, bottom - top, width - 2 * board, scale, timber)
    return image


def window(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A window with its frame and the view outside."""
    view = city(rng, height, width) if rng.random() < 0.5 else landscape(rng, height, width)
    image = cv2.addWeighted(view, 0.75, np.full_like(view, 255), 0.25, 20)
    bar = max(3, int(0.05 * scale))
    colour = random_colour(rng, (0.0, 0.2), (0.75, 0.95))
    for x in np.linspace(bar // 2, width - bar // 2, int(rng.integers(3, 5))):
        cv2.line(image, (int(x), 0), (int(x), height), shaded(colour, 0.8), bar)
        cv2.line(image, (int(x), 0), (int(x), height), colour, max(1, bar - 3))
    for y in (bar // 2, height - bar // 2, int(rng.uniform(0.3, 0.4) * height)):
        cv2.line(image, (0, y), (width, y), shaded(colour, 0.8), bar)
        cv2.line(image, (0, y), (width, y), colour, max(1, bar - 3))
    return np.asarray(image, dtype=np.uint8)


def door(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A door in its frame with panels, a handle and a sign."""
    colour = timber_colour(rng)
    image = wood(rng, height, width, scale, colour)
    cv2.rectangle(image, (0, 0), (width - 1, height + 20), shaded(colour, 0.6), int(0.07 * scale))
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    for r in range(rows):
        for c in range(columns):
            corner = (int((0.14 + 0.74 * c / columns) * width), int((0.1 + 0.86 * r / rows) * height))
            far = (int((0.10 + 0.76 * (c + 1) / columns) * width), int((0.06 + 0.86 * (r + 1) / rows) * height))
            cv2.rectangle(image, corner, far, shaded(colour, 0.7), max(2, int(0.012 * scale)))
            inner = (corner[0] + 3, corner[1] + 3)
            cv2.rectangle(image, inner, far, shaded(colour, 1.15), 1)
    knob = (int(0.86 * width), int(0.52 * height))
    cv2.circle(image, knob, int(0.03 * scale), (120, 150, 160), -1, cv2.LINE_AA)
    cv2.line(image, knob, (knob[0] - int(0.1 * scale), knob[1]), (150, 175, 185), int(0.018 * scale), cv2.LINE_AA)
    sign_w, sign_h = int(0.45 * width), int(0.09 * height)
    x, y = int(0.28 * width), int(0.22 * height)
    cv2.rectangle(image, (x, y), (x + sign_w, y + sign_h), (225, 225, 225), -1)
    paragraph(
        rng, image, (x + 5, y + 3, sign_w - 10, sign_h - 6), 0.022 * scale, random_colour(rng, (0.5, 1), (0.2, 0.5))
    )
    return image


def cupboard_front(rng: np.random.Generator, height: int, width: int, scale: float, colour: Colour) -> ImageArray:
    """Doors or drawers with handles, gaps and perhaps a sticker."""
    image = wood(rng, height, width, scale, colour)
    columns = max(1, round(width / scale / rng.uniform(0.35, 0.6)))
    rows = max(1, round(height / scale / rng.uniform(0.2, 0.9)))
    for r in range(rows):
        for c in range(columns):
            x0, x1 = int(c * width / columns) + 2, int((c + 1) * width / columns) - 3
            y0, y1 = int(r * height / rows) + 2, int((r + 1) * height / rows) - 3
            cv2.rectangle(image, (x0, y0), (x1, y1), shaded(colour, 0.45), 2)
            cv2.line(image, (x0 + 3, y0 + 3), (x1 - 3, y0 + 3), shaded(colour, 1.25), 1)
            knob = (x1 - int(0.05 * scale) if c % 2 == 0 else x0 + int(0.05 * scale), (y0 + y1) // 2)
            cv2.circle(image, knob, max(2, int(0.014 * scale)), shaded((190, 200, 205), 0.8), -1, cv2.LINE_AA)
            if rng.random() < 0.35 and x1 - x0 > 40 and y1 - y0 > 40:
                h, w = int(rng.uniform(0.3, 0.5) * (y1 - y0)), int(rng.uniform(0.3, 0.5) * (x1 - x0))
                sticker = poster(rng, h, w, scale) if rng.random() < 0.5 else shapes(rng, h, w)
                y, x = int(rng.integers(y0 + 4, y1 - h)), int(rng.integers(x0 + 4, x1 - w))
                image[y : y + h, x : x + w] = sticker
    return image


def _book_row(rng: np.random.Generator, height: int, width: int, scale: float, timber: Colour) -> ImageArray:
    row = tinted(0.25 + 0.1 * np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1), timber)
    x = int(rng.integers(0, 6))
    while x < width - 6:
        thick = max(4, int(rng.uniform(0.014, 0.05) * scale))
        tall = int(rng.uniform(0.6, 0.95) * height)
        roll = rng.random()
        if roll < 0.06:
            x += int(rng.uniform(0.02, 0.12) * scale)
            continue
        if roll < 0.16:
            length = min(int(rng.uniform(0.16, 0.26) * scale), width - x)
            y = height
            while y > 0.35 * height and length > 6:
                y -= thick
                spine = _spine(rng, thick, max(6, int(length * rng.uniform(0.8, 1.0))))
                row[max(0, y) : y + thick, x : x + spine.shape[1]] = spine[-(y + thick - max(0, y)) :]
                thick = max(4, int(rng.uniform(0.014, 0.04) * scale))
            x += length + 2
            continue
        if roll < 0.22:
            w = min(int(rng.uniform(0.08, 0.18) * scale), width - x)
            if w > 8:
                row[height - w :, x : x + w][:height] = abstract(rng, min(w, height), w)
            x += w + 2
            continue
        thick = min(thick, width - x)
        row[height - tall :, x : x + thick] = np.rot90(_spine(rng, thick, tall), -1)
        x += thick
    return row


def _spine(rng: np.random.Generator, thick: int, tall: int) -> ImageArray:
    colour = random_colour(rng, (0.1, 0.85), (0.15, 0.95))
    round_off: Float32Array = (0.55 + 0.5 * np.sin(np.linspace(0.15, np.pi - 0.15, thick))).astype(np.float32)
    spine = tinted(np.repeat(round_off[:, None], tall, axis=1), colour)
    ink = (235.0, 240.0, 245.0) if sum(colour) < 330 else INK
    if rng.random() < 0.5:
        band = int(rng.uniform(0.05, 0.2) * tall)
        start = int(rng.uniform(0.0, 0.8) * tall)
        spine[:, start : start + band] = cv2.addWeighted(spine, 0.3, np.full_like(spine, rng.integers(256)), 0.7, 0)[
            :, start : start + band
        ]
    letter = 0.45 * thick
    origin = (int(rng.uniform(0.06, 0.15) * tall), int(0.5 * thick + 0.5 * letter))
    write(rng, spine, random_words(rng, int(rng.integers(1, 4))), origin, letter, ink, 0.7 * tall)
    return spine
