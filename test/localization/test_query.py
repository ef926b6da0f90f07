"""An image as the search sees it."""

from __future__ import annotations

import numpy as np
from synthetic_scene import CAMERA, features_of, make_scene, ring

from neumap.arrays import FloatArray
from neumap.features.sift import Features
from neumap.geometry.se3 import invert_pose
from neumap.localization.query import Near, View


def look() -> tuple[Features, FloatArray]:
    features, rays, _ = features_of(make_scene(np.random.default_rng(0), 200), ring(4)[0], np.random.default_rng(1))
    return features, rays


def test_other_voxels_of_the_same_image() -> None:
    features, rays = look()
    view = View(features, rays, CAMERA, voxels=np.array([3]), beside=np.array([4]))
    other = view.within(np.array([7, 8]))
    assert other.voxels is not None
    np.testing.assert_array_equal(other.voxels, [7, 8])
    assert other.beside is None
    assert other.tree is view.tree
    assert other.features is features
    np.testing.assert_array_equal(view.voxels, [3])  # type: ignore[arg-type]


def test_poses_elsewhere_than_where_the_camera_is_said_to_be_are_none() -> None:
    features, rays = look()
    pose = ring(4)[1]
    said = Near(pose[:3, 3] + [0.0, 1.0, 0.0], 1.01)
    view = View(features, rays, CAMERA, near=said)
    assert view.allows(invert_pose(pose))
    assert view.within(np.array([7])).allows(invert_pose(pose))
    pose[:3, 3] -= [0.0, 0.1, 0.0]
    assert not view.allows(invert_pose(pose))
    assert View(features, rays, CAMERA).allows(invert_pose(pose))
