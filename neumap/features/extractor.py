"""The interface of feature extractors: from a grey image to keypoints with descriptors.

To add an extractor, write a module with a class that implements :class:`Extractor`, add a line to
:mod:`neumap.features`, and train a decoder (``neumap pretrain --extractor``), since the frozen decoder reads the
descriptors of one extractor only. Maps and decoders store its name and work with no other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np

from neumap.arrays import Float32Array, ImageArray

# COARSE_SHARE: weight of the coarse descriptor in the joint similarity.
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
    """Settings that a map and its queries share: numbers, stored in the map file. Each extractor adds its own."""

    # name in neumap.features
    extractor: ClassVar[str]
    max_keypoints: int = 2000


@dataclass(frozen=True)
class Similarities:
    """Least dot products of two descriptors of one scene point.

    ``expected``: for a keypoint near the projection of the point by a known pose; ``twin``: for two tracked points
    within centimetres of each other; ``anywhere``: for the best match in a whole image.
    """

    expected: float
    twin: float
    anywhere: float


class Extractor(Protocol):
    """Extracts features in looks of increasing cost: a glance, a quick and a whole look.

    Most images are localized by a quick look, which takes a small share of the time, and most of those with a roughly
    known pose by a glance. Maps hold features of the quick and the whole look. An extractor may hold state: use one per
    thread.
    """

    settings_class: ClassVar[type[FeatureSettings]]
    # dimensions of a descriptor, and of a coarse one; 0 for none
    descriptor_size: ClassVar[int]
    coarse_size: ClassVar[int]
    similarities: ClassVar[Similarities]

    def __init__(self, settings: FeatureSettings) -> None:
        """Make the extractor of ``settings``, of its ``settings_class``."""

    def glance(self, gray: ImageArray) -> Features | None:
        """Return the features of a glance at an (H, W) uint8 image, strongest first; None if not faster than quick."""
        ...

    def quick(self, gray: ImageArray) -> Features:
        """Return the features of a quick look at an (H, W) uint8 image, strongest first."""
        ...

    def whole(self, gray: ImageArray, quick: Features | None = None) -> Features:
        """Return all features of an (H, W) uint8 image: those of its ``quick`` look (None: computed now), then others,
        strongest first; ``quick`` itself if there are no others.
        """
        ...


def joint_descriptors(fine: Float32Array, coarse: Float32Array) -> Float32Array:
    """Return unit descriptors (N, D + C) whose dot product is the weighted mean of those of the two parts.

    With an empty ``coarse`` part, of shape (N, 0), returns ``fine``.
    """
    if not coarse.shape[1]:
        return fine
    # Python floats keep single precision, numpy scalars would promote to double
    return np.concatenate([(1 - COARSE_SHARE) ** 0.5 * fine, COARSE_SHARE**0.5 * coarse], axis=1, dtype=np.float32)
