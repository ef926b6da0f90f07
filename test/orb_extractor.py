"""Another feature extractor, as somebody might add one: ORB, whose bits are numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from neumap.arrays import ImageArray
from neumap.features.extractor import Features, FeatureSettings, Similarities


@dataclass(frozen=True)
class OrbSettings(FeatureSettings):
    extractor: ClassVar[str] = "orb"
    fast_threshold: float = 10.0


class Orb:
    settings_class: ClassVar[type[FeatureSettings]] = OrbSettings
    descriptor_size: ClassVar[int] = 256
    coarse_size: ClassVar[int] = 0
    similarities: ClassVar[Similarities] = Similarities(expected=0.6, twin=0.7, anywhere=0.5)

    def __init__(self, settings: FeatureSettings) -> None:
        assert isinstance(settings, OrbSettings)
        self._orb = cv2.ORB.create(settings.max_keypoints, fastThreshold=int(settings.fast_threshold))

    def glance(self, gray: ImageArray) -> None:
        return None

    def quick(self, gray: ImageArray) -> Features:
        found, codes = self._orb.detectAndCompute(gray, None)
        table = np.array([(*k.pt, k.size, k.angle, k.response) for k in found], np.float32).reshape(-1, 5)
        bits = np.zeros((0, 256)) if codes is None else np.unpackbits(np.asarray(codes, dtype=np.uint8), axis=1)
        order = np.argsort(-table[:, 4], kind="stable")
        table = table[order]
        return Features(
            pixels=np.ascontiguousarray(table[:, :2]),
            size=table[:, 2],
            angle=np.deg2rad(table[:, 3]),
            response=table[:, 4],
            descriptors=np.asarray((2.0 * bits[order] - 1) / 16, dtype=np.float32),
            coarse=np.zeros((len(table), 0), np.float32),
        )

    def whole(self, gray: ImageArray, quick: Features | None = None) -> Features:
        """There is no more to see."""
        return self.quick(gray) if quick is None else quick
