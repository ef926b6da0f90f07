"""A classic localizer to compare with: RootSIFT, VLAD retrieval, descriptor matching, depth points, PnP.

Nothing here is new or tuned; every step is the textbook's, over OpenCV, NumPy and PoseLib. The mapping images'
descriptors are the map, which is why it takes tens of megabytes.

- RootSIFT: Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012
- VLAD: Jegou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import poselib

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.errors import MappingError
from neumap.geometry.cameras import normalize
from neumap.geometry.se3 import invert_pose, make_pose, transform_points
from neumap.records import Camera, Frame

KEYPOINTS = 1500
CENTRES = 64
TRAINING_DESCRIPTORS = 100_000
RETRIEVED = 3
RATIO = 0.85
REPROJECTION_PX = 8.0
MIN_INLIERS = 15
# RootSIFT values lie well below 0.5; 512 is what SIFT itself uses to fill a byte
QUANTIZATION = 512


@dataclass(frozen=True)
class View:
    """What is kept of one mapping image: descriptors (N, 128) uint8 and their points (N, 3) in metres in the map."""

    descriptors: npt.NDArray[np.uint8]
    points: Float32Array


@dataclass(frozen=True)
class ClassicMap:
    """The mapping images as descriptors with 3D points; ``centres`` (64, 128); ``vlad`` (images, 64 * 128) float16."""

    views: tuple[View, ...]
    centres: Float32Array
    vlad: npt.NDArray[np.float16]

    @classmethod
    def build(cls, frames: Sequence[Frame], seed: int = 0) -> ClassicMap:
        """A map of the frames that have both depth and a pose.

        Raises :class:`~neumap.errors.MappingError` where there are too few of them.
        """
        looks = [_look(frame) for frame in frames if frame.read_depth is not None and frame.map_from_camera is not None]
        views = tuple(View(descriptors[known], points) for descriptors, known, points in looks)
        if sum(len(view.points) for view in views) < CENTRES:
            raise MappingError("the classic pipeline needs images with depth and poses, and there are too few")
        # an image is found by all its keypoints, as a query has no depth to choose by
        centres = _cluster(np.concatenate([descriptors for descriptors, _, _ in looks]), seed)
        vlad = np.stack([_vlad(_dequantize(descriptors), centres) for descriptors, _, _ in looks])
        return cls(views, centres, vlad.astype(np.float16))

    @property
    def size_bytes(self) -> int:
        """What a file of it would take, uncompressed."""
        views = sum(view.descriptors.nbytes + view.points.nbytes for view in self.views)
        return views + self.centres.nbytes + self.vlad.nbytes

    def localize(self, image: ImageArray, camera: Camera) -> tuple[FloatArray | None, int, dict[str, float]]:
        """The pose ``map_from_camera`` of a grey image (H, W), or None; the inliers; the time per stage in ms."""
        start = time.perf_counter()
        pixels, descriptors = detect(image)
        rays = normalize(camera, pixels)
        extracted = time.perf_counter()
        index, points = self._match(descriptors)
        matched = time.perf_counter()
        keep = np.isfinite(rays[index]).all(axis=1)
        pose, inliers = _solve(rays[index[keep]], points[keep], index[keep], camera)
        solved = time.perf_counter()
        seconds = {"features": extracted - start, "matching": matched - extracted, "pnp": solved - matched}
        return pose, inliers, {stage: 1000 * value for stage, value in seconds.items()}

    def _match(self, descriptors: Float32Array) -> tuple[npt.NDArray[np.intp], Float32Array]:
        """Indices (M,) of query keypoints and their points (M, 3), from the most similar mapping images."""
        if len(descriptors) < 2:
            return np.zeros(0, np.intp), np.zeros((0, 3), np.float32)
        similarity = self.vlad.astype(np.float32) @ _vlad(descriptors, self.centres)
        indices, points = [], []
        for i in np.argsort(-similarity)[:RETRIEVED]:
            view = self.views[i]
            query, stored = match(descriptors, _dequantize(view.descriptors))
            indices.append(query)
            points.append(view.points[stored])
        return np.concatenate(indices), np.concatenate(points)


def detect(image: ImageArray) -> tuple[Float32Array, Float32Array]:
    """Pixels (N, 2) and RootSIFT descriptors (N, 128) of unit length of a grey image (H, W)."""
    sift = cv2.SIFT.create(nfeatures=KEYPOINTS, contrastThreshold=0.01, edgeThreshold=12)
    keypoints, descriptors = sift.detectAndCompute(image, None)
    if not keypoints:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    # on ties of the response OpenCV returns some more than asked for
    pixels = np.array([keypoint.pt for keypoint in keypoints[:KEYPOINTS]], np.float32)
    descriptors = np.asarray(descriptors[:KEYPOINTS], np.float32)
    return pixels, np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))


def match(query: Float32Array, stored: Float32Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Index pairs of mutual nearest neighbours that pass the ratio test; descriptors of unit length."""
    if len(query) < 2 or len(stored) < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    similarity = query @ stored.T
    rows = np.arange(len(query))
    best = similarity.argmax(axis=1)
    mutual = similarity.argmax(axis=0)[best] == rows
    first = similarity[rows, best]
    similarity[rows, best] = -1.0
    second = similarity.max(axis=1)
    # |a - b|^2 = 2 - 2ab, and the ratio is one of distances
    passed = mutual & (1 - first < RATIO**2 * (1 - second))
    return np.flatnonzero(passed), best[passed]


def _look(frame: Frame) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], Float32Array]:
    """Descriptors (N, 128) of a mapping image, which of them have depth (N,), and the points of those in the map."""
    assert frame.read_depth is not None
    assert frame.map_from_camera is not None
    pixels, descriptors = detect(frame.read_image())
    rays = normalize(frame.camera, pixels)
    depth = _depth_at(frame.read_depth(), pixels)
    known = (depth > 0) & np.isfinite(rays).all(axis=1)
    in_camera = depth[known, None] * np.concatenate([rays[known], np.ones((known.sum(), 1))], axis=1)
    points = transform_points(frame.map_from_camera, in_camera)
    quantized = np.clip(np.rint(descriptors * QUANTIZATION), 0, 255)
    return quantized.astype(np.uint8), known, points.astype(np.float32)


def _depth_at(depth: Float32Array, pixels: Float32Array) -> FloatArray:
    """Depth (N,) in metres at pixels (N, 2): the median of 5x5, 0 where little is known or at a depth edge."""
    column, row = np.rint(pixels).astype(int).T
    height, width = depth.shape
    offset = np.arange(-2, 3)
    rows = np.clip(row[:, None, None] + offset[:, None], 0, height - 1)
    columns = np.clip(column[:, None, None] + offset, 0, width - 1)
    patches = depth[rows, columns].reshape(len(pixels), 25).astype(np.float64)
    patches = np.sort(np.where(patches > 0, patches, np.inf), axis=1)
    # what is unknown has sorted to the end, so ranks are taken among the known
    count = np.isfinite(patches).sum(axis=1)
    low, median, high = (np.take_along_axis(patches, (count * q // 10)[:, None], 1)[:, 0] for q in (1, 5, 9))
    with np.errstate(invalid="ignore"):
        good = (count >= 13) & (high - low < 0.03 + 0.03 * median)
    return np.where(good, median, 0.0)


def _dequantize(descriptors: npt.NDArray[np.uint8]) -> Float32Array:
    """Descriptors (N, 128) of unit length."""
    values = descriptors.astype(np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6))


def _cluster(descriptors: npt.NDArray[np.uint8], seed: int) -> Float32Array:
    """The centres (64, 128) of descriptors (N, 128) by k-means."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(descriptors), min(len(descriptors), TRAINING_DESCRIPTORS), replace=False)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 1e-4)
    cv2.setRNGSeed(seed)
    labels = np.zeros((len(chosen), 1), np.int32)
    _, _, centres = cv2.kmeans(_dequantize(descriptors[chosen]), CENTRES, labels, criteria, 1, cv2.KMEANS_PP_CENTERS)
    return np.asarray(centres, np.float32)


def _vlad(descriptors: Float32Array, centres: Float32Array) -> Float32Array:
    """One vector (64 * 128,) of unit length: the sums of residuals to the nearest centre, square-rooted."""
    nearest = (descriptors @ centres.T - 0.5 * (centres**2).sum(axis=1)).argmax(axis=1)
    sums = np.zeros_like(centres)
    np.add.at(sums, nearest, descriptors - centres[nearest])
    vlad = (np.sign(sums) * np.sqrt(np.abs(sums))).ravel()
    return np.asarray(vlad / max(float(np.linalg.norm(vlad)), 1e-12), np.float32)


def _solve(
    rays: FloatArray, points: Float32Array, keypoint: npt.NDArray[np.intp], camera: Camera
) -> tuple[FloatArray | None, int]:
    """The pose and its inliers; a keypoint that is matched in several mapping images counts once."""
    if len(points) < MIN_INLIERS:
        return None, 0
    # undistorted pixels: the lens is gone, the threshold still means pixels
    focal = float(np.sqrt(camera.matrix[0, 0] * camera.matrix[1, 1]))
    pinhole = {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": [focal, focal, 0.0, 0.0]}
    options = {"max_reproj_error": REPROJECTION_PX, "max_iterations": 10_000, "seed": 0}
    found, info = poselib.estimate_absolute_pose(focal * rays, points.astype(np.float64), pinhole, options)
    inliers = len(np.unique(keypoint[np.asarray(info["inliers"], dtype=bool)]))
    if inliers < MIN_INLIERS:
        return None, inliers
    return invert_pose(make_pose(found.R, found.t)), inliers
