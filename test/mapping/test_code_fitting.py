"""Landmarks looked for again in all mapping images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import Scene, first_views, make_keyframes, make_scene, ring, true_tracks

from neumap.arrays import Float32Array, IntArray
from neumap.mapping.code_fitting import fit_to_images
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import Tracks, mean_descriptors, refine_points
from neumap.model.decoder import shipped_decoder


@pytest.fixture(scope="module")
def made() -> tuple[Scene, Keyframes, IntArray]:
    """A scene, keyframes of it, and the point of each keypoint."""
    rng = np.random.default_rng(2)
    scene = make_scene(rng, 400)
    keyframes, point = make_keyframes(scene, ring(24), rng, noise_px=0.5, descriptor_noise=0.3)
    return scene, replace(keyframes, depth=np.zeros(len(point))), point


@pytest.fixture(scope="module")
def embeddings(made: tuple[Scene, Keyframes, IntArray]) -> Float32Array:
    _, keyframes, _ = made
    return shipped_decoder().embed(keyframes.descriptors, keyframes.coarse, keyframes.size, keyframes.angle)


@pytest.fixture(scope="module")
def truth(made: tuple[Scene, Keyframes, IntArray]) -> Tracks:
    scene, _, point = made
    return true_tracks(scene, point, min_views=4)


def pairs(tracks: Tracks) -> set[tuple[int, int]]:
    return set(zip(tracks.keypoint.tolist(), tracks.track.tolist(), strict=True))


def test_views_that_the_tracks_missed_are_found(
    made: tuple[Scene, Keyframes, IntArray], embeddings: Float32Array, truth: Tracks
) -> None:
    _, keyframes, _ = made
    known = first_views(truth)
    fitted = fit_to_images(known, keyframes, keyframes.map_from_camera, embeddings)
    assert pairs(known) <= pairs(fitted)
    assert len(pairs(fitted) & pairs(truth)) > 0.95 * len(pairs(truth))
    assert len(pairs(fitted) - pairs(truth)) < 0.01 * len(pairs(fitted))
    assert (np.diff(fitted.track) >= 0).all()


def test_anchors_and_latents_of_more_views_are_nearer_to_the_truth(
    made: tuple[Scene, Keyframes, IntArray], embeddings: Float32Array, truth: Tracks
) -> None:
    _, keyframes, _ = made
    start, _ = refine_points(first_views(truth), keyframes, keyframes.map_from_camera)
    fitted = fit_to_images(start, keyframes, keyframes.map_from_camera, embeddings)
    error, error_before = (np.linalg.norm(t.points - truth.points, axis=1) for t in (fitted, start))
    assert np.median(error) < 0.7 * np.median(error_before)
    ideal = mean_descriptors(truth, embeddings)
    alike, alike_before = ((mean_descriptors(t, embeddings) * ideal).sum(axis=1) for t in (fitted, start))
    assert alike.mean() > 0.99 > alike_before.mean()


def test_what_is_hidden_is_not_found(
    made: tuple[Scene, Keyframes, IntArray], embeddings: Float32Array, truth: Tracks
) -> None:
    _, keyframes, point = made
    known = first_views(truth)
    hidden = replace(keyframes, depth=np.full(len(point), 0.5))
    assert pairs(fit_to_images(known, hidden, hidden.map_from_camera, embeddings)) == pairs(known)


def test_an_image_without_keypoints(
    made: tuple[Scene, Keyframes, IntArray], embeddings: Float32Array, truth: Tracks
) -> None:
    _, keyframes, _ = made
    known = first_views(truth)
    poses = np.concatenate([keyframes.map_from_camera, keyframes.map_from_camera[:1]])
    more = replace(
        keyframes,
        map_from_camera=poses,
        focal_px=np.append(keyframes.focal_px, keyframes.focal_px[0]),
        offsets=np.append(keyframes.offsets, keyframes.offsets[-1]),
    )
    told: list[tuple[str, int, int]] = []
    fitted = fit_to_images(known, more, poses, embeddings, lambda *step: told.append(step))
    assert pairs(fitted) == pairs(fit_to_images(known, keyframes, keyframes.map_from_camera, embeddings))
    assert told[-1] == ("fit codes", 50, 50)
