"""Where in a map an image was taken: in a small one all voxels are searched, in a large one the likeliest of them."""

from __future__ import annotations

from collections.abc import Sequence

from neumap.arrays import FloatArray, IntArray
from neumap.localization.evidence import agreeing
from neumap.localization.large_place import LargePlace, is_large
from neumap.localization.query import View
from neumap.localization.retrieval import MOST_VOXELS
from neumap.localization.rivals import apart
from neumap.localization.solver import Solver
from neumap.localization.verification import Solution
from neumap.maps.neural_map import NeuralMap

# an alternative has so many inliers: fewer agree by chance with some pose or other
MIN_ALTERNATIVE = 8


class PoseSearch:
    """Searches in one map; where not to ``choose`` voxels, in all that are given, however many."""

    def __init__(self, neural_map: NeuralMap, choose: bool = True) -> None:
        self._solver = Solver(neural_map)
        self._large = LargePlace(neural_map, self._solver) if choose and is_large(neural_map) else None
        self._voxels = len(neural_map.grid)

    def __call__(self, view: View, voxels: IntArray | None, times: dict[str, float]) -> Solution | None:
        """The best pose; None where no two guesses agree. ``times`` collects milliseconds per stage.

        Of many ``voxels`` (None: all) those are searched that the image shows most likely.
        """
        view = self._solver.described(view, times)
        large = self._chooses(voxels)
        if large is None:
            return self._solver.solve(view.within(voxels), times)
        return large.solve(view, voxels, times)

    def needed(self, voxels: IntArray | None) -> int:
        """How many inliers a pose needs that is looked for in ``voxels`` (None: all); more where they are many."""
        return (self._chooses(voxels) or self._solver).needed

    def _chooses(self, voxels: IntArray | None) -> LargePlace | None:
        """What chooses among ``voxels`` (None: all); None where they are few enough that all are searched."""
        count = self._voxels if voxels is None else len(voxels)
        return self._large if count > MOST_VOXELS else None

    def alternatives(
        self, view: View, known: Sequence[FloatArray], voxels: IntArray | None, most: int
    ) -> list[Solution]:
        """Up to ``most`` poses other than those ``known`` (``camera_from_map``) that something speaks for: in a large
        map those that single voxels lead to, such as another room with the same furniture; in any map those that agree
        with what of the image does not agree with the poses known, nor with each other.
        """
        solver = self._solver
        view = solver.described(view, {})
        poses = list(known)
        found: list[Solution] = []

        def add(solution: Solution | None) -> bool:
            enough = solution is not None and solution.evidence.inliers >= MIN_ALTERNATIVE
            if solution is None or not enough or not all(apart(solution.camera_from_map, pose) for pose in poses):
                return False
            poses.append(solution.camera_from_map)
            found.append(solution)
            return True

        large = self._chooses(voxels)
        if large is not None:
            tries, voxels = large.likeliest(view, voxels)
            for one in tries:
                if len(found) < most:
                    add(solver.refine(one.camera_from_map, one.guesses, view.within(one.voxels), {}))
        view = view.within(voxels)
        rest = solver.nearest.decode(view.features, view.voxels)
        for pose in poses:
            rest = rest.select(~agreeing(pose, rest, view))
        while len(found) < most:
            guessed = solver.guess(rest, view, {}, solver.ransac)
            if not guessed or not add(solver.refine(guessed[0], rest, view, {})):
                break
            rest = rest.select(~agreeing(poses[-1], rest, view))
        return found
