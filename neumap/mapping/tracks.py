"""Group matches into tracks (the keypoints of one scene point), and estimate their 3D points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from neumap.arrays import BoolArray, Float32Array, FloatArray, IntArray
from neumap.geometry import se3
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.work import Rows
from neumap.progress import Step, ignore

# POINT_LOSS_PX: scale of the Cauchy loss on reprojection errors.
POINT_LOSS_PX = 2.0
# NEAREST_M: smaller depths are raised to this in projections, so that these stay finite, metres.
NEAREST_M = 0.05
# OBSERVATIONS_AT_ONCE: observations processed together, of about 1 kB each. MATCHES_AT_ONCE: matches processed
# together, of some 20 bytes each.
OBSERVATIONS_AT_ONCE, MATCHES_AT_ONCE = 50_000, 1_000_000


@dataclass(frozen=True)
class Tracks:
    """T tracks with O observations in all, ordered by track.

    ``keypoint`` (O,) indexes the keyframes' keypoints; ``track`` (O,) is 0..T-1; ``points`` (T, 3) in the map.
    """

    keypoint: IntArray
    track: IntArray
    points: FloatArray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def lengths(self) -> IntArray:
        """The number of observations (T,) of each track."""
        return np.bincount(self.track, minlength=len(self))

    def select(self, keep: BoolArray) -> Tracks:
        """Return only the tracks where ``keep`` (T,) is true, renumbered."""
        return self.pick(np.flatnonzero(keep))

    def pick(self, index: IntArray) -> Tracks:
        """Return the tracks at ``index``, without duplicates, in that order."""
        place = np.full(len(self), -1)
        place[index] = np.arange(len(index))
        track = place[self.track]
        order = np.argsort(track, kind="stable")[np.count_nonzero(track < 0) :]
        return Tracks(self.keypoint[order], track[order], self.points[index])


def group_by_leader(matches: IntArray, count: int, rounds: int = 6) -> IntArray:
    """Return a label (count,) per keypoint from matches (M, 2): the index of its group's leader.

    In connected components a few wrong matches would join half the scene in one track. Instead a keypoint with more
    matches than all its matched keypoints becomes the leader of these; the others repeat this among themselves. So all
    keypoints of a track were matched with its leader.
    """
    label = np.full(count, -1, dtype=np.int64)
    for _ in range(rounds):
        matches = matches[(label[matches[:, 0]] < 0) & (label[matches[:, 1]] < 0)]
        if not len(matches):
            break
        degree = np.bincount(matches.ravel(), minlength=count)
        rank = degree * count + np.arange(count)
        strongest = np.zeros(count, dtype=np.int64)
        for one, other in _both_ways(matches):
            np.maximum.at(strongest, one, rank[other])
        leader = (degree > 0) & (rank > strongest)
        label[leader] = np.flatnonzero(leader)
        choice = np.full(count, -1, dtype=np.int64)
        for one, other in _both_ways(matches):
            joins = leader[other] & ~leader[one]
            np.maximum.at(choice, one[joins], rank[other[joins]])
        joined = choice >= 0
        label[joined] = choice[joined] % count
    alone = label < 0
    label[alone] = np.flatnonzero(alone)
    return label


def _both_ways(matches: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield both ends of matches (M, 2) in both orders, in parts."""
    for some in np.split(matches, np.arange(MATCHES_AT_ONCE, len(matches), MATCHES_AT_ONCE)):
        yield some[:, 0], some[:, 1]
        yield some[:, 1], some[:, 0]


def tracks_from_labels(label: IntArray, points: FloatArray, known: BoolArray, min_views: int) -> Tracks:
    """Return tracks of at least ``min_views`` keypoints; a track's point is the mean of the keypoints' ``points`` (N,
    3) where ``known`` (N,). Tracks without any are left out.
    """
    size = np.bincount(label, minlength=len(label))
    with_point = np.bincount(label, weights=known, minlength=len(label))
    member = (size[label] >= min_views) & (with_point[label] > 0)
    keypoint = np.flatnonzero(member)
    order = np.argsort(label[keypoint], kind="stable")
    keypoint = keypoint[order]
    _, track = np.unique(label[keypoint], return_inverse=True)
    count = int(track.max()) + 1 if len(track) else 0
    weight = known[keypoint].astype(np.float64)
    total = np.bincount(track, weights=weight, minlength=count)
    mean = [np.bincount(track, weights=weight * points[keypoint, k], minlength=count) / total for k in range(3)]
    return Tracks(keypoint, track, np.stack(mean, axis=1) if count else np.zeros((0, 3)))


def depth_sigma(depth: FloatArray) -> FloatArray:
    """Return the standard deviation of a depth camera at ``depth``, in metres; quadratic in depth (Khoshelham 2011)."""
    return np.asarray(0.01 + 0.005 * depth**2)


def refine_points(
    tracks: Tracks,
    keyframes: Keyframes,
    map_from_camera: FloatArray,
    iterations: int = 6,
    step: Step = ignore,
) -> tuple[Tracks, FloatArray]:
    """Minimize robust reprojection errors (and errors of measured depth) over the points, with fixed poses.

    Returns the tracks with new points and the reprojection error in pixels of each observation (O,); infinite behind
    the camera. Gauss-Newton with Cauchy weights. ``step`` is called with how many more points are done.
    """
    points, errors = [tracks.points[:0]], [np.zeros(0)]
    for some in in_parts(tracks):
        refined, error = _refine(some, keyframes, map_from_camera, iterations)
        points.append(refined)
        errors.append(error)
        step(len(some))
    return replace(tracks, points=np.concatenate(points)), np.concatenate(errors)


def in_parts(tracks: Tracks) -> Iterator[Tracks]:
    """Split tracks, with their observations, into parts of about ``OBSERVATIONS_AT_ONCE``."""
    starts = np.searchsorted(tracks.track, np.arange(len(tracks) + 1))
    first = 0
    while first < len(tracks):
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + OBSERVATIONS_AT_ONCE, side="right")) - 1)
        seen = slice(starts[first], starts[end])
        yield Tracks(tracks.keypoint[seen], tracks.track[seen] - first, tracks.points[first:end])
        first = end


def _refine(
    tracks: Tracks, keyframes: Keyframes, map_from_camera: FloatArray, iterations: int
) -> tuple[FloatArray, FloatArray]:
    image = keyframes.image[tracks.keypoint]
    camera_from_map = se3.invert_pose(map_from_camera)[image]
    rotation, translation = camera_from_map[:, :3, :3], camera_from_map[:, :3, 3]
    rays, focal = keyframes.rays[tracks.keypoint], keyframes.focal_px[image]
    depth = keyframes.depth[tracks.keypoint] if keyframes.depth_measured else np.zeros(len(image))
    sigma = depth_sigma(depth)
    points = tracks.points.copy()

    def residuals() -> tuple[FloatArray, FloatArray, FloatArray]:
        seen = np.einsum("nij,nj->ni", rotation, points[tracks.track]) + translation
        offset = (seen[:, :2] / np.maximum(seen[:, 2:], NEAREST_M) - rays) * focal[:, None]
        return seen, offset, np.linalg.norm(offset, axis=1)

    for _ in range(iterations):
        seen, offset, error = residuals()
        inverse = 1 / np.maximum(seen[:, 2], NEAREST_M)
        jacobian = np.zeros((len(image), 2, 3))
        jacobian[:, 0, 0] = jacobian[:, 1, 1] = inverse
        jacobian[:, 0, 2] = -seen[:, 0] * inverse**2
        jacobian[:, 1, 2] = -seen[:, 1] * inverse**2
        jacobian = focal[:, None, None] * (jacobian @ rotation)
        weight = (seen[:, 2] > NEAREST_M) / (1 + (error / POINT_LOSS_PX) ** 2)
        off_depth = seen[:, 2] - depth
        depth_weight = np.where(depth > 0, 1 / (1 + (off_depth / (2 * sigma)) ** 2) / sigma**2, 0)
        along = rotation[:, 2]
        hessian = np.einsum("n,nij,nik->njk", weight, jacobian, jacobian)
        hessian += np.einsum("n,nj,nk->njk", depth_weight, along, along)
        gradient = np.einsum("n,nij,ni->nj", weight, jacobian, offset) + (depth_weight * off_depth)[:, None] * along
        h = sum_by(tracks.track, hessian.reshape(-1, 9), len(tracks)).reshape(-1, 3, 3) + 1e-3 * np.eye(3)
        g = sum_by(tracks.track, gradient, len(tracks))
        points -= np.linalg.solve(h, g[..., None])[..., 0]
    seen, _, error = residuals()
    error[seen[:, 2] < NEAREST_M] = np.inf
    return points, error


def sum_by(group: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Return sums (count, D) of the rows of ``values`` (N, D) by ``group`` (N,)."""
    return np.stack([np.bincount(group, weights=column, minlength=count) for column in values.T], axis=1)


def drop_outliers(tracks: Tracks, error_px: FloatArray, max_error_px: float, min_views: int) -> Tracks:
    """Drop observations of ``max_error_px`` or more, and tracks left with fewer than ``min_views``."""
    keep = error_px < max_error_px
    keypoint, track = tracks.keypoint[keep], tracks.track[keep]
    lengths = np.bincount(track, minlength=len(tracks))
    return Tracks(keypoint, track, tracks.points).select(lengths >= min_views)


def mean_descriptors(tracks: Tracks, descriptors: Rows, step: Step = ignore) -> Float32Array:
    """Return the normalized mean (T, D) of each track's ``descriptors`` (N, D), which are of all keypoints.

    ``step`` is called with how many more observations are done.
    """
    mean = np.zeros((len(tracks), descriptors.shape[1]), np.float32)
    # by image, as descriptors may be in files
    order = np.argsort(tracks.keypoint, kind="stable")
    for some in np.split(order, np.arange(OBSERVATIONS_AT_ONCE, len(order), OBSERVATIONS_AT_ONCE)):
        rows, row = np.unique(tracks.track[some], return_inverse=True)
        total = scipy.sparse.csr_matrix(
            (np.ones(len(some), np.float32), (row, np.arange(len(some)))), shape=(len(rows), len(some))
        )
        mean[rows] += total @ descriptors[tracks.keypoint[some]].astype(np.float32)
        step(len(some))
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return mean
