"""What goes into a map of a given size, of landmarks made up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from map_files import assert_same
from scipy.spatial import cKDTree
from synthetic_scene import make_keyframes, make_scene, ring

from neumap.arrays import Float32Array
from neumap.errors import ConfigError
from neumap.mapping.build import map_of
from neumap.mapping.selection import Candidates
from neumap.mapping.settings import QUICK_BYTES, MappingSettings
from neumap.mapping.survey import Survey
from neumap.mapping.tracks import Tracks
from neumap.maps.drift import DriftField, fit_drift
from neumap.maps.map_file import load_map, save_map, to_bytes
from neumap.maps.neural_map import NeuralMap
from neumap.model.decoder import shipped_decoder

IMAGES = 60
SIZES = [25_000, 50_000, 100_000, 200_000]
ROOM, HALL = (6.0, 5.0, 2.7), (40.0, 30.0, 3.0)


@dataclass(frozen=True)
class Described(Candidates):
    """Candidates, and what the one keypoint looks like that each was seen as."""

    descriptors: Float32Array
    coarse: Float32Array


def many_landmarks(count: int, extent_m: tuple[float, float, float] = ROOM) -> Described:
    """Candidates anywhere in a place of that extent, each seen in some images."""
    rng = np.random.default_rng(0)
    fine, coarse = (np.abs(rng.normal(size=(count, 128))).astype(np.float32) for _ in range(2))
    return Described(
        points=rng.uniform(0, extent_m, (count, 3)),
        descriptors=fine / np.linalg.norm(fine, axis=1, keepdims=True),
        coarse=coarse / np.linalg.norm(coarse, axis=1, keepdims=True),
        track=np.arange(count),
        visibility=scipy.sparse.csr_matrix((rng.random((count, IMAGES)) < 0.1).astype(np.float32)),
    )


@pytest.fixture(scope="module")
def field() -> DriftField:
    """Of more viewpoints than a small map keeps."""
    poses = ring(150)
    return fit_drift(poses, poses)


def compose(landmarks: Described, field: DriftField, settings: MappingSettings) -> NeuralMap:
    """The map of landmarks of which each was seen as one keypoint that looks like it."""
    some, _ = make_keyframes(make_scene(np.random.default_rng(0), 50), ring(4), np.random.default_rng(0))
    keyframes = replace(
        some,
        descriptors=landmarks.descriptors.astype(np.float16),
        coarse=landmarks.coarse.astype(np.float16),
        size=np.full(len(landmarks), 8.0),
        angle=np.zeros(len(landmarks)),
    )
    tracks = Tracks(landmarks.track, landmarks.track, landmarks.points)
    place = Survey(keyframes, keyframes.map_from_camera, tracks, landmarks, field, aside=())
    return map_of(place, settings)


@pytest.mark.parametrize("decoder", ["latent", "descriptor"])
@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_met_and_never_exceeded(field: DriftField, size: int, decoder: str) -> None:
    landmarks = many_landmarks(size // 11)
    neural_map = compose(landmarks, field, MappingSettings(decoder=decoder, size_bytes=size))
    assert 0.95 * size <= len(to_bytes(neural_map)) <= size
    assert neural_map.decoder == decoder
    assert len(neural_map.landmarks) < len(landmarks)


@pytest.mark.parametrize("decoder", ["latent", "descriptor"])
@pytest.mark.parametrize("size", SIZES[1:3])
def test_a_size_is_met_in_a_place_of_many_voxels_too(field: DriftField, size: int, decoder: str) -> None:
    neural_map = compose(many_landmarks(size // 9, HALL), field, MappingSettings(decoder=decoder, size_bytes=size))
    assert len(neural_map.grid) > 10
    assert 0.95 * size <= len(to_bytes(neural_map)) <= size


@pytest.mark.parametrize("size", SIZES[:2])
def test_latents_hold_more_landmarks_than_descriptors(field: DriftField, size: int) -> None:
    landmarks = many_landmarks(size // 11)
    latents, described = (
        compose(landmarks, field, MappingSettings(decoder=decoder, size_bytes=size)).landmarks
        for decoder in ("latent", "descriptor")
    )
    assert latents.anchor_bits == 10
    assert latents.coarse.shape[1] == 0
    assert latents.descriptors.shape[1] in (6, 12)
    assert described.anchor_bits == 16
    assert len(latents) > 2 * len(described)


@pytest.mark.parametrize("decoder", ["latent", "descriptor"])
def test_a_map_of_a_given_size_is_saved_and_loaded(tmp_path: Path, field: DriftField, decoder: str) -> None:
    settings = MappingSettings(decoder=decoder, size_bytes=25_000, seed=7, frame_id="hall")
    neural_map = compose(many_landmarks(2500), field, settings)
    save_map(tmp_path / "a.neumap", neural_map)
    assert (tmp_path / "a.neumap").stat().st_size <= 25_000
    loaded = load_map(tmp_path / "a.neumap")
    assert_same(neural_map, loaded)
    assert (loaded.seed, loaded.frame_id, loaded.mapping_images) == (7, "hall", 4)
    assert loaded.decoder_id == (shipped_decoder().decoder_id if decoder == "latent" else "")


def test_a_map_keeps_where_its_landmarks_are_and_what_they_look_like(field: DriftField) -> None:
    """Anchors and codes stay together, through the choice of landmarks and the order of voxels."""
    landmarks = many_landmarks(1500, (20.0, 15.0, 3.0))
    neural_map = compose(landmarks, field, MappingSettings(size_bytes=50_000))
    points = neural_map.landmarks.points(neural_map.grid)
    off, which = cKDTree(landmarks.points).query(points)
    assert off.max() < np.sqrt(3) * 10.0 / 4095
    assert len(np.unique(which)) == len(which) > 1000
    frozen = shipped_decoder()
    descriptors, coarse = landmarks.descriptors[which], landmarks.coarse[which]
    embedded = frozen.embed(descriptors, coarse, np.full(len(which), 8.0), np.zeros(len(which)))
    similarity = frozen.codebook.decode(neural_map.landmarks.descriptors) @ embedded.T
    assert (similarity.argmax(axis=1) == np.arange(len(which))).mean() > 0.95


def test_the_most_useful_landmarks_are_kept(field: DriftField) -> None:
    landmarks = many_landmarks(3000)
    seen = np.asarray(landmarks.visibility.sum(axis=1)).ravel()
    neural_map = compose(landmarks, field, MappingSettings(size_bytes=25_000))
    points = neural_map.landmarks.points(neural_map.grid)
    _, which = cKDTree(landmarks.points).query(points)
    left_out = np.setdiff1d(np.arange(len(seen)), which)
    assert seen[which].mean() > 1.5 * seen[left_out].mean()


def test_fewer_landmarks_than_fit_are_all_kept(field: DriftField) -> None:
    for settings in (MappingSettings(size_bytes=100_000), MappingSettings(), MappingSettings(decoder="descriptor")):
        neural_map = compose(many_landmarks(400), field, settings)
        assert len(neural_map.landmarks) == 400


def test_points_that_are_nowhere_are_left_out(field: DriftField) -> None:
    landmarks = many_landmarks(400)
    landmarks.points[::4] = np.nan
    neural_map = compose(landmarks, field, MappingSettings(size_bytes=50_000))
    assert len(neural_map.landmarks) == 300
    assert np.isfinite(neural_map.bounds).all()


def test_the_default_is_the_frozen_decoder_and_no_limit() -> None:
    settings = MappingSettings()
    assert settings.decoder == "latent"
    assert settings.budget is None


def test_quick_is_a_size_unless_another_is_given() -> None:
    for decoder in ("latent", "descriptor"):
        assert MappingSettings(decoder=decoder, quick=True).budget == QUICK_BYTES
        assert MappingSettings(decoder=decoder, quick=True, size_bytes=50_000).budget == 50_000


@pytest.mark.parametrize("size", [-1, 0, 1000, 14_999])
def test_too_small_a_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"{size} bytes.*15KB"):
        MappingSettings(size_bytes=size)


def test_a_size_that_leaves_no_room_for_landmarks_is_refused(field: DriftField) -> None:
    """All of it is taken by the voxels of a place that is large and nearly empty."""
    with pytest.raises(ConfigError, match="15000 bytes are too few for this map: give at least") as caught:
        compose(many_landmarks(3000, (200.0, 200.0, 3.0)), field, MappingSettings(size_bytes=15_000))
    assert 15_000 < int(str(caught.value).split()[-1]) < 40_000


@pytest.mark.parametrize("decoder", ["", "Latent", "frozen"])
def test_an_unknown_decoder_is_refused(decoder: str) -> None:
    with pytest.raises(ConfigError, match="latent, descriptor"):
        MappingSettings(decoder=decoder)
