"""Localizes images in a map: returns a pose with its covariance, or the reason why there is none.

    localizer = Localizer(load_map("kitchen.neumap"))
    estimate = localizer.localize(image, camera)

To search several places for one image, extract its features once:

    query = localizer.look(image, camera)
    estimate = localizer.locate(query)
    claimed = localizer.locate(query, Scope(near=Near(position, 2.0)))

Images of several cameras, or taken moments ago, can be localized together:

    estimate = localizer.locate([View(query), View(other, rig_from_camera, covariance)])
    estimates = [localizer.localize_moment(frames) for frames in source.moments]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import DataError, UnreadableError
from neumap.features import make_extractor
from neumap.features.extractor import Features
from neumap.geometry import cameras, se3
from neumap.localization.evidence import NO_EVIDENCE
from neumap.localization.query import EVERYWHERE, Query, Scope, View, pooled
from neumap.localization.rivals import may_be_one
from neumap.localization.search import PoseSearch
from neumap.localization.timing import measured, stage
from neumap.localization.verdict import Corrected, Verdict, correct, doubts, judge, pose_covariance
from neumap.localization.verification import Hypothesis
from neumap.maps.neural_map import NeuralMap
from neumap.records import Alternative, Camera, Frame, Mount, PoseEstimate, Status, lost

# MIN_KEYPOINTS: an image with fewer is blank, dark or blurred, and is not localized.
MIN_KEYPOINTS = 30
# MIN_SIDE_PX: width and height of an image at least; smaller ones have no keypoints.
MIN_SIDE_PX = 32
# SETTLED_SIGMA_M, GLANCE_SIGMA_M: standard deviation of the position, from reprojection errors alone, below which a
# quick look and a glance suffice, metres; a longer look locates keypoints more accurately.
SETTLED_SIGMA_M, GLANCE_SIGMA_M = 0.018, 0.006
# SAME_POSE_M, SAME_POSE_RAD: an alternative within these of a known pose is the same pose; so is one within the
# uncertainty of both.
SAME_POSE_M, SAME_POSE_RAD = 0.3, 0.25


class Solved(NamedTuple):
    """The result of a search: the ``query``, the pose ``found`` in the adjusted map (None if no matches agree), and the
    ``verdict`` on it.
    """

    query: Query
    found: Hypothesis | None
    verdict: Verdict

    @property
    def settled(self) -> bool:
        """Whether the pose is accepted and certain enough to skip a longer look."""
        if self.found is None or self.verdict.reason:
            return False
        sigma_m = float(np.sqrt(np.trace(self.found.covariance[:3, :3])))
        return sigma_m < (GLANCE_SIGMA_M if self.query.glance else SETTLED_SIGMA_M)


class Localizer:
    """Localizes images in one map. Not thread-safe: one per thread."""

    def __init__(self, neural_map: NeuralMap, choose_voxels: bool = True) -> None:
        """Prepare to localize in ``neural_map``.

        With ``choose_voxels`` only the most likely voxels of a large map are searched, otherwise all of them, which
        takes time in proportion to the size of the map.
        """
        self.map = neural_map
        self._extract = make_extractor(neural_map.features)
        self._search = PoseSearch(neural_map, choose_voxels)

    def localize(self, image: ImageArray, camera: Camera, scope: Scope = EVERYWHERE) -> PoseEstimate:
        """Find the camera's pose from one image, in the whole map or in a ``scope``.

        ``image`` is (H, W) uint8 grey or (H, W, 3) uint8 in BGR order, of the camera's size or resized from it. Raises
        :class:`~neumap.errors.DataError` for another type of array and :class:`~neumap.errors.CalibrationError` for
        another aspect ratio than the camera's.
        """
        with measured() as times_ms:
            solved = self.solve(self.look(image, camera), scope)
        return self._estimate(solved, times_ms)

    def localize_moment(self, frames: Sequence[Frame]) -> PoseEstimate:
        """Find the pose of a rig from its images of one moment, ``frames`` of :attr:`~neumap.records.Source.moments`.

        A single frame without a rig gives the pose of its camera. Images that cannot be read
        (:class:`~neumap.errors.UnreadableError`) are skipped; if none can be read, the estimate gives the reason.
        Raises what :meth:`localize` and :meth:`locate` raise.
        """
        views, problem = [], ""
        with measured() as looking_ms:
            for frame in frames:
                try:
                    query = self.look(frame.read_image(), frame.camera)
                except UnreadableError as error:
                    problem = str(error)
                    continue
                mount = frame.mount or Mount(frame.stamp_ns, 0)
                views.append(View(query, mount.rig_from_camera, mount.covariance))
        if not views:
            return lost(problem)
        found = self.locate(views)
        return replace(found, times_ms={name: ms + found.times_ms[name] for name, ms in looking_ms.items()})

    def look(self, image: ImageArray, camera: Camera) -> Query:
        """Extract and embed the features of a quick look at an image.

        Longer looks follow when they are needed, so do not change the image until then. Raises what :meth:`localize`
        raises.
        """
        return self.looks(image, [camera])[0]

    def looks(self, image: ImageArray, cameras_: Sequence[Camera], glance: bool = False) -> list[Query]:
        """Extract features once, as :meth:`look` does, and make a query for each camera that may have taken the image.

        With ``glance`` the first look is a glance. Use that only if the pose is roughly known, so that a wrong estimate
        would be noticed.
        """
        gray = as_gray(image)
        quick = cache(lambda: self._extract.quick(gray))

        def whole() -> Features | None:
            found = self._extract.whole(gray, quick())
            return None if found is quick() else found

        first = [cache(lambda: self._extract.glance(gray))] if glance else []
        looks: list[Callable[[], Features | None]] = [*first, quick, cache(whole)]

        def query(camera: Camera, look: int) -> Query | None:
            """Make the query of a look, or of the next one with other features; None after the last."""
            for longer, extract in enumerate(looks[look:], look + 1):
                with stage("features"):
                    features = extract()
                if features is not None:
                    is_glance = glance and longer == 1
                    return replace(self._seen(features, camera), more=partial(query, camera, longer), glance=is_glance)
            return None

        scaled = (cameras.scaled_to(camera, gray.shape[1], gray.shape[0]) for camera in cameras_)
        return [found for camera in scaled if (found := query(camera, 0)) is not None]

    def _seen(self, features: Features, camera: Camera) -> Query:
        """Make the query of the features inside the camera's mask and the valid field of view of its lens model."""
        with stage("features"):
            rays = cameras.normalize(camera, features.pixels)
            valid = np.flatnonzero(np.isfinite(rays).all(axis=1))
            if len(valid) < len(rays):
                features, rays = features.select(valid), rays[valid]
        return self.query(features, rays, camera)

    def query(self, features: Features, rays: FloatArray, camera: Camera) -> Query:
        """Make a query without longer looks, of features extracted with the map's settings.

        ``rays`` (N, 2) are undistorted normalized coordinates; ``camera`` is of the image's size.
        """
        with stage("decode"):
            return Query(features, rays, camera, *self._search.landmarks.embed(features))

    def locate(self, query: Query | Sequence[View], scope: Scope = EVERYWHERE) -> PoseEstimate:
        """Find the camera's pose as :meth:`localize` does, from a query. Times include longer looks, if it takes any.

        Several :class:`~neumap.localization.query.View`, of other cameras or of moments ago, are localized together.
        The pose is that of the rig, which is often the frame of the first camera; ``inliers`` counts those of all
        views, keypoints and points are those of the first.

        Raises :class:`~neumap.errors.DataError` without a view, and for several views if PoseLib is not installed.
        """
        with measured() as times_ms:
            solved = self.solve(query if isinstance(query, Query) else pooled(query), scope)
        return self._estimate(solved, times_ms)

    def alternatives(
        self, query: Query, known: Sequence[FloatArray] = (), scope: Scope = EVERYWHERE, most: int = 3
    ) -> list[Alternative]:
        """Find up to ``most`` other poses, best first, that have some evidence, though too little to be accepted.

        ``known`` are poses ``map_from_camera`` found already. Their inliers are left out of the search, and poses near
        them are not returned.
        """
        others: list[Alternative] = []
        # known poses are corrected for drift, those of the search are not: it may find a known pose again
        known_to_search = [se3.invert_pose(pose) for pose in known]
        for found in self._search.alternatives(query.whole, known_to_search, scope, most + len(known)):
            corrected = correct(found, self.map.drift)
            covariance = pose_covariance(corrected, self.map.calibration)
            if any(_is_same(corrected.map_from_camera, covariance, other) for other in known):
                continue
            others.append(Alternative(corrected.map_from_camera, covariance, int(found.evidence.weight)))
        return sorted(others, key=lambda other: -other.evidence)[:most]

    def likeness(self, query: Query, most: int) -> float:
        """Return how similar the ``most`` first keypoints are to landmarks, to choose among maps without a search."""
        landmarks = self._search.landmarks
        best = (query.looks[:most] @ landmarks.looks.T).max(axis=1, initial=0.0)
        return float(np.maximum(best - landmarks.min_similarity, 0).sum())

    def solve(self, query: Query, scope: Scope = EVERYWHERE) -> Solved:
        """Find the best pose in the adjusted map, with longer looks until one settles it.

        The longest look decides, unless it finds no pose and a shorter look found an accepted one.
        """
        solved = self._solved(query, scope)
        if solved.settled or query.longer is None:
            return solved
        later = self.solve(query.longer, scope)
        return solved if later.verdict.reason and not solved.verdict.reason else later

    def _solved(self, query: Query, scope: Scope) -> Solved:
        found = self._search(query, scope) if len(query) >= MIN_KEYPOINTS else None
        return Solved(query, found, judge(found, self.needed(scope), self.map.drift, self.map.calibration))

    def needed(self, scope: Scope = EVERYWHERE) -> int:
        """Return the inliers that a pose needs in a scope."""
        return self._search.needed(scope)

    def doubt(self, found: Hypothesis, scope: Scope = EVERYWHERE) -> str:
        """Return why the evidence for a pose found in a scope does not suffice; empty if it does."""
        return doubts(found.evidence, self.needed(scope))

    def corrected(self, found: Hypothesis) -> Corrected:
        """Return the pose in the frame of the mapping poses, with the parts of its covariance."""
        return correct(found, self.map.drift)

    def _estimate(self, solved: Solved, times_ms: Mapping[str, float]) -> PoseEstimate:
        query, found, verdict = solved
        reason = verdict.reason
        if len(query) < MIN_KEYPOINTS:
            reason = f"only {len(query)} keypoints: blank, dark or blurred image"
        evidence = NO_EVIDENCE if found is None else found.evidence
        if found is None or verdict.map_from_camera is None:
            status, inliers, error_px = Status.LOST, evidence.inliers, float("nan")
            shown, points = np.zeros(0, np.int64), np.zeros((0, 3))
        else:
            status, inliers = Status.LOCALIZED, len(found.keypoint)
            error_px = float(np.sqrt(np.mean(found.error_px**2)))
            first = query.owner[found.keypoint] == 0
            shown, points = found.keypoint[first], found.points[first]
        return PoseEstimate(
            status=status,
            reason=reason,
            map_from_camera=verdict.map_from_camera,
            covariance=verdict.covariance,
            inliers=inliers,
            reprojection_error_px=error_px,
            keypoints_px=query.features.pixels[shown],
            points_map=points.astype(np.float32),
            times_ms=times_ms,
            evidence=int(evidence.weight),
            glance=query.glance,
        )


def _is_same(pose: FloatArray, covariance: FloatArray, known: FloatArray) -> bool:
    """Return whether a pose may be the ``known`` one, given equal covariances."""
    error = se3.pose_error(pose, known)
    near = np.linalg.norm(error[:3]) < SAME_POSE_M and np.linalg.norm(error[3:]) < SAME_POSE_RAD
    return bool(near) or may_be_one(error, 2 * covariance)


def as_gray(image: ImageArray) -> ImageArray:
    """Convert a grey or BGR image to (H, W) uint8; raises :class:`~neumap.errors.DataError` for anything else."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise DataError("an image must be a numpy array of uint8")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or min(image.shape[:2]) < MIN_SIDE_PX:
        raise DataError(
            f"an image must be (H, W) or (H, W, 3) with at least {MIN_SIDE_PX} pixels a side, not {image.shape}"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)) if image.ndim == 3 else image
