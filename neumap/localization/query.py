"""An image as the search sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from neumap.arrays import FloatArray, IntArray
from neumap.features.sift import Features
from neumap.geometry import se3
from neumap.records import Camera

# thresholds are in pixels as of a camera of this focal length: the same angles in any other, but not less than
# keypoints are exact to
FOCAL_PX, SMALLEST_SCALE = 525.0, 0.5


@dataclass(frozen=True)
class Near:
    """Where the camera is said to be: within ``radius_m`` of a ``position`` (3,) in the map frame."""

    position: FloatArray
    radius_m: float


@dataclass(frozen=True)
class View:
    """One image: its features, their undistorted rays (N, 2), the camera at the image's size, the voxels to search
    (None: all), and others ``beside`` them, whose landmarks are not asked for a pose but must fit it. Poses that are
    not ``near`` where the camera is said to be are none.
    """

    features: Features
    rays: FloatArray
    camera: Camera
    voxels: IntArray | None = None
    beside: IntArray | None = None
    near: Near | None = None

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

    def allows(self, camera_from_map: FloatArray) -> bool:
        """Whether a pose (4, 4) is near where the camera is said to be; so is any, where nothing is said."""
        if self.near is None:
            return True
        position = se3.invert_pose(camera_from_map)[:3, 3]
        return bool(np.linalg.norm(position - self.near.position) <= self.near.radius_m)

    @cached_property
    def tree(self) -> cKDTree:
        """The rays, for whoever looks for those around a place in the image."""
        return cKDTree(self.rays)
