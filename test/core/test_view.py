"""An image as the search sees it."""

from __future__ import annotations

import numpy as np
from synthetic_scene import CAMERA, features_of, make_scene, ring

from neumap_ros.core.view import View


def test_other_voxels_of_the_same_image() -> None:
    features, rays, _ = features_of(make_scene(np.random.default_rng(0), 200), ring(4)[0], np.random.default_rng(1))
    view = View(features, rays, CAMERA, voxels=np.array([3]), beside=np.array([4]))
    other = view.within(np.array([7, 8]))
    assert other.voxels is not None
    np.testing.assert_array_equal(other.voxels, [7, 8])
    assert other.beside is None
    assert other.tree is view.tree
    assert other.features is features
    np.testing.assert_array_equal(view.voxels, [3])  # type: ignore[arg-type]
