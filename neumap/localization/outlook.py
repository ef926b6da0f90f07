"""What a map alone tells of images that nobody took yet: how likely one would be localized, and how exactly.

A landmark is found again where it is seen about as a mapping camera saw it: from about the same side, and about as
near. The map knows where mapping cameras and landmarks are. So the landmarks that an image would find again can be
counted in each of its parts. A logistic model of two numbers makes a probability of the share of the image that they
fill, and what they tell about the pose is the covariance that it would have.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry import cameras, se3
from neumap.localization import pnp
from neumap.localization.evidence import CELLS, cells_at
from neumap.localization.query import USUAL_FOCAL_PX
from neumap.localization.verdict import Corrected, pose_covariance
from neumap.localization.verification import FEWEST_FOUND_AGAIN, IN_FRONT_M
from neumap.maps.drift import apply_deviation
from neumap.maps.neural_map import DIRECTION, NeuralMap
from neumap.records import Camera

# ASIDE_RAD, NEARER: a landmark that is seen from so far aside of where a mapping camera saw it, radians, or from so
# many times as far or as near, as a logarithm, counts for exp(-1/2). HIDDEN: what is so many times as far away as the
# nearest landmark in its direction is behind it. PART_FULL: landmarks that fill a part of the image to 1 - 1/e.
ASIDE_RAD, NEARER, HIDDEN, PART_FULL = 0.45, 0.9, 1.2, 1.0
# ALIKE: looks that differ by less than this share of ASIDE_RAD and NEARER are as good as one.
ALIKE = 0.5
# REACH: no landmark is looked for that is so many times as far away as one sees in a place.
REACH = 1.5
# BORDER: points along each side of an image that tell what it shows.
BORDER = 33
# WEIGHTS: of 1 and of the share of the image that landmarks fill; their sum is the log odds of being localized.
# NOISE_PX: standard deviation of their errors, pixels of a usual camera, over the root of the share of them that is
# found. ERROR: the median error of a position over its standard deviation. Fitted by benchmarks/check.py.
WEIGHTS, NOISE_PX, ERROR = (-3.4, 12.4), 1.9, 0.55


class Features(NamedTuple):
    """What is foreseen of images: the share (N,) of each that is ``filled`` with landmarks; the covariance ``unit``
    (N, 6, 6) of its pose, of errors of a pixel of the usual camera, in the camera frame, and the median distance (N,)
    of what is seen, both NaN where too few landmarks are.
    """

    filled: FloatArray
    unit: FloatArray
    distance_m: FloatArray


class Foresight(NamedTuple):
    """Of images (N,): the ``probability`` of being localized, and the error of the position to expect of those that
    are, a median in metres; NaN where next to nothing is seen.
    """

    probability: FloatArray
    error_m: FloatArray


class Outlook:
    """Foresees what one camera sees in one map."""

    def __init__(self, neural_map: NeuralMap, camera: Camera) -> None:
        """Raises :class:`~neumap.errors.DataError` where the map does not tell where it was mapped from."""
        if not len(neural_map.drift.poses):
            raise DataError("the map does not tell where its mapping cameras were: nothing can be foreseen")
        self._map, self._points = neural_map, neural_map.landmarks.points(neural_map.grid)
        self._tree = cKDTree(self._points)
        self._camera, (self._low, self._high, self._outermost) = camera, _seen_by(camera)

    def __call__(self, position: FloatArray, rotations: FloatArray) -> Foresight:
        """Foresee images taken at a ``position`` (3,) with ``rotations`` (N, 3, 3), map from camera."""
        filled, unit, distance_m = self.features(position, rotations)
        probability = expit(WEIGHTS[0] + WEIGHTS[1] * filled)
        error_m = np.full(len(rotations), np.nan)
        for i in np.flatnonzero(np.isfinite(distance_m)):
            pose = se3.make_pose(rotations[i], position)
            deviation, drift_sigma = self._map.drift.predict(pose)
            there = apply_deviation(pose, deviation)
            parts = Corrected(there, NOISE_PX**2 * unit[i], drift_sigma, float(distance_m[i]), np.zeros((6, 6)))
            covariance = pose_covariance(parts, self._map.calibration)
            error_m[i] = ERROR * np.sqrt(np.trace(covariance[:3, :3]))
        return Foresight(probability, error_m)

    def features(self, position: FloatArray, rotations: FloatArray) -> Features:
        """Return what the model knows of images, as :meth:`__call__` takes them."""
        count = len(rotations)
        filled, unit, distance_m = np.zeros(count), np.full((count, 6, 6), np.nan), np.full(count, np.nan)
        near = self._near(position)
        familiarity = self._familiar(position, near)
        for i, rotation in enumerate(rotations):
            seen, at, pixels = self._shown(position, rotation, near)
            weight = familiarity[seen]
            found = np.bincount(cells_at(pixels, self._camera.width, self._camera.height), weight, CELLS)
            filled[i] = (1 - np.exp(-found / PART_FULL)).mean()
            if weight.sum() >= FEWEST_FOUND_AGAIN:
                pose, points = se3.make_pose(rotation.T, -rotation.T @ position), self._points[seen]
                _, told = pnp.pose_gradient(pose, at, points, USUAL_FOCAL_PX, weight)
                unit[i] = np.linalg.inv(told + 1e-9 * np.trace(told) * np.eye(6))
                away = np.linalg.norm(points - position, axis=1)
                distance_m[i] = np.median(away[weight >= 0.5 * weight.max()])
        return Features(filled, unit, distance_m)

    def _near(self, position: FloatArray) -> IntArray:
        """Return the landmarks within reach of a position."""
        found = self._tree.query_ball_point(position, REACH * self._map.sight_m, return_sorted=True)
        return np.array(found, dtype=np.int64)

    def _familiar(self, position: FloatArray, near: IntArray) -> FloatArray:
        """Tell of all landmarks (L,) how like one of those looks that mapping cameras had at them one from a position
        is, from 0 to 1; 0 of all but ``near``.
        """
        landmark, looks = self._looks
        first, end = (np.searchsorted(landmark, near, side) for side in ("left", "right"))
        some = np.repeat(end - np.cumsum(end - first), end - first) + np.arange((end - first).sum())
        landmark = landmark[some]
        look = _look(position - self._points[landmark])
        aside = np.arccos(np.clip((look[:, :3] * looks[some, :3]).sum(axis=1), -1, 1)) / ASIDE_RAD
        nearer = (look[:, 3] - looks[some, 3]) / NEARER
        alike = np.zeros(len(self._points))
        np.maximum.at(alike, landmark, np.exp(-0.5 * (aside**2 + nearer**2)))
        return alike

    @cached_property
    def _looks(self) -> tuple[IntArray, FloatArray]:
        """Of each look of a mapping camera at a landmark: which landmark (P,), in ascending order, and the look (P, 4),
        as of :func:`_look`.
        """
        landmarks, looks = [], []
        for pose in self._map.drift.poses:
            shown, _, _ = self._shown(pose[:3, 3], pose[:3, :3], self._near(pose[:3, 3]))
            landmarks.append(shown)
            looks.append(_look(pose[:3, 3] - self._points[shown]))
        landmark, look = np.concatenate(landmarks), np.concatenate(looks)
        # of looks that hardly differ one is enough
        step = np.rint(look / (ALIKE * np.array([ASIDE_RAD] * 3 + [NEARER]))).astype(np.int64)
        _, kept = np.unique(np.column_stack([landmark, step]), axis=0, return_index=True)
        return landmark[kept], look[kept]

    def _shown(
        self, position: FloatArray, rotation: FloatArray, rows: IntArray
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return which landmarks of ``rows`` an image shows, where (N, 2) in the undistorted image and at what pixels
        (N, 2).
        """
        x, y, z = rotation.T @ (self._points[rows] - position).T
        front = z > IN_FRONT_M
        rows, depth, at = rows[front], z[front], np.stack([x[front], y[front]], axis=1) / z[front, None]
        # beyond its field of view the model of a lens may lead back into the image
        inside = ((at > self._low) & (at < self._high)).all(axis=1) & ((at**2).sum(axis=1) < self._outermost)
        rows, depth, at = rows[inside], depth[inside], at[inside]
        pixels = cameras.project(self._camera, np.column_stack([at, np.ones(len(at))]))
        inside = ((pixels > 0) & (pixels < [self._camera.width - 1, self._camera.height - 1])).all(axis=1)
        rows, depth, at, pixels = rows[inside], depth[inside], at[inside], pixels[inside]
        if not len(rows):
            return rows, at, pixels
        column, row = ((at - self._low) // DIRECTION).astype(np.int64).T
        direction = column * (1 + row.max()) + row
        nearest = np.full(1 + direction.max(), np.inf)
        np.minimum.at(nearest, direction, depth)
        shown = depth < HIDDEN * nearest[direction]
        return rows[shown], at[shown], pixels[shown]


def _look(away: FloatArray) -> FloatArray:
    """Return the direction (N, 3) and the logarithm of the length of vectors (N, 3) from landmarks to cameras, as rows
    (N, 4).
    """
    far = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    return np.concatenate([away / far, np.log(far)], axis=1)


def _seen_by(camera: Camera) -> tuple[FloatArray, FloatArray, float]:
    """Return the least and the most (2,), (2,) that a camera sees of the undistorted image, and the square of how far
    from its axis.
    """
    along = np.linspace(0, 1, BORDER)
    ends = np.repeat([0.0, 1.0], BORDER)
    twice = np.tile(along, 2)
    border = np.concatenate([np.stack([twice, ends], axis=1), np.stack([ends, twice], axis=1)])
    rays = cameras.normalize(replace(camera, mask=None), border * [camera.width - 1, camera.height - 1])
    rays = rays[np.isfinite(rays).all(axis=1)]
    return rays.min(axis=0), rays.max(axis=0), float((rays**2).sum(axis=1).max())
