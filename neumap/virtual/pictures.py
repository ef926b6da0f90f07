"""Things with a picture on them in the virtual room: paintings, posters, boards, charts and screens.

As in :mod:`neumap.virtual.textures`, each function draws an (H, W, 3) uint8 BGR image; ``scale`` is in pixels
per metre.
"""

from __future__ import annotations

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.virtual.textures import (
    INK,
    Colour,
    fractal_noise,
    paragraph,
    plain,
    random_colour,
    random_words,
    shaded,
    timber_colour,
    tinted,
    wood,
    write,
)


def picture(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """Something to hang on a wall: a framed painting, a poster, a notice board, a chart ..."""
    kind = rng.choice(("landscape", "city", "abstract", "shapes", "still life", "poster", "notices", "chart", "mosaic"))
    if kind == "notices":
        return notice_board(rng, height, width, scale)
    if kind == "poster":
        return poster(rng, height, width, scale)
    if kind == "chart":
        return chart(rng, height, width, scale)
    painter = {
        "landscape": landscape,
        "city": city,
        "abstract": abstract,
        "shapes": shapes,
        "still life": _still_life,
        "mosaic": _mosaic,
    }[str(kind)]
    return _framed(rng, painter(rng, height, width), scale)


def poster(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A title, an image and small print."""
    ground = random_colour(rng, (0.05, 0.8), (0.35, 0.95))
    image = tinted(1 + 0.03 * fractal_noise(rng, height, width, height / 2, 0.6), ground)
    ink = shaded(ground, 0.25) if sum(ground) > 330 else (235.0, 240.0, 240.0)
    margin = int(0.06 * width)
    title = max(7.0, rng.uniform(0.05, 0.10) * height)
    write(rng, image, random_words(rng, 2).upper(), (margin, int(1.5 * title)), title, ink, width - 2 * margin)
    top, bottom = int(2.2 * title), int(rng.uniform(0.55, 0.75) * height)
    if bottom - top > 8 and width - 2 * margin > 8:
        paint = (landscape, city, abstract, shapes, _still_life)[int(rng.integers(5))]
        image[top:bottom, margin : width - margin] = paint(rng, bottom - top, width - 2 * margin)
    letter = max(4.0, 0.012 * scale)
    area = (margin, bottom + int(letter), width - 2 * margin, int(height - bottom - 2.5 * letter))
    paragraph(rng, image, area, letter * rng.uniform(1.0, 1.8), ink)
    return image


def notice_board(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """Cork with pinned papers of several colours, some tilted."""
    image = tinted(1 + 0.12 * fractal_noise(rng, height, width, 0.02 * scale, 0.9), (90, 140, 185))
    for _ in range(int(14 * height * width / scale**2) + 4):
        paper_w, paper_h = int(rng.uniform(0.08, 0.24) * scale), int(rng.uniform(0.08, 0.28) * scale)
        paper_w, paper_h = min(paper_w, width // 2), min(paper_h, height // 2)
        tint = random_colour(rng, (0.0, 0.45), (0.8, 0.98))
        sheet = plain(rng, paper_h, paper_w, scale, tint)
        letter = max(3.5, rng.uniform(0.008, 0.02) * scale)
        paragraph(rng, sheet, (3, 2, paper_w - 6, paper_h - 6), letter, shaded(random_colour(rng), 0.35))
        if rng.random() < 0.3:
            sheet[paper_h // 2 :] = abstract(rng, paper_h - paper_h // 2, paper_w)
        _paste_tilted(image, sheet, rng.uniform(0, width), rng.uniform(0, height), rng.normal(0, 6))
    return _framed(rng, image, scale)


def chart(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A white sheet with curves, a grid, bars and labels."""
    image = np.full((height, width, 3), 232, dtype=np.uint8)
    left, top, right, bottom = int(0.12 * width), int(0.15 * height), int(0.95 * width), int(0.85 * height)
    for t in np.linspace(0, 1, 7):
        x, y = int(left + t * (right - left)), int(top + t * (bottom - top))
        cv2.line(image, (left, y), (right, y), (190, 190, 190), 1)
        cv2.line(image, (x, top), (x, bottom), (190, 190, 190), 1)
        letter = max(4.0, 0.03 * height)
        write(rng, image, str(rng.integers(100)), (x - 4, int(bottom + 1.7 * letter)), letter, INK)
        write(rng, image, str(rng.integers(100)), (2, y), letter, INK, 0.1 * width)
    write(rng, image, random_words(rng, 3), (left, int(0.1 * height)), max(5.0, 0.05 * height), INK, right - left)
    bars = int(rng.integers(5, 12))
    for k in range(bars):
        x0 = int(left + k * (right - left) / bars)
        y0 = int(bottom - rng.random() * 0.8 * (bottom - top))
        cv2.rectangle(image, (x0, y0), (x0 + int(0.6 * (right - left) / bars), bottom), random_colour(rng), -1)
    for _ in range(int(rng.integers(1, 4))):
        curve = np.cumsum(rng.standard_normal(40))
        curve = (curve - curve.min()) / (np.ptp(curve) + 1e-6)
        points = np.stack([np.linspace(left, right, 40), bottom - curve * (bottom - top)], axis=1).astype(np.int32)
        cv2.polylines(image, [points], False, random_colour(rng, (0.6, 1), (0.3, 0.7)), 2, cv2.LINE_AA)
    return image


def whiteboard(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """Formulas, boxes and arrows in marker on white, with what was wiped away still showing."""
    image = tinted(1 + 0.012 * fractal_noise(rng, height, width, 0.3 * scale, 0.7), (228, 230, 228))
    pens: tuple[Colour, ...] = ((150, 60, 30), (40, 40, 170), (60, 110, 40), (50, 45, 45))
    for _ in range(int(9 * height * width / scale**2) + 4):
        pen = pens[int(rng.integers(len(pens)))]
        x, y = int(rng.uniform(0.03, 0.8) * width), int(rng.uniform(0.08, 0.9) * height)
        letter = rng.uniform(0.02, 0.05) * scale
        write(rng, image, random_words(rng, int(rng.integers(1, 4))), (x, y), letter, pen, width - x - 4)
        if rng.random() < 0.6:
            end = (x + int(rng.normal(0, 0.25) * scale), y + int(rng.normal(0, 0.2) * scale))
            cv2.arrowedLine(image, (x, y), end, pen, 2, cv2.LINE_AA, tipLength=0.1)
        if rng.random() < 0.4:
            axes = (int(rng.uniform(0.04, 0.15) * scale), int(rng.uniform(0.03, 0.1) * scale))
            cv2.ellipse(image, (x, y), axes, rng.uniform(-20, 20), 0, 360, pen, 2, cv2.LINE_AA)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), (150, 150, 150), max(2, int(0.02 * scale)))
    return image


def screen(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A monitor with windows open on it."""
    image = landscape(rng, height, width)
    for _ in range(3):
        w, h = int(rng.uniform(0.3, 0.6) * width), int(rng.uniform(0.3, 0.7) * height)
        x, y = int(rng.integers(max(1, width - w))), int(rng.integers(max(1, height - h)))
        dark = rng.random() < 0.5
        cv2.rectangle(image, (x, y), (x + w, y + h), (40, 36, 34) if dark else (236, 236, 236), -1)
        cv2.rectangle(image, (x, y), (x + w, y + max(3, h // 12)), random_colour(rng), -1)
        area = (x + 4, y + h // 8, w - 8, h - h // 6)
        paragraph(rng, image, area, max(3.5, 0.008 * scale), (190, 220, 190) if dark else INK)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), (22, 22, 22), max(2, int(0.02 * scale)))
    return image


def book_cover(rng: np.random.Generator, height: int, width: int, scale: float) -> ImageArray:
    """A cover, or any small printed package."""
    image = poster(rng, height, width, scale)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), random_colour(rng), max(1, width // 40))
    return image


def _framed(rng: np.random.Generator, image: ImageArray, scale: float) -> ImageArray:
    height, width = image.shape[:2]
    thick = max(2, int(rng.uniform(0.012, 0.035) * scale))
    colour = random_colour(rng, (0.1, 0.6), (0.08, 0.7))
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), colour, 2 * thick)
    cv2.rectangle(image, (thick, thick), (width - 1 - thick, height - 1 - thick), shaded(colour, 0.5), 1)
    return image


def _paste_tilted(image: ImageArray, sheet: ImageArray, x: float, y: float, degrees: float) -> None:
    height, width = sheet.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turn[:, 2] += (x - width / 2, y - height / 2)
    size = (image.shape[1], image.shape[0])
    cv2.warpAffine(sheet, turn, size, dst=image, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)


def landscape(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    """Sky, clouds and ridges of hills."""
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = (195.0, 235.0) if rng.random() < 0.7 else (0.0, 50.0)
    high, low = (np.array(random_colour(rng, (0.1, 0.6), (0.5, 1.0), sky), dtype=np.float32) for _ in range(2))
    clouds = fractal_noise(rng, height, width, (height / 4, width / 2), 0.65)
    image = (1 - ramp) * high + ramp * low + 22 * np.maximum(clouds, 0)[..., None]
    if rng.random() < 0.5:
        centre = (int(rng.integers(width)), int(rng.uniform(0.1, 0.45) * height))
        cv2.circle(image, centre, max(2, int(0.07 * height)), (200, 235, 255), -1, cv2.LINE_AA)
    rows = np.arange(height)[:, None]
    ground = random_colour(rng, (0.2, 0.8), (0.3, 0.7), (20.0, 160.0))
    layers = int(rng.integers(2, 5))
    for k in range(layers):
        ridge = fractal_noise(rng, 2, width, (2, width / 3), 0.55)[0]
        horizon = (0.35 + 0.5 * k / layers + 0.06 * ridge) * height
        relief = 1 + 0.3 * fractal_noise(rng, height, width, height / 6, 0.75)
        layer = np.asarray(shaded(ground, 1.3 - k / layers), dtype=np.float32) * relief[..., None]
        image = np.where((rows > horizon)[..., None], layer, image)
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), dtype=np.uint8)


def city(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    """Houses with windows before a landscape."""
    image = landscape(rng, height, width)
    for depth in (0.5, 0.75, 1.0):
        x = -rng.random() * 0.1 * width
        while x < width:
            w, top = rng.uniform(0.08, 0.2) * width * depth, int((1 - rng.uniform(0.35, 0.8) * depth) * height)
            colour = random_colour(rng, (0.05, 0.5), (0.25, 0.85))
            cv2.rectangle(image, (int(x), top), (int(x + w), height), colour, -1)
            step = max(4.0, w / rng.integers(3, 7))
            for wy in np.arange(top + step / 2, height, step):
                for wx in np.arange(x + step / 3, x + w - step / 2, step):
                    lit = rng.random()
                    pane = (int(wx + 0.5 * step), int(wy + 0.6 * step))
                    cv2.rectangle(image, (int(wx), int(wy)), pane, shaded(colour, 0.4 + 1.2 * lit), -1)
            x += w * rng.uniform(1.0, 1.6)
    return image


def abstract(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    """Two colours that run into each other, as clouds do."""
    hue, light = (fractal_noise(rng, height, width, max(height, width) / 2, 0.68) for _ in range(2))
    first, second, third = (np.array(random_colour(rng, (0.2, 0.9), (0.2, 1.0)), dtype=np.float32) for _ in range(3))
    mix = _logistic(2 * hue)[..., None]
    image = first * mix + second * (1 - mix) + (third - 128) * 0.5 * _logistic(3 * light - 1)[..., None]
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), dtype=np.uint8)


def shapes(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    """Circles, triangles and squares on paper."""
    image = plain(rng, height, width, width, random_colour(rng, (0.05, 0.6), (0.5, 0.95)), 0.03)
    size = min(height, width)
    for _ in range(int(rng.integers(12, 30))):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.03, 0.22) * size
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


def _still_life(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    image = abstract(rng, height, width)
    image[int(0.65 * height) :] = wood(rng, height - int(0.65 * height), width, width, timber_colour(rng))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    for _ in range(int(rng.integers(4, 9))):
        r = rng.uniform(0.08, 0.2) * min(height, width)
        x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.5, 0.8) * height
        dx, dy = (columns - x) / r, (rows - y) / (r * rng.uniform(0.8, 1.6))
        ball = dx**2 + dy**2 < 1
        light = np.clip(0.95 - 0.6 * np.hypot(dx + 0.4, dy + 0.45), 0.12, 1.0)
        spots = 1 + 0.2 * fractal_noise(rng, height, width, r, 0.8)
        colour = np.asarray(random_colour(rng, (0.4, 0.9), (0.6, 1.0)), dtype=np.float32)
        image[ball] = np.clip((1.3 * light * spots)[ball][:, None] * colour, 0, 255).astype(np.uint8)
    return image


def _mosaic(rng: np.random.Generator, height: int, width: int) -> ImageArray:
    """Cells of the nearest of random seeds, as in a map or stained glass."""
    count = int(rng.integers(25, 70))
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    nearest, which = np.full((height, width), np.inf, dtype=np.float32), np.zeros((height, width), dtype=np.intp)
    for k in range(count):
        distance = (rows - np.float32(y[k])) ** 2 + (columns - np.float32(x[k])) ** 2
        closer = distance < nearest
        nearest[closer], which[closer] = distance[closer], k
    palette = np.array([random_colour(rng, (0.1, 0.8), (0.3, 1.0)) for _ in range(count)], dtype=np.float32)
    image = palette[which] * (1 + 0.08 * fractal_noise(rng, height, width, height / 8, 0.8))[..., None]
    out = np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), dtype=np.uint8)
    edges = cv2.morphologyEx(which.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0
    out[edges] = (40, 40, 45)
    return out


def _logistic(x: Float32Array) -> Float32Array:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)
