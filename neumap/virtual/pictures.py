"""Painters of things with a picture on them in the virtual room: paintings, posters, boards, charts and screens."""

from __future__ import annotations

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.virtual import textures
from neumap.virtual.textures import INK, Canvas, Colour, edged, random_colour, rounded, shaded, timber_colour, tinted

_MARKERS: tuple[Colour, ...] = ((150, 60, 30), (40, 40, 170), (60, 110, 40), (50, 45, 45))


def picture(c: Canvas) -> ImageArray:
    """Paint something to hang on a wall: a framed painting, a poster, a notice board, a chart ..."""
    subject = (*_PAINTINGS, poster, notice_board, chart, _mosaic)[int(c.rng.integers(9))]
    image = subject(c)
    return image if subject in (poster, notice_board, chart) else _framed(c, image)


def poster(c: Canvas) -> ImageArray:
    """Paint a title, an image and small print."""
    ground = random_colour(c.rng, (0.05, 0.8), (0.35, 0.95))
    image = tinted(1 + 0.03 * c.noise(c.height / 2), ground)
    ink = shaded(ground, 0.25) if sum(ground) > 330 else (235.0, 240.0, 240.0)
    margin = int(0.06 * c.width)
    across, title = c.width - 2 * margin, max(7.0, c.rng.uniform(0.05, 0.10) * c.height)
    c.write(image, c.words(2).upper(), (margin, int(1.5 * title)), title, ink, across)
    top, bottom = int(2.2 * title), int(c.rng.uniform(0.55, 0.75) * c.height)
    if bottom - top > 8 and across > 8:
        paint = _PAINTINGS[int(c.rng.integers(5))]
        image[top:bottom, margin : c.width - margin] = paint(c.part(bottom - top, across))
    letter = max(4.0, 0.012 * c.scale)
    area = (margin, bottom + int(letter), across, int(c.height - bottom - 2.5 * letter))
    c.paragraph(image, area, letter * c.rng.uniform(1.0, 1.8), ink)
    return image


def notice_board(c: Canvas) -> ImageArray:
    """Paint cork with pinned papers of several colours, some tilted."""
    image = tinted(1 + 0.12 * c.noise(0.02 * c.scale, 0.9), (90, 140, 185))
    for _ in c.many(14, 4):
        width, height = int(c.px(0.08, 0.24)), int(c.px(0.08, 0.28))
        paper = c.part(min(height, c.height // 2), min(width, c.width // 2))
        sheet = textures.plain(paper, random_colour(c.rng, (0.0, 0.45), (0.8, 0.98)))
        letter = max(3.5, c.px(0.008, 0.02))
        ink = shaded(random_colour(c.rng), 0.35)
        c.paragraph(sheet, (3, 2, paper.width - 6, paper.height - 6), letter, ink)
        if c.rng.random() < 0.3:
            half = paper.height // 2
            sheet[half:] = abstract(c.part(paper.height - half, paper.width))
        _paste_tilted(image, sheet, c.rng.uniform(0, c.width), c.rng.uniform(0, c.height), c.rng.normal(0, 6))
    return _framed(c, image)


def chart(c: Canvas) -> ImageArray:
    """Paint a white sheet with curves, a grid, bars and labels."""
    rng, image = c.rng, np.full((c.height, c.width, 3), 232, dtype=np.uint8)
    left, top, right, bottom = (
        int(share * length) for share, length in zip((0.12, 0.15, 0.95, 0.85), (c.width, c.height) * 2, strict=True)
    )
    across, up, letter = right - left, bottom - top, max(4.0, 0.03 * c.height)
    for t in np.linspace(0, 1, 7):
        x, y = int(left + t * across), int(top + t * up)
        cv2.line(image, (left, y), (right, y), (190, 190, 190), 1)
        cv2.line(image, (x, top), (x, bottom), (190, 190, 190), 1)
        c.write(image, str(rng.integers(100)), (x - 4, int(bottom + 1.7 * letter)), letter, INK)
        c.write(image, str(rng.integers(100)), (2, y), letter, INK, 0.1 * c.width)
    c.write(image, c.words(3), (left, int(0.1 * c.height)), max(5.0, 0.05 * c.height), INK, across)
    bars = int(rng.integers(5, 12))
    for k in range(bars):
        x, y = int(left + k * across / bars), int(bottom - rng.random() * 0.8 * up)
        cv2.rectangle(image, (x, y), (x + int(0.6 * across / bars), bottom), random_colour(rng), -1)
    for _ in range(int(rng.integers(1, 4))):
        curve = np.cumsum(rng.standard_normal(40))
        curve = (curve - curve.min()) / (np.ptp(curve) + 1e-6)
        points = np.stack([np.linspace(left, right, 40), bottom - curve * up], axis=1).astype(np.int32)
        cv2.polylines(image, [points], False, random_colour(rng, (0.6, 1), (0.3, 0.7)), 2, cv2.LINE_AA)
    return image


def whiteboard(c: Canvas) -> ImageArray:
    """Paint words, circles and arrows in marker on white."""
    rng, image = c.rng, tinted(1 + 0.012 * c.noise(0.3 * c.scale, 0.7), (228, 230, 228))
    for _ in c.many(9, 4):
        pen = _MARKERS[int(rng.integers(len(_MARKERS)))]
        x, y = int(rng.uniform(0.03, 0.8) * c.width), int(rng.uniform(0.08, 0.9) * c.height)
        letter = c.px(0.02, 0.05)
        c.write(image, c.words(int(rng.integers(1, 4))), (x, y), letter, pen, c.width - x - 4)
        if rng.random() < 0.6:
            end = (x + int(rng.normal(0, 0.25) * c.scale), y + int(rng.normal(0, 0.2) * c.scale))
            cv2.arrowedLine(image, (x, y), end, pen, 2, cv2.LINE_AA, tipLength=0.1)
        if rng.random() < 0.4:
            axes = (int(c.px(0.04, 0.15)), int(c.px(0.03, 0.1)))
            cv2.ellipse(image, (x, y), axes, rng.uniform(-20, 20), 0, 360, pen, 2, cv2.LINE_AA)
    edged(image, (150, 150, 150), max(2, int(0.02 * c.scale)))
    return image


def screen(c: Canvas) -> ImageArray:
    """Paint a monitor with windows open on it."""
    rng, image = c.rng, landscape(c)
    for _ in range(3):
        w, h = int(rng.uniform(0.3, 0.6) * c.width), int(rng.uniform(0.3, 0.7) * c.height)
        x, y = int(rng.integers(max(1, c.width - w))), int(rng.integers(max(1, c.height - h)))
        dark = rng.random() < 0.5
        cv2.rectangle(image, (x, y), (x + w, y + h), (40, 36, 34) if dark else (236, 236, 236), -1)
        cv2.rectangle(image, (x, y), (x + w, y + max(3, h // 12)), random_colour(rng), -1)
        ink = (190, 220, 190) if dark else INK
        c.paragraph(image, (x + 4, y + h // 8, w - 8, h - h // 6), max(3.5, 0.008 * c.scale), ink)
    edged(image, (22, 22, 22), max(2, int(0.02 * c.scale)))
    return image


def book_cover(c: Canvas) -> ImageArray:
    """Paint a cover, or any small printed package."""
    image = poster(c)
    edged(image, random_colour(c.rng), max(1, c.width // 40))
    return image


def _framed(c: Canvas, image: ImageArray) -> ImageArray:
    thick = max(2, int(c.px(0.012, 0.035)))
    colour = random_colour(c.rng, (0.1, 0.6), (0.08, 0.7))
    edged(image, colour, 2 * thick)
    edged(image, shaded(colour, 0.5), 1, inset=thick)
    return image


def _paste_tilted(image: ImageArray, sheet: ImageArray, x: float, y: float, degrees: float) -> None:
    height, width = sheet.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turn[:, 2] += (x - width / 2, y - height / 2)
    cv2.warpAffine(sheet, turn, image.shape[1::-1], image, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)


def landscape(c: Canvas) -> ImageArray:
    """Paint sky, clouds and ridges of hills."""
    rng, height, width = c.rng, c.height, c.width
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = (195.0, 235.0) if rng.random() < 0.7 else (0.0, 50.0)
    high, low = (np.array(random_colour(rng, (0.1, 0.6), (0.5, 1.0), sky), dtype=np.float32) for _ in range(2))
    clouds = c.noise((height / 4, width / 2), 0.65)
    image = (1 - ramp) * high + ramp * low + 22 * np.maximum(clouds, 0)[..., None]
    if rng.random() < 0.5:
        centre = (int(rng.integers(width)), int(rng.uniform(0.1, 0.45) * height))
        cv2.circle(image, centre, max(2, int(0.07 * height)), (200, 235, 255), -1, cv2.LINE_AA)
    rows = np.arange(height)[:, None]
    ground = random_colour(rng, (0.2, 0.8), (0.3, 0.7), (20.0, 160.0))
    layers = int(rng.integers(2, 5))
    for k in range(layers):
        ridge = c.part(2, width).noise((2, width / 3), 0.55)[0]
        horizon = (0.35 + 0.5 * k / layers + 0.06 * ridge) * height
        relief = 1 + 0.3 * c.noise(height / 6, 0.75)
        layer = np.asarray(shaded(ground, 1.3 - k / layers), dtype=np.float32) * relief[..., None]
        image = np.where((rows > horizon)[..., None], layer, image)
    return rounded(image)


def city(c: Canvas) -> ImageArray:
    """Paint houses with windows before a landscape."""
    rng, image = c.rng, landscape(c)
    for depth in (0.5, 0.75, 1.0):
        x = -rng.random() * 0.1 * c.width
        while x < c.width:
            w, top = rng.uniform(0.08, 0.2) * c.width * depth, int((1 - rng.uniform(0.35, 0.8) * depth) * c.height)
            colour = random_colour(rng, (0.05, 0.5), (0.25, 0.85))
            cv2.rectangle(image, (int(x), top), (int(x + w), c.height), colour, -1)
            step = max(4.0, w / rng.integers(3, 7))
            for wy in np.arange(top + step / 2, c.height, step):
                for wx in np.arange(x + step / 3, x + w - step / 2, step):
                    corner, far = (int(wx), int(wy)), (int(wx + 0.5 * step), int(wy + 0.6 * step))
                    cv2.rectangle(image, corner, far, shaded(colour, 0.4 + 1.2 * rng.random()), -1)
            x += w * rng.uniform(1.0, 1.6)
    return image


def abstract(c: Canvas) -> ImageArray:
    """Paint two colours that run into each other, as clouds do."""
    hue, light = (c.noise(max(c.height, c.width) / 2, 0.68) for _ in range(2))
    colours = [np.array(random_colour(c.rng, (0.2, 0.9), (0.2, 1.0)), dtype=np.float32) for _ in range(3)]
    mix = _logistic(2 * hue)[..., None]
    image = colours[0] * mix + colours[1] * (1 - mix) + (colours[2] - 128) * 0.5 * _logistic(3 * light - 1)[..., None]
    return rounded(image)


def _logistic(x: Float32Array) -> Float32Array:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)


def shapes(c: Canvas) -> ImageArray:
    """Paint circles, triangles and squares on paper."""
    rng = c.rng
    # the paper is as even as one a metre wide
    image = textures.plain(c.part(c.height, c.width, c.width), random_colour(rng, (0.05, 0.6), (0.5, 0.95)), 0.03)
    size = min(c.height, c.width)
    for _ in range(int(rng.integers(12, 30))):
        x, y, r = rng.uniform(0, c.width), rng.uniform(0, c.height), rng.uniform(0.03, 0.22) * size
        colour, fill = random_colour(rng), -1 if rng.random() < 0.7 else max(1, int(0.02 * size))
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(image, (int(x), int(y)), int(r) + 1, colour, fill, cv2.LINE_AA)
            continue
        angles = rng.uniform(0, 2 * np.pi) + np.arange(kind + 2) * (2 * np.pi / (kind + 2))
        points = np.stack([x + r * np.cos(angles), y + 1.4 * r * np.sin(angles)], axis=1).astype(np.int32)
        if fill < 0:
            cv2.fillPoly(image, [points], colour, cv2.LINE_AA)
        else:
            cv2.polylines(image, [points], True, colour, fill, cv2.LINE_AA)
    return image


def _still_life(c: Canvas) -> ImageArray:
    rng, image, edge = c.rng, abstract(c), int(0.65 * c.height)
    image[edge:] = textures.wood(c.part(c.height - edge, c.width, c.width), timber_colour(rng))
    rows, columns = np.mgrid[0 : c.height, 0 : c.width].astype(np.float32)
    for _ in range(int(rng.integers(4, 9))):
        r = rng.uniform(0.08, 0.2) * min(c.height, c.width)
        x, y = rng.uniform(0.1, 0.9) * c.width, rng.uniform(0.5, 0.8) * c.height
        dx, dy = (columns - x) / r, (rows - y) / (r * rng.uniform(0.8, 1.6))
        ball = dx**2 + dy**2 < 1
        light = np.clip(0.95 - 0.6 * np.hypot(dx + 0.4, dy + 0.45), 0.12, 1.0)
        spots = 1 + 0.2 * c.noise(r, 0.8)
        colour = np.asarray(random_colour(rng, (0.4, 0.9), (0.6, 1.0)), dtype=np.float32)
        image[ball] = np.clip((1.3 * light * spots)[ball][:, None] * colour, 0, 255).astype(np.uint8)
    return image


def _mosaic(c: Canvas) -> ImageArray:
    """Paint cells of the nearest of random seeds, as in a map or stained glass."""
    count = int(c.rng.integers(25, 70))
    x, y = (c.rng.uniform(0, length, count).astype(np.float32) for length in (c.width, c.height))
    rows, columns = np.mgrid[0 : c.height, 0 : c.width].astype(np.float32)
    nearest, which = np.full(rows.shape, np.inf, dtype=np.float32), np.zeros(rows.shape, dtype=np.float32)
    for k in range(count):
        distance = (rows - y[k]) ** 2 + (columns - x[k]) ** 2
        closer = distance < nearest
        nearest[closer], which[closer] = distance[closer], k
    palette = np.array([random_colour(c.rng, (0.1, 0.8), (0.3, 1.0)) for _ in range(count)], dtype=np.float32)
    out = rounded(palette[which.astype(np.intp)] * (1 + 0.08 * c.noise(c.height / 8, 0.8))[..., None])
    edges = cv2.morphologyEx(which, cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0
    out[edges] = (40, 40, 45)
    return out


_PAINTINGS = (landscape, city, abstract, shapes, _still_life)
