"""A place as training data of a decoder: all keypoints of its images, and the landmark that each shows."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.spatial import cKDTree

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.errors import ConfigError
from neumap.features.extractor import FeatureSettings
from neumap.mapping.keyframes import MEASURED_SHARE, extract_keyframes
from neumap.mapping.survey import find_tracks
from neumap.mapping.tracks import Tracks
from neumap.mapping.triangulation import with_triangulated_depth
from neumap.progress import Progress, count_up
from neumap.records import Frame

# UNKNOWN, NOTHING: labels of keypoints without a known answer, and of those that show no landmark.
UNKNOWN, NOTHING = -2, -1
# LANDMARK_VIEWS: smallest number of images of a landmark: without the query images others must remain.
LANDMARK_VIEWS = 3
# SAME_M: a keypoint shows a landmark within this distance, metres; REACH_M: it shows none beyond this one.
SAME_M, REACH_M = 0.03, 0.08
# SAME_RAD: angle by which both grow beyond 12 m, radians, where two pixels of a usual lens are more than SAME_M.
SAME_RAD = 0.0025


@dataclass(frozen=True)
class TrainingScene:
    """N keypoints of F images, ordered by image, and L landmarks.

    ``descriptors`` (N, D) and ``coarse`` (N, C) float16; ``size`` and ``angle`` (N,) as in Features; ``rays`` (N, 2);
    ``quick`` (N,) marks those of a quick look; ``image`` (N,); ``landmark`` (N,) is the landmark of a keypoint, -1 for
    none, -2 if unknown. ``points`` (L, 3) in metres; ``mapped`` (F,) marks the images from which landmarks were made.
    """

    descriptors: npt.NDArray[np.float16]
    coarse: npt.NDArray[np.float16]
    size: Float32Array
    angle: Float32Array
    rays: Float32Array
    quick: npt.NDArray[np.bool_]
    image: npt.NDArray[np.int32]
    landmark: npt.NDArray[np.int32]
    points: Float32Array
    mapped: npt.NDArray[np.bool_]


def make_training_scene(
    mapping: Sequence[Frame],
    query: Sequence[Frame],
    settings: FeatureSettings,
    progress: Progress = lambda *_: None,
    depth_reach_m: float = math.inf,
) -> TrainingScene:
    """Make the scene of posed frames with depth; ``query`` frames, if any, are not used for landmarks.

    Landmarks are made from depth up to ``depth_reach_m``, or triangulated if that is too little. Labels use all depth.

    Raises :class:`~neumap.errors.MappingError` if the mapping frames share too little.
    """
    keyframes = extract_keyframes(mapping, settings, True, count_up(progress, "features", len(mapping)))
    usable = replace(keyframes, depth=np.where(keyframes.depth <= depth_reach_m, keyframes.depth, 0))
    if keyframes.depth_measured and np.mean(usable.depth > 0) > MEASURED_SHARE:
        tracks, adjusted = find_tracks(usable, progress, LANDMARK_VIEWS)
        shown = tracks.points
        label = _label_by_point(keyframes.points(adjusted), keyframes.depth, shown)
        label[tracks.keypoint] = tracks.track
    else:
        tracks, _ = find_tracks(with_triangulated_depth(usable, progress), progress, LANDMARK_VIEWS)
        points = keyframes.points(keyframes.map_from_camera)
        shown = _points_seen(tracks, points, keyframes.depth)
        label = _label_by_point(points, keyframes.depth, shown)
        # an observation keeps its track unless its depth contradicts it; at edges there is no depth
        believed = (keyframes.depth[tracks.keypoint] == 0) | (label[tracks.keypoint] == UNKNOWN)
        label[tracks.keypoint[believed]] = tracks.track[believed]
    parts = [(keyframes, label, 0, np.ones(len(mapping), bool))]
    if query:
        others = extract_keyframes(query, settings, True, count_up(progress, "queries", len(query)))
        label = _label_by_point(others.points(others.map_from_camera), others.depth, shown)
        parts.append((others, label, len(mapping), np.zeros(len(query), bool)))
    return TrainingScene(
        descriptors=np.concatenate([k.descriptors for k, *_ in parts]),
        coarse=np.concatenate([k.coarse for k, *_ in parts]),
        size=np.concatenate([k.size for k, *_ in parts]).astype(np.float32),
        angle=np.concatenate([k.angle for k, *_ in parts]).astype(np.float32),
        rays=np.concatenate([k.rays for k, *_ in parts]).astype(np.float32),
        quick=np.concatenate([k.quick for k, *_ in parts]),
        image=np.concatenate([k.image + first for k, _, first, _ in parts]).astype(np.int32),
        landmark=np.concatenate([label for _, label, *_ in parts]).astype(np.int32),
        points=tracks.points.astype(np.float32),
        mapped=np.concatenate([mapped for *_, mapped in parts]),
    )


def save_scene(path: str | os.PathLike[str], scene: TrainingScene) -> None:
    """Write a scene atomically."""
    temporary = Path(f"{os.fspath(path)}.part")
    save_file({f.name: np.ascontiguousarray(getattr(scene, f.name)) for f in fields(scene)}, temporary)
    os.replace(temporary, path)


def load_scene(path: str | os.PathLike[str]) -> TrainingScene:
    """Read a scene that :func:`save_scene` wrote. Raises :class:`~neumap.errors.ConfigError` for another version's."""
    arrays = load_file(path)
    if arrays.keys() != {f.name for f in fields(TrainingScene)}:
        raise ConfigError(f"{path} is a training scene of another version: remove it, and it is made anew")
    return TrainingScene(**arrays)


def _points_seen(tracks: Tracks, points: FloatArray, depth: Float32Array) -> FloatArray:
    """Return the points (L, 3) of the landmarks of tracks from the ``depth`` (N,), 0 unknown, of their observations.

    Errors of distant triangulated points exceed the distance to their neighbours. A track that mixes several points
    gets that of most observations, by the median.
    """
    known = depth[tracks.keypoint] > 0
    track, keypoint = tracks.track[known], tracks.keypoint[known]
    order = np.argsort(track, kind="stable")
    out: FloatArray = tracks.points.copy()
    for group in np.split(order, np.flatnonzero(np.diff(track[order])) + 1):
        if len(group):
            out[track[group[0]]] = np.median(points[keypoint[group]], axis=0)
    return out


def _label_by_point(points: FloatArray, depth: Float32Array, landmarks: FloatArray) -> IntArray:
    """Return the labels (N,) of keypoints at ``points`` (N, 3), of ``depth`` (N,), 0 unknown, by landmarks (L, 3)."""
    label = np.full(len(points), UNKNOWN)
    known = np.flatnonzero(depth > 0)
    distance, nearest = cKDTree(landmarks).query(points[known])
    same = np.maximum(SAME_M, SAME_RAD * depth[known])
    label[known[distance > REACH_M / SAME_M * same]] = NOTHING
    label[known[distance < same]] = nearest[distance < same]
    return label
