"""Searching one image's pose in a map: decode, PnP, refine on landmarks, and count what speaks for the result.

In a map for the frozen decoder its encoder embeds all keypoints before anything else. The strongest ones are decoded
first; only where they do not settle the pose are all of them, by all decoders the map has codes for, and pooled in one
PnP. A pose that little speaks for must be better than its rivals, to which other samples lead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from neumap_ros.core.decoders import AttentionDecoder, Decoder, Hypotheses, NearestDecoder, TransformerDecoder, pool
from neumap_ros.core.evidence import agreeing, count_evidence
from neumap_ros.core.frozen import shipped_decoder
from neumap_ros.core.keyframes import IntArray
from neumap_ros.core.neural_map import NeuralMap
from neumap_ros.core.pose import RansacSettings, ransac_pose
from neumap_ros.core.refinement import Refinement, Solution
from neumap_ros.core.rivals import RIVAL_SEEDS, RIVALRY, better_of, may_rival, weighed
from neumap_ros.core.view import View
from neumap_ros.core.voxels import LARGE, MORE_VOXELS, MOST_VOXELS, VOTERS, Comparison, VoxelIndex
from neumap_ros.records import FloatArray

FIRST_KEYPOINTS = 512
# the first keypoints settle it when this many times the inliers a pose needs agree
SETTLED = 2.0
# with so many times the inliers needed in the likeliest voxels of a large map no others are searched
FOUND = 2.0
# so many landmarks agree by chance with some pose or other; an alternative has more
MIN_ALTERNATIVE = 8


class PoseSearch:
    """Searches in one map; where not to ``choose`` voxels, in all that are given, however many."""

    def __init__(self, neural_map: NeuralMap, choose: bool = True) -> None:
        self._grid = neural_map.grid
        self._index = _voxel_index(neural_map) if choose else None
        self._needed = neural_map.calibration.min_inliers
        self._nearest = NearestDecoder(neural_map)
        self._learned = _learned_decoder(neural_map, self._nearest)
        self._refinement = Refinement(neural_map.grid, self._nearest)
        self._only_learned = neural_map.only_network
        self._trusted = bool(neural_map.decoder_id)
        self._ransac = RansacSettings()

    def __call__(self, view: View, voxels: IntArray | None, times: dict[str, float]) -> Solution | None:
        """The pose with the most evidence; None where no two guesses agree. ``times`` collects milliseconds per stage.

        Of many ``voxels`` (None: all) those are searched that the image shows most likely.
        """
        view = self._described(view, times)
        found: Solution | None = None
        for attempt in self._attempts(view, voxels, times):
            solution = self._solve(attempt, times)
            found = solution or found if found is None or solution is None else better_of(found, solution)
            if found is not None and found.evidence.suffices(round(FOUND * self._needed)):
                break
        return found

    def _attempts(self, view: View, voxels: IntArray | None, times: dict[str, float]) -> Iterator[View]:
        """What to search: the likeliest of the voxels, and then more of them; or all at once where they are few."""
        count = len(self._grid) if voxels is None else len(voxels)
        if self._index is None or count <= MOST_VOXELS:
            yield replace(view, voxels=voxels)
            return
        comparison = Comparison(self._index, view.features.descriptors)
        for voters, most in ((VOTERS, MOST_VOXELS), (len(view.features), MORE_VOXELS)):
            started = time.perf_counter()
            chosen = self._index.rank(comparison.first(min(voters, len(view.features))), voxels)[:most]
            times["decode"] = times.get("decode", 0.0) + (time.perf_counter() - started) * 1e3
            yield replace(view, voxels=chosen, comparison=comparison)

    def _solve(self, view: View, times: dict[str, float]) -> Solution | None:
        """The pose with the most evidence in the view's voxels; None where no two guesses agree.

        A network trained on one scene is sure of itself in any other, so that only what the nearest decoder finds bears
        witness there. The frozen decoder's attention was trained where most keypoints show nothing of the map.
        """
        voxels = view.voxels
        count = len(view.features)
        split = min(FIRST_KEYPOINTS, count)
        settled = round(SETTLED * self._needed)
        witness = guesses = self._decode(self._nearest, view, 0, split, voxels, times)
        if self._learned is not None and self._only_learned:
            guesses = self._decode(self._learned, view, 0, split, voxels, times)
        poses = self._guess(guesses, view, times, self._ransac)
        more = split < count or (self._learned is not None and not self._only_learned)
        if more and not any(count_evidence(pose, witness, view).suffices(settled) for pose in poses):
            if split < count:
                rest = self._decode(self._nearest, view, split, count, voxels, times)
                witness = pool([witness, rest])
                if not self._only_learned:
                    guesses = witness
                    poses += self._guess(guesses, view, times, self._ransac)
            enough = any(count_evidence(pose, witness, view).suffices(self._needed) for pose in poses)
            if self._learned is not None and (self._only_learned or not enough):
                learned = self._decode(self._learned, view, 0, count, voxels, times)
                guesses = learned if self._only_learned else pool([witness, learned])
                if self._trusted:
                    witness = guesses
                poses += self._guess(guesses, view, times, self._ransac)
        if not poses:
            return None
        best = max(poses, key=lambda pose: count_evidence(pose, witness, view).inliers)
        solution = self._refine(best, witness, view, times)
        if solution is not None and self._needed <= solution.evidence.inliers < RIVALRY * self._needed:
            return self._against_rivals(solution, guesses, witness, view, times)
        return solution

    def _against_rivals(
        self, solution: Solution, guesses: Hypotheses, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution:
        """The better of the solution and of what other samples lead to, with how far away the other one is."""
        for seed in RIVAL_SEEDS:
            settings = replace(self._ransac, by_confidence=False, seed=seed)
            for pose in self._guess(guesses, view, times, settings):
                rival = self._refine(pose, witness, view, times) if may_rival(pose, solution, witness, view) else None
                solution = solution if rival is None else weighed(solution, rival)
        return solution

    def alternatives(
        self, view: View, known: Sequence[FloatArray], voxels: IntArray | None, most: int
    ) -> list[Solution]:
        """Up to ``most`` poses that agree with what of the image does not agree with the poses ``known``
        (``camera_from_map``), nor with each other.
        """
        view = self._described(view, {})
        *_, view = self._attempts(view, voxels, {})
        rest = self._nearest.decode(view.features, view.voxels)
        poses = list(known)
        found: list[Solution] = []
        for _ in range(most):
            for pose in poses[-1:] if found else poses:
                rest = rest.select(~agreeing(pose, rest, view))
            guessed = self._guess(rest, view, {}, self._ransac)
            solution = self._refine(guessed[0], rest, view, {}) if guessed else None
            if solution is None or solution.evidence.inliers < MIN_ALTERNATIVE:
                break
            poses.append(solution.camera_from_map)
            found.append(solution)
        return found

    def _described(self, view: View, times: dict[str, float]) -> View:
        """The view with its features as the map compares them."""
        started = time.perf_counter()
        view = replace(view, features=self._nearest.describe(view.features))
        times["decode"] = times.get("decode", 0.0) + (time.perf_counter() - started) * 1e3
        return view

    def _decode(
        self, decoder: Decoder, view: View, first: int, last: int, voxels: IntArray | None, times: dict[str, float]
    ) -> Hypotheses:
        """Hypotheses for the keypoints from ``first`` to ``last``; of a large map only those that hold for no other
        part of it: rooms look alike, and the likeliest voxels need not hold all that do.
        """
        started = time.perf_counter()
        found = decoder.decode(view.features.select(np.arange(first, last)), voxels, view.rays[first:last])
        found = replace(found, keypoint=found.keypoint + first)
        if view.comparison is not None:
            found = found.select(view.comparison.distinct(found.keypoint, self._grid.holding(found.points)))
        times["decode"] = times.get("decode", 0.0) + (time.perf_counter() - started) * 1e3
        return found

    def _guess(
        self, guesses: Hypotheses, view: View, times: dict[str, float], settings: RansacSettings
    ) -> list[FloatArray]:
        """The pose ``camera_from_map`` that most guesses agree with; empty where no two do."""
        started = time.perf_counter()
        settings = replace(settings, max_error_px=view.scale * settings.max_error_px)
        found = ransac_pose(view.rays[guesses.keypoint], guesses.points, view.focal_px, settings)
        times["pnp"] = times.get("pnp", 0.0) + (time.perf_counter() - started) * 1e3
        return [] if found is None else [found[0]]

    def _refine(
        self, camera_from_map: FloatArray, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution | None:
        """The pose refined on landmarks, with the ``witness`` guesses that agree; None where too few landmarks do."""
        started = time.perf_counter()
        solution = self._refinement(camera_from_map, witness, view)
        times["refine"] = times.get("refine", 0.0) + (time.perf_counter() - started) * 1e3
        return solution


def _voxel_index(neural_map: NeuralMap) -> VoxelIndex | None:
    """What chooses voxels of a large map; None for any other, and where there are no latents."""
    if not neural_map.decoder_id or len(neural_map.grid) <= MOST_VOXELS or len(neural_map.landmarks) < LARGE:
        return None
    codes, codebook, cells = neural_map.landmarks, shipped_decoder().codebook, neural_map.grid.cells
    return VoxelIndex(codes.descriptors, codebook.decode(codes.descriptors), codebook.words[0], codes.offsets, cells)


def _learned_decoder(neural_map: NeuralMap, nearest: NearestDecoder) -> Decoder | None:
    """What guesses besides the nearest decoder, where the map has it."""
    if neural_map.decoder_id:
        return AttentionDecoder(nearest)
    return TransformerDecoder(neural_map) if neural_map.network is not None else None
