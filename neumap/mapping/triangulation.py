"""Depth of keypoints in images without depth: match neighbouring images and triangulate with the known poses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import MappingError, MissingDependencyError
from neumap.geometry import se3
from neumap.mapping import correspondences
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import GROUPING, Tracks, group_by_leader, refine_points
from neumap.progress import Progress, count_up

# MAX_TRIANGULATION_PX: reprojection error of an inlier at most. MIN_ANGLE_RAD: least angle between two rays of a point;
# with less its depth is undetermined.
MAX_TRIANGULATION_PX, MIN_ANGLE_RAD = 3.0, 0.02
# NEIGHBOURS: images that each is matched with. MAX_TURN_RAD: angle between their optical axes at most.
NEIGHBOURS, MAX_TURN_RAD = 8, 0.6


def neighbours_by_viewpoint(map_from_camera: FloatArray, count: int = NEIGHBOURS) -> IntArray:
    """Return pairs (P, 2) of images i < j that are near each other and look in similar directions.

    Of the nearest ``4 count`` images by position every fourth is taken: the very nearest have too little baseline.
    """
    centres, forward = map_from_camera[:, :3, 3], map_from_camera[:, :3, 2]
    pairs: set[tuple[int, int]] = set()
    for i in range(len(centres)):
        turned = np.arccos(np.clip(forward @ forward[i], -1, 1))
        others = np.flatnonzero((turned < MAX_TURN_RAD) & (np.arange(len(centres)) != i))
        distance = np.linalg.norm(centres[others] - centres[i], axis=1)
        others = others[np.argsort(distance, kind="stable")][: 4 * count]
        step = max(1, len(others) // count)
        pairs.update((min(i, int(j)), max(i, int(j))) for j in others[::step])
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def triangulate_tracks(keyframes: Keyframes, label: IntArray, progress: Progress) -> Tracks:
    """Return the tracks that pycolmap can triangulate robustly with the known poses, with their points."""
    try:
        import pycolmap
    except ImportError as error:
        raise MissingDependencyError(
            "mapping without depth triangulates with pycolmap: pip install 'neumap[colmap]'"
        ) from error
    members = np.flatnonzero(np.bincount(label, minlength=len(label))[label] >= 2)
    members = members[np.argsort(label[members], kind="stable")]
    starts = np.searchsorted(label[members], np.append(np.unique(label[members]), len(label)))
    camera_from_map = se3.invert_pose(keyframes.map_from_camera)
    poses = [pycolmap.Rigid3d(m[:3]) for m in camera_from_map]
    # a pinhole of focal length one, for undistorted normalized rays
    camera = pycolmap.Camera.create_from_model_name(1, "PINHOLE", 1.0, 2, 2)
    camera.params = [1.0, 1.0, 0.0, 0.0]
    options: Any = pycolmap.EstimateTriangulationOptions()
    options.min_tri_angle = MIN_ANGLE_RAD
    options.ransac.max_error = MAX_TRIANGULATION_PX / float(np.median(keyframes.focal_px))
    options.ransac.random_seed = 0
    inlier, points = np.zeros(len(members), dtype=bool), np.zeros((len(starts) - 1, 3))
    step = count_up(progress, "triangulate", len(points))
    for index, (first, end) in enumerate(pairwise(starts.tolist())):
        step(1)
        group = members[first:end]
        images = keyframes.image[group]
        found = pycolmap.estimate_triangulation(
            keyframes.rays[group], [poses[i] for i in images], [camera] * len(group), options
        )
        if found is not None and np.count_nonzero(found["inliers"]) >= 2:
            inlier[first:end] = found["inliers"]
            points[index] = found["xyz"]
    if not inlier.any():
        raise MappingError("no point could be triangulated: the images hardly move, or their poses are wrong")
    track = np.repeat(np.arange(len(points)), np.diff(starts))[inlier]
    used, track = np.unique(track, return_inverse=True)
    return Tracks(members[inlier], track, points[used])


def with_triangulated_depth(keyframes: Keyframes, progress: Progress) -> Keyframes:
    """Return the keyframes with the depth of every keypoint that could be triangulated, 0 for others."""
    progress("match", 0, 1)
    pairs = neighbours_by_viewpoint(keyframes.map_from_camera)
    matches = correspondences.match_along_epipolar_lines(keyframes, pairs, count_up(progress, "match", len(pairs)))
    if not len(matches):
        raise MappingError("no two images show the same things from known poses: are the poses of these images?")
    label = group_by_leader(matches, len(keyframes.image), count_up(progress, "grouping neighbours", GROUPING))
    tracks = triangulate_tracks(keyframes, label, progress)
    tracks, error = refine_points(tracks, keyframes, keyframes.map_from_camera, iterations=3)
    good = error < MAX_TRIANGULATION_PX
    keypoint, points = tracks.keypoint[good], tracks.points[tracks.track[good]]
    ahead = se3.invert_pose(keyframes.map_from_camera)[:, 2][keyframes.image[keypoint]]
    depth = np.zeros(len(keyframes.image), np.float32)
    depth[keypoint] = np.einsum("nj,nj->n", ahead[:, :3], points) + ahead[:, 3]
    return replace(keyframes, depth=depth, depth_measured=False)
