"""What is known of an image, and where it is looked for."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_scene import CAMERA, features_of, make_latent_map, make_scene, ring

from neumap.geometry.se3 import invert_pose
from neumap.localization.localizer import Localizer
from neumap.localization.query import EVERYWHERE, Near, Scope
from neumap.model.decoder import FrozenDecoder


def test_other_voxels_near_the_same_place() -> None:
    near = Near(np.zeros(3), 1.0)
    scope = Scope(np.array([3]), near, beside=np.array([4]))
    other = scope.within(np.array([7, 8]))
    assert other.voxels is not None
    np.testing.assert_array_equal(other.voxels, [7, 8])
    assert other.beside is None
    assert other.near is near
    np.testing.assert_array_equal(scope.voxels, [3])  # type: ignore[arg-type]


def test_poses_elsewhere_than_where_the_camera_is_said_to_be_are_none() -> None:
    pose = ring(4)[1]
    said = Scope(near=Near(pose[:3, 3] + [0.0, 1.0, 0.0], 1.01))
    assert said.allows(invert_pose(pose))
    assert said.within(np.array([7])).allows(invert_pose(pose))
    pose[:3, 3] -= [0.0, 0.1, 0.0]
    assert not said.allows(invert_pose(pose))
    assert EVERYWHERE.allows(invert_pose(pose))


def test_an_image_is_embedded_once_however_often_it_is_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(np.random.default_rng(0), 1500)
    localizer = Localizer(make_latent_map(scene))
    embed, asked = FrozenDecoder.embed, []

    def count(decoder: FrozenDecoder, *arrays: np.ndarray) -> np.ndarray:
        asked.append(len(arrays[0]))
        return embed(decoder, *arrays)

    monkeypatch.setattr(FrozenDecoder, "embed", count)
    pose = ring(7)[1]
    features, rays, _ = features_of(scene, pose, np.random.default_rng(1), 0.0, 0.1)
    query = localizer.query(features, rays, CAMERA)
    assert localizer.locate(query).localized
    assert localizer.locate(query, Scope(near=Near(pose[:3, 3], 0.1))).localized
    assert not localizer.locate(query, Scope(near=Near(pose[:3, 3] + 1.0, 0.1))).localized
    localizer.alternatives(query)
    assert asked == [len(features)]
