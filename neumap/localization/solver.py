"""One image's pose in some voxels of a map: decode, PnP, refine on landmarks, and count what speaks for the result.

In a map for the frozen decoder its encoder embeds all keypoints before anything else. The strongest ones are decoded
first; only where they do not settle the pose are all of them, and only where the nearest landmarks of all do not give
twice the inliers that a pose needs is the learned decoder asked as well, and pooled with them in one PnP. A pose must
be better than its rivals, to which other samples lead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.localization.evidence import agreeing, count_evidence
from neumap.localization.matching import AttentionDecoder, Decoder, Hypotheses, NearestDecoder, TransformerDecoder, pool
from neumap.localization.pnp import RansacSettings, ransac_pose
from neumap.localization.query import View
from neumap.localization.rivals import RIVALRY, better_of, may_rival
from neumap.localization.verification import Refinement, Solution
from neumap.maps.neural_map import NeuralMap

FIRST_KEYPOINTS = 512
# the first keypoints settle it when this many times the inliers a pose needs agree
SETTLED = 3.0
# with this many times, the nearest landmarks do, and nobody asks what was learned
ENOUGH = 2.0
# attention is asked about so many keypoints, whose nearest landmarks are the most distinct: its cost grows with them,
# and the least distinct are wrong
ATTENDED = 256
# of RANSAC, where what it does not find is looked for once more, or need not be found
FEW_ITERATIONS = 300
# where it is said where the camera is, so many samples are drawn, each from what does not agree with those before
MOST_ELSEWHERE = 3


class Solver:
    """Solves in one map, whose ``nearest`` landmarks and inliers ``needed`` for a pose others may ask for."""

    def __init__(self, neural_map: NeuralMap) -> None:
        self.nearest = NearestDecoder(neural_map)
        self.needed = neural_map.calibration.min_inliers
        self.ransac = RansacSettings()
        self._learned = _learned_decoder(neural_map, self.nearest)
        self._refinement = Refinement(neural_map.grid, self.nearest)
        self._only_learned = neural_map.only_network
        self._frozen = self._trusted = bool(neural_map.decoder_id)

    def described(self, view: View, times: dict[str, float]) -> View:
        """The view with its features as the map compares them."""
        started = time.perf_counter()
        view = replace(view, features=self.nearest.describe(view.features))
        add_time(times, "decode", started)
        return view

    def solve(self, view: View, times: dict[str, float], proposed: Sequence[FloatArray] = ()) -> Solution | None:
        """The pose with the most evidence in the view's voxels; None where no two guesses agree. Poses
        ``camera_from_map`` that were ``proposed`` stand for the first guess.

        A network trained on one scene is sure of itself in any other, so that only what the nearest decoder finds bears
        witness there. The frozen decoder's attention was trained where most keypoints show nothing of the map.
        """
        count = len(view.features)
        split = min(FIRST_KEYPOINTS, count)
        first, rest = np.arange(split), np.arange(split, count)
        settled, enough = round(SETTLED * self.needed), round(ENOUGH * self.needed)
        witness = guesses = self._decode(self.nearest, view, first, times)
        if self._learned is not None and self._only_learned:
            guesses = self._decode(self._learned, view, first, times)
        # what is not found soon among the strongest is looked for among all
        soon = replace(self.ransac, max_iterations=FEW_ITERATIONS if split < count else self.ransac.max_iterations)
        poses = list(proposed) or self.guess(guesses, view, times, soon)
        more = split < count or (self._learned is not None and not self._only_learned)
        if more and not any_suffices(poses, settled, witness, view):
            if split < count:
                witness = pool([witness, self._decode(self.nearest, view, rest, times)])
                if not self._only_learned:
                    guesses = witness
                    poses += self.guess(guesses, view, times, self.ransac)
            nearest_do = any_suffices(poses, enough, witness, view)
            if self._learned is not None and (self._only_learned or not nearest_do):
                asked = witness.keypoint[:ATTENDED] if self._frozen else np.arange(count)
                learned = self._decode(self._learned, view, asked, times)
                guesses = learned if self._only_learned else pool([witness, learned])
                if self._trusted:
                    witness = guesses
                poses += self.guess(guesses, view, times, self.ransac)
        if not poses:
            return None
        best = max(poses, key=lambda pose: count_evidence(pose, witness, view).inliers)
        solution = self.refine(best, witness, view, times)
        return None if solution is None else self.checked(solution, guesses, witness, view, times)

    def checked(
        self, solution: Solution, guesses: Hypotheses, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution:
        """The better of the solution and of what other samples lead to, or what does not agree with it, with how far
        away the other one is; the solution as it is where it is no pose, or beyond all rivalry.
        """
        if not self.needed <= solution.evidence.inliers < RIVALRY * self.needed:
            return solution
        others = guesses.select(~agreeing(solution.camera_from_map, guesses, view))
        again = replace(self.ransac, by_confidence=False)
        searches = (
            (guesses, replace(again, seed=1)),
            (others, replace(again, max_iterations=FEW_ITERATIONS)),
        )
        for asked, settings in searches:
            for pose in self.guess(asked, view, times, settings):
                rival = self.refine(pose, witness, view, times) if may_rival(pose, solution, witness, view) else None
                solution = better_of(solution, rival)
        return solution

    def guess(
        self, guesses: Hypotheses, view: View, times: dict[str, float], settings: RansacSettings
    ) -> list[FloatArray]:
        """The pose ``camera_from_map`` that most guesses agree with, of those that the view allows; empty where no two
        do, or too many lead elsewhere.
        """
        started = time.perf_counter()
        settings = replace(settings, max_error_px=view.scale * settings.max_error_px)
        poses: list[FloatArray] = []
        for _ in range(MOST_ELSEWHERE):
            found = ransac_pose(view.rays[guesses.keypoint], guesses.points, view.focal_px, settings)
            if found is None:
                break
            if view.allows(found[0]):
                poses = [found[0]]
                break
            guesses = guesses.select(~agreeing(found[0], guesses, view))
        add_time(times, "pnp", started)
        return poses

    def refine(
        self, camera_from_map: FloatArray, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution | None:
        """The pose refined on landmarks, with the ``witness`` guesses that agree; None where too few landmarks do."""
        started = time.perf_counter()
        solution = self._refinement(camera_from_map, witness, view)
        add_time(times, "refine", started)
        return solution

    def _decode(self, decoder: Decoder, view: View, asked: IntArray, times: dict[str, float]) -> Hypotheses:
        """Hypotheses for the keypoints ``asked`` about, from the view's voxels."""
        started = time.perf_counter()
        found = decoder.decode(view.features.select(asked), view.voxels, view.rays[asked])
        add_time(times, "decode", started)
        return replace(found, keypoint=asked[found.keypoint])


def any_suffices(poses: Sequence[FloatArray], needed: int, witness: Hypotheses, view: View) -> bool:
    """Whether the ``witness`` guesses speak for one of the ``poses`` with the weight of ``needed`` inliers."""
    return any(count_evidence(pose, witness, view).suffices(needed) for pose in poses)


def add_time(times: dict[str, float], stage: str, started: float) -> None:
    """Adds the milliseconds since ``started``, of the performance counter, to those of a stage."""
    times[stage] = times.get(stage, 0.0) + (time.perf_counter() - started) * 1e3


def _learned_decoder(neural_map: NeuralMap, nearest: NearestDecoder) -> Decoder | None:
    """What guesses besides the nearest decoder, where the map has it."""
    if neural_map.decoder_id:
        return AttentionDecoder(nearest)
    return TransformerDecoder(neural_map) if neural_map.network is not None else None
