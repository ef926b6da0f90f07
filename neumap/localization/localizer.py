"""The facade: an image in, a pose with an honest covariance out, or a reason why not.

    localizer = Localizer(load_map("kitchen.neumap"))
    estimate = localizer.localize(image, camera)

An image that is looked for in several places is looked at quickly once, and whole at most once:

    query = localizer.look(image, camera)
    estimate = localizer.locate(query)
    claimed = localizer.locate(query, Scope(near=Near(position, 2.0)))

Images of several cameras, or of moments ago, may be looked for together:

    estimate = localizer.locate([View(query), View(other, rig_from_camera, covariance)])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import DataError
from neumap.features import make_extractor
from neumap.features.extractor import Features
from neumap.geometry import cameras, se3
from neumap.localization.evidence import NO_EVIDENCE
from neumap.localization.query import EVERYWHERE, Query, Scope, View, pooled
from neumap.localization.rivals import may_be_one
from neumap.localization.search import PoseSearch
from neumap.localization.timing import measured, stage
from neumap.localization.verdict import (
    Corrected,
    Verdict,
    correct,
    doubts,
    judge,
    pose_covariance,
)
from neumap.localization.verification import Hypothesis
from neumap.maps.neural_map import NeuralMap
from neumap.records import Alternative, Camera, PoseEstimate, Status

# MIN_KEYPOINTS: with fewer an image is blank, dark or blurred, and is not searched for.
MIN_KEYPOINTS = 30
# MIN_SIDE_PX: of an image; smaller ones have no keypoints.
MIN_SIDE_PX = 32
# SETTLED_SIGMA_M, GLANCE_SIGMA_M: a quick look, and a glance, does where its pose is less uncertain than this by the
# reprojection errors alone; a longer look shows more exactly where keypoints are.
SETTLED_SIGMA_M, GLANCE_SIGMA_M = 0.018, 0.006
# SAME_POSE_M, SAME_POSE_RAD: an alternative this near to a pose that is known already is that pose, and so is one that
# is no further off than the two are uncertain.
SAME_POSE_M, SAME_POSE_RAD = 0.3, 0.25


class Solved(NamedTuple):
    """What was ``found`` of an image, not corrected, None where there was nothing to go by; the look at it that it is
    of, and the ``verdict``.
    """

    query: Query
    found: Hypothesis | None
    verdict: Verdict

    @property
    def settled(self) -> bool:
        """Whether the pose is believed, and so certain that a longer look may be left out."""
        if self.found is None or self.verdict.reason:
            return False
        sigma_m = float(np.sqrt(np.trace(self.found.covariance[:3, :3])))
        return sigma_m < (GLANCE_SIGMA_M if self.query.glance else SETTLED_SIGMA_M)


class Localizer:
    """Localizes images in one map. Not thread-safe: one per thread."""

    def __init__(self, neural_map: NeuralMap, choose_voxels: bool = True) -> None:
        """With ``choose_voxels`` an image is looked for in those voxels of a large map that it shows most likely, else
        in all of them, which takes the longer, the larger the map is.
        """
        self.map = neural_map
        self._extract = make_extractor(neural_map.features)
        self._search = PoseSearch(neural_map, choose_voxels)

    def localize(self, image: ImageArray, camera: Camera, scope: Scope = EVERYWHERE) -> PoseEstimate:
        """Find the camera's pose from one image; in the whole map, unless a ``scope`` limits the search.

        ``image`` is (H, W) uint8 grey or (H, W, 3) uint8 in BGR order, of the camera's size or a scaled version of it.
        Raises :class:`~neumap.errors.DataError` for another type of array and
        :class:`~neumap.errors.CalibrationError` for an image of another shape than the camera's.
        """
        with measured() as times_ms:
            solved = self.solve(self.look(image, camera), scope)
        return self._estimate(solved, times_ms)

    def look(self, image: ImageArray, camera: Camera) -> Query:
        """Extract and embed what a quick look at an image shows, before it is searched for; the rest when it is needed:
        the image must stay as it is until then. Raises what :meth:`localize` raises.
        """
        return self.looks(image, [camera])[0]

    def looks(self, image: ImageArray, cameras_: Sequence[Camera], glance: bool = False) -> list[Query]:
        """Look at an image, once, that one of several cameras took; as :meth:`look` does, or with a ``glance`` first:
        for an image whose pose is about known, so that a wrong one would be noticed.
        """
        gray = as_gray(image)
        quick = cache(lambda: self._extract.quick(gray))

        def whole() -> Features | None:
            found = self._extract.whole(gray, quick())
            return None if found is quick() else found

        first = [cache(lambda: self._extract.glance(gray))] if glance else []
        looks: list[Callable[[], Features | None]] = [*first, quick, cache(whole)]

        def query(camera: Camera, look: int) -> Query | None:
            """Make the query of a look, or of the next one that shows anything else."""
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
        """Make the query of features; without those that the camera's lens cannot have seen."""
        with stage("features"):
            rays = cameras.normalize(camera, features.pixels)
            valid = np.flatnonzero(np.isfinite(rays).all(axis=1))
            if len(valid) < len(rays):
                features, rays = features.select(valid), rays[valid]
        return self.query(features, rays, camera)

    def query(self, features: Features, rays: FloatArray, camera: Camera) -> Query:
        """Make the query of an image whose features were extracted with the map's settings, with their undistorted rays
        (N, 2), by a camera of its size; all that the image shows.
        """
        with stage("decode"):
            return Query(features, rays, camera, *self._search.landmarks.embed(features))

    def locate(self, query: Query | Sequence[View], scope: Scope = EVERYWHERE) -> PoseEstimate:
        """Find the camera's pose as :meth:`localize` does, for an image that was looked at already: times are those of
        the search, and of a longer look where it takes one.

        Several :class:`~neumap.localization.query.View`, of other cameras or of moments ago, whose places relative to
        the first one's camera are known in metres, with a covariance, are searched for together: the pose is that of
        the first one's camera, in the map; ``inliers`` are those of all views, and keypoints and points of the first.

        Raises :class:`~neumap.errors.DataError` where the views do not begin with that of the rig, and for several
        where PoseLib is not installed.
        """
        with measured() as times_ms:
            solved = self.solve(query if isinstance(query, Query) else pooled(query), scope)
        return self._estimate(solved, times_ms)

    def alternatives(
        self, query: Query, known: Sequence[FloatArray] = (), scope: Scope = EVERYWHERE, most: int = 3
    ) -> list[Alternative]:
        """Find other poses, best first, that some of the image speaks for, though too little to be believed.

        ``known`` are poses ``map_from_camera`` found already: what agrees with them is set aside, and so are poses
        that are hardly elsewhere.
        """
        others: list[Alternative] = []
        # poses known are corrected for drift, those of the search are not, so that it may find them once more
        known_to_search = [se3.invert_pose(pose) for pose in known]
        for found in self._search.alternatives(query.whole, known_to_search, scope, most + len(known)):
            corrected = correct(found, self.map.drift)
            covariance = pose_covariance(corrected, self.map.calibration)
            if any(_is_same(corrected.map_from_camera, covariance, other) for other in known):
                continue
            others.append(Alternative(corrected.map_from_camera, covariance, int(found.evidence.weight)))
        return sorted(others, key=lambda other: -other.evidence)[:most]

    def likeness(self, query: Query, most: int) -> float:
        """Tell how much of an image looks like something in the map, by its ``most`` first keypoints and without
        looking for a pose: to choose among maps.
        """
        landmarks = self._search.landmarks
        best = (query.looks[:most] @ landmarks.looks.T).max(axis=1, initial=0.0)
        return float(np.maximum(best - landmarks.min_similarity, 0).sum())

    def solve(self, query: Query, scope: Scope = EVERYWHERE) -> Solved:
        """Find the best pose in the adjusted map; by longer looks at the image until one settles it.

        The longest look has the last word, but a pose that is believed stays where it finds none.
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
        """Tell how many inliers a pose needs that is looked for in a scope."""
        return self._search.needed(scope)

    def doubt(self, found: Hypothesis, scope: Scope = EVERYWHERE) -> str:
        """Tell why too little speaks for what was found in a scope; empty if enough does."""
        return doubts(found.evidence, self.needed(scope))

    def corrected(self, found: Hypothesis) -> Corrected:
        """Tell what was found in the frame of the mapping poses, and what its covariance is made of."""
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
    """Tell whether a pose with its covariance may be one that is ``known`` already, as surely as that one."""
    error = se3.pose_error(pose, known)
    near = np.linalg.norm(error[:3]) < SAME_POSE_M and np.linalg.norm(error[3:]) < SAME_POSE_RAD
    return bool(near) or may_be_one(error, 2 * covariance)


def as_gray(image: ImageArray) -> ImageArray:
    """Return (H, W) uint8 of a grey or BGR image; raises :class:`~neumap.errors.DataError` for anything else."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise DataError("an image must be a numpy array of uint8")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or min(image.shape[:2]) < MIN_SIDE_PX:
        raise DataError(
            f"an image must be (H, W) or (H, W, 3) with at least {MIN_SIDE_PX} pixels a side, not {image.shape}"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)) if image.ndim == 3 else image
