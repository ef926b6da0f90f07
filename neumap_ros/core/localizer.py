"""The facade: an image in, a pose with an honest covariance out, or a reason why not.

    localizer = Localizer(load_map("kitchen.neumap"))
    estimate = localizer.localize(image, camera)

The strongest keypoints are decoded first; only where they do not settle the pose are all of them. The pose is then
refined on landmarks looked for where it says they are, corrected by the mapping trajectory's own drift, and checked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from neumap_ros.core import cameras, drift, geometry
from neumap_ros.core.decoders import Decoder, Hypotheses, NearestDecoder, pool
from neumap_ros.core.features import FeatureExtractor, Features
from neumap_ros.core.keyframes import BoolArray, IntArray
from neumap_ros.core.matching import mutual_best
from neumap_ros.core.neural_map import Calibration, NeuralMap
from neumap_ros.core.pose import RansacSettings, ransac_pose, refine_pose, residuals_px
from neumap_ros.errors import DataError
from neumap_ros.records import Camera, Float32Array, FloatArray, ImageArray, PoseEstimate, Status

FIRST_KEYPOINTS = 512
MIN_KEYPOINTS = 30
# the first keypoints settle it when this many times the inliers a pose needs agree
SETTLED = 1.5
# of the inliers this share must be matches that are far better than their runner-up: chance rarely makes those
STRONG_CONFIDENCE, STRONG_SHARE = 0.3, 0.35
CHECK_RADIUS_PX = 5.0
SEARCH_RADII_PX = (12.0, 6.0)
SEARCH_SIMILARITY = 0.75
SEARCH_CANDIDATES = 4
MIN_NOISE_PX = 0.3
SAME_POINT_M = 0.01


@dataclass(frozen=True)
class Solution:
    """A pose in the adjusted map, before it is corrected and judged."""

    camera_from_map: FloatArray
    information: FloatArray
    support: int
    strong: int
    keypoint: IntArray
    points: FloatArray
    error_px: FloatArray


class Localizer:
    """Localizes images in one map. Not thread-safe: one per thread."""

    def __init__(self, neural_map: NeuralMap) -> None:
        self.map = neural_map
        self._extract = FeatureExtractor(neural_map.features)
        self._nearest = NearestDecoder(neural_map)
        self._decoders: list[Decoder] = [self._nearest]
        self._ransac = RansacSettings()

    def localize(self, image: ImageArray, camera: Camera, voxels: IntArray | None = None) -> PoseEstimate:
        """The camera's pose from one image, without any prior.

        ``image`` is (H, W) uint8 grey or (H, W, 3) uint8 in BGR order, of the camera's size or a scaled version of it.
        ``voxels`` limits the search to some voxels of the map (None: the whole map). Raises
        :class:`~neumap_ros.errors.DataError` for another type of array and
        :class:`~neumap_ros.errors.CalibrationError` for an image of another shape than the camera's.
        """
        started = time.perf_counter()
        features, rays, camera = self.prepare(image, camera)
        return self.localize_features(features, rays, camera, voxels, (time.perf_counter() - started) * 1e3)

    def prepare(self, image: ImageArray, camera: Camera) -> tuple[Features, FloatArray, Camera]:
        """The features of an image, their undistorted rays (N, 2), and the camera at the image's size."""
        gray = as_gray(image)
        camera = cameras.scaled_to(camera, gray.shape[1], gray.shape[0])
        features = self._extract(gray)
        rays = cameras.normalize(camera, features.pixels)
        valid = np.isfinite(rays).all(axis=1)
        if not valid.all():
            features, rays = features.select(valid), rays[valid]
        return features, rays, camera

    def localize_features(
        self,
        features: Features,
        rays: FloatArray,
        camera: Camera,
        voxels: IntArray | None = None,
        features_ms: float = 0.0,
    ) -> PoseEstimate:
        """As :meth:`localize`, for features that are there already, with their undistorted rays (N, 2)."""
        times = {"features": features_ms, "decode": 0.0, "pnp": 0.0, "refine": 0.0}
        if len(features) < MIN_KEYPOINTS:
            return lost(f"only {len(features)} keypoints: blank, dark or blurred image", 0, times)
        solution = self.solve(features, rays, camera, voxels, times)
        needed = self.map.calibration.min_inliers
        if solution is None:
            return lost("no consistent set of matches with the map", 0, times)
        if solution.support < needed or solution.strong < STRONG_SHARE * needed:
            reason = f"only {solution.support} of {needed} inliers needed: not in the map, or seen badly"
            return lost(reason, solution.support, times)
        return self._judge(solution, features, times)

    def solve(
        self,
        features: Features,
        rays: FloatArray,
        camera: Camera,
        voxels: IntArray | None = None,
        times: dict[str, float] | None = None,
    ) -> Solution | None:
        """The best pose in the adjusted map, not yet corrected or judged; None where nothing agrees.

        ``times`` collects milliseconds per stage.
        """
        times = {"decode": 0.0, "pnp": 0.0, "refine": 0.0} if times is None else times
        focal_px = float(np.sqrt(camera.matrix[0, 0] * camera.matrix[1, 1]))
        best: Solution | None = None
        guesses: list[Hypotheses] = []
        split = min(FIRST_KEYPOINTS, len(features))
        for first, last in ((0, split), (split, len(features))):
            if first == last or (best is not None and best.support >= SETTLED * self.map.calibration.min_inliers):
                break
            started = time.perf_counter()
            some = features.select(np.arange(first, last))
            decoded = [decoder.decode(some, voxels) for decoder in self._decoders]
            guesses += [replace(h, keypoint=h.keypoint + first) for h in decoded]
            times["decode"] += (time.perf_counter() - started) * 1e3
            solution = self._solve(pool(guesses), features, rays, focal_px, times)
            if solution is not None and (best is None or solution.support > best.support):
                best = solution
        return best

    def _solve(
        self, guesses: Hypotheses, features: Features, rays: FloatArray, focal_px: float, times: dict[str, float]
    ) -> Solution | None:
        """Search a pose that agrees with the guesses, and refine it."""
        t0 = time.perf_counter()
        found = ransac_pose(rays[guesses.keypoint], guesses.points, focal_px, self._ransac)
        t1 = time.perf_counter()
        times["pnp"] += (t1 - t0) * 1e3
        if found is None:
            return None
        solution = self._refine(found[0], guesses, features, rays, focal_px)
        times["refine"] += (time.perf_counter() - t1) * 1e3
        return solution

    def _refine(
        self, camera_from_map: FloatArray, guesses: Hypotheses, features: Features, rays: FloatArray, focal_px: float
    ) -> Solution | None:
        """Refine on landmarks looked for around their projections, then count the guesses that agree."""
        candidates = self._candidates(camera_from_map, features, rays, focal_px)
        pose, information = camera_from_map, np.eye(6)
        keypoint, landmark = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for radius in SEARCH_RADII_PX:
            keypoint, landmark, alike = candidates
            error = np.linalg.norm(residuals_px(pose, rays[keypoint], self._nearest.points[landmark], focal_px), axis=1)
            near = np.flatnonzero(error < radius)
            near = near[mutual_best(keypoint[near], landmark[near], alike[near] - 0.01 * error[near] / radius)]
            keypoint, landmark = keypoint[near], landmark[near]
            if len(near) < 6:
                return None
            pose, information = refine_pose(pose, rays[keypoint], self._nearest.points[landmark], focal_px)
        points = self._nearest.points[landmark]
        error = np.linalg.norm(residuals_px(pose, rays[keypoint], points, focal_px), axis=1)
        fits = error < CHECK_RADIUS_PX
        support, strong = count_support(pose, guesses, rays, focal_px)
        return Solution(
            camera_from_map=pose,
            information=information,
            support=support,
            strong=strong,
            keypoint=keypoint[fits],
            points=points[fits],
            error_px=error[fits],
        )

    def _candidates(
        self, camera_from_map: FloatArray, features: Features, rays: FloatArray, focal_px: float
    ) -> tuple[IntArray, IntArray, Float32Array]:
        """Keypoints, landmarks and their similarity, of all pairs that look alike and are close in the image."""
        seen = geometry.transform_points(camera_from_map, self._nearest.points)
        in_front = np.flatnonzero(seen[:, 2] > 0.1)
        where = seen[in_front, :2] / seen[in_front, 2:]
        inside = ((where > rays.min(axis=0)) & (where < rays.max(axis=0))).all(axis=1)
        visible, where = in_front[inside], where[inside]
        if not len(visible):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        radius = SEARCH_RADII_PX[0] / focal_px
        _, near = cKDTree(rays).query(where, k=SEARCH_CANDIDATES, distance_upper_bound=radius, workers=-1)
        row, column = np.nonzero(near < len(rays))
        keypoint, landmark = near[row, column], visible[row]
        alike = np.einsum("ij,ij->i", features.descriptors[keypoint], self._nearest.descriptors[landmark])
        good = alike > SEARCH_SIMILARITY
        return keypoint[good], landmark[good], alike[good]

    def _judge(self, solution: Solution, features: Features, times: dict[str, float]) -> PoseEstimate:
        """The drift-corrected pose with its covariance."""
        pose, unit, drift_sigma = self.corrected(solution)
        return PoseEstimate(
            status=Status.LOCALIZED,
            reason="",
            map_from_camera=pose,
            covariance=pose_covariance(unit, drift_sigma, pose, self.map.calibration),
            inliers=len(solution.keypoint),
            reprojection_error_px=float(np.sqrt(np.mean(solution.error_px**2))),
            keypoints_px=features.pixels[solution.keypoint],
            points_map=solution.points.astype(np.float32),
            times_ms=times,
        )

    def corrected(self, solution: Solution) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``map_from_camera`` (4, 4) in the frame of the mapping poses, and what its covariance is made of: that of
        the observed residuals (6, 6) and the drift's standard deviation (6,), both in the camera frame.
        """
        adjusted = geometry.invert_pose(solution.camera_from_map)
        deviation, drift_sigma = self.map.drift.predict(adjusted)
        pose = drift.apply_deviation(adjusted, deviation)
        noise = max(float(np.mean(solution.error_px**2)), MIN_NOISE_PX**2)
        information = solution.information + 1e-9 * np.trace(solution.information) * np.eye(6)
        return pose, noise * np.linalg.inv(information), drift_sigma


def count_support(
    camera_from_map: FloatArray, guesses: Hypotheses, rays: FloatArray, focal_px: float
) -> tuple[int, int]:
    """How many different places, guessed without knowing the pose, the pose agrees with; and how many of those guesses
    were confident.

    Matches found by looking where the pose says are no evidence for it; these are.
    """
    error = np.linalg.norm(residuals_px(camera_from_map, rays[guesses.keypoint], guesses.points, focal_px), axis=1)

    def places(agree: BoolArray) -> int:
        points = np.unique(np.rint(guesses.points[agree] / SAME_POINT_M).astype(np.int64), axis=0)
        return min(len(points), len(np.unique(guesses.keypoint[agree])))

    agree = error < CHECK_RADIUS_PX
    return places(agree), places(agree & (guesses.confidence > STRONG_CONFIDENCE))


def pose_covariance(
    unit: FloatArray, drift_sigma: FloatArray, pose: FloatArray, calibration: Calibration
) -> FloatArray:
    """6x6 covariance of ``pose`` in the convention of :class:`~neumap_ros.records.PoseEstimate`.

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
    """(H, W) uint8 of a grey or BGR image; raises :class:`~neumap_ros.errors.DataError` for anything else."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise DataError("an image must be a numpy array of uint8")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and image.shape[2] == 3:
        import cv2

        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    if image.ndim != 2 or min(image.shape) < 32:
        raise DataError(f"an image must be (H, W) or (H, W, 3) with at least 32 pixels a side, not {image.shape}")
    return image


def lost(reason: str, inliers: int, times: dict[str, float]) -> PoseEstimate:
    """The answer without a pose."""
    empty: Float32Array = np.zeros((0, 2), np.float32)
    return PoseEstimate(
        status=Status.LOST,
        reason=reason,
        map_from_camera=None,
        covariance=None,
        inliers=inliers,
        reprojection_error_px=float("nan"),
        keypoints_px=empty,
        points_map=np.zeros((0, 3), np.float32),
        times_ms=times,
    )
