"""An image as the search sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from neumap_ros.core.features import Features
from neumap_ros.core.keyframes import IntArray
from neumap_ros.records import Camera, FloatArray

# thresholds are in pixels as of a camera of this focal length: the same angles in any other, but not less than
# keypoints are exact to
FOCAL_PX, SMALLEST_SCALE = 525.0, 0.5


@dataclass(frozen=True)
class View:
    """One image: its features, their undistorted rays (N, 2), the camera at the image's size, the voxels to search
    (None: all), and others ``beside`` them, whose landmarks are not asked for a pose but must fit it.
    """

    features: Features
    rays: FloatArray
    camera: Camera
    voxels: IntArray | None = None
    beside: IntArray | None = None

    @property
    def focal_px(self) -> float:
        """The mean focal length: what turns a normalized coordinate into pixels."""
        return float(np.sqrt(self.camera.matrix[0, 0] * self.camera.matrix[1, 1]))

    @property
    def scale(self) -> float:
        """What thresholds in pixels are multiplied by in this image."""
        return max(self.focal_px / FOCAL_PX, SMALLEST_SCALE)

    def within(self, voxels: IntArray | None, beside: IntArray | None = None) -> View:
        """The same image in other voxels."""
        view = replace(self, voxels=voxels, beside=beside)
        # made once for an image, however many voxels are tried
        vars(view)["tree"] = self.tree
        return view

    @cached_property
    def tree(self) -> cKDTree:
        """The rays, for whoever looks for those around a place in the image."""
        return cKDTree(self.rays)
