"""The facade: an image in, a pose with an honest covariance out, or a reason why not.

    localizer = Localizer(load_map("kitchen.neumap"))
    estimate = localizer.localize(image, camera)

A pose found by the :mod:`~neumap.localization.search` is given the mapping trajectory's own drift, a covariance, and
out only where there is evidence enough for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray, IntArray
from neumap.errors import DataError
from neumap.features.sift import FeatureExtractor
from neumap.geometry import cameras, se3
from neumap.localization.evidence import MIN_CELLS, MIN_CONFIRMED, Evidence
from neumap.localization.query import View
from neumap.localization.search import PoseSearch
from neumap.localization.verification import Solution
from neumap.maps import drift
from neumap.maps.neural_map import Calibration, NeuralMap
from neumap.records import Camera, PoseEstimate, Status

MIN_KEYPOINTS = 30
MIN_SIDE_PX = 32
MIN_NOISE_PX = 0.3
# a pose less certain than this is of no use to a robot: of such poses one in ten is more than 25 cm off
MAX_SIGMA_M, MAX_SIGMA_RAD = 0.15, 0.2
# poses this near to each other are one
SAME_POSE_M, SAME_POSE_RAD = 0.3, 0.25


class Localizer:
    """Localizes images in one map. Not thread-safe: one per thread."""

    def __init__(self, neural_map: NeuralMap, choose_voxels: bool = True) -> None:
        """With ``choose_voxels`` an image is looked for in those voxels of a large map that it shows most likely, else
        in all of them, which takes the longer, the larger the map is.
        """
        self.map = neural_map
        self._extract = FeatureExtractor(neural_map.features)
        self._search = PoseSearch(neural_map, choose_voxels)

    def localize(self, image: ImageArray, camera: Camera, voxels: IntArray | None = None) -> PoseEstimate:
        """The camera's pose from one image, without any prior.

        ``image`` is (H, W) uint8 grey or (H, W, 3) uint8 in BGR order, of the camera's size or a scaled version of it.
        ``voxels`` limits the search to some voxels of the map (None: the whole map); of many, those are searched that
        the image shows most likely. Raises
        :class:`~neumap.errors.DataError` for another type of array and
        :class:`~neumap.errors.CalibrationError` for an image of another shape than the camera's.
        """
        started = time.perf_counter()
        view = self.look(image, camera)
        return self.localize_view(view, voxels, features_ms=(time.perf_counter() - started) * 1e3)

    def look(self, image: ImageArray, camera: Camera) -> View:
        """The features of an image with their undistorted rays. Raises what :meth:`localize` raises."""
        gray = as_gray(image)
        camera = cameras.scaled_to(camera, gray.shape[1], gray.shape[0])
        features = self._extract(gray)
        rays = cameras.normalize(camera, features.pixels)
        valid = np.flatnonzero(np.isfinite(rays).all(axis=1))
        if len(valid) < len(rays):
            features, rays = features.select(valid), rays[valid]
        return View(features, rays, camera)

    def localize_view(self, view: View, voxels: IntArray | None = None, features_ms: float = 0.0) -> PoseEstimate:
        """As :meth:`localize`, for an image that was looked at already, which took ``features_ms``.

        With ``view.near`` poses elsewhere are neither answers nor reasons to doubt one.
        """
        times = {"features": features_ms, "decode": 0.0, "pnp": 0.0, "refine": 0.0}
        solution = self.solve(view, voxels, times)
        if solution is None:
            if len(view.features) < MIN_KEYPOINTS:
                return lost(f"only {len(view.features)} keypoints: blank, dark or blurred image", 0, times)
            return lost("no consistent set of matches with the map", 0, times)
        doubt = self.doubt(solution, voxels)
        if doubt:
            return lost(doubt, solution.evidence.inliers, times)
        if solution.rival_m:
            reason = f"two poses {solution.rival_m:.2f} m apart explain the image equally well: it shows too little"
            return lost(reason, solution.evidence.inliers, times)
        pose, unit, drift_sigma = self.corrected(solution)
        covariance = pose_covariance(unit, drift_sigma, pose, self.map.calibration)
        sigma_m = float(np.sqrt(np.trace(covariance[:3, :3])))
        sigma_rad = float(np.sqrt(np.trace(covariance[3:, 3:])))
        if sigma_m > MAX_SIGMA_M or sigma_rad > MAX_SIGMA_RAD:
            reason = f"the pose is uncertain by {sigma_m:.2f} m, {np.rad2deg(sigma_rad):.0f} deg"
            return lost(reason, solution.evidence.inliers, times)
        return localized(view, solution, pose, covariance, times)

    def alternatives(
        self, view: View, known: Sequence[FloatArray] = (), voxels: IntArray | None = None, most: int = 3
    ) -> list[PoseEstimate]:
        """Other poses (LOCALIZED, best first) that some of the image speaks for, though too little to be believed.

        ``known`` are poses ``map_from_camera`` found already: what agrees with them is set aside, and so are poses
        that are hardly elsewhere.
        """
        found: list[PoseEstimate] = []
        # poses known are corrected for drift, those of the search are not, so that it may find them once more
        known_to_search = [se3.invert_pose(pose) for pose in known]
        for solution in self._search.alternatives(view, known_to_search, voxels, most + len(known)):
            pose, unit, drift_sigma = self.corrected(solution)
            apart = np.array([se3.pose_error(pose, other) for other in known]).reshape(-1, 2, 3)
            if (np.linalg.norm(apart, axis=2) < (SAME_POSE_M, SAME_POSE_RAD)).all(axis=1).any():
                continue
            covariance = pose_covariance(unit, drift_sigma, pose, self.map.calibration)
            found.append(localized(view, solution, pose, covariance, {}))
        return sorted(found, key=lambda estimate: -estimate.evidence)[:most]

    def solve(
        self, view: View, voxels: IntArray | None = None, times: dict[str, float] | None = None
    ) -> Solution | None:
        """The best pose in the adjusted map, not yet corrected or judged; None where there is nothing to go by.

        ``times`` collects milliseconds per stage.
        """
        if len(view.features) < MIN_KEYPOINTS:
            return None
        return self._search(view, voxels, {} if times is None else times)

    def doubt(self, solution: Solution, voxels: IntArray | None = None) -> str:
        """Why too little speaks for a solution that was looked for in ``voxels`` (None: all); empty if enough does."""
        return doubts(solution.evidence, self._search.needed(voxels))

    def corrected(self, solution: Solution) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``map_from_camera`` (4, 4) in the frame of the mapping poses, and what its covariance is made of: that of
        the observed residuals (6, 6) and the drift's standard deviation (6,), both in the camera frame.
        """
        adjusted = se3.invert_pose(solution.camera_from_map)
        deviation, drift_sigma = self.map.drift.predict(adjusted)
        pose = drift.apply_deviation(adjusted, deviation)
        noise = max(float(np.mean(solution.error_px**2)) if len(solution.error_px) else 1.0, MIN_NOISE_PX**2)
        information = solution.information + 1e-9 * np.trace(solution.information) * np.eye(6)
        return pose, noise * np.linalg.inv(information), drift_sigma


def doubts(evidence: Evidence, needed: int) -> str:
    """Why ``evidence`` does not suffice where ``needed`` inliers are; empty where it does."""
    if evidence.suffices(needed):
        return ""
    enough = needed * evidence.narrowness
    if evidence.inliers >= needed and (evidence.cells < MIN_CELLS or evidence.inliers < enough):
        return f"all {evidence.inliers} inliers are in one small part of the image"
    if evidence.inliers >= enough and (evidence.weight < enough or evidence.confirmed < MIN_CONFIRMED):
        against = evidence.contradicting
        return (
            f"{evidence.inliers} inliers, but {against} parts of the image contradict: another place, or much changed"
        )
    return f"only {evidence.inliers} inliers, {evidence.strong} of them certain: not in the map, or seen badly"


def pose_covariance(
    unit: FloatArray, drift_sigma: FloatArray, pose: FloatArray, calibration: Calibration
) -> FloatArray:
    """6x6 covariance of ``pose`` in the convention of :class:`~neumap.records.PoseEstimate`.

    The covariance ``unit`` (6, 6) of the reprojection errors, the drift field's standard deviation (6,) and the
    calibrated floors add up in the camera frame, which is then turned into the map's axes.
    """
    local = calibration.pixel_sigma**2 * unit + np.diag(drift_sigma**2)
    local += np.diag([calibration.floor_m**2] * 3 + [calibration.floor_rad**2] * 3)
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = pose[:3, :3]
    covariance = calibration.inflation**2 * turn @ local @ turn.T
    return np.asarray(0.5 * (covariance + covariance.T))


def as_gray(image: ImageArray) -> ImageArray:
    """(H, W) uint8 of a grey or BGR image; raises :class:`~neumap.errors.DataError` for anything else."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise DataError("an image must be a numpy array of uint8")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or min(image.shape[:2]) < MIN_SIDE_PX:
        raise DataError(
            f"an image must be (H, W) or (H, W, 3) with at least {MIN_SIDE_PX} pixels a side, not {image.shape}"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)) if image.ndim == 3 else image


def localized(
    view: View, solution: Solution, pose: FloatArray, covariance: FloatArray, times: dict[str, float]
) -> PoseEstimate:
    """The answer with a pose."""
    return PoseEstimate(
        status=Status.LOCALIZED,
        reason="",
        map_from_camera=pose,
        covariance=covariance,
        inliers=len(solution.keypoint),
        reprojection_error_px=float(np.sqrt(np.mean(solution.error_px**2))),
        keypoints_px=view.features.pixels[solution.keypoint],
        points_map=solution.points.astype(np.float32),
        times_ms=times,
        evidence=int(solution.evidence.weight),
    )


def lost(reason: str, inliers: int, times: dict[str, float]) -> PoseEstimate:
    """The answer without a pose."""
    return PoseEstimate(
        status=Status.LOST,
        reason=reason,
        map_from_camera=None,
        covariance=None,
        inliers=inliers,
        reprojection_error_px=float("nan"),
        keypoints_px=np.zeros((0, 2), np.float32),
        points_map=np.zeros((0, 3), np.float32),
        times_ms=times,
        evidence=inliers,
    )
