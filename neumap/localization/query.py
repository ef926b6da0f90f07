"""What is known of an image, and where it is looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.features.extractor import Features
from neumap.geometry import se3
from neumap.records import Camera

# USUAL_FOCAL_PX: the focal length that thresholds in pixels are meant for; of a VGA camera with a usual lens.
# SMALLEST_SCALE: what such thresholds are multiplied by at least; keypoints are exact to some pixels in every camera.
USUAL_FOCAL_PX, SMALLEST_SCALE = 525.0, 0.5


@dataclass(frozen=True)
class Query:
    """What one look at an image showed, made once however often it is searched for.

    ``features`` of N keypoints; ``rays`` (N, 2), their undistorted normalized coordinates; ``camera`` at the image's
    size. ``embeddings`` (N, D) and ``looks`` (N, E) are what the map compares keypoints by
    (:class:`~neumap.localization.matching.LandmarkIndex`): with all its landmarks, and with one landmark where a pose
    says that it is. So a query belongs to the localizer that made it, and to others whose maps have the same decoder.
    ``more`` makes the query of the next longer look, None where that shows nothing else: the image must stay as it is.
    ``glance``: this look was but a glance.
    """

    features: Features
    rays: FloatArray
    camera: Camera
    embeddings: Float32Array
    looks: Float32Array
    more: Callable[[], Query | None] | None = None
    glance: bool = False

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def longer(self) -> Query | None:
        """The query of the next longer look, made when it is first asked for; None where that shows nothing else."""
        return self.more() if self.more else None

    @property
    def whole(self) -> Query:
        """The query of all that the image shows; this one if that is no more."""
        return self if self.longer is None else self.longer.whole

    @cached_property
    def focal_px(self) -> float:
        """The mean focal length in pixels: what turns a normalized coordinate into pixels."""
        return float(np.sqrt(self.camera.matrix[0, 0] * self.camera.matrix[1, 1]))

    @cached_property
    def scale(self) -> float:
        """What thresholds in pixels are multiplied by in this image, so that they are the same angles in any camera."""
        return max(self.focal_px / USUAL_FOCAL_PX, SMALLEST_SCALE)

    @cached_property
    def tree(self) -> cKDTree:
        """The rays, for whoever looks for those around a place in the image."""
        return cKDTree(self.rays)


@dataclass(frozen=True)
class Near:
    """Where the camera is said to be: within ``radius_m`` of a ``position`` (3,) in the map frame."""

    position: FloatArray
    radius_m: float


@dataclass(frozen=True)
class Scope:
    """Where to look for a query: in ``voxels`` (V,), indices into the map's grid (None: in all), and ``near`` where the
    camera is said to be (None: anywhere). Poses elsewhere are neither answers nor reasons to doubt one.

    ``beside`` is the search's own: voxels whose landmarks are not asked for a pose but must fit it.
    """

    voxels: IntArray | None = None
    near: Near | None = None
    beside: IntArray | None = None

    def within(self, voxels: IntArray, beside: IntArray | None = None) -> Scope:
        """Return other voxels, near the same place."""
        return replace(self, voxels=voxels, beside=beside)

    def allows(self, camera_from_map: FloatArray) -> bool:
        """Tell whether a pose (4, 4) is near where the camera is said to be; so is any, where nothing is said."""
        if self.near is None:
            return True
        position = se3.invert_pose(camera_from_map)[:3, 3]
        return bool(np.linalg.norm(position - self.near.position) <= self.near.radius_m)


EVERYWHERE = Scope()
