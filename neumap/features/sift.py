"""RootSIFT, and a second, coarser look at the surroundings of each keypoint.

RootSIFT is Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval" (CVPR 2012):
the Hellinger kernel as a dot product. The coarse descriptor is SIFT again over a window four times as wide; it is
computed on the image reduced four times, where it costs a fraction of what the same window costs at full size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.features.extractor import Features, FeatureSettings, Similarities

# COARSE_FACTOR: how many times wider the window of the coarse descriptor is; SIZE: numbers of a SIFT descriptor.
COARSE_FACTOR, SIZE = 4, 128


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

    def __call__(self, gray: ImageArray) -> Features:
        """Return the features of an (H, W) uint8 image, strongest first."""
        keypoints, sift = self._sift.detectAndCompute(gray, None)
        if not keypoints:
            empty = np.zeros((0, SIZE), np.float32)
            line = np.zeros(0, np.float32)
            return Features(np.zeros((0, 2), np.float32), line, line, line, empty, empty)
        table = np.array([(*k.pt, k.size, k.angle, k.response) for k in keypoints], dtype=np.float32)
        # OpenCV keeps every keypoint that ties with the last
        order = np.argsort(-table[:, 4], kind="stable")[: self._max_keypoints]
        coarse = self._coarse(gray, [keypoints[i] for i in order])
        table = table[order]
        return Features(
            pixels=np.ascontiguousarray(table[:, :2]),
            size=table[:, 2].copy(),
            angle=np.deg2rad(table[:, 3]),
            response=table[:, 4].copy(),
            descriptors=root_sift(np.asarray(sift, dtype=np.float32)[order]),
            coarse=root_sift(coarse),
        )

    def _coarse(self, gray: ImageArray, keypoints: list[cv2.KeyPoint]) -> Float32Array:
        small = cv2.resize(gray, None, fx=1 / COARSE_FACTOR, fy=1 / COARSE_FACTOR, interpolation=cv2.INTER_AREA)
        # the same size and octave on a reduced image is a window COARSE_FACTOR times as wide
        shift = 0.5 / COARSE_FACTOR - 0.5
        moved = [
            cv2.KeyPoint(
                k.pt[0] / COARSE_FACTOR + shift,
                k.pt[1] / COARSE_FACTOR + shift,
                k.size,
                k.angle,
                k.response,
                k.octave,
                i,
            )
            for i, k in enumerate(keypoints)
        ]
        kept, sift = self._sift.compute(small, moved)
        out = np.zeros((len(keypoints), SIZE), np.float32)
        out[[k.class_id for k in kept]] = sift
        return out


def root_sift(sift: Float32Array) -> Float32Array:
    """Return unit vectors (N, 128) whose dot product is the Hellinger kernel of the SIFT histograms (N, 128)."""
    total = np.maximum(sift.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.sqrt(sift / total), dtype=np.float32)
