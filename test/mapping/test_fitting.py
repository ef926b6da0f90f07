"""Training on a scene so small that a few steps show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_scene import CAMERA, Scene, features_of, make_keyframes, make_map, make_scene, ring, true_tracks

from neumap.arrays import IntArray
from neumap.localization.matching import SceneMatcher, landmark_descriptors
from neumap.localization.query import Query
from neumap.mapping.fitting import (
    FitSettings,
    choose_codes,
    decoding_loss,
    disturb,
    fit_network,
    gather_examples,
    turn_and_scale,
)
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import Tracks
from neumap.maps.neural_map import NeuralMap
from neumap.model.codebooks import joint_descriptors
from neumap.model.network import SceneNetwork, keypoint_geometry, token_geometry, unpack_weights

STEPS = 60
SETTINGS = FitSettings(steps=STEPS, batch=256)


class Fitted:
    """A scene of 250 points, of which the map holds 200, and a network fitted to it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.scene: Scene = make_scene(rng, 250)
        mapped = Scene(self.scene.points[:200], self.scene.fine[:200], self.scene.coarse[:200])
        self.map: NeuralMap = make_map(mapped)
        self.keyframes, self.point = make_keyframes(self.scene, ring(24), rng, noise_px=0.3, descriptor_noise=0.3)
        self.tracks: Tracks = true_tracks(self.scene, self.point, min_views=3)
        self.told: list[tuple[str, int, int]] = []
        self.network = self.fit(SETTINGS)

    def fit(self, settings: FitSettings) -> SceneNetwork:
        return fit_network(self.map, self.keyframes, self.tracks, settings, lambda *a: self.told.append(a))


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return Fitted()


def decode(fitted: Fitted, network: SceneNetwork, noise: float) -> tuple[np.ndarray, np.ndarray, IntArray]:
    """Metres off and confidence of the best hypothesis of each keypoint of an unseen view, and the keypoint's point;
    infinitely off where there is none.
    """
    pose = ring(24)[3] @ np.linalg.inv(ring(24)[0]) @ ring(48)[1]
    features, rays, point = features_of(fitted.scene, pose, np.random.default_rng(7), descriptor_noise=noise)
    query = Query(features, rays, CAMERA, features.descriptors, features.descriptors)
    found = SceneMatcher(replace(fitted.map, network=network)).match(query, np.arange(len(query)))
    off, sure = np.full(len(features), np.inf), np.zeros(len(features))
    for k, where, confidence in zip(found.keypoint, found.points, found.confidence, strict=True):
        if confidence > sure[k]:
            off[k], sure[k] = np.linalg.norm(where - fitted.scene.points[point[k]]), confidence
    return off, sure, point


def test_progress_is_told_step_by_step(fitted: Fitted) -> None:
    assert fitted.told[:STEPS] == [("train", i + 1, STEPS) for i in range(STEPS)]


def test_the_fitted_network_decodes_unseen_noisy_descriptors(fitted: Fitted) -> None:
    off, _, point = decode(fitted, fitted.network, noise=0.4)
    mapped = point < 200
    assert mapped.sum() > 20
    assert (off[mapped] < 0.05).mean() > 0.9


def test_it_is_surer_of_what_is_in_the_map(fitted: Fitted) -> None:
    _, sure, point = decode(fitted, fitted.network, noise=0.4)
    assert np.median(sure[point < 200]) > np.median(sure[point >= 200]) + 0.2


def held_out_loss(fitted: Fitted, packed: SceneNetwork) -> float:
    """The training loss on an unseen view."""
    features, _, point = features_of(fitted.scene, ring(48)[5], np.random.default_rng(8), descriptor_noise=0.5)
    network, codes = unpack_weights(packed.weights), packed.codes
    fine, coarse = landmark_descriptors(fitted.map)
    own = torch.from_numpy(joint_descriptors(fine[codes.landmark], coarse[codes.landmark]))[None]
    anchors = fitted.map.landmarks.points(fitted.map.grid)[codes.landmark]
    in_voxel = (anchors - fitted.map.grid.corners[0]) / fitted.map.grid.size_m
    latents = torch.from_numpy(codes.latent * codes.scale)
    loss = decoding_loss(
        network,
        torch.from_numpy(joint_descriptors(features.descriptors, features.coarse)),
        torch.from_numpy(token_geometry(features)),
        torch.from_numpy(fitted.scene.points[point].astype(np.float32)),
        network.codes(own, torch.from_numpy(in_voxel.astype(np.float32))[None], latents[None]),
        own,
        torch.from_numpy(anchors.astype(np.float32)),
    )
    return float(loss)


def test_the_loss_drops_on_an_unseen_view(fitted: Fitted) -> None:
    first = held_out_loss(fitted, fitted.fit(replace(SETTINGS, steps=1)))
    assert held_out_loss(fitted, fitted.network) < first - 0.3


def test_the_same_seed_gives_the_same_network_to_the_bit(fitted: Fitted) -> None:
    first, second, other = (fitted.fit(replace(SETTINGS, steps=5, seed=s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.codes.latent, second.codes.latent)
    np.testing.assert_array_equal(first.codes.scale, second.codes.scale)
    assert set(first.weights) == set(second.weights)
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name], err_msg=name)
    assert any((value != other.weights[name]).any() for name, value in first.weights.items())


def test_the_same_seed_does_not_depend_on_what_was_drawn_before(fitted: Fitted) -> None:
    first = fitted.fit(replace(SETTINGS, steps=2))
    torch.manual_seed(99)
    torch.rand(5)
    second = fitted.fit(replace(SETTINGS, steps=2))
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name], err_msg=name)


def test_codes_are_the_first_landmarks_of_each_voxel() -> None:
    neural_map = make_map(make_scene(np.random.default_rng(1), 400), voxel_m=3.5)
    starts = neural_map.landmarks.offsets[:-1]
    landmark, offsets = choose_codes(neural_map, 10)
    assert len(offsets) == len(starts) + 1
    for v, start in enumerate(starts):
        own = landmark[offsets[v] : offsets[v + 1]]
        np.testing.assert_array_equal(own, start + np.arange(len(own)))
        assert len(own) == min(10, neural_map.landmarks.offsets[v + 1] - start)


def test_examples_are_keypoints_of_known_point(fitted: Fitted) -> None:
    keyframes, truth = fitted.keyframes, fitted.scene.points
    no_depth: Keyframes = replace(keyframes, depth=np.where(keyframes.image % 2 == 0, keyframes.depth, 0))
    tracks = fitted.tracks.select(np.arange(len(fitted.tracks)) % 3 == 0)
    moved = replace(tracks, points=tracks.points + np.array([0, 0, 1]))
    examples = gather_examples(no_depth, moved)
    tracked = np.isin(examples.keypoint, tracks.keypoint)
    np.testing.assert_array_equal(np.sort(examples.keypoint[tracked]), np.sort(tracks.keypoint))
    off = examples.points.numpy() - truth[fitted.point[examples.keypoint]]
    # the track's point wins over the depth
    np.testing.assert_allclose(off[tracked], np.tile([0, 0, 1], (tracked.sum(), 1)), atol=1e-5)
    assert np.abs(off[~tracked]).max() < 0.01
    assert (no_depth.depth[examples.keypoint[~tracked]] > 0).all()
    assert np.array_equal(no_depth.depth, np.where(keyframes.image % 2 == 0, keyframes.depth, 0))


def test_disturbed_descriptors_are_like_the_original_and_of_unit_length(fitted: Fitted) -> None:
    fine, coarse = (
        torch.from_numpy(d.astype(np.float32)) for d in (fitted.keyframes.descriptors, fitted.keyframes.coarse)
    )
    clean = disturb(fine, coarse, 0.0, torch.Generator().manual_seed(0))
    noisy = disturb(fine, coarse, 0.3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy.norm(dim=1), torch.ones(len(noisy)), atol=1e-3, rtol=0)
    similarity = (clean * noisy).sum(dim=1)
    assert similarity.min() > 0.9
    assert similarity.mean() < 0.999
    assert (noisy >= 0).all()


def test_a_rolled_camera_turns_directions_and_keeps_them_directions() -> None:
    shape = torch.from_numpy(keypoint_geometry(np.full(1000, 8.0), np.linspace(0, 6, 1000)))
    turned = turn_and_scale(shape, torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned[:, 1:].norm(dim=1), torch.ones(1000))
    angle = torch.atan2(turned[:, 1], turned[:, 2]) - torch.atan2(shape[:, 1], shape[:, 2])
    roll = torch.atan2(angle.sin(), angle.cos())
    assert 20 < np.rad2deg(float(roll.abs().max())) <= 25.001
    scale = (turned[:, 0] - shape[:, 0]).abs()
    assert 0.25 < scale.max() <= 0.3001
