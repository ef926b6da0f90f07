"""Group matches into tracks (the keypoints of one scene point), and estimate their 3D points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry import se3
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.work import Rows
from neumap.progress import Step, ignore

# POINT_LOSS_PX: scale of the Cauchy loss on reprojection errors.
POINT_LOSS_PX = 2.0
# NEAREST_M: smaller depths are raised to this in projections, so that these stay finite, metres.
NEAREST_M = 0.05
# OBSERVATIONS_AT_ONCE: observations processed together, of about 1 kB each.
OBSERVATIONS_AT_ONCE = 50_000
# GROUPING: rounds in which matches are grouped; what is left after them hardly makes tracks.
GROUPING = 6


@dataclass(frozen=True)
class Tracks:
    """T tracks with O observations in all, ordered by track.

    ``keypoint`` (O,) indexes the keyframes' keypoints; ``track`` (O,) is 0..T-1, both int32; ``points`` (T, 3) in the
    map.
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
        place = np.full(len(self), -1, np.int32)
        place[index] = np.arange(len(index))
        track = place[self.track]
        order = np.argsort(track, kind="stable")[np.count_nonzero(track < 0) :]
        return Tracks(self.keypoint[order], track[order], self.points[index])


def group_by_leader(matches: Iterable[IntArray], count: int, step: Step = ignore) -> IntArray:
    """Return a label (count,) int32 per keypoint from parts of matches (M, 2): the index of its group's leader.

    In connected components a few wrong matches would join half the scene in one track. Instead a keypoint with more
    matches than all its matched keypoints becomes the leader of these; the others repeat this among themselves. So all
    keypoints of a track were matched with its leader. ``matches`` are iterated over several times; ``step`` is called
    with 1 after each of ``GROUPING`` rounds.
    """
    label = np.full(count, -1, np.int32)
    for left in reversed(range(GROUPING)):
        degree = np.zeros(count, np.int32)
        for one, _ in _both_ways(matches, label):
            np.add.at(degree, one, 1)
        if not degree.any():
            step(left + 1)
            break
        by_degree = np.argsort(degree, kind="stable").astype(np.int32)
        rank = np.empty(count, np.int32)
        rank[by_degree] = np.arange(count, dtype=np.int32)
        strongest = np.full(count, -1, np.int32)
        for one, other in _both_ways(matches, label):
            np.maximum.at(strongest, one, rank[other])
        leader = (degree > 0) & (rank > strongest)
        choice = np.full(count, -1, np.int32)
        for one, other in _both_ways(matches, label):
            joins = leader[other] & ~leader[one]
            np.maximum.at(choice, one[joins], rank[other[joins]])
        label[leader] = np.flatnonzero(leader)
        joined = choice >= 0
        label[joined] = by_degree[choice[joined]]
        step(1)
    alone = label < 0
    label[alone] = np.flatnonzero(alone)
    return label


def _both_ways(matches: Iterable[IntArray], label: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield both ends of the matches without a ``label``, in both orders, in parts."""
    for part in matches:
        one, other = part[(label[part] < 0).all(axis=1)].T
        yield one, other
        yield other, one


def tracks_from_labels(
    label: IntArray, points_of: Callable[[IntArray], FloatArray], known: BoolArray, min_views: int
) -> Tracks:
    """Return tracks of at least ``min_views`` keypoints; a track's point is the mean of those of its keypoints,
    ``points_of`` (M,) indices, (M, 3), where ``known`` (N,). Tracks without any are left out.
    """
    size = np.bincount(label, minlength=len(label))
    with_point = np.bincount(label[known], minlength=len(label))
    keypoint = np.flatnonzero(((size >= min_views) & (with_point > 0))[label]).astype(np.int32)
    del size, with_point
    keypoint = keypoint[np.argsort(label[keypoint], kind="stable")]
    track = np.cumsum(np.diff(label[keypoint], prepend=label[keypoint[:1]]) != 0, dtype=np.int32)
    count = int(track[-1]) + 1 if len(track) else 0
    unplaced, points = Tracks(keypoint, track, np.zeros((count, 3))), [np.zeros((0, 3))]
    for some in in_parts(unplaced):
        weight = known[some.keypoint].astype(np.float64)
        total = sum_by(some.track, weight[:, None] * points_of(some.keypoint), len(some))
        points.append(total / np.bincount(some.track, weights=weight, minlength=len(some))[:, None])
    return replace(unplaced, points=np.concatenate(points))


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
    depth = keyframes.depth[tracks.keypoint].astype(np.float64) if keyframes.depth_measured else np.zeros(len(image))
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


def mean_descriptors(
    tracks: Tracks, descriptors: Rows, step: Step = ignore, dtype: type[np.floating[Any]] = np.float32
) -> npt.NDArray[Any]:
    """Return the normalized mean (T, D) of each track's ``descriptors`` (N, D), which are of all keypoints.

    The means are of ``dtype``. ``step`` is called with how many more observations are done.
    """
    mean = np.zeros((len(tracks), descriptors.shape[1]), dtype)
    # by image, as descriptors may be in files
    order = np.argsort(tracks.keypoint, kind="stable")
    for some in np.split(order, np.arange(OBSERVATIONS_AT_ONCE, len(order), OBSERVATIONS_AT_ONCE)):
        rows, row = np.unique(tracks.track[some], return_inverse=True)
        total = scipy.sparse.csr_matrix(
            (np.ones(len(some), np.float32), (row, np.arange(len(some)))), shape=(len(rows), len(some))
        )
        mean[rows] += total @ descriptors[tracks.keypoint[some]].astype(np.float32)
        step(len(some))
    for part in np.array_split(mean, len(mean) // OBSERVATIONS_AT_ONCE + 1):
        # the square of a sum over a few hundred views overflows half precision
        part /= np.maximum(np.linalg.norm(part.astype(np.float32), axis=1, keepdims=True), 1e-9)
    return mean
