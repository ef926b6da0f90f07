"""Cameras for training: usual ones, those of phones, and wide ones as on robots."""

from __future__ import annotations

import numpy as np

from neumap.geometry.cameras import make_camera
from neumap.records import Camera

# _KINDS: fraction of each kind; range of the focal length as a fraction of the width; range of the distortion of an
# image corner, relative to its distance: beyond -0.148 a polynomial of one term folds over, and corners have no ray.
_KINDS = {
    "usual": (0.4, (0.6, 0.97), (-0.12, 0.08)),
    "phone": (0.35, (0.75, 0.85), (-0.02, 0.03)),
    "wide": (0.25, (0.45, 0.6), (-0.14, -0.06)),
}
# _SIZES: image sizes of each kind in pixels, all equally likely.
_SIZES = {
    "usual": ((640, 480),),
    "phone": ((540, 360), (1024, 683), (1024, 576), (640, 480)),
    "wide": ((640, 480), (848, 480), (540, 360)),
}
# _OFF_CENTRE: standard deviation of the principal point from the centre, as a fraction of the width.
_OFF_CENTRE = 0.0125


def random_lens(rng: np.random.Generator) -> Camera:
    """Draw a usual, a phone or a wide camera; about half of the usual and all others have distortion."""
    kind = str(rng.choice(list(_KINDS), p=[share for share, *_ in _KINDS.values()]))
    _, focal_share, bend = _KINDS[kind]
    width, height = _SIZES[kind][int(rng.integers(len(_SIZES[kind])))]
    focal = width * float(rng.uniform(*focal_share))
    x, y = (np.array([width - 1, height - 1]) / 2 + rng.normal(0, _OFF_CENTRE * width, 2)).tolist()
    # the angle of the farthest corner from the axis, as a tangent
    corner = np.hypot(max(x, width - 1 - x), max(y, height - 1 - y)) / focal
    distortion = [float(rng.uniform(*bend) / corner**2), float(rng.uniform(0.0, 0.01) / corner**4), 0.0, 0.0, 0.0]
    straight = kind == "usual" and rng.random() < 0.5
    matrix = [focal, 0, x, 0, focal, y, 0, 0, 1]
    return make_camera(width, height, matrix, "plumb_bob", [0.0] * 5 if straight else distortion)
