"""Depth from known poses, in scenes where it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import make_keyframes, make_scene, sideways

from neumap.errors import MappingError
from neumap.mapping.triangulation import neighbours_by_viewpoint, with_triangulated_depth


def test_neighbours_look_the_same_way_and_have_a_baseline() -> None:
    poses = sideways(40)
    pairs = neighbours_by_viewpoint(poses, count=4)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert set(pairs.ravel().tolist()) == set(range(40))
    baseline = np.linalg.norm(poses[pairs[:, 0], :3, 3] - poses[pairs[:, 1], :3, 3], axis=1)
    assert np.median(baseline) > 0.3
    turned = poses.copy()
    turned[20:, :3, :3] = turned[20:, :3, :3] @ np.diag([-1.0, 1.0, -1.0])
    facing = neighbours_by_viewpoint(turned, count=4)
    assert ((facing < 20).all(axis=1) | (facing >= 20).all(axis=1)).all()


def test_depth_is_found_without_any() -> None:
    pytest.importorskip("pycolmap")
    rng = np.random.default_rng(0)
    keyframes, _ = make_keyframes(make_scene(rng, 800), sideways(10, 0.2), rng)
    blind = replace(keyframes, depth=np.zeros_like(keyframes.depth), depth_measured=False)
    stages = []
    seeing = with_triangulated_depth(blind, lambda stage, done, total: stages.append(stage))
    found = seeing.depth > 0
    assert found.mean() > 0.7
    assert not seeing.depth_measured
    relative = np.abs(seeing.depth[found] - keyframes.depth[found]) / keyframes.depth[found]
    assert np.quantile(relative, 0.95) < 0.02
    assert set(stages) == {"match", "grouping neighbours", "triangulate"}


def test_images_of_different_places_are_refused() -> None:
    pytest.importorskip("pycolmap")
    rng = np.random.default_rng(1)
    keyframes, _ = make_keyframes(make_scene(rng, 300), sideways(4, 0.2), rng)
    noise = np.abs(rng.normal(size=keyframes.descriptors.shape))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    with pytest.raises(MappingError):
        with_triangulated_depth(
            replace(keyframes, descriptors=noise.astype(np.float16), depth=0 * keyframes.depth), lambda *_: None
        )
