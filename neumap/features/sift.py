"""RootSIFT, with a second, coarse descriptor of the surroundings of each keypoint.

RootSIFT is Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval" (CVPR 2012):
the Hellinger kernel as a dot product. The coarse descriptor is SIFT again over a window four times as wide; it is
computed on a reduced image, where it costs a fraction of what the same window costs at full size.

Most of SIFT's cost is its doubled first octave. So the quick look uses the image reduced to a fixed number of pixels,
the glance one with fewer, and the whole look adds the keypoints that only the full image shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from neumap.arrays import BoolArray, Float32Array, FloatArray, ImageArray
from neumap.features.extractor import Features, FeatureSettings, Similarities

# SIZE: dimension of a SIFT descriptor. COARSE_WINDOW: width of the coarse descriptor's window over that of SIFT.
# COARSE_FACTOR: reduction of the image for it; less takes more time and does not help.
SIZE, COARSE_WINDOW, COARSE_FACTOR = 128, 4.0, 6.0
# GLANCE_PIXELS: size of the image for a glance, 200 x 150 pixels; it takes 0.4 of the time of a quick look.
# QUICK_PIXELS: size for a quick look, 320 x 240; 120 000 settled 64 instead of 57 % of the mapping images of hololens
# set aside, in 1.4 times the time. LEAST_REDUCTION: with less reduction of the sides a look uses the full image.
# QUICK_SHARE: share of all keypoints that a quick look may take.
GLANCE_PIXELS, QUICK_PIXELS, LEAST_REDUCTION, QUICK_SHARE = 30_000, 76_800, 1.2, 2 / 3
# MOST_PIXELS: larger images are reduced to this: OpenCV's pyramid takes 205 bytes per pixel, and few of the 2000
# keypoints, which are chosen by contrast, are small.
MOST_PIXELS = 2_000_000
# SAME_SHARE, SAME_LOG_SIZE, SAME_RAD: a keypoint of the full image equals one of its NEIGHBOURS in the reduced image if
# they differ by less in position, as a share of the diameter, in log size, and in direction, radians. Not tuned: at
# worst a keypoint is described twice, or one of two neighbours is dropped.
SAME_SHARE, SAME_LOG_SIZE, SAME_RAD, NEIGHBOURS = 0.3, 0.35, 0.5, 8
# DOUBLING_SHIFT_PX: offset of OpenCV's keypoints: it doubles the image aligned at corners, but halves coordinates as if
# aligned at pixel centres.
DOUBLING_SHIFT_PX = 0.25
# LAYER, FIRST_LAYER: bits of a keypoint's octave that hold the layer, and the value of the first layer with keypoints.
LAYER, FIRST_LAYER = 0xFF00, 0x0100


@dataclass(frozen=True)
class SiftSettings(FeatureSettings):
    """OpenCV's thresholds: a lower contrast finds more keypoints, a higher edge threshold keeps more on edges."""

    extractor: ClassVar[str] = "rootsift"
    contrast_threshold: float = 0.01
    edge_threshold: float = 12.0


class RootSift:
    """The :class:`~neumap.features.extractor.Extractor`; holds OpenCV's detector, so one per thread."""

    settings_class: ClassVar[type[FeatureSettings]] = SiftSettings
    descriptor_size: ClassVar[int] = SIZE
    coarse_size: ClassVar[int] = SIZE
    similarities: ClassVar[Similarities] = Similarities(expected=0.85, twin=0.9, anywhere=0.75)

    def __init__(self, settings: FeatureSettings) -> None:
        if not isinstance(settings, SiftSettings):
            raise TypeError(f"{type(settings).__name__} are no settings of rootsift")
        self._max_keypoints = settings.max_keypoints
        self._sift = cv2.SIFT.create(
            settings.max_keypoints,
            contrastThreshold=settings.contrast_threshold,
            edgeThreshold=settings.edge_threshold,
        )

    def glance(self, gray: ImageArray) -> Features | None:
        """Return the features of a glance at an (H, W) uint8 image, strongest first; None for an image this small."""
        factor = _reduction(gray, GLANCE_PIXELS)
        return None if factor == 1 else self._reduced_look(gray, factor)

    def quick(self, gray: ImageArray) -> Features:
        """Return the features of the reduced (H, W) uint8 image, strongest first."""
        factor = _reduction(gray, QUICK_PIXELS)
        return self._look(gray, gray, self._max_keypoints) if factor == 1 else self._reduced_look(gray, factor)

    def _reduced_look(self, gray: ImageArray, factor: float) -> Features:
        # leaves room for keypoints that only the full image shows
        return self._look(gray, _reduced(gray, factor), round(QUICK_SHARE * self._max_keypoints))

    def whole(self, gray: ImageArray, quick: Features | None = None) -> Features:
        """Return all features of an (H, W) uint8 image: those of its ``quick`` look, then others of the full image."""
        quick = self.quick(gray) if quick is None else quick
        if _reduction(gray, QUICK_PIXELS) == 1:
            return quick
        factor = float((gray.size / MOST_PIXELS) ** 0.5)
        reduced = gray if factor <= 1 else _reduced(gray, factor)
        return quick.followed_by(self._look(gray, reduced, self._max_keypoints - len(quick), quick))

    def _look(self, gray: ImageArray, reduced: ImageArray, most: int, known: Features | None = None) -> Features:
        """Return the ``most`` strongest features of an image, ``reduced`` or not, without those ``known``."""
        keypoints, sift = self._sift.detectAndCompute(reduced, None)
        if not keypoints:
            return _no_features()
        # OpenCV keeps every keypoint that ties with the last
        order = np.argsort([-k.response for k in keypoints], kind="stable")
        if known is not None:
            order = order[~_known(_placed(keypoints, gray, reduced), known)[order]]
        order = order[:most]
        if not len(order):
            return _no_features()
        return self._features(gray, reduced, [keypoints[i] for i in order], np.asarray(sift, np.float32)[order])

    def _features(
        self, gray: ImageArray, reduced: ImageArray, keypoints: Sequence[cv2.KeyPoint], sift: Float32Array
    ) -> Features:
        """Return keypoints of a ``reduced`` image as features of the full one."""
        table = _placed(keypoints, gray, reduced).astype(np.float32)
        return Features(
            pixels=table[:, :2].copy(),
            size=table[:, 2].copy(),
            angle=table[:, 3].copy(),
            response=np.array([k.response for k in keypoints], dtype=np.float32),
            descriptors=root_sift(sift),
            coarse=root_sift(self._coarse(reduced, keypoints)),
        )

    def _coarse(self, gray: ImageArray, keypoints: Sequence[cv2.KeyPoint]) -> Float32Array:
        small = _reduced(gray, COARSE_FACTOR)
        fx, fy = np.divide(small.shape[::-1], gray.shape[::-1])
        moved = [
            cv2.KeyPoint(
                (k.pt[0] + 0.5) * fx - 0.5,
                (k.pt[1] + 0.5) * fy - 0.5,
                k.size * COARSE_WINDOW / COARSE_FACTOR,
                k.angle,
                k.response,
                # the least blurred layer of its octave: the window has fewer pixels than one of SIFT's own
                k.octave & ~LAYER | FIRST_LAYER,
                i,
            )
            for i, k in enumerate(keypoints)
        ]
        kept, sift = self._sift.compute(small, moved)
        out = np.zeros((len(keypoints), SIZE), np.float32)
        out[[k.class_id for k in kept]] = sift
        return out


def _reduction(gray: ImageArray, pixels: int) -> float:
    """Return the factor that reduces the image's sides to a size in ``pixels``; 1 for the full image."""
    factor = float((gray.size / pixels) ** 0.5)
    return 1.0 if factor < LEAST_REDUCTION else factor


def _reduced(gray: ImageArray, factor: float) -> ImageArray:
    # by size, since with a factor OpenCV does not keep the corners aligned
    size = [max(1, round(side / factor)) for side in gray.shape[::-1]]
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))


def _no_features() -> Features:
    line, wide = np.zeros(0, np.float32), np.zeros((0, SIZE), np.float32)
    return Features(np.zeros((0, 2), np.float32), line, line, line, wide, wide)


def _placed(keypoints: Sequence[cv2.KeyPoint], gray: ImageArray, reduced: ImageArray) -> FloatArray:
    """Return x, y and size in pixels of the full image and angle in radians (K, 4) of keypoints of a reduced one."""
    table = np.array([(*k.pt, k.size, np.deg2rad(k.angle)) for k in keypoints])
    scale = np.divide(gray.shape[::-1], reduced.shape[::-1])
    table[:, :2] = (table[:, :2] + (0.5 - DOUBLING_SHIFT_PX)) * scale - 0.5
    table[:, 2] *= scale.mean()
    return table


def _known(table: FloatArray, quick: Features) -> BoolArray:
    """Return which keypoints (K, 4), as of :func:`_placed`, the ``quick`` look found."""
    if not len(quick):
        return np.zeros(len(table), dtype=bool)
    # not imported at the top: reading a map needs only the settings, and SciPy takes the longest to import
    from scipy.spatial import cKDTree

    distance, near = cKDTree(quick.pixels).query(table[:, :2], k=range(1, NEIGHBOURS + 1))
    near = np.minimum(near, len(quick) - 1)
    turn = np.angle(np.exp(1j * (quick.angle[near] - table[:, 3:])))
    ratio = np.log(quick.size[near] / table[:, 2:3])
    same = (distance < SAME_SHARE * table[:, 2:3]) & (np.abs(ratio) < SAME_LOG_SIZE) & (np.abs(turn) < SAME_RAD)
    return np.asarray(same.any(axis=1))


def root_sift(sift: Float32Array) -> Float32Array:
    """Return unit vectors (N, 128) whose dot product is the Hellinger kernel of the SIFT histograms (N, 128)."""
    total = np.maximum(sift.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.sqrt(sift / total), dtype=np.float32)
