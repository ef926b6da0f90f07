"""Searching in a map of many voxels: the likeliest are tried, each alone, and what they lead to is compared.

Rooms with the same furniture lead to poses that fit the furniture as well, but not the walls. So a pose is the answer
only if it explains most of the image, no other one explains about as much, and what is beside its voxel fits too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.localization.evidence import Evidence, count_evidence
from neumap.localization.matching import Matches
from neumap.localization.query import Query, Scope
from neumap.localization.retrieval import ASKED_KEYPOINTS, LARGE, MOST_VOXELS, VoxelIndex
from neumap.localization.rivals import apart, better_of
from neumap.localization.solver import FEW_ITERATIONS, SETTLED, Solver
from neumap.localization.timing import stage
from neumap.localization.verification import Hypothesis
from neumap.maps.neural_map import NeuralMap
from neumap.model.decoder import shipped_decoder

# TRIED_FIRST: voxels that are tried first, those with FIRST_SHARE of the most votes. MOST_TRIED: voxels tried in all.
TRIED_FIRST, FIRST_SHARE, MOST_TRIED = 4, 0.1, 8
# TRIED_KEYPOINTS: keypoints that a voxel is tried with, those most like something in it. ALIKE: how like it they must
# be, as a share of the similarity of a keypoint and the landmark that it shows. TRY_INLIERS: what makes it worth
# refining.
TRIED_KEYPOINTS, ALIKE, TRY_INLIERS = 96, 0.9, 8
# COMPARED: of the poses that a batch of voxels leads to, how many are refined and compared. WORTH: the share of the
# most inliers that they must have.
COMPARED, WORTH = 4, 0.4
# CONVINCING: a pose that this share of the image confirms is not compared with more, if nothing rivals it. HEARD: cells
# of the image that are enough to go by.
CONVINCING, HEARD = 0.8, 12
# CHOSEN_FROM_MANY: how many times the inliers of any other a pose needs that is chosen from many voxels: among many
# prints there is more often one that an image of another place shows as well.
CHOSEN_FROM_MANY = 1.35
# SHOWN: landmarks found again from which on a voxel belongs to what the image shows.
SHOWN = 4


def voxel_index(neural_map: NeuralMap) -> VoxelIndex:
    """Return the index of the voxels of a map for the frozen decoder."""
    codes, cells, decoder = neural_map.landmarks, neural_map.grid.cells, shipped_decoder()
    embeddings, words = decoder.codebook.decode(codes.descriptors), decoder.codebook.words[0]
    return VoxelIndex(codes.descriptors, embeddings, words, codes.offsets, cells, decoder.min_similarity)


@dataclass(frozen=True)
class Try:
    """A pose ``camera_from_map`` that matches with one of the ``voxels`` (1,) lead to."""

    camera_from_map: FloatArray
    matches: Matches
    voxels: IntArray
    evidence: Evidence


class LargePlace:
    """Searches in one map of many voxels, where a pose has ``needed`` inliers or is none."""

    def __init__(self, neural_map: NeuralMap, solver: Solver) -> None:
        """``neural_map`` :func:`is_large`; ``solver`` solves in it."""
        self.needed = round(CHOSEN_FROM_MANY * solver.needed)
        self._index = voxel_index(neural_map)
        self._alike = ALIKE * solver.landmarks.min_similarity
        self._grid = neural_map.grid
        self._solver = solver

    def solve(self, query: Query, scope: Scope) -> Hypothesis | None:
        """Find the pose that explains most of the image, of those that the likeliest of the scope's many voxels lead
        to, each alone; and together, where that is not enough.
        """
        with stage("decode"):
            alike = self._index.compare(query.embeddings[:ASKED_KEYPOINTS])
            ranked, votes = self._index.rank(alike, scope.voxels)
        found, convinces = self._tried(alike, batches(ranked, votes), query, scope)
        if convinces:
            return found
        if found is not None:
            shown, count = np.unique(self._grid.holding(found.points), return_counts=True)
            shown = np.intersect1d(shown[count >= SHOWN], ranked)
            closer = scope.within(shown, beside=self._grid.beside(shown))
            found = better_of(found, self._solver.solve(query, closer, (found.camera_from_map,)))
        if found is not None and found.evidence.suffices(self.needed):
            return found
        return better_of(found, self._solver.solve(query, scope.within(ranked[:MOST_VOXELS])))

    def likeliest(self, query: Query, scope: Scope) -> tuple[list[Try], IntArray]:
        """Tell what the likeliest of the scope's many voxels lead to, the most promising first, and which these are."""
        alike = self._index.compare(query.embeddings)
        ranked = self._index.rank(alike, scope.voxels)[0][:MOST_TRIED]
        return by_promise(self._tries(alike, ranked, query, scope)), ranked

    def _tried(
        self, alike: Float32Array, likeliest: Sequence[IntArray], query: Query, scope: Scope
    ) -> tuple[Hypothesis | None, bool]:
        """Return the pose that explains most of the image, of those that batches of the likeliest voxels lead to, and
        whether nothing else need be looked at: much speaks for it, little against it, and nothing for another pose.
        """
        found: Hypothesis | None = None
        shown_by: Try | None = None
        most = 0
        for batch in likeliest:
            tries = self._tries(alike, batch, query, scope)
            most = max([most, *(one.evidence.inliers for one in tries)])
            for one in worth_comparing(tries, WORTH * most):
                refined = self._solver.refine(one.camera_from_map, one.matches, query, scope.within(one.voxels))
                found = better_of(found, refined)
                if refined is not None and found is not None and found.camera_from_map is refined.camera_from_map:
                    # it is the better one
                    shown_by = one
            if found is not None and shown_by is not None and self._convinces(found):
                found = self._with_beside(found, shown_by, query, scope)
                if self._convinces(found):
                    return found, True
        return found, False

    def _convinces(self, found: Hypothesis) -> bool:
        much = found.evidence.suffices(round(SETTLED * self._solver.needed))
        return much and found.evidence.confirmed >= CONVINCING and not found.rival_m

    def _with_beside(self, found: Hypothesis, shown_by: Try, query: Query, scope: Scope) -> Hypothesis:
        """Return the pose that one voxel showed, held against the landmarks of those beside it, unless that one had
        something to say about enough of the image; and against rivals.
        """
        here = scope.within(shown_by.voxels, beside=self._grid.beside(shown_by.voxels))
        if found.evidence.heard < HEARD:
            found = self._solver.refine(found.camera_from_map, shown_by.matches, query, here) or found
        return self._solver.checked(found, shown_by.matches, query, here)

    def _tries(self, alike: Float32Array, voxels: IntArray, query: Query, scope: Scope) -> list[Try]:
        """Try each of some voxels alone: where in it the camera may be. ``alike`` (N, V) says how like each of the
        first keypoints the most similar landmark of each voxel is.
        """
        settings = replace(self._solver.ransac, max_iterations=FEW_ITERATIONS)
        tries = []
        for voxel in voxels:
            there = np.array([voxel])
            best = np.argsort(-alike[:, voxel], kind="stable")[:TRIED_KEYPOINTS]
            best = np.sort(best[alike[best, voxel] > self._alike])
            matches = self._solver.match(query, best, scope.within(there))
            poses = self._solver.guess(matches, query, scope, settings)
            tries += [Try(pose, matches, there, count_evidence(pose, matches, query)) for pose in poses]
        return [one for one in tries if one.evidence.inliers >= TRY_INLIERS]


def is_large(neural_map: NeuralMap) -> bool:
    """Tell whether a map is better searched voxel by voxel, which takes latents."""
    many = len(neural_map.grid) > MOST_VOXELS and len(neural_map.landmarks) >= LARGE
    return bool(neural_map.decoder_id) and many


def batches(ranked: IntArray, votes: Float32Array) -> list[IntArray]:
    """Return which of the ``ranked`` voxels (V,) with ``votes`` (V,) are tried: the likeliest, then others."""
    likely = votes[:TRIED_FIRST] >= FIRST_SHARE * votes[0]
    return [batch for batch in (ranked[:TRIED_FIRST][likely], ranked[:MOST_TRIED][likely.sum() :]) if len(batch)]


def by_promise(tries: Sequence[Try]) -> list[Try]:
    """Order tries, those first whose inliers are in most parts of the image."""
    return sorted(tries, key=lambda one: (-one.evidence.cells, -one.evidence.inliers))


def worth_comparing(tries: Sequence[Try], least: float) -> list[Try]:
    """Return the most promising of the ``tries`` with at least so many inliers, whose poses are apart."""
    chosen: list[Try] = []
    for one in by_promise(tries):
        elsewhere = all(apart(one.camera_from_map, other.camera_from_map) for other in chosen)
        if len(chosen) < COMPARED and one.evidence.inliers >= least and elsewhere:
            chosen.append(one)
    return chosen
