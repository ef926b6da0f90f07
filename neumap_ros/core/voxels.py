"""Which voxels of a large map an image shows, so that a query decodes a few of them only.

A landmark's first byte is one of 256 words, and a keypoint is compared only with the landmarks of the few words it is
most like: an inverted file (Sivic and Zisserman 2003; Jegou, Douze and Schmid 2011). Each keypoint then votes for the
voxels that hold what it is most like. What many voxels hold says little about where one is: a keypoint's vote is shared
between them, and shares count squared.

The lists of words follow from the codes, so that a voxel costs no bytes beyond them. Aggregated descriptors of a few
hundred bytes a voxel were tried as well, and found the right one far less often (see ``benchmarks/README.md``).
"""

from __future__ import annotations

import numpy as np

from neumap_ros.core.keyframes import IntArray
from neumap_ros.core.quantization import WORDS, Codes
from neumap_ros.records import Float32Array

# a map of so many voxels is decoded whole; of a larger one the likeliest, and if they do not settle the pose, more
MOST_VOXELS, MORE_VOXELS = 4, 12
# so many of the strongest keypoints choose the likeliest voxels, all of them the others
VOTERS = 512
# with the landmarks of so many words each keypoint is compared
PROBES = 2
# a vote's share is exp(SHARPNESS * (similarity - best similarity)), before shares are made to sum to one
SHARPNESS = 20.0


class VoxelIndex:
    """Ranks the voxels of one map. Landmarks of a word are together, ordered by voxel."""

    def __init__(self, latents: Codes, embeddings: Float32Array, words: Float32Array, offsets: IntArray) -> None:
        """``latents`` (L, B) and their ``embeddings`` (L, D), ordered by voxel as ``offsets`` (V + 1,) say; ``words``
        (256, D) are those of the first byte.
        """
        voxel = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.argsort(latents[:, 0], kind="stable")
        self._voxels = len(offsets) - 1
        # by chance a voxel of many landmarks holds something like anything
        self._chance = np.sqrt(np.maximum(np.diff(offsets), 1)).astype(np.float32)
        self._words = words
        self._bias = 0.5 * (words**2).sum(axis=1)
        self._table = embeddings[order]
        self._voxel = voxel[order]
        self._starts = np.searchsorted(latents[order, 0], np.arange(WORDS + 1))

    def rank(self, embeddings: Float32Array, voxels: IntArray | None) -> IntArray:
        """The ``voxels`` (None: all), those first that an image shows most likely, by the embeddings (N, D) of its
        keypoints.
        """
        voxels = np.arange(self._voxels) if voxels is None else np.unique(voxels)
        likely = self.votes(embeddings) / self._chance
        return np.asarray(voxels[np.argsort(-likely[voxels], kind="stable")])

    def votes(self, embeddings: Float32Array) -> Float32Array:
        """How many of the keypoints ``embeddings`` (N, D) speak for each voxel (V,)."""
        best = np.full((len(embeddings), self._voxels), -np.inf, np.float32)
        if not len(embeddings):
            return np.zeros(self._voxels, np.float32)
        probed = np.argpartition(self._bias - embeddings @ self._words.T, PROBES, axis=1)[:, :PROBES]
        keypoint = np.repeat(np.arange(len(embeddings)), PROBES)
        by_word = np.argsort(probed.ravel(), kind="stable")
        keypoint, word = keypoint[by_word], probed.ravel()[by_word]
        bounds = np.searchsorted(word, np.arange(WORDS + 1))
        for w in np.unique(word):
            first, last = self._starts[w], self._starts[w + 1]
            if first == last:
                continue
            asking = keypoint[bounds[w] : bounds[w + 1]]
            voxel = self._voxel[first:last]
            heads = np.flatnonzero(np.diff(voxel, prepend=-1))
            alike = np.maximum.reduceat(embeddings[asking] @ self._table[first:last].T, heads, axis=1)
            cells = np.ix_(asking, voxel[heads])
            best[cells] = np.maximum(best[cells], alike)
        top = best.max(axis=1, keepdims=True)
        share = np.exp(SHARPNESS * (best - np.where(np.isfinite(top), top, 0)))
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
        return np.asarray((share**2).sum(axis=0), dtype=np.float32)
