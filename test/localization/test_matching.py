"""From keypoints to matches, in scenes where the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_scene import CAMERA, Scene, features_of, make_latent_map, make_map, make_scene, ring

from neumap.arrays import IntArray
from neumap.features.extractor import Features, joint_descriptors
from neumap.localization.matching import (
    DESCRIPTOR_SIMILARITY,
    LandmarkIndex,
    Matches,
    landmark_descriptors,
    pool,
    rows_of_voxels,
    top_columns,
)
from neumap.localization.query import Query
from neumap.model.decoder import shipped_decoder
from neumap.model.encoder import EMBEDDING
from neumap.model.transformer import SAME_PLACE_M

POSE = ring(8)[1]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(np.random.default_rng(0), 800)


def match(landmarks: LandmarkIndex, features: Features, voxels: IntArray | None = None) -> Matches:
    query = Query(features, np.zeros((len(features), 2)), CAMERA, *landmarks.embed(features))
    return landmarks.match(query, np.arange(len(features)), voxels)


def join(*scenes: Scene) -> Scene:
    return Scene(
        *(np.concatenate([getattr(s, name) for s in scenes]) for name in ("points", "fine", "coarse")),
    )


def test_nearest_finds_landmarks_by_their_descriptors(scene: Scene) -> None:
    features, _, point = features_of(scene, POSE, np.random.default_rng(1), descriptor_noise=0.1)
    found = match(LandmarkIndex(make_map(scene)), features)
    assert len(found) > 0.97 * len(features)
    off = np.linalg.norm(found.points - scene.points[point[found.keypoint]], axis=1)
    assert (off < 1e-3).mean() > 0.99
    assert found.confidence.dtype == np.float32
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert len(np.unique(found.keypoint)) == len(found.keypoint)
    assert (np.diff(found.confidence) <= 0).all()


def test_how_alike_is_alike_is_said_by_what_describes(scene: Scene) -> None:
    assert LandmarkIndex(make_map(scene)).min_similarity == DESCRIPTOR_SIMILARITY
    assert LandmarkIndex(make_latent_map(scene)).min_similarity == shipped_decoder().min_similarity
    assert shipped_decoder().min_similarity != DESCRIPTOR_SIMILARITY


def test_what_is_like_nothing_in_the_map_is_less_sure(scene: Scene) -> None:
    landmarks = LandmarkIndex(make_map(scene))
    own, _, _ = features_of(scene, POSE, np.random.default_rng(1), descriptor_noise=0.1)
    foreign, _, _ = features_of(make_scene(np.random.default_rng(9), 800), POSE, np.random.default_rng(1))
    known, unknown = match(landmarks, own), match(landmarks, foreign)
    assert len(unknown) < 0.7 * len(foreign)
    assert np.median(known.confidence) > 3 * np.median(unknown.confidence)


def test_what_is_in_two_places_is_left_out(scene: Scene) -> None:
    twins = replace(scene, points=scene.points + np.array([0, 0, 2 * SAME_PLACE_M]))
    features, _, _ = features_of(scene, POSE, np.random.default_rng(1))
    assert len(match(LandmarkIndex(make_map(join(scene, twins))), features)) == 0


def test_what_is_twice_in_one_place_is_kept(scene: Scene) -> None:
    twins = replace(scene, points=scene.points + np.array([0, 0, 0.3 * SAME_PLACE_M]))
    features, _, point = features_of(scene, POSE, np.random.default_rng(1))
    found = match(LandmarkIndex(make_map(join(scene, twins))), features)
    assert len(found) > 0.97 * len(features)
    off = np.linalg.norm(found.points - scene.points[point[found.keypoint]], axis=1)
    assert (off < SAME_PLACE_M).mean() > 0.99


def test_voxels_restrict_the_search(scene: Scene) -> None:
    neural_map = make_map(scene, voxel_m=3.5)
    assert len(neural_map.grid) >= 4
    features, _, point = features_of(scene, POSE, np.random.default_rng(1))
    landmarks = LandmarkIndex(neural_map)
    for voxel, corner in enumerate(neural_map.grid.corners):
        found = match(landmarks, features, np.array([voxel]))
        assert ((found.points >= corner - 1e-6) & (found.points <= corner + 3.5 + 1e-6)).all()
        right = np.linalg.norm(found.points - scene.points[point[found.keypoint]], axis=1) < 1e-3
        inside = ((scene.points[point] >= corner) & (scene.points[point] < corner + 3.5)).all(axis=1)
        assert right.sum() >= 0.97 * inside.sum()
    everywhere = match(landmarks, features, np.arange(len(neural_map.grid)))
    np.testing.assert_array_equal(everywhere.points, match(landmarks, features).points)


def test_nothing_in_nothing_out(scene: Scene) -> None:
    landmarks = LandmarkIndex(make_map(scene))
    features, _, _ = features_of(scene, POSE, np.random.default_rng(1))
    assert len(match(landmarks, features.select(np.zeros(0, np.int64)))) == 0
    assert len(match(landmarks, features, np.zeros(0, np.int64))) == 0
    tiny = Scene(scene.points[:2], scene.fine[:2], scene.coarse[:2])
    assert len(match(LandmarkIndex(make_map(tiny)), features)) == 0


@pytest.mark.parametrize("parts", [6, 8, 12])
def test_latents_find_their_landmarks(scene: Scene, parts: int) -> None:
    features, _, point = features_of(scene, POSE, np.random.default_rng(1), descriptor_noise=0.1)
    landmarks = LandmarkIndex(make_latent_map(scene, parts))
    embeddings, looks = landmarks.embed(features)
    assert embeddings.shape == looks.shape == (len(features), EMBEDDING)
    found = match(landmarks, features)
    assert len(found) > 0.97 * len(features)
    off = np.linalg.norm(found.points - scene.points[point[found.keypoint]], axis=1)
    # anchors of 12 bits are good to 2 mm
    assert (off < 3e-3).mean() > 0.98
    assert found.confidence.dtype == np.float32
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_latents_are_as_unsure_of_what_is_not_in_the_map(scene: Scene) -> None:
    landmarks = LandmarkIndex(make_latent_map(scene))
    own, _, _ = features_of(scene, POSE, np.random.default_rng(1), descriptor_noise=0.1)
    foreign, _, _ = features_of(make_scene(np.random.default_rng(9), 800), POSE, np.random.default_rng(1))
    known, unknown = match(landmarks, own), match(landmarks, foreign)
    assert len(unknown) < 0.8 * len(foreign)
    assert np.median(known.confidence) > 2 * np.median(unknown.confidence)


def test_latents_of_some_voxels(scene: Scene) -> None:
    neural_map = make_latent_map(scene, voxel_m=3.5)
    features, _, _ = features_of(scene, POSE, np.random.default_rng(1))
    landmarks = LandmarkIndex(neural_map)
    for voxel, corner in enumerate(neural_map.grid.corners):
        found = match(landmarks, features, np.array([voxel]))
        assert ((found.points >= corner - 1e-6) & (found.points <= corner + 3.5 + 1e-6)).all()
    everywhere = match(landmarks, features, np.arange(len(neural_map.grid)))
    np.testing.assert_array_equal(everywhere.points, match(landmarks, features).points)


def test_latents_of_nothing(scene: Scene) -> None:
    landmarks = LandmarkIndex(make_latent_map(scene))
    features, _, _ = features_of(scene, POSE, np.random.default_rng(1))
    assert len(match(landmarks, features.select(np.zeros(0, np.int64)))) == 0
    assert len(match(landmarks, features, np.zeros(0, np.int64))) == 0


def test_a_map_of_descriptors_compares_features_as_they_are(scene: Scene) -> None:
    features, _, _ = features_of(scene, POSE, np.random.default_rng(1))
    embeddings, looks = LandmarkIndex(make_map(scene)).embed(features)
    np.testing.assert_array_equal(embeddings, joint_descriptors(features.descriptors, features.coarse))
    assert looks is features.descriptors


def test_landmark_descriptors_are_the_latents(scene: Scene) -> None:
    neural_map = make_latent_map(scene)
    embeddings, coarse = landmark_descriptors(neural_map)
    np.testing.assert_array_equal(embeddings, shipped_decoder().codebook.decode(neural_map.landmarks.descriptors))
    assert coarse.shape == (len(scene.points), 0)


def test_joint_descriptors_average_the_similarities() -> None:
    rng = np.random.default_rng(2)
    fine, coarse = (rng.random((2, 128)).astype(np.float32) for _ in range(2))
    fine, coarse = (d / np.linalg.norm(d, axis=1, keepdims=True) for d in (fine, coarse))
    joint = joint_descriptors(fine, coarse)
    assert joint.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(joint, axis=1), 1, atol=1e-6)
    assert joint[0] @ joint[1] == pytest.approx(0.7 * fine[0] @ fine[1] + 0.3 * coarse[0] @ coarse[1], rel=1e-5)


def test_landmark_descriptors_are_the_codes(scene: Scene) -> None:
    neural_map = make_map(scene)
    fine, coarse = landmark_descriptors(neural_map)
    np.testing.assert_array_equal(fine, scene.descriptors)
    np.testing.assert_array_equal(coarse, scene.coarse_descriptors)


def test_rows_of_voxels() -> None:
    offsets = np.array([0, 3, 3, 7])
    rows = np.arange(7)
    np.testing.assert_array_equal(rows[rows_of_voxels(offsets, None)], rows)
    np.testing.assert_array_equal(rows[rows_of_voxels(offsets, np.array([2]))], [3, 4, 5, 6])
    np.testing.assert_array_equal(rows_of_voxels(offsets, np.array([2, 0, 2])), rows)
    np.testing.assert_array_equal(rows[rows_of_voxels(offsets, np.array([1]))], [])
    np.testing.assert_array_equal(rows[rows_of_voxels(offsets, np.zeros(0, np.int64))], [])


def test_pool_orders_by_confidence_and_keeps_rows_together() -> None:
    def matches(confidence: list[float], first: int) -> Matches:
        keypoint = np.arange(first, first + len(confidence))
        return Matches(
            keypoint=keypoint,
            points=np.repeat(keypoint[:, None], 3, axis=1) * 1.0,
            confidence=np.array(confidence, np.float32),
        )

    pooled = pool([matches([0.3, 0.9, 0.5], 0), matches([], 9), matches([0.5, 0.7], 3)])
    np.testing.assert_array_equal(pooled.keypoint, [1, 4, 2, 3, 0])
    np.testing.assert_array_equal(pooled.points[:, 0], pooled.keypoint)
    np.testing.assert_allclose(pooled.confidence, [0.9, 0.7, 0.5, 0.5, 0.3])


@pytest.mark.parametrize("columns", [3, 64, 1024, 1500, 4099])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_largest_columns_are_those_of_topk(columns: int, kind: torch.dtype) -> None:
    scores = torch.rand(40, columns, generator=torch.Generator().manual_seed(columns)).to(kind)
    found = top_columns(scores, 3)
    torch.testing.assert_close(scores.gather(1, found), scores.topk(3, dim=1).values, rtol=0, atol=0)
    assert all(len(set(row.tolist())) == 3 for row in found)
