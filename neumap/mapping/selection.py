"""Select the tracks that become landmarks: one per scene point, so that every mapping image sees enough of them.

Enough in each of its cells, since landmarks in one corner of an image do not determine a pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.spatial import cKDTree

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.localization.evidence import CELLS, cells_at
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import OBSERVATIONS_AT_ONCE, Tracks, mean_descriptors
from neumap.progress import Progress, Step, count_up, ignore

# TWIN_RADIUS_M: similar tracks within this distance are one point that was tracked twice, metres.
TWIN_RADIUS_M = 0.02
# PAIRS_AT_ONCE: pairs of tracks compared together; the descriptors of all pairs would take gigabytes.
PAIRS_AT_ONCE = 200_000


@dataclass(frozen=True)
class Candidates:
    """L points (L, 3) that may become landmarks, and the cells of mapping images that see them.

    ``track`` (L,) is the track of each. ``visibility`` is a sparse (L, cells) matrix with a one where a point was seen
    in a cell, as numbered by :func:`image_cells`.
    """

    points: FloatArray
    track: IntArray
    visibility: scipy.sparse.csr_matrix

    def __len__(self) -> int:
        return len(self.points)


def make_candidates(tracks: Tracks, keyframes: Keyframes, step: Step = ignore) -> Candidates:
    """Make candidates of all tracks; those of one point are merged into the longest of them.

    ``step`` is called with how many more of the tracks' observations are done.
    """
    # in half precision: there are a quarter of a million in each 1000 images of a long drive
    descriptors = mean_descriptors(tracks, keyframes.descriptors, step, np.float16)
    parts = np.array_split(tracks.keypoint, len(tracks.keypoint) // OBSERVATIONS_AT_ONCE + 1)
    cell = np.concatenate([image_cells(keyframes, rows).astype(np.int32) for rows in parts])
    order = np.argsort(-tracks.lengths, kind="stable")
    rank = np.argsort(order, kind="stable")
    parent = _merge(tracks.points, descriptors, order, keyframes.similarities.twin)
    kept = np.flatnonzero(parent == np.arange(len(order)))
    row = np.searchsorted(kept, parent[rank]).astype(np.int32)[tracks.track]
    visibility = counted(row, cell, (len(kept), len(keyframes) * CELLS))
    visibility.data[:] = 1
    chosen = order[kept]
    return Candidates(tracks.points[chosen], chosen, visibility)


def counted(row: IntArray, column: IntArray, shape: tuple[int, int]) -> scipy.sparse.csr_matrix:
    """Return a sparse matrix of how often each pair of ``row`` (O,) and ``column`` (O,) occurs.

    It takes less than half the memory of scipy's conversion from coordinates.
    """
    order = np.argsort(row, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    out = scipy.sparse.csr_matrix((np.ones(len(row), np.float32), column[order], starts), shape=shape)
    out.sum_duplicates()
    return out


def image_cells(keyframes: Keyframes, rows: IntArray) -> IntArray:
    """Return the cell of each of some keypoints (N,); those of image f begin at ``f * CELLS``.

    They are about the cells in which the evidence for a pose is counted.
    """
    left, top, right, bottom = keyframes.view
    cells = cells_at(keyframes.rays[rows] - [left, top], right - left, bottom - top)
    return np.asarray(keyframes.image[rows] * CELLS + cells)


def _merge(points: FloatArray, descriptors: npt.NDArray[np.floating], order: IntArray, similarity: float) -> IntArray:
    """Return for each row, in ``order``, the earliest row nearby with at least this ``similarity``, else itself."""
    parent = np.arange(len(points))
    if not len(points):
        return parent
    pairs = cKDTree(points[order]).query_pairs(TWIN_RADIUS_M, output_type="ndarray")
    alike = [
        np.einsum("ij,ij->i", *(descriptors[order[some[:, k]]] for k in (0, 1))) > similarity
        for some in np.array_split(pairs, len(pairs) // PAIRS_AT_ONCE + 1)
    ]
    pairs = np.sort(pairs[np.concatenate(alike)], axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    starts = np.searchsorted(pairs[:, 0], np.arange(len(points) + 1))
    for a in np.unique(pairs[:, 0]):
        if parent[a] == a:
            near = pairs[starts[a] : starts[a + 1], 1]
            parent[near[parent[near] == near]] = a
    return parent


def choose_by_coverage(
    visibility: scipy.sparse.csr_matrix, count: int, batch: int | None = None, step: Step = ignore
) -> IntArray:
    """Return rows of ``visibility`` (L, cells), at most ``count``, most useful first.

    Greedy: the gain of a landmark is the sum over the cells that see it of 1 / (1 + landmarks chosen in that cell).
    ``batch`` are chosen at a time, since single steps would take minutes; None: in growing batches. ``step`` is called
    with how many more are chosen.
    """
    total = visibility.shape[0]
    count = min(count, total)
    chosen: list[IntArray] = []
    free: BoolArray = np.ones(total, dtype=bool)
    seen = np.zeros(visibility.shape[1])
    left = count
    while left > 0:
        gain = visibility @ (1 / (1 + seen))
        gain[~free] = -1
        # a copy: a view would keep the order of all
        take = np.argsort(-gain, kind="stable")[: min(batch or max(32, (count - left) // 40), left)].copy()
        chosen.append(take)
        free[take] = False
        left -= len(take)
        seen += np.asarray(visibility[take].sum(axis=0)).ravel()
        step(len(take))
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def by_usefulness(candidates: Candidates, most: int, progress: Progress) -> IntArray:
    """Return up to ``most`` candidates with a finite position, most useful first."""
    somewhere = np.flatnonzero(np.isfinite(candidates.points).all(axis=1))
    count = min(most, len(somewhere))
    step = count_up(progress, "choose landmarks", count)
    return somewhere[choose_by_coverage(candidates.visibility[somewhere], count, step=step)]
