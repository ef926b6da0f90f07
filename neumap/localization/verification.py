"""From a pose that matches agree on to the one that all landmarks around it agree on."""

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

# SEARCH_RADII_PX: how far from its projection a landmark is looked for in either round, in pixels times Query.scale;
# ITERATIONS: how many of them refine the pose on what the round found.
SEARCH_RADII_PX, ITERATIONS = (12.0, 6.0), (10, 50)
# SEARCH_KEYPOINTS: of those within the radius, how many a landmark is compared with, the nearest ones.
SEARCH_KEYPOINTS = 4
# IN_FRONT_M: what is nearer to the camera is behind it, or as good as.
IN_FRONT_M = 0.1
# AROUND_M: besides the voxels searched, landmarks are looked for in those that come so near to the camera.
AROUND_M = 2.5
# FEWEST_FOUND_AGAIN: a pose is not refined on fewer landmarks.
FEWEST_FOUND_AGAIN = 6
# DRAWS: iterations of RANSAC that look for another pose of one of several views. ELSEWHERE: its inliers; fewer agree by
# chance with some pose or other.
DRAWS, ELSEWHERE = 300, 8
# BESIDE_PENALTY: what a landmark at the rim of the radius loses in similarity: of two that are as alike the nearer
# wins.
BESIDE_PENALTY = 0.01


@dataclass(frozen=True)
class Hypothesis:
    """A pose in the adjusted map, before it is corrected and judged.

    ``information`` (6, 6) as of :func:`~neumap.localization.pnp.pose_gradient`; ``keypoint`` (M,), ``points`` (M, 3)
    and ``error_px`` (M,) are the matches it was refined on. ``support`` is as of
    :func:`~neumap.localization.evidence.support`. ``rival_m`` is how far away another pose is that explains the
    image about as well, and ``rival_support`` the support of that; 0 where none was found. ``carried`` (6, 6) is the
    covariance that it has because views' places in the rig are uncertain.
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
        """The covariance (6, 6) of the pose by its reprojection errors alone, in the camera frame."""
        noise = noise_of(self.error_px)
        information = self.information + 1e-9 * np.trace(self.information) * np.eye(6)
        return np.asarray(noise * np.linalg.inv(information))

    @property
    def distance_m(self) -> float:
        """How far away what was found again is, the median in metres; 0 of nothing."""
        away = np.linalg.norm(se3.transform_points(self.camera_from_map, self.points), axis=1)
        return float(np.median(away)) if len(away) else 0.0


class Refinement:
    """Refines poses on the landmarks of one map."""

    def __init__(self, grid: VoxelGrid, landmarks: LandmarkIndex, span: Span) -> None:
        """``landmarks`` are those of the map whose voxels are ``grid``, and which spans ``span``."""
        self._grid = grid
        self._landmarks = landmarks
        self._span = span

    def __call__(self, camera_from_map: FloatArray, matches: Matches, query: Query, scope: Scope) -> Hypothesis | None:
        """Return the pose refined on landmarks that are looked for around their projections, in two rounds of narrowing
        search, with what of the ``matches`` agrees; None where too few landmarks do.
        """
        pose = camera_from_map
        weighed = Weighed(pose, query, np.zeros((6, 6)), np.zeros((6, 6)))
        visible = self._visible_in_each(weighed, scope)
        keypoints, landmarks, alike = self._candidates(weighed, visible)
        keypoint: IntArray = np.zeros(0, np.int64)
        landmark = keypoint
        for radius, iterations in zip(SEARCH_RADII_PX, ITERATIONS, strict=True):
            if weighed.query is not query:
                # views that were moved may show more
                visible = self._visible_in_each(weighed, scope)
                keypoints, landmarks, alike = self._candidates(weighed, visible)
            # a landmark may be found in each view
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
                # what a wrong pose's landmarks may refine to
                return None
            weighed = weigh(pose, query, keypoint, self._landmarks.points[landmark])
        pose, query = weighed.camera_from_map, weighed.query
        points = self._landmarks.points[landmark]
        error = self._errors(pose, query, keypoint, landmark)
        fits = error < query.scales[keypoint] * CHECK_RADIUS_PX
        found = keypoint[fits]
        expected = self._expected(pose, visible, query)
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
        """Return the landmarks that would be in a view's image if nothing was in their way."""
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
        """Return pairs of keypoints (P,) and ``visible`` landmarks (P,) of each view whose projections are within a
        radius of them: up to ``count`` of each landmark, nearest first.
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

    def _visible_in_each(self, weighed: Weighed, scope: Scope) -> list[IntArray]:
        return [self._visible(view, weighed.camera_from_map, scope) for view in weighed.query.rig]

    def _candidates(self, weighed: Weighed, visible: Sequence[IntArray]) -> tuple[IntArray, IntArray, Float32Array]:
        """Return keypoints, landmarks and their similarity, of all pairs that look alike and are close in an image."""
        pose, query = weighed.camera_from_map, weighed.query
        keypoint, landmark = self._around(pose, visible, query, SEARCH_RADII_PX[0], SEARCH_KEYPOINTS)
        alike = np.einsum("ij,ij->i", query.looks[keypoint], self._landmarks.looks[landmark])
        good = alike > self._landmarks.min_similarity
        return keypoint[good], landmark[good], alike[good]

    def _expected(self, rig_from_map: FloatArray, visible: Sequence[IntArray], query: Query) -> IntArray:
        """Return the keypoints that are where a landmark projects to, which may be behind a wall."""
        return np.unique(self._around(rig_from_map, visible, query, CHECK_RADIUS_PX, 1)[0])

    def _rows_around(self, camera_from_map: FloatArray, scope: Scope) -> slice | IntArray:
        """Return the landmarks to look for: of a large map only those of the voxels searched, and around the camera."""
        if scope.voxels is None:
            return slice(None)
        around = self._grid.within(se3.invert_pose(camera_from_map)[:3, 3], AROUND_M)
        beside = scope.voxels[:0] if scope.beside is None else scope.beside
        return rows_of_voxels(self._landmarks.offsets, np.concatenate([scope.voxels, beside, around]))


def _elsewhere(camera_from_map: FloatArray, matches: Matches, query: Query) -> list[int]:
    """Tell of which views more of the ``matches`` than chance makes agree on another pose."""
    agree, owner = agreeing(camera_from_map, matches, query), query.owner[matches.keypoint]

    def leads_elsewhere(view: int) -> bool:
        others = matches.select(~agree & (owner == view))
        pose = find_pose(query, others.keypoint, others.points, RansacSettings(max_iterations=DRAWS))
        return pose is not None and count_evidence(pose, others, query).inliers >= ELSEWHERE

    return [view for view in dissenting(agree, matches, query) if leads_elsewhere(view)]


def mutual_best(first: IntArray, second: IntArray, score: FloatArray) -> IntArray:
    """Return of candidate pairs (``first[k]``, ``second[k]``) the indices k that are the best of both their ends."""
    order = np.argsort(-score, kind="stable")
    best_first = np.unique(first[order], return_index=True)[1]
    best_second = np.unique(second[order], return_index=True)[1]
    return np.asarray(order[np.intersect1d(best_first, best_second)])
