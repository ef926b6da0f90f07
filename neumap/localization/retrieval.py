"""Which voxels of a large map an image shows, so that a query decodes a few of them only.

A landmark's first byte is one of 256 words, and a keypoint is compared only with the landmarks of the two words it is
most like: an inverted file (Sivic and Zisserman 2003; Jegou, Douze and Schmid 2011). What a word leaves of a landmark
is compared by the principal axes of what words leave in this map: half the numbers, for reading them is what takes
time. Each keypoint then votes for the voxel that holds what it is most like, with how much more it is like that than
like anything in another part of the map: furniture that stands in many rooms says little about where one is.

The lists of words follow from the codes, so that a voxel costs no bytes beyond them. Aggregated descriptors of a few
hundred bytes a voxel were tried as well, and found the right one far less often (see ``docs/experiments.md``).
"""

from __future__ import annotations

import itertools

import numpy as np

from neumap.arrays import Float32Array, IntArray
from neumap.model.codebooks import WORDS, Codes

# MOST_VOXELS: voxels that are searched together; of no more than these none are chosen.
MOST_VOXELS = 4
# LARGE: a map of fewer landmarks, such as of a hall mapped with the default settings, is searched whole in less time.
LARGE = 15_000
# ASKED_KEYPOINTS: of the strongest, that choose the voxels.
ASKED_KEYPOINTS = 512
# AXES: principal axes that what a landmark's word leaves of it is compared by; they hold nine tenths.
AXES = 32
# ANYTHING: how like anything a keypoint is; CLEAR: more than this beyond that says no more. Both are shares of the
# similarity of a keypoint and the landmark that it shows.
ANYTHING, CLEAR = 0.55, 0.55


class VoxelIndex:
    """Ranks the voxels of one map. Landmarks of a word are together, ordered by voxel."""

    def __init__(
        self,
        latents: Codes,
        embeddings: Float32Array,
        words: Float32Array,
        offsets: IntArray,
        cells: IntArray,
        min_similarity: float,
    ) -> None:
        """``latents`` (L, B) and their ``embeddings`` (L, D), ordered by voxel as ``offsets`` (V + 1,) say; ``words``
        (256, D) are those of the first byte. ``cells`` (V, 3) say where the voxels are, as in the grid, and
        ``min_similarity`` how alike a keypoint and the landmark that it shows are at least.
        """
        self._anything, self._clear = ANYTHING * min_similarity, CLEAR * min_similarity
        voxel = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.argsort(latents[:, 0], kind="stable")
        # a voxel and those beside it, corners included, are one part of the map
        self._part = np.abs(cells[:, None] - cells).max(axis=2) <= 1
        self._words = np.ascontiguousarray(words.T)
        self._bias = 0.5 * (words**2).sum(axis=1)
        rest = embeddings - words[latents[:, 0]]
        _, axes = np.linalg.eigh((rest.T @ rest).astype(np.float64))
        self._axes = np.ascontiguousarray(axes[:, ::-1][:, :AXES], dtype=np.float32)
        shortened = np.asarray((rest @ self._axes)[order], dtype=np.float32)
        starts = np.searchsorted(latents[order, 0], np.arange(WORDS + 1))
        self._lists = [_list_of(shortened[a:b], voxel[order[a:b]]) for a, b in itertools.pairwise(starts)]

    def compare(self, embeddings: Float32Array) -> Float32Array:
        """Tell how like each of the keypoints ``embeddings`` (N, D) the most similar landmark of each voxel is (N, V),
        of those of its two likeliest words and as far as the principal axes tell.
        """
        alike = embeddings @ self._words
        count = len(alike)
        likely = alike - self._bias
        first = likely.argmax(axis=1)
        likely[np.arange(count), first] = -np.inf
        words = np.concatenate([first, likely.argmax(axis=1)])
        by_word = np.argsort(words, kind="stable")
        words, keypoint = words[by_word], by_word % count
        asking = (embeddings @ self._axes)[keypoint]
        heads = np.flatnonzero(np.diff(words, prepend=-1))
        best = np.full((len(words), len(self._part)), -np.inf, np.float32)
        for word, (a, b) in zip(words[heads], itertools.pairwise([*heads, len(words)]), strict=True):
            table, voxels, of_voxel = self._lists[word]
            if len(of_voxel):
                best[a:b, voxels] = np.maximum.reduceat(asking[a:b] @ table, of_voxel, axis=1)
        best += alike[keypoint, words][:, None]
        found = np.empty_like(best)
        found[by_word] = best
        return np.maximum(np.maximum(found[:count], found[count:]), self._anything)

    def rank(self, best: Float32Array, voxels: IntArray | None) -> tuple[IntArray, Float32Array]:
        """Return the ``voxels`` (None: all), those first that an image shows most likely whose keypoints compare as
        ``best`` (N, V), and their votes.
        """
        voxels = np.arange(len(self._part)) if voxels is None else np.unique(voxels)
        votes = self.votes(best)[voxels]
        order = np.argsort(-votes, kind="stable")
        return voxels[order], votes[order]

    def votes(self, best: Float32Array) -> Float32Array:
        """Tell how much keypoints that compare as ``best`` (N, V) speak for each voxel (V,)."""
        voxel = best.argmax(axis=1)
        clear = np.clip(self.lead(best, voxel), 0, self._clear)
        return np.bincount(voxel, weights=clear, minlength=best.shape[1]).astype(np.float32)

    def lead(self, best: Float32Array, voxel: IntArray) -> Float32Array:
        """Tell by how much each keypoint (N,) of ``best`` (N, V) is more like something at its ``voxel`` (N,) than like
        anything in another part of the map; negative where it is less.
        """
        here = self._part[voxel]
        there = np.where(here, self._anything, best).max(axis=1)
        return np.asarray(np.where(here, best, self._anything).max(axis=1) - there)


def _list_of(shortened: Float32Array, voxel: IntArray) -> tuple[Float32Array, IntArray, IntArray]:
    """Tell what one word leaves of its landmarks, ``shortened`` (L, A), as columns; the voxels they are in, and where
    each of these begins.
    """
    heads = np.flatnonzero(np.diff(voxel, prepend=-1))
    return np.ascontiguousarray(shortened.T), voxel[heads], heads
