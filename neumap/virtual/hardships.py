"""Degradations that make an image hard to localize: strong blur, other light, and occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from neumap.arrays import BoolArray, Float32Array, ImageArray

Cover: TypeAlias = Literal["none", "black", "person", "hand"]

# COVER_M: distance of the occluder from the camera, metres: nearer than anything mapped.
COVER_M = 0.35
# _MOTION_PX: range of the motion during the exposure; _DEFOCUS_PX: range of the blur disc's radius; both in pixels.
_MOTION_PX, _DEFOCUS_PX = (3.0, 12.0), (1.5, 4.0)
# _RELIT: range of the standard deviation of the log gain of another light over the image.
_RELIT = (0.25, 0.6)
# _KINDS: fraction of hard images with each degradation; _TWO_AT_ONCE: fraction with two.
_KINDS = {"motion": 0.3, "defocus": 0.15, "relit": 0.25, "cover": 0.3}
_TWO_AT_ONCE = 0.25
# _COVERS: kinds of occluders.
_COVERS: tuple[Cover, ...] = ("black", "person", "hand")


@dataclass(frozen=True)
class Hardship:
    """The degradations of one image.

    ``motion_px`` (x, y) is the motion during the exposure, ``defocus_px`` the radius of the blur disc, ``relit`` the
    standard deviation of the log gain of another light (0: none), ``cover`` the occluder. ``seed`` determines the rest.
    """

    motion_px: tuple[float, float] = (0.0, 0.0)
    defocus_px: float = 0.0
    relit: float = 0.0
    cover: Cover = "none"
    seed: int = 0

    def spoil(self, image: ImageArray) -> ImageArray:
        """Return the (H, W) image under the other light, out of focus, and occluded; exposing it adds the motion."""
        if self.relit:
            image = _relit(image, np.random.default_rng([self.seed, 1]), self.relit)
        if self.defocus_px:
            image = np.asarray(cv2.filter2D(image, -1, _disc(self.defocus_px)), dtype=np.uint8)
        if self.cover != "none":
            rng = np.random.default_rng([self.seed, 3])
            # near occluders are out of focus
            soft = cv2.GaussianBlur(self.covered(image.shape[:2]).astype(np.float32), (0, 0), 1.5)
            image = np.asarray(np.rint(image * (1 - soft) + soft * _surface(self.cover, image, rng)), dtype=np.uint8)
        return image

    def covered(self, shape: tuple[int, ...]) -> BoolArray:
        """Return the mask (H, W) of the occluder."""
        rng = np.random.default_rng([self.seed, 2])
        if self.cover == "black":
            return _beyond_a_line(rng, shape)
        mask = np.zeros(shape, dtype=np.uint8)
        limbs = _person(rng, shape) if self.cover == "person" else _hand(rng, shape) if self.cover == "hand" else []
        for start, end, width in limbs:
            cv2.line(mask, start, end, 1, width)
        return np.asarray(mask > 0)


# _Limb: a thick line of a silhouette: start (x, y), end (x, y) and thickness, in pixels.
_Limb: TypeAlias = tuple[tuple[int, int], tuple[int, int], int]


def random_hardship(rng: np.random.Generator) -> Hardship:
    """Draw one or two degradations."""
    count = 2 if rng.random() < _TWO_AT_ONCE else 1
    kinds = rng.choice(list(_KINDS), count, replace=False, p=list(_KINDS.values()))
    angle, length = rng.uniform(0, np.pi), rng.uniform(*_MOTION_PX)
    motion = (float(length * np.cos(angle)), float(length * np.sin(angle)))
    return Hardship(
        motion_px=motion if "motion" in kinds else (0.0, 0.0),
        defocus_px=float(rng.uniform(*_DEFOCUS_PX)) if "defocus" in kinds else 0.0,
        relit=float(rng.uniform(*_RELIT)) if "relit" in kinds else 0.0,
        cover=_COVERS[int(rng.integers(len(_COVERS)))] if "cover" in kinds else "none",
        seed=int(rng.integers(2**31)),
    )


def _relit(image: ImageArray, rng: np.random.Generator, strength: float) -> ImageArray:
    """Simulate lamps elsewhere by a smooth gain, and a shadow by a straight edge."""
    height, width = image.shape
    field = cv2.resize(rng.standard_normal((3, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    gain = np.exp(np.float32(strength) * field)
    if rng.random() < 0.5:
        shadow = _beyond_a_line(rng, (height, width)).astype(np.float32)
        gain *= 1 - np.float32(rng.uniform(0.3, 0.6)) * cv2.GaussianBlur(shadow, (0, 0), rng.uniform(1.0, 6.0))
    return np.asarray(np.clip(np.rint(image * gain), 0, 255), dtype=np.uint8)


def _disc(radius: float) -> Float32Array:
    reach = int(np.ceil(radius))
    x = np.arange(-reach, reach + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(x, x[:, None]), 0, 1)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def _beyond_a_line(rng: np.random.Generator, shape: Sequence[int]) -> BoolArray:
    """Return the mask (H, W) of one side of a line that leaves a third to two thirds of the image."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.asarray(np.cos(angle) * x + np.sin(angle) * y > rng.uniform(-0.25, 0.25))


def _person(rng: np.random.Generator, shape: Sequence[int]) -> list[_Limb]:
    """Draw head, shoulders and body, which cover a fifth to two fifths of the image."""
    height, width = shape
    body = rng.uniform(0.4, 0.65) * width
    x, top = rng.uniform(0.2, 0.8) * width, rng.uniform(0.05, 0.3) * height
    shoulders, lean = top + 0.75 * body, rng.normal(0, 0.05) * width
    limbs = [
        ((x, top + 0.2 * body), (x, top + 0.3 * body), 0.42 * body),
        ((x - 0.25 * body, shoulders), (x + 0.25 * body, shoulders), 0.5 * body),
        ((x, shoulders + 0.2 * body), (x + lean, height), 0.85 * body),
    ]
    return _in_pixels(limbs)


def _hand(rng: np.random.Generator, shape: Sequence[int]) -> list[_Limb]:
    """Draw a palm at the border and fingers that reach inwards."""
    height, width = shape
    angle, palm = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.7) * height
    inward = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-inward[1], inward[0]])
    wrist = np.array([width, height]) / 2 - inward * np.array([width, height]) * rng.uniform(0.35, 0.5)
    limbs = [(wrist - across * 0.1 * palm, wrist + across * 0.1 * palm, palm)]
    for offset in np.linspace(-0.38, 0.38, 4):
        root = wrist + across * offset * palm
        tip = root + (inward + rng.normal(0, 0.12) * across) * palm * rng.uniform(0.8, 1.2)
        limbs.append((root, tip, 0.19 * palm))
    return _in_pixels(limbs)


def _in_pixels(limbs: Sequence[tuple[Sequence[float], Sequence[float], float]]) -> list[_Limb]:
    return [((int(a[0]), int(a[1])), (int(b[0]), int(b[1])), max(1, int(width))) for a, b, width in limbs]


def _surface(cover: Cover, image: ImageArray, rng: np.random.Generator) -> Float32Array:
    """Return the grey levels (H, W) of the occluder: black, or cloth and skin with folds."""
    if cover == "black":
        return np.zeros(image.shape, dtype=np.float32)
    surface = np.full(image.shape, rng.uniform(40, 190), dtype=np.float32)
    # folds, and on some a pattern
    for cells, contrast in ((8, 14.0), (60, float(rng.choice([0.0, 16.0])))):
        shape = max(2, cells * image.shape[0] // image.shape[1]), cells
        drawn = rng.standard_normal(shape).astype(np.float32)
        surface += np.float32(contrast) * cv2.resize(drawn, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(surface, 0, 255), dtype=np.float32)
