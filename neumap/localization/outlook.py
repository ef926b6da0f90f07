"""Forecast from a map alone how likely an image would be localized at a pose, and how accurately.

A landmark is matched if it is seen from about the same direction and distance as by a mapping camera. The map holds the
poses of mapping cameras and the positions of landmarks, so the landmarks that an image would match can be counted in
each of its cells. A logistic model with two parameters turns the share of the image that they fill into a probability,
and their information on the pose gives the covariance.
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

# ASIDE_RAD, NEARER: standard deviations of a Gaussian weight of a landmark, by the angle between its viewing directions
# from the image and from a mapping camera, radians, and by the log ratio of their distances. HIDDEN: a landmark this
# many times as far away as the nearest one in its direction is occluded. PART_FULL: landmarks that fill a cell of the
# image to 1 - 1/e.
ASIDE_RAD, NEARER, HIDDEN, PART_FULL = 0.45, 0.9, 1.2, 1.0
# ALIKE: looks are rounded to this share of ASIDE_RAD and NEARER, and equal ones are kept once.
ALIKE = 0.5
# REACH: landmarks are considered up to this many times NeuralMap.sight_m.
REACH = 1.5
# BORDER: points along each side of an image that its field of view is computed from.
BORDER = 33
# WEIGHTS: offset and slope of the log odds of being localized, by the share of the image that landmarks fill. NOISE_PX:
# standard deviation of reprojection errors, pixels at the usual focal length, over the square root of the share of
# landmarks matched. ERROR: median position error over its standard deviation. Fitted by benchmarks/check.py.
WEIGHTS, NOISE_PX, ERROR = (-3.4, 12.4), 1.9, 0.55


class Features(NamedTuple):
    """Forecast features of N images.

    ``filled`` (N,): share of each image with landmarks. ``unit`` (N, 6, 6): covariance of the pose in the camera frame
    for errors of one pixel at the usual focal length. ``distance_m`` (N,): median distance of the landmarks. The last
    two are NaN for too few landmarks.
    """

    filled: FloatArray
    unit: FloatArray
    distance_m: FloatArray


class Foresight(NamedTuple):
    """Of images (N,): the ``probability`` of being localized, and the median position error to expect if so, in
    metres; NaN for too few landmarks.
    """

    probability: FloatArray
    error_m: FloatArray


class Outlook:
    """Forecasts the localization of one camera in one map."""

    def __init__(self, neural_map: NeuralMap, camera: Camera) -> None:
        """Raises :class:`~neumap.errors.DataError` if the map holds no poses of mapping cameras."""
        if not len(neural_map.drift.poses):
            raise DataError("the map holds no poses of its mapping cameras: nothing can be forecast")
        self._map, self._points = neural_map, neural_map.landmarks.points(neural_map.grid)
        self._tree = cKDTree(self._points)
        self._camera, (self._low, self._high, self._outermost) = camera, _seen_by(camera)

    def __call__(self, position: FloatArray, rotations: FloatArray) -> Foresight:
        """Forecast images taken at a ``position`` (3,) with ``rotations`` (N, 3, 3), map from camera."""
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
        """Return the features of images, as :meth:`__call__` takes them."""
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
                _, information = pnp.pose_gradient(pose, at, points, USUAL_FOCAL_PX, weight)
                unit[i] = np.linalg.inv(information + 1e-9 * np.trace(information) * np.eye(6))
                away = np.linalg.norm(points - position, axis=1)
                distance_m[i] = np.median(away[weight >= 0.5 * weight.max()])
        return Features(filled, unit, distance_m)

    def _near(self, position: FloatArray) -> IntArray:
        """Return the landmarks within reach of a position."""
        found = self._tree.query_ball_point(position, REACH * self._map.sight_m, return_sorted=True)
        return np.array(found, dtype=np.int64)

    def _familiar(self, position: FloatArray, near: IntArray) -> FloatArray:
        """Return for all landmarks (L,) the weight, 0 to 1, of the most similar look that a mapping camera had at it;
        0 for all but those ``near``.
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
        """The landmark (P,), in ascending order, and the look (P, 4), see :func:`_look`, of each observation by a
        mapping camera.
        """
        landmarks, looks = [], []
        for pose in self._map.drift.poses:
            shown, _, _ = self._shown(pose[:3, 3], pose[:3, :3], self._near(pose[:3, 3]))
            landmarks.append(shown)
            looks.append(_look(pose[:3, 3] - self._points[shown]))
        landmark, look = np.concatenate(landmarks), np.concatenate(looks)
        # keep one of several similar looks
        step = np.rint(look / (ALIKE * np.array([ASIDE_RAD] * 3 + [NEARER]))).astype(np.int64)
        _, kept = np.unique(np.column_stack([landmark, step]), axis=0, return_index=True)
        return landmark[kept], look[kept]

    def _shown(
        self, position: FloatArray, rotation: FloatArray, rows: IntArray
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return the landmarks of ``rows`` that an image shows (N,), their normalized coordinates (N, 2) and their
        pixels (N, 2).
        """
        x, y, z = rotation.T @ (self._points[rows] - position).T
        front = z > IN_FRONT_M
        rows, depth, at = rows[front], z[front], np.stack([x[front], y[front]], axis=1) / z[front, None]
        # outside the field of view a lens model may project back into the image
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
    """Return rows (N, 4) of the direction and the log length of vectors (N, 3) from landmarks to cameras."""
    far = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    return np.concatenate([away / far, np.log(far)], axis=1)


def _seen_by(camera: Camera) -> tuple[FloatArray, FloatArray, float]:
    """Return the lowest and the highest normalized coordinates (2,), (2,) in a camera's image, and the largest squared
    radius.
    """
    along = np.linspace(0, 1, BORDER)
    ends = np.repeat([0.0, 1.0], BORDER)
    twice = np.tile(along, 2)
    border = np.concatenate([np.stack([twice, ends], axis=1), np.stack([ends, twice], axis=1)])
    rays = cameras.normalize(replace(camera, mask=None), border * [camera.width - 1, camera.height - 1])
    rays = rays[np.isfinite(rays).all(axis=1)]
    return rays.min(axis=0), rays.max(axis=0), float((rays**2).sum(axis=1).max())
