"""Refine a pose from matches on all landmarks that project into the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.evidence import (
    CHECK_RADIUS_PX,
    OUTSIDE,
    Evidence,
    agreeing,
    are_many,
    count_cells,
    count_evidence,
    dissenting,
    support,
)
from neumap.localization.matching import LandmarkIndex, Matches, rows_of_voxels
from neumap.localization.pnp import RansacSettings, noise_of
from neumap.localization.query import Query, Scope, View
from neumap.localization.rig import Weighed, errors_px, find_pose, refine, weigh
from neumap.localization.span import Span
from neumap.maps.neural_map import VoxelGrid

# SEARCH_RADII_PX, ITERATIONS: radius around the projection of a landmark in each round, pixels times Query.scale, and
# iterations of the refinement that follows.
SEARCH_RADII_PX, ITERATIONS = (12.0, 6.0), (10, 50)
# SEARCH_KEYPOINTS: nearest keypoints within the radius that a landmark is compared with.
SEARCH_KEYPOINTS = 4
# IN_FRONT_M: landmarks with a smaller depth are not visible, metres.
IN_FRONT_M = 0.1
# AROUND_M: the voxels this near to the camera are searched, too, metres.
AROUND_M = 2.5
# FEWEST_FOUND_AGAIN: matched landmarks that a refinement needs.
FEWEST_FOUND_AGAIN = 6
# DRAWS: iterations of RANSAC for another pose of one of several views. ELSEWHERE: inliers of such a pose; some pose has
# fewer by chance.
DRAWS, ELSEWHERE = 300, 8
# BESIDE_PENALTY: subtracted from the similarity at the full radius, in proportion to the distance from the projection,
# so that the nearer of two equally similar landmarks wins.
BESIDE_PENALTY = 0.01


@dataclass(frozen=True)
class Hypothesis:
    """A pose in the adjusted map, before drift correction and verdict.

    ``information`` (6, 6) as of :func:`~neumap.localization.pnp.pose_gradient`; ``keypoint`` (M,), ``points`` (M, 3)
    and ``error_px`` (M,) are its inliers among all landmarks. ``support`` is as of
    :func:`~neumap.localization.evidence.support`. ``rival_m`` is the distance to another pose that explains the image
    about as well, ``rival_support`` that pose's support; 0 without a rival. ``carried`` (6, 6) is the covariance that
    uncertain poses of views on the rig add.
    """

    camera_from_map: FloatArray
    information: FloatArray
    evidence: Evidence
    keypoint: IntArray
    points: FloatArray
    error_px: FloatArray
    support: float
    rival_m: float = 0.0
    rival_support: float = 0.0
    carried: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))

    @cached_property
    def covariance(self) -> FloatArray:
        """The covariance (6, 6) of the pose from reprojection errors alone, in the camera frame."""
        noise = noise_of(self.error_px)
        information = self.information + 1e-9 * np.trace(self.information) * np.eye(6)
        return np.asarray(noise * np.linalg.inv(information))

    @property
    def distance_m(self) -> float:
        """The median distance of the landmarks in metres; 0 without any."""
        away = np.linalg.norm(se3.transform_points(self.camera_from_map, self.points), axis=1)
        return float(np.median(away)) if len(away) else 0.0


class Refinement:
    """Refines poses on the landmarks of one map."""

    def __init__(self, grid: VoxelGrid, landmarks: LandmarkIndex, span: Span) -> None:
        """Prepare to refine on ``landmarks`` of the map with the voxels ``grid`` and the mapped space ``span``."""
        self._grid = grid
        self._landmarks = landmarks
        self._span = span

    def __call__(self, camera_from_map: FloatArray, matches: Matches, query: Query, scope: Scope) -> Hypothesis | None:
        """Refine a pose in two rounds of matching landmarks around their projections, with decreasing radius.

        The evidence is counted in ``matches``. Returns None if too few landmarks match.
        """
        pose = camera_from_map
        weighed = Weighed(pose, query, np.zeros((6, 6)), np.zeros((6, 6)))
        visible, keypoints, landmarks, alike = self._candidates(weighed, scope)
        keypoint: IntArray = np.zeros(0, np.int64)
        landmark = keypoint
        for radius, iterations in zip(SEARCH_RADII_PX, ITERATIONS, strict=True):
            if weighed.query is not query:
                # moved views may show other landmarks
                visible, keypoints, landmarks, alike = self._candidates(weighed, scope)
            # each view may match a landmark
            sights = query.owner[keypoints] * len(self._landmarks.points) + landmarks
            error = self._errors(weighed.camera_from_map, weighed.query, keypoints, landmarks)
            limit = query.scales[keypoints] * radius
            near = np.flatnonzero(error < limit)
            score = alike[near] - BESIDE_PENALTY * error[near] / limit[near]
            chosen = near[mutual_best(keypoints[near], sights[near], score)]
            if len(chosen) < FEWEST_FOUND_AGAIN:
                return None
            keypoint, landmark = keypoints[chosen], landmarks[chosen]
            pose = refine(pose, query, keypoint, self._landmarks.points[landmark], iterations)
            if not np.isfinite(pose).all():
                # the landmarks of a wrong pose may diverge
                return None
            weighed = weigh(pose, query, keypoint, self._landmarks.points[landmark])
        pose, query = weighed.camera_from_map, weighed.query
        points = self._landmarks.points[landmark]
        error = self._errors(pose, query, keypoint, landmark)
        fits = error < query.scales[keypoint] * CHECK_RADIUS_PX
        found = keypoint[fits]
        # occluded landmarks count, too
        expected = np.unique(self._around(pose, visible, query, CHECK_RADIUS_PX, 1)[0])
        confirming, contradicting = count_cells(expected, found, query)
        position = se3.invert_pose(pose)[:3, 3]
        outside = self._span.beyond_m(position) > OUTSIDE * float(np.median(np.linalg.norm(points - position, axis=1)))
        evidence = count_evidence(pose, matches, query)
        dissent = evidence.dissent and are_many(_elsewhere(pose, matches, query), query)
        return Hypothesis(
            camera_from_map=pose,
            information=weighed.information,
            evidence=replace(
                evidence, confirming=confirming, contradicting=contradicting, outside=outside, dissent=dissent
            ),
            keypoint=found,
            points=points[fits],
            error_px=error[fits],
            support=support(expected, found, query),
            carried=weighed.carried,
        )

    def _errors(self, pose: FloatArray, query: Query, keypoints: IntArray, landmarks: IntArray) -> FloatArray:
        return errors_px(pose, query, keypoints, self._landmarks.points[landmarks])

    def _visible(self, view: View, rig_from_map: FloatArray, scope: Scope) -> IntArray:
        """Return the landmarks that project into a view's image, occluded or not."""
        if not len(view.query):
            return np.zeros(0, np.int64)
        camera_from_map = view.camera_from_rig @ rig_from_map
        rows = self._rows_around(camera_from_map, scope)
        if isinstance(rows, slice):
            rows = np.arange(len(self._landmarks.points))[rows]
        x, y, z = camera_from_map[:3, :3] @ self._landmarks.points[rows].T + camera_from_map[:3, 3:]
        (left, top), (right, bottom) = view.query.rays.min(axis=0), view.query.rays.max(axis=0)
        inside = (z > IN_FRONT_M) & (x > left * z) & (x < right * z) & (y > top * z) & (y < bottom * z)
        return np.asarray(rows[inside])

    def _around(
        self, rig_from_map: FloatArray, visible: Sequence[IntArray], query: Query, radius_px: float, count: int
    ) -> tuple[IntArray, IntArray]:
        """Return pairs of keypoints (P,) and ``visible`` landmarks (P,) that project within ``radius_px`` times
        Query.scale of them: up to ``count`` keypoints for each landmark and view, nearest first.
        """
        ranks = np.arange(1, count + 1)
        keypoints, landmarks = [], []
        for i, (view, seen) in enumerate(zip(query.rig, visible, strict=True)):
            there = se3.transform_points(view.camera_from_rig @ rig_from_map, self._landmarks.points[seen])
            where = there[:, :2] / np.maximum(there[:, 2:], IN_FRONT_M)
            radius = view.query.scale * radius_px / view.query.focal_px
            near = view.query.tree.query(where, k=ranks, distance_upper_bound=radius)[1]
            row, column = np.nonzero(near < len(view.query))
            keypoints.append(np.flatnonzero(query.owner == i)[near[row, column]])
            landmarks.append(seen[row])
        return np.concatenate(keypoints), np.concatenate(landmarks)

    def _candidates(self, weighed: Weighed, scope: Scope) -> tuple[list[IntArray], IntArray, IntArray, Float32Array]:
        """Return the landmarks visible in each view; and keypoints (P,), landmarks (P,) and similarities (P,) of all
        pairs that are similar and close in an image.
        """
        pose, query = weighed.camera_from_map, weighed.query
        visible = [self._visible(view, pose, scope) for view in query.rig]
        keypoint, landmark = self._around(pose, visible, query, SEARCH_RADII_PX[0], SEARCH_KEYPOINTS)
        alike = np.einsum("ij,ij->i", query.looks[keypoint], self._landmarks.looks[landmark])
        good = alike > self._landmarks.min_similarity
        return visible, keypoint[good], landmark[good], alike[good]

    def _rows_around(self, camera_from_map: FloatArray, scope: Scope) -> slice | IntArray:
        """Return the landmarks of the scope's voxels, of those beside them, and of those around the camera."""
        if scope.voxels is None:
            return slice(None)
        around = self._grid.within(se3.invert_pose(camera_from_map)[:3, 3], AROUND_M)
        beside = scope.voxels[:0] if scope.beside is None else scope.beside
        return rows_of_voxels(self._landmarks.offsets, np.concatenate([scope.voxels, beside, around]))


def _elsewhere(camera_from_map: FloatArray, matches: Matches, query: Query) -> list[int]:
    """Return the views whose outliers among ``matches`` agree on another pose."""
    agree, owner = agreeing(camera_from_map, matches, query), query.owner[matches.keypoint]

    def leads_elsewhere(view: int) -> bool:
        others = matches.select(~agree & (owner == view))
        pose = find_pose(query, others.keypoint, others.points, RansacSettings(max_iterations=DRAWS))
        return pose is not None and count_evidence(pose, others, query).inliers >= ELSEWHERE

    return [view for view in dissenting(agree, matches, query) if leads_elsewhere(view)]


def mutual_best(first: IntArray, second: IntArray, score: FloatArray) -> IntArray:
    """Return the indices k of pairs (``first[k]``, ``second[k]``) with the best score for both their ends."""
    order = np.argsort(-score, kind="stable")
    best_first = np.unique(first[order], return_index=True)[1]
    best_second = np.unique(second[order], return_index=True)[1]
    return np.asarray(order[np.intersect1d(best_first, best_second)])
