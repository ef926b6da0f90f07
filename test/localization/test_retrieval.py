"""Which voxels an image shows."""

from __future__ import annotations

import numpy as np
import pytest

from neumap.arrays import Float32Array, IntArray
from neumap.localization.retrieval import ANYTHING, CLEAR, VoxelIndex
from neumap.model.codebooks import Codes
from neumap.model.decoder import shipped_decoder

VOXELS, EACH = 12, 150
SIMILAR = shipped_decoder().min_similarity
# none of them next to another
ROW = 2 * np.arange(VOXELS)[:, None] * [1, 0, 0]


def codes_of(voxels: int, each: int, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (voxels * each, 8)).astype(np.uint8)


def embeddings_of(codes: Codes) -> Float32Array:
    return shipped_decoder().codebook.decode(codes)


def make_index(codes: Codes, offsets: IntArray) -> VoxelIndex:
    words = shipped_decoder().codebook.words[0]
    return VoxelIndex(codes, embeddings_of(codes), words, offsets, ROW[: len(offsets) - 1], SIMILAR)


@pytest.fixture(scope="module")
def codes() -> Codes:
    return codes_of(VOXELS, EACH)


@pytest.fixture(scope="module")
def index(codes: Codes) -> VoxelIndex:
    return make_index(codes, np.arange(VOXELS + 1) * EACH)


def seen(codes: Codes, voxel: int, count: int, noise: float) -> Float32Array:
    """Embeddings of some landmarks of a voxel as another view has them."""
    rng = np.random.default_rng(voxel)
    rows = voxel * EACH + rng.permutation(EACH)[:count]
    noisy = embeddings_of(codes)[rows] + rng.normal(size=(count, 64)) * noise / 8
    return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("voxel", [0, 5, VOXELS - 1])
def test_the_voxel_that_is_seen_comes_first(codes: Codes, index: VoxelIndex, voxel: int) -> None:
    ranked, votes = index.rank(index.compare(seen(codes, voxel, 60, noise=0.5)), None)
    assert (np.diff(votes) <= 0).all()
    assert ranked[0] == voxel
    assert sorted(ranked.tolist()) == list(range(VOXELS))


def test_all_voxels_that_are_seen_come_first(codes: Codes, index: VoxelIndex) -> None:
    both = np.concatenate([seen(codes, 3, 60, 0.5), seen(codes, 7, 40, 0.5)])
    assert set(index.rank(index.compare(both), None)[0][:2].tolist()) == {3, 7}


def test_only_given_voxels_are_ranked(codes: Codes, index: VoxelIndex) -> None:
    view = np.concatenate([seen(codes, 3, 60, 0.5), seen(codes, 7, 40, 0.5)])
    assert index.rank(index.compare(view), np.array([9, 7, 7, 1]))[0][0] == 7
    assert sorted(index.rank(index.compare(view), np.array([9, 7, 7, 1]))[0].tolist()) == [1, 7, 9]


def test_what_every_voxel_holds_says_little(codes: Codes) -> None:
    """Half of each voxel is the same furniture; the rest of one voxel is seen, but less of it than of the furniture."""
    shared = np.concatenate([codes_of(1, EACH, seed=5), codes.reshape(VOXELS, EACH, 8)[4]])
    parts = [np.concatenate([codes_of(1, EACH, seed=5), codes.reshape(VOXELS, EACH, 8)[v]]) for v in range(VOXELS)]
    twins = make_index(np.concatenate(parts), np.arange(VOXELS + 1) * 2 * EACH)
    view = embeddings_of(np.concatenate([shared[:100], shared[EACH : EACH + 30]]))
    votes = twins.votes(twins.compare(view))
    assert votes.argmax() == 4
    assert votes[4] > 2 * np.sort(votes)[-2]


def test_votes_are_those_of_comparing_with_all(codes: Codes, index: VoxelIndex) -> None:
    """What a keypoint is most like is nearly always among the landmarks of its words."""
    view = seen(codes, 2, 80, noise=0.3)
    best = np.sort((view @ embeddings_of(codes).T).reshape(len(view), VOXELS, EACH).max(axis=2), axis=1)
    clear = np.minimum(best[:, -1] - np.maximum(best[:, -2], ANYTHING * SIMILAR), CLEAR * SIMILAR)
    assert 0.7 * clear.sum() < index.votes(index.compare(view))[2] < 1.5 * clear.sum()


@pytest.mark.parametrize("voxel", [0, 5])
def test_half_the_numbers_tell_landmarks_apart(codes: Codes, index: VoxelIndex, voxel: int) -> None:
    """As comparing all numbers with the landmarks of a keypoint's two likeliest words does."""
    view, words = seen(codes, voxel, 80, noise=0.3), shipped_decoder().codebook.words[0]
    likeliest = np.argsort(0.5 * (words**2).sum(axis=1) - view @ words.T, axis=1)[:, :2]
    compared = (codes[None, :, :1] == likeliest[:, None]).any(axis=2)
    alike = np.where(compared, view @ embeddings_of(codes).T, 0).reshape(len(view), VOXELS, EACH).max(axis=2)
    alike, found = np.maximum(alike, ANYTHING * SIMILAR), index.compare(view)
    # codes drawn at random leave more to the other half than those of a place do
    assert np.abs(found - alike).mean() < 0.04
    assert (found.argmax(axis=1) == alike.argmax(axis=1)).mean() > 0.9


def test_neighbours_are_one_place(codes: Codes) -> None:
    """What is in two voxels beside each other speaks for them all the same."""
    same = np.concatenate([codes[:EACH], codes[:EACH], codes[EACH : 3 * EACH]])
    offsets, words = np.arange(5) * EACH, shipped_decoder().codebook.words[0]
    side_by_side, apart = np.array([[0, 0, 0], [1, 1, 0], [5, 0, 0], [9, 0, 0]]), 2 * ROW[:4]
    view = seen(codes, 0, 60, noise=0.3)
    looks = embeddings_of(same)
    near, far = (VoxelIndex(same, looks, words, offsets, cells, SIMILAR) for cells in (side_by_side, apart))
    assert near.votes(near.compare(view)).sum() > 5 * far.votes(far.compare(view)).sum()
    assert near.rank(near.compare(view), None)[0][0] in (0, 1)


def test_empty_voxels_and_nothing_seen(codes: Codes) -> None:
    index = make_index(codes[:EACH], np.array([0, 0, EACH, EACH]))
    assert index.rank(index.compare(seen(codes, 0, 30, 0.3)), None)[0][0] == 1
    assert index.votes(index.compare(np.zeros((0, 64), np.float32))).tolist() == [0, 0, 0]
    few = make_index(codes[:3], np.array([0, 3]))
    assert len(few.rank(few.compare(seen(codes, 8, 30, 0.3)), None)[0]) == 1
