"""Searching one image's pose in a map: decode, PnP, refine on landmarks, and count what speaks for the result.

In a map for the frozen decoder its encoder embeds all keypoints before anything else. The strongest ones are decoded
first; only where they do not settle the pose are all of them, and only where the nearest landmarks of all make no pose
is the learned decoder asked as well, and pooled with them in one PnP. A pose must be better than its rivals, to which
other samples lead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neumap_ros.core.decoders import AttentionDecoder, Decoder, Hypotheses, NearestDecoder, TransformerDecoder, pool
from neumap_ros.core.evidence import Evidence, agreeing, count_evidence
from neumap_ros.core.frozen import shipped_decoder
from neumap_ros.core.keyframes import IntArray
from neumap_ros.core.neural_map import NeuralMap
from neumap_ros.core.pose import RansacSettings, ransac_pose
from neumap_ros.core.refinement import Refinement, Solution
from neumap_ros.core.rivals import RIVALRY, apart, better_of, may_rival
from neumap_ros.core.view import View
from neumap_ros.core.voxels import LARGE, MOST_VOXELS, VOTERS, VoxelIndex
from neumap_ros.records import Float32Array, FloatArray

FIRST_KEYPOINTS = 512
# the first keypoints settle it when this many times the inliers a pose needs agree
SETTLED = 3.0
# with this many times, the nearest landmarks do, and nobody asks what was learned
ENOUGH = 2.0
# so many of the likeliest voxels of a large map are tried at a time, and so many at most, with so many keypoints that
# are about as like something there as the landmark they show would be; a try takes so many iterations, and needs so
# many inliers
TRIED_AT_ONCE, MOST_TRIED = 4, 8
TRIED_KEYPOINTS, ALIKE, TRY_ITERATIONS, TRY_INLIERS = 160, 0.5, 300, 8
# of the poses that these lead to so many are compared each time, with at least this share of the most inliers
COMPARED, WORTH = 4, 0.4
# a pose that this share of the image confirms, and none of those tried rivals, is not compared with more; so many parts
# of the image, of 24, are enough to go by
CONVINCING, HEARD = 0.8, 12
# a voxel with so many of the landmarks found again belongs to what the image shows
SHOWN = 4
# an alternative has so many inliers: fewer agree by chance with some pose or other
MIN_ALTERNATIVE = 8


@dataclass(frozen=True)
class Try:
    """A pose ``camera_from_map`` that guesses from one of the ``voxels`` (1,) lead to."""

    camera_from_map: FloatArray
    guesses: Hypotheses
    voxels: IntArray
    evidence: Evidence


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
        """The best pose; None where no two guesses agree. ``times`` collects milliseconds per stage.

        Of many ``voxels`` (None: all) those are searched that the image shows most likely.
        """
        view = self._described(view, times)
        index = self._chooses(voxels)
        if index is None:
            return self._solve(view.within(voxels), times)
        return self._solve_large(index, view, np.arange(len(self._grid)) if voxels is None else voxels, times)

    def _chooses(self, voxels: IntArray | None) -> VoxelIndex | None:
        """What chooses among ``voxels`` (None: all); None where they are few enough that all are searched."""
        count = len(self._grid) if voxels is None else len(voxels)
        return self._index if count > MOST_VOXELS else None

    def _solve_large(self, index: VoxelIndex, view: View, voxels: IntArray, times: dict[str, float]) -> Solution | None:
        """The pose that explains most of the image, of those that the likeliest of many ``voxels`` lead to, each alone;
        and together, where that is not enough.
        """
        started = time.perf_counter()
        alike = index.compare(view.features.descriptors[:VOTERS])
        ranked = index.rank(alike, voxels)
        add_time(times, "decode", started)
        found, convinces = self._tried(alike, ranked, view, times)
        if convinces:
            return found
        if found is not None:
            shown, count = np.unique(self._grid.holding(found.points), return_counts=True)
            shown = np.intersect1d(shown[count >= SHOWN], voxels)
            closer = view.within(shown, beside=self._grid.beside(shown))
            found = better_of(found, self._solve(closer, times, (found.camera_from_map,)))
        if found is not None and found.evidence.suffices(self._needed):
            return found
        return better_of(found, self._solve(view.within(ranked[:MOST_VOXELS]), times))

    def _tried(
        self, alike: Float32Array, ranked: IntArray, view: View, times: dict[str, float]
    ) -> tuple[Solution | None, bool]:
        """The pose that explains most of the image, of those that the likeliest voxels lead to, and whether nothing
        else need be looked at: much speaks for it, little against it, and nothing for another pose.
        """
        found: Solution | None = None
        shown_by: Try | None = None
        most = 0
        for first in range(0, MOST_TRIED, TRIED_AT_ONCE):
            tries = self._tries(alike, ranked[first : first + TRIED_AT_ONCE], view, times)
            most = max([most, *(one.evidence.inliers for one in tries)])
            for one in worth_comparing(tries, WORTH * most):
                refined = self._refine(one.camera_from_map, one.guesses, view.within(one.voxels), times)
                found = better_of(found, refined)
                if refined is not None and found is not None and found.camera_from_map is refined.camera_from_map:
                    # it is the better one
                    shown_by = one
            if found is not None and shown_by is not None and self._convinces(found):
                found = self._with_beside(found, shown_by, view, times)
                if self._convinces(found):
                    return found, True
        return found, False

    def _convinces(self, found: Solution) -> bool:
        much = found.evidence.suffices(round(SETTLED * self._needed))
        return much and found.evidence.confirmed >= CONVINCING and not found.rival_m

    def _with_beside(self, found: Solution, shown_by: Try, view: View, times: dict[str, float]) -> Solution:
        """The pose that one voxel showed, held against the landmarks of those beside it, unless that one had something
        to say about enough of the image; and against rivals.
        """
        here = view.within(shown_by.voxels, beside=self._grid.beside(shown_by.voxels))
        if found.evidence.heard < HEARD:
            found = self._refine(found.camera_from_map, shown_by.guesses, here, times) or found
        return self._checked(found, shown_by.guesses, shown_by.guesses, here, times)

    def _tries(self, alike: Float32Array, voxels: IntArray, view: View, times: dict[str, float]) -> list[Try]:
        """Where the camera may be, by each of some voxels alone. ``alike`` (N, V) says how like each of the first
        keypoints the most similar landmark of each voxel is.
        """
        settings = replace(self._ransac, max_iterations=TRY_ITERATIONS)
        tries = []
        for voxel in voxels:
            started = time.perf_counter()
            best = np.argsort(-alike[:, voxel], kind="stable")[:TRIED_KEYPOINTS]
            best = np.sort(best[alike[best, voxel] > ALIKE])
            there = np.array([voxel])
            guesses = self._nearest.decode(view.features.select(best), there)
            guesses = replace(guesses, keypoint=best[guesses.keypoint])
            add_time(times, "decode", started)
            poses = self._guess(guesses, view, times, settings)
            tries += [Try(pose, guesses, there, count_evidence(pose, guesses, view)) for pose in poses]
        return [one for one in tries if one.evidence.inliers >= TRY_INLIERS]

    def _solve(self, view: View, times: dict[str, float], proposed: Sequence[FloatArray] = ()) -> Solution | None:
        """The pose with the most evidence in the view's voxels; None where no two guesses agree. Poses
        ``camera_from_map`` that were ``proposed`` stand for the first guess.

        A network trained on one scene is sure of itself in any other, so that only what the nearest decoder finds bears
        witness there. The frozen decoder's attention was trained where most keypoints show nothing of the map.
        """
        count = len(view.features)
        split = min(FIRST_KEYPOINTS, count)
        settled, enough = round(SETTLED * self._needed), round(ENOUGH * self._needed)
        witness = guesses = self._decode(self._nearest, view, 0, split, times)
        if self._learned is not None and self._only_learned:
            guesses = self._decode(self._learned, view, 0, split, times)
        # what is not found soon among the strongest is looked for among all
        first = replace(self._ransac, max_iterations=TRY_ITERATIONS if split < count else self._ransac.max_iterations)
        poses = list(proposed) or self._guess(guesses, view, times, first)
        more = split < count or (self._learned is not None and not self._only_learned)
        if more and not any(count_evidence(pose, witness, view).suffices(settled) for pose in poses):
            if split < count:
                witness = pool([witness, self._decode(self._nearest, view, split, count, times)])
                if not self._only_learned:
                    guesses = witness
                    poses += self._guess(guesses, view, times, self._ransac)
            nearest_do = any(count_evidence(pose, witness, view).suffices(enough) for pose in poses)
            if self._learned is not None and (self._only_learned or not nearest_do):
                learned = self._decode(self._learned, view, 0, count, times)
                guesses = learned if self._only_learned else pool([witness, learned])
                if self._trusted:
                    witness = guesses
                poses += self._guess(guesses, view, times, self._ransac)
        if not poses:
            return None
        best = max(poses, key=lambda pose: count_evidence(pose, witness, view).inliers)
        solution = self._refine(best, witness, view, times)
        return None if solution is None else self._checked(solution, guesses, witness, view, times)

    def _checked(
        self, solution: Solution, guesses: Hypotheses, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution:
        """The better of the solution and of what other samples lead to, or what does not agree with it, with how far
        away the other one is; the solution as it is where it is no pose, or beyond all rivalry.
        """
        if not self._needed <= solution.evidence.inliers < RIVALRY * self._needed:
            return solution
        others = guesses.select(~agreeing(solution.camera_from_map, guesses, view))
        again = replace(self._ransac, by_confidence=False)
        searches = (
            (guesses, replace(again, seed=1)),
            (others, replace(again, max_iterations=TRY_ITERATIONS)),
        )
        for asked, settings in searches:
            for pose in self._guess(asked, view, times, settings):
                rival = self._refine(pose, witness, view, times) if may_rival(pose, solution, witness, view) else None
                solution = better_of(solution, rival)
        return solution

    def alternatives(
        self, view: View, known: Sequence[FloatArray], voxels: IntArray | None, most: int
    ) -> list[Solution]:
        """Up to ``most`` poses other than those ``known`` (``camera_from_map``) that something speaks for: in a large
        map those that single voxels lead to, such as another room with the same furniture; in any map those that agree
        with what of the image does not agree with the poses known, nor with each other.
        """
        view = self._described(view, {})
        poses = list(known)
        found: list[Solution] = []

        def add(solution: Solution | None) -> bool:
            enough = solution is not None and solution.evidence.inliers >= MIN_ALTERNATIVE
            if solution is None or not enough or not all(apart(solution.camera_from_map, pose) for pose in poses):
                return False
            poses.append(solution.camera_from_map)
            found.append(solution)
            return True

        index = self._chooses(voxels)
        if index is not None:
            alike = index.compare(view.features.descriptors)
            voxels = index.rank(alike, voxels)[:MOST_TRIED]
            for one in by_promise(self._tries(alike, voxels, view, {})):
                if len(found) < most:
                    add(self._refine(one.camera_from_map, one.guesses, view.within(one.voxels), {}))
        view = view.within(voxels)
        rest = self._nearest.decode(view.features, view.voxels)
        for pose in poses:
            rest = rest.select(~agreeing(pose, rest, view))
        while len(found) < most:
            guessed = self._guess(rest, view, {}, self._ransac)
            if not guessed or not add(self._refine(guessed[0], rest, view, {})):
                break
            rest = rest.select(~agreeing(poses[-1], rest, view))
        return found

    def _described(self, view: View, times: dict[str, float]) -> View:
        """The view with its features as the map compares them."""
        started = time.perf_counter()
        view = replace(view, features=self._nearest.describe(view.features))
        add_time(times, "decode", started)
        return view

    def _decode(self, decoder: Decoder, view: View, first: int, last: int, times: dict[str, float]) -> Hypotheses:
        """Hypotheses for the keypoints from ``first`` to ``last``, from the view's voxels."""
        started = time.perf_counter()
        found = decoder.decode(view.features.select(np.arange(first, last)), view.voxels, view.rays[first:last])
        add_time(times, "decode", started)
        return replace(found, keypoint=found.keypoint + first)

    def _guess(
        self, guesses: Hypotheses, view: View, times: dict[str, float], settings: RansacSettings
    ) -> list[FloatArray]:
        """The pose ``camera_from_map`` that most guesses agree with; empty where no two do."""
        started = time.perf_counter()
        settings = replace(settings, max_error_px=view.scale * settings.max_error_px)
        found = ransac_pose(view.rays[guesses.keypoint], guesses.points, view.focal_px, settings)
        add_time(times, "pnp", started)
        return [] if found is None else [found[0]]

    def _refine(
        self, camera_from_map: FloatArray, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution | None:
        """The pose refined on landmarks, with the ``witness`` guesses that agree; None where too few landmarks do."""
        started = time.perf_counter()
        solution = self._refinement(camera_from_map, witness, view)
        add_time(times, "refine", started)
        return solution


def by_promise(tries: Sequence[Try]) -> list[Try]:
    """Those first whose inliers are in most parts of the image."""
    return sorted(tries, key=lambda one: (-one.evidence.cells, -one.evidence.inliers))


def worth_comparing(tries: Sequence[Try], least: float) -> list[Try]:
    """The most promising of the ``tries`` with at least so many inliers, whose poses are apart."""
    chosen: list[Try] = []
    for one in by_promise(tries):
        elsewhere = all(apart(one.camera_from_map, other.camera_from_map) for other in chosen)
        if len(chosen) < COMPARED and one.evidence.inliers >= least and elsewhere:
            chosen.append(one)
    return chosen


def add_time(times: dict[str, float], stage: str, started: float) -> None:
    """Adds the milliseconds since ``started``, of the performance counter, to those of a stage."""
    times[stage] = times.get(stage, 0.0) + (time.perf_counter() - started) * 1e3


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
