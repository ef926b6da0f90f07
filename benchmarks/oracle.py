"""The upper bound by a perfect choice among each keypoint's most similar codes, with the product's PnP and verdict."""

from __future__ import annotations

import numpy as np

from benchmarks.scoring import COMPARED_SIGMA_M
from neumap.arrays import FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.evidence import CHECK_RADIUS_PX
from neumap.localization.localizer import MIN_KEYPOINTS
from neumap.localization.matching import Matches, no_matches
from neumap.localization.pnp import residuals_px
from neumap.localization.query import EVERYWHERE, Query, Scope
from neumap.localization.solver import Solver
from neumap.localization.verdict import judge
from neumap.maps.drift import DriftField, apply_deviation
from neumap.maps.neural_map import NeuralMap

# of the pose whose drift leads to the given one, each from the one before; drift hardly changes over its own length
DRIFT_STEPS = 5


class Oracle(Solver):
    """Solves in one map as the product does, but each keypoint is matched with that of the ``candidates`` most like it
    which is nearest to where the camera truly sees it, if that is near; else with nothing.

    The true pose is off by what the drift field does not know, often by more than is near. With ``refined`` it is first
    refined on the map's landmarks around it, which favours the oracle where these are few.
    """

    def __init__(self, neural_map: NeuralMap, candidates: int, refined: bool = False) -> None:
        super().__init__(neural_map)
        # without other solvers
        self._transformer = None
        self._map = neural_map
        self._candidates = candidates
        self._refined = refined
        self._camera_from_map = np.eye(4)

    def locate(self, query: Query, truth: FloatArray) -> FloatArray | None:
        """Return the pose ``map_from_camera`` of an image with a known true pose, or None."""
        self._camera_from_map = se3.invert_pose(adjusted_pose(truth, self._map.drift))
        if self._refined:
            near = self.refine(self._camera_from_map, no_matches(), query, EVERYWHERE)
            self._camera_from_map = self._camera_from_map if near is None else near.camera_from_map
        found = self.solve(query, EVERYWHERE) if len(query) >= MIN_KEYPOINTS else None
        verdict = judge(found, self.needed, self._map.drift, self._map.calibration)
        certain = verdict.covariance is not None and np.trace(verdict.covariance[:3, :3]) <= COMPARED_SIGMA_M**2
        return verdict.map_from_camera if certain else None

    def match(self, query: Query, asked: IntArray, scope: Scope) -> Matches:
        found = self.landmarks.shortlist(query.embeddings[asked], scope.voxels, self._candidates)
        if found is None:
            return no_matches()
        candidates = self.landmarks.points[found[1]]
        rays = query.rays[asked].repeat(self._candidates, axis=0)
        offsets = residuals_px(self._camera_from_map, rays, candidates.reshape(-1, 3), query.focal_px)
        error_px = np.linalg.norm(offsets, axis=1).reshape(candidates.shape[:2])
        right = np.flatnonzero(error_px.min(axis=1) < query.scale * CHECK_RADIUS_PX)
        nearest = candidates[right, error_px[right].argmin(axis=1)]
        return Matches(asked[right], nearest, np.ones(len(right), np.float32))


def adjusted_pose(given: FloatArray, drift: DriftField) -> FloatArray:
    """Return the pose (4, 4) in the adjusted map that the drift moves to the ``given`` one."""
    adjusted = given
    for _ in range(DRIFT_STEPS):
        adjusted = given @ se3.invert_pose(apply_deviation(np.eye(4), drift.predict(adjusted)[0]))
    return adjusted
