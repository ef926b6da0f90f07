"""What a feature extractor is: a grey image in, keypoints with descriptors out.

Another extractor is a module with a class as of :class:`Extractor` and a line in :mod:`neumap.features`; and a training
(``neumap pretrain --extractor``), since the frozen decoder knows the descriptors of one extractor only. Maps and
decoders name theirs, and do not go with any other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np

from neumap.arrays import Float32Array, ImageArray

# COARSE_SHARE: how much the wider surroundings of a keypoint weigh against its own look.
COARSE_SHARE = 0.3


@dataclass(frozen=True)
class Features:
    """The N keypoints of one image, all float32.

    ``pixels`` (N, 2); ``size`` (N,) diameter in pixels; ``angle`` (N,) radians; ``response`` (N,), larger for the
    stronger; ``descriptors`` (N, D), rows of unit length; ``coarse`` (N, C), descriptors of the wider surroundings,
    rows of unit length; C is 0 where there are none.
    """

    pixels: Float32Array
    size: Float32Array
    angle: Float32Array
    response: Float32Array
    descriptors: Float32Array
    coarse: Float32Array

    def __len__(self) -> int:
        return len(self.pixels)

    def select(self, index: np.ndarray) -> Features:
        """Return the features at ``index`` (an integer or boolean array)."""
        return Features(*(getattr(self, f.name)[index] for f in fields(self)))

    def followed_by(self, others: Features) -> Features:
        """Return these features, then the ``others``."""
        return Features(*(np.concatenate([getattr(each, f.name) for each in (self, others)]) for f in fields(self)))


@dataclass(frozen=True)
class FeatureSettings:
    """What a map and its queries must agree on; numbers, stored in the map file. Each extractor adds its own."""

    # what neumap.features calls the extractor
    extractor: ClassVar[str]
    max_keypoints: int = 2000


@dataclass(frozen=True)
class Similarities:
    """From which dot product on two descriptors of an extractor show one point of a scene.

    ``expected``: where a known pose says that the point must be in another image; ``twin``: of two points tracked
    within centimetres of each other; ``anywhere``: of the best two in two whole images.
    """

    expected: float
    twin: float
    anywhere: float


class Extractor(Protocol):
    """Extracts features from images, in several looks: most images are settled by a quick one, which takes a small
    share of the time, and most of those whose place is about known by a glance. Maps hold what the quick and the whole
    look show. It may hold state: one per thread.
    """

    settings_class: ClassVar[type[FeatureSettings]]
    # numbers of a descriptor, and of a coarse one, 0 where there is none
    descriptor_size: ClassVar[int]
    coarse_size: ClassVar[int]
    similarities: ClassVar[Similarities]

    def __init__(self, settings: FeatureSettings) -> None:
        """``settings`` are of the extractor's own class."""

    def glance(self, gray: ImageArray) -> Features | None:
        """Return what a glance at an (H, W) uint8 image shows, strongest first; None where a quick look is as quick."""
        ...

    def quick(self, gray: ImageArray) -> Features:
        """Return what a first look at an (H, W) uint8 image shows, strongest first."""
        ...

    def whole(self, gray: ImageArray, quick: Features | None = None) -> Features:
        """Return all features of an (H, W) uint8 image: first those of its ``quick`` look (None: taken now), then what
        else there is, strongest first; ``quick`` itself where there is nothing else.
        """
        ...


def joint_descriptors(fine: Float32Array, coarse: Float32Array) -> Float32Array:
    """Return unit descriptors (N, D + C) whose dot product is the weighted mean of those of the two parts.

    Where there is no ``coarse`` part, of shape (N, 0), they are the ``fine`` part.
    """
    if not coarse.shape[1]:
        return fine
    # Python's numbers leave single precision as it is, numpy's would make it double
    return np.concatenate([(1 - COARSE_SHARE) ** 0.5 * fine, COARSE_SHARE**0.5 * coarse], axis=1, dtype=np.float32)
