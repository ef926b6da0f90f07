"""Depth for keypoints of images that came without: matched between neighbours and triangulated from the known poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import MappingError, MissingDependencyError
from neumap.geometry import se3
from neumap.mapping import correspondences
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.tracks import Tracks, group_by_leader, refine_points
from neumap.progress import Progress, count_up

# MAX_TRIANGULATION_PX: an observation further from the projection of its point is wrong. MIN_ANGLE_RAD: between two
# views of a point; from less its depth does not follow.
MAX_TRIANGULATION_PX, MIN_ANGLE_RAD = 3.0, 0.02
# NEIGHBOURS: images that each is matched with; MAX_TURN_RAD: by how much they may look another way.
NEIGHBOURS, MAX_TURN_RAD = 8, 0.6


def neighbours_by_viewpoint(map_from_camera: FloatArray, count: int = NEIGHBOURS) -> IntArray:
    """Return pairs (P, 2) of images i < j that look the same way from nearby, without knowing how far they see.

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


def triangulate_tracks(keyframes: Keyframes, label: IntArray, progress: Callable[[int], object]) -> Tracks:
    """Return tracks whose points pycolmap triangulates robustly from the known poses; those it cannot are left out."""
    try:
        import pycolmap
    except ImportError as error:
        raise MissingDependencyError(
            "mapping without depth triangulates with pycolmap: pip install 'neumap[colmap]'"
        ) from error
    members = np.flatnonzero(np.bincount(label, minlength=len(label))[label] >= 2)
    members = members[np.argsort(label[members], kind="stable")]
    groups = np.split(members, np.flatnonzero(np.diff(label[members])) + 1) if len(members) else []
    camera_from_map = se3.invert_pose(keyframes.map_from_camera)
    poses = [pycolmap.Rigid3d(m[:3]) for m in camera_from_map]
    # rays are undistorted and normalized, so the camera is a pinhole of focal length one
    camera = pycolmap.Camera.create_from_model_name(1, "PINHOLE", 1.0, 2, 2)
    camera.params = [1.0, 1.0, 0.0, 0.0]
    options: Any = pycolmap.EstimateTriangulationOptions()
    options.min_tri_angle = MIN_ANGLE_RAD
    options.ransac.max_error = MAX_TRIANGULATION_PX / float(np.median(keyframes.focal_px))
    options.ransac.random_seed = 0
    keypoint: list[IntArray] = []
    track: list[IntArray] = []
    points: list[FloatArray] = []
    for group in groups:
        progress(1)
        images = keyframes.image[group]
        found = pycolmap.estimate_triangulation(
            keyframes.rays[group], [poses[i] for i in images], [camera] * len(group), options
        )
        if found is None:
            continue
        kept = group[np.asarray(found["inliers"], dtype=bool)]
        if len(kept) >= 2:
            keypoint.append(kept)
            track.append(np.full(len(kept), len(points)))
            points.append(found["xyz"])
    if not points:
        raise MappingError("no point could be triangulated: the images hardly move, or their poses are wrong")
    return Tracks(np.concatenate(keypoint), np.concatenate(track), np.array(points))


def with_triangulated_depth(keyframes: Keyframes, progress: Progress) -> Keyframes:
    """Return the keyframes with the depth of every keypoint that could be triangulated, 0 elsewhere."""
    pairs = neighbours_by_viewpoint(keyframes.map_from_camera)
    matches = correspondences.match_along_epipolar_lines(keyframes, pairs, count_up(progress, "match", len(pairs)))
    if not len(matches):
        raise MappingError("no two images show the same things from known poses: are the poses of these images?")
    label = group_by_leader(matches, len(keyframes.image))
    progress("triangulate", 0, 1)
    tracks = triangulate_tracks(keyframes, label, lambda _: None)
    tracks, error = refine_points(tracks, keyframes, keyframes.map_from_camera, iterations=3)
    progress("triangulate", 1, 1)
    good = error < MAX_TRIANGULATION_PX
    keypoint, points = tracks.keypoint[good], tracks.points[tracks.track[good]]
    camera_from_map = se3.invert_pose(keyframes.map_from_camera)[keyframes.image[keypoint]]
    depth = np.zeros(len(keyframes.image))
    depth[keypoint] = np.einsum("nj,nj->n", camera_from_map[:, 2, :3], points) + camera_from_map[:, 2, 3]
    return replace(keyframes, depth=depth, depth_measured=False)
