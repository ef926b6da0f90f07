"""Search for the pose of an image in a map: in all voxels of a small map, in the most likely ones of a large map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neumap.arrays import FloatArray
from neumap.localization.evidence import agreeing
from neumap.localization.large_place import LargePlace, is_large
from neumap.localization.matching import LandmarkIndex
from neumap.localization.query import Query, Scope
from neumap.localization.retrieval import MOST_VOXELS
from neumap.localization.rivals import apart, are_two
from neumap.localization.solver import Solver
from neumap.localization.verification import Hypothesis
from neumap.maps.neural_map import NeuralMap

# MIN_ALTERNATIVE: inliers of an alternative; some pose has fewer by chance.
MIN_ALTERNATIVE = 8


class PoseSearch:
    """Searches one map. Without ``choose`` all voxels of a scope are searched, even in a large map."""

    def __init__(self, neural_map: NeuralMap, choose: bool = True) -> None:
        self._solver = Solver(neural_map)
        self._large = LargePlace(neural_map, self._solver) if choose and is_large(neural_map) else None
        self._voxels = len(neural_map.grid)

    @property
    def landmarks(self) -> LandmarkIndex:
        """The index of the map's landmarks."""
        return self._solver.landmarks

    def __call__(self, query: Query, scope: Scope) -> Hypothesis | None:
        """Find the best pose; None if no matches agree."""
        return (self._chooses(scope) or self._solver).solve(query, scope)

    def needed(self, scope: Scope) -> int:
        """Return the inliers that a pose needs in a scope; more for many voxels."""
        return (self._chooses(scope) or self._solver).needed

    def _chooses(self, scope: Scope) -> LargePlace | None:
        """Return the search that chooses among the scope's voxels; None if they are few, and all are searched."""
        count = self._voxels if scope.voxels is None else len(scope.voxels)
        return self._large if count > MOST_VOXELS else None

    def alternatives(self, query: Query, known: Sequence[FloatArray], scope: Scope, most: int) -> list[Hypothesis]:
        """Find up to ``most`` poses with some evidence, other than the ``known`` poses ``camera_from_map``.

        In a large map these are poses found in single voxels, such as another room with the same furniture; in any map
        poses found from matches that are no inliers of the known poses or of each other.
        """
        solver = self._solver
        poses = list(known)
        found: list[Hypothesis] = []

        def add(other: Hypothesis | None) -> bool:
            enough = other is not None and other.evidence.inliers >= MIN_ALTERNATIVE
            if other is None or not enough or not all(apart(other.camera_from_map, pose) for pose in known):
                return False
            if not all(are_two(other, one) for one in found):
                return False
            poses.append(other.camera_from_map)
            found.append(other)
            return True

        large = self._chooses(scope)
        if large is not None:
            tries, voxels = large.likeliest(query, scope)
            for one in tries:
                if len(found) < most:
                    add(solver.refine(one.camera_from_map, one.matches, query, scope.within(one.voxels)))
            scope = scope.within(voxels)
        rest = solver.match(query, np.arange(len(query)), scope)
        for pose in poses:
            rest = rest.select(~agreeing(pose, rest, query))
        while len(found) < most:
            guessed = solver.guess(rest, query, scope, solver.ransac)
            if not guessed or not add(solver.refine(guessed[0], rest, query, scope)):
                break
            rest = rest.select(~agreeing(poses[-1], rest, query))
        return found
