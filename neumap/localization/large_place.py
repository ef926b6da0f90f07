"""Search in a map of many voxels: try the most likely voxels one by one, and compare the poses found.

In a room with the same furniture a wrong pose fits the furniture, but not the walls. So a pose is accepted only if it
explains most of the image, no other pose explains about as much, and the landmarks of adjacent voxels fit too.
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

# TRIED_FIRST: voxels in the first batch at most, each with at least FIRST_SHARE of the most votes. MOST_TRIED: voxels
# tried in all.
TRIED_FIRST, FIRST_SHARE, MOST_TRIED = 4, 0.1, 8
# TRIED_KEYPOINTS: keypoints matched with one voxel, those most similar to a landmark in it. ALIKE: least similarity, as
# a share of min_similarity. TRY_INLIERS: inliers from which a pose is worth refining.
TRIED_KEYPOINTS, ALIKE, TRY_INLIERS = 96, 0.9, 8
# COMPARED: poses of one batch that are refined and compared at most. WORTH: inliers they need, as a share of the most.
COMPARED, WORTH = 4, 0.4
# CONVINCING: a pose without rivals that this share of the image confirms ends the search. HEARD: cells with evidence
# from which the landmarks of one voxel suffice to judge a pose.
CONVINCING, HEARD = 0.8, 12
# CHOSEN_FROM_MANY: factor on the inliers that a pose chosen from many voxels needs: the larger the map, the more often
# it holds a print that an image of another place shows, too.
CHOSEN_FROM_MANY = 1.35
# SHOWN: matched landmarks from which a voxel counts as seen.
SHOWN = 4


def voxel_index(neural_map: NeuralMap) -> VoxelIndex:
    """Make the index of the voxels of a map of latents."""
    codes, cells, decoder = neural_map.landmarks, neural_map.grid.cells, shipped_decoder()
    embeddings, words = decoder.codebook.decode(codes.descriptors), decoder.codebook.words[0]
    return VoxelIndex(codes.descriptors, embeddings, words, codes.offsets, cells, decoder.min_similarity)


@dataclass(frozen=True)
class Try:
    """A pose ``camera_from_map`` (4, 4) found from ``matches`` with one voxel, ``voxels`` (1,)."""

    camera_from_map: FloatArray
    matches: Matches
    voxels: IntArray
    evidence: Evidence


class LargePlace:
    """Searches one map of many voxels. ``needed``: inliers that a pose needs."""

    def __init__(self, neural_map: NeuralMap, solver: Solver) -> None:
        """Prepare to search ``neural_map``, which :func:`is_large`, with its ``solver``."""
        self.needed = round(CHOSEN_FROM_MANY * solver.needed)
        self._index = voxel_index(neural_map)
        self._alike = ALIKE * solver.landmarks.min_similarity
        self._grid = neural_map.grid
        self._solver = solver

    def solve(self, query: Query, scope: Scope) -> Hypothesis | None:
        """Find the pose that explains most of the image.

        The most likely voxels of the scope are tried one by one, then together if no pose suffices.
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
        """Return the poses found in each of the most likely voxels, most promising first, and these voxels."""
        alike = self._index.compare(query.embeddings)
        ranked = self._index.rank(alike, scope.voxels)[0][:MOST_TRIED]
        return by_promise(self._tries(alike, ranked, query, scope)), ranked

    def _tried(
        self, alike: Float32Array, likeliest: Sequence[IntArray], query: Query, scope: Scope
    ) -> tuple[Hypothesis | None, bool]:
        """Return the pose found in batches of voxels that explains most of the image, and whether it is convincing."""
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
        """Check a pose found in one voxel against rivals and, if that voxel left most cells without evidence, against
        the landmarks of adjacent voxels.
        """
        here = scope.within(shown_by.voxels, beside=self._grid.beside(shown_by.voxels))
        if found.evidence.heard < HEARD:
            found = self._solver.refine(found.camera_from_map, shown_by.matches, query, here) or found
        return self._solver.checked(found, shown_by.matches, query, here)

    def _tries(self, alike: Float32Array, voxels: IntArray, query: Query, scope: Scope) -> list[Try]:
        """Find poses in each of ``voxels`` alone. ``alike`` (N, V) is the similarity of each of the first keypoints to
        the most similar landmark of each voxel.
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
    """Return whether a map is searched voxel by voxel: it holds latents, many voxels and many landmarks."""
    many = len(neural_map.grid) > MOST_VOXELS and len(neural_map.landmarks) >= LARGE
    return bool(neural_map.decoder_id) and many


def batches(ranked: IntArray, votes: Float32Array) -> list[IntArray]:
    """Return the batches of the ``ranked`` voxels (V,) to try, by their ``votes`` (V,)."""
    likely = votes[:TRIED_FIRST] >= FIRST_SHARE * votes[0]
    return [batch for batch in (ranked[:TRIED_FIRST][likely], ranked[:MOST_TRIED][likely.sum() :]) if len(batch)]


def by_promise(tries: Sequence[Try]) -> list[Try]:
    """Sort tries by the number of cells with inliers, then of inliers, descending."""
    return sorted(tries, key=lambda one: (-one.evidence.cells, -one.evidence.inliers))


def worth_comparing(tries: Sequence[Try], least: float) -> list[Try]:
    """Return the most promising ``tries`` with at least ``least`` inliers, whose poses are apart."""
    chosen: list[Try] = []
    for one in by_promise(tries):
        elsewhere = all(apart(one.camera_from_map, other.camera_from_map) for other in chosen)
        if len(chosen) < COMPARED and one.evidence.inliers >= least and elsewhere:
            chosen.append(one)
    return chosen
