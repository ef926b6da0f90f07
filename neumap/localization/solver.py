"""Solve for the pose of one image, or of several views, in voxels of a map: matching, PnP, refinement, rivals.

The strongest keypoints are matched with their nearest landmarks first. If these do not settle the pose, all keypoints
are matched. If that does not give twice the inliers that a pose needs, the frozen transformer matches the keypoints of
each view, and all matches are pooled in one PnP. Other samples of RANSAC then search for rivals of the pose.
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

# FIRST_KEYPOINTS: strongest keypoints, matched first. SETTLED: factor on the inliers needed with which they settle the
# pose.
FIRST_KEYPOINTS, SETTLED = 512, 3.0
# ENOUGH: factor on the inliers needed with which nearest landmarks suffice without the transformer. ATTENDED: keypoints
# of a view that the transformer matches, those with the most distinct nearest landmarks: its cost grows with their
# number, and the least distinct are wrong.
ENOUGH, ATTENDED = 2.0, 256
# FEW_ITERATIONS: iterations of RANSAC if another search follows, or a pose is optional.
FEW_ITERATIONS = 300
# MOST_ELSEWHERE: poses drawn at most in search of one that the scope allows, each from the outliers of those before.
MOST_ELSEWHERE = 3


class Solver:
    """Solves for poses in one map. ``landmarks``: its index; ``needed``: inliers that a pose needs."""

    def __init__(self, neural_map: NeuralMap) -> None:
        self.landmarks = LandmarkIndex(neural_map)
        self.needed = neural_map.calibration.min_inliers
        self.ransac = RansacSettings()
        self._transformer = TransformerMatcher(self.landmarks) if neural_map.decoder_id else None
        span = Span(neural_map.drift.poses[:, :3, 3], self.landmarks.points)
        self._refinement = Refinement(neural_map.grid, self.landmarks, span)

    def solve(self, query: Query, scope: Scope, proposed: Sequence[FloatArray] = ()) -> Hypothesis | None:
        """Find the pose with the most evidence in the scope's voxels; None if no matches agree.

        ``proposed`` poses ``camera_from_map`` replace the first guess.
        """
        count = len(query)
        split = min(FIRST_KEYPOINTS, count)
        first, rest = np.arange(split), np.arange(split, count)
        settled, enough = round(SETTLED * self.needed), round(ENOUGH * self.needed)
        matches = self.match(query, first, scope)
        # fewer iterations if a search with all keypoints can follow
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
        """Return the best of the pose ``found`` and the poses from other samples and from its outliers, with the
        distance of its rival, if any. Returns ``found`` itself if it has too few inliers, or too many for a rival.
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
        """Find the pose ``camera_from_map`` with the most inliers that the scope allows, as a list of at most one."""
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
        """Refine a pose on landmarks, with its evidence in ``matches``; None if too few landmarks match."""
        with stage("refine"):
            return self._refinement(camera_from_map, matches, query, scope)

    def match(self, query: Query, asked: IntArray, scope: Scope) -> Matches:
        """Match the keypoints ``asked`` (A,) with their nearest landmarks in the scope's voxels."""
        with stage("decode"):
            return self.landmarks.match(query, asked, scope.voxels)


def any_suffices(poses: Sequence[FloatArray], needed: int, matches: Matches, query: Query) -> bool:
    """Return whether the evidence of ``matches`` for one of the ``poses`` has the weight ``needed``."""
    return any(count_evidence(pose, matches, query).suffices(needed) for pose in poses)
