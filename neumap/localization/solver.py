"""The pose of one image, or of several views, in some voxels of a map: match, PnP, refine on landmarks, and count what
speaks for the result.

The strongest keypoints are matched with their nearest landmarks first; only where these do not settle the pose are all
keypoints, and only where the nearest landmarks of all do not give twice the inliers that a pose needs is the frozen
transformer asked as well, view by view, and pooled with them in one PnP. A pose must be better than its rivals, to
which other samples lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.localization.evidence import agreeing, count_evidence
from neumap.localization.matching import LandmarkIndex, Matches, TransformerMatcher, pool
from neumap.localization.pnp import RansacSettings
from neumap.localization.query import Query, Scope
from neumap.localization.rig import find_pose
from neumap.localization.rivals import RIVALRY, better_of, may_rival
from neumap.localization.span import Span
from neumap.localization.timing import stage
from neumap.localization.verification import Hypothesis, Refinement
from neumap.maps.neural_map import NeuralMap

# FIRST_KEYPOINTS: of the strongest, that are matched first. SETTLED: they settle the pose with so many times the
# inliers it needs.
FIRST_KEYPOINTS, SETTLED = 512, 3.0
# ENOUGH: with so many times the inliers needed the nearest landmarks do, and the transformer is not asked. ATTENDED:
# keypoints of a view that it is asked about, whose nearest landmarks are the most distinct: its cost grows with them,
# and the least distinct are wrong.
ENOUGH, ATTENDED = 2.0, 256
# FEW_ITERATIONS: of RANSAC, where what it does not find is looked for once more, or need not be found.
FEW_ITERATIONS = 300
# MOST_ELSEWHERE: poses that are drawn where it is said where the camera is, each from what does not agree with those
# before.
MOST_ELSEWHERE = 3


class Solver:
    """Solves in one map, whose ``landmarks`` and inliers ``needed`` for a pose others may ask for."""

    def __init__(self, neural_map: NeuralMap) -> None:
        self.landmarks = LandmarkIndex(neural_map)
        self.needed = neural_map.calibration.min_inliers
        self.ransac = RansacSettings()
        self._transformer = TransformerMatcher(self.landmarks) if neural_map.decoder_id else None
        span = Span(neural_map.drift.poses[:, :3, 3], self.landmarks.points)
        self._refinement = Refinement(neural_map.grid, self.landmarks, span)

    def solve(self, query: Query, scope: Scope, proposed: Sequence[FloatArray] = ()) -> Hypothesis | None:
        """Find the pose with the most evidence in the scope's voxels; None where no two matches agree. Poses
        ``camera_from_map`` that were ``proposed`` stand for the first guess.
        """
        count = len(query)
        split = min(FIRST_KEYPOINTS, count)
        first, rest = np.arange(split), np.arange(split, count)
        settled, enough = round(SETTLED * self.needed), round(ENOUGH * self.needed)
        matches = self.match(query, first, scope)
        # what is not found soon among the strongest is looked for among all
        soon = replace(self.ransac, max_iterations=FEW_ITERATIONS if split < count else self.ransac.max_iterations)
        poses = list(proposed) or self.guess(matches, query, scope, soon)
        if not any_suffices(poses, settled, matches, query):
            if split < count:
                matches = pool([matches, self.match(query, rest, scope)])
                poses += self.guess(matches, query, scope, self.ransac)
            if self._transformer is not None and not any_suffices(poses, enough, matches, query):
                distinct = [matches.keypoint[mine[:ATTENDED]] for _, mine in query.by_view(matches.keypoint)]
                with stage("decode"):
                    attended = [self._transformer.match(query, asked, scope.voxels) for asked in distinct]
                matches = pool([matches, *attended])
                poses += self.guess(matches, query, scope, self.ransac)
        if not poses:
            return None
        best = max(poses, key=lambda pose: count_evidence(pose, matches, query).inliers)
        found = self.refine(best, matches, query, scope)
        return None if found is None else self.checked(found, matches, query, scope)

    def checked(self, found: Hypothesis, matches: Matches, query: Query, scope: Scope) -> Hypothesis:
        """Return the better of what was ``found`` and of what other samples lead to, or what does not agree with it,
        with how far away the other one is; what was found as it is where it is no pose, or beyond all rivalry.
        """
        if not self.needed <= found.evidence.inliers < RIVALRY * self.needed:
            return found
        others = matches.select(~agreeing(found.camera_from_map, matches, query))
        again = replace(self.ransac, by_confidence=False)
        searches = (
            (matches, replace(again, seed=1)),
            (others, replace(again, max_iterations=FEW_ITERATIONS)),
        )
        for asked, settings in searches:
            for pose in self.guess(asked, query, scope, settings):
                rival = self.refine(pose, matches, query, scope) if may_rival(pose, found, matches, query) else None
                found = better_of(found, rival)
        return found

    def guess(self, matches: Matches, query: Query, scope: Scope, settings: RansacSettings) -> list[FloatArray]:
        """Find the pose ``camera_from_map`` that most matches agree with, of those that the scope allows; empty where
        no two do, or too many lead elsewhere.
        """
        with stage("pnp"):
            for _ in range(MOST_ELSEWHERE):
                found = find_pose(query, matches.keypoint, matches.points, settings)
                if found is None:
                    break
                if scope.allows(found):
                    return [found]
                matches = matches.select(~agreeing(found, matches, query))
        return []

    def refine(self, camera_from_map: FloatArray, matches: Matches, query: Query, scope: Scope) -> Hypothesis | None:
        """Refine a pose on landmarks, with the ``matches`` that agree with it; None where too few landmarks do."""
        with stage("refine"):
            return self._refinement(camera_from_map, matches, query, scope)

    def match(self, query: Query, asked: IntArray, scope: Scope) -> Matches:
        """Find the nearest landmarks, in the scope's voxels, of the keypoints ``asked`` about."""
        with stage("decode"):
            return self.landmarks.match(query, asked, scope.voxels)


def any_suffices(poses: Sequence[FloatArray], needed: int, matches: Matches, query: Query) -> bool:
    """Tell whether the ``matches`` speak for one of the ``poses`` with the weight of ``needed`` inliers."""
    return any(count_evidence(pose, matches, query).suffices(needed) for pose in poses)
