"""Places as material to train a decoder with: all keypoints of their images, and which landmark each of them shows.

The scenes of a training are made once, kept in a folder, and only read when it goes on.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save
from scipy.spatial import cKDTree

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.errors import MappingError
from neumap.features.sift import FeatureSettings
from neumap.io.files import PathLike, write_atomically
from neumap.io.sources import open_source
from neumap.mapping.build import find_tracks
from neumap.mapping.keyframes import Keyframes, extract_keyframes
from neumap.process import set_up
from neumap.progress import Progress, count_up
from neumap.records import Frame
from neumap.virtual.curriculum import random_place

# UNKNOWN, NOTHING: what a keypoint shows instead of a landmark.
UNKNOWN, NOTHING = -2, -1
# MIN_VIEWS: of a landmark: images that ask are left out of their landmarks, which others must then show.
MIN_VIEWS = 3
# SAME_M: a keypoint whose measured point is this near to a landmark shows it; one further away than REACH_M shows none.
SAME_M, REACH_M = 0.03, 0.08
# MOST_IMAGES: of a recording: with all keypoints of more it gets large, and no more instructive.
MOST_IMAGES = 250


@dataclass(frozen=True)
class TrainingScene:
    """N keypoints of F images, ordered by image, of which it is known what they show, and L landmarks.

    ``descriptors`` and ``coarse`` (N, 128) float16; ``size`` and ``angle`` (N,) as in Features; ``rays`` (N, 2);
    ``image`` (N,); ``landmark`` (N,) is the landmark a keypoint shows, -1 where it shows none;
    ``points`` (L, 3) in metres; ``mapped`` (F,) tells which images the landmarks were made from.
    """

    descriptors: npt.NDArray[np.float16]
    coarse: npt.NDArray[np.float16]
    size: Float32Array
    angle: Float32Array
    rays: Float32Array
    image: npt.NDArray[np.int32]
    landmark: npt.NDArray[np.int32]
    points: Float32Array
    mapped: npt.NDArray[np.bool_]


def make_training_scene(
    mapping: Sequence[Frame], query: Sequence[Frame], progress: Progress = lambda *_: None
) -> TrainingScene:
    """The scene of posed frames with depth; ``query`` frames are not used for landmarks. They may be none.

    Raises :class:`~neumap.errors.MappingError` where the mapping frames share too little.
    """
    settings = FeatureSettings()
    seen = [extract_keyframes(mapping, settings, True, count_up(progress, "features", len(mapping)))]
    tracks, adjusted = find_tracks(seen[0], progress, MIN_VIEWS)
    labels = [_label_by_point(_measured(seen[0], adjusted), tracks.points)]
    labels[0][tracks.keypoint] = tracks.track
    if query:
        seen.append(extract_keyframes(query, settings, True, count_up(progress, "queries", len(query))))
        labels.append(_label_by_point(_measured(seen[1], seen[1].map_from_camera), tracks.points))
    label = np.concatenate(labels)
    known = label != UNKNOWN
    image = np.concatenate([each.image + first for each, first in zip(seen, (0, len(mapping)), strict=False)])

    def of_all(name: str) -> npt.NDArray[Any]:
        return np.asarray(np.concatenate([getattr(each, name) for each in seen])[known])

    return TrainingScene(
        descriptors=of_all("descriptors"),
        coarse=of_all("coarse"),
        size=of_all("size").astype(np.float32),
        angle=of_all("angle").astype(np.float32),
        rays=of_all("rays").astype(np.float32),
        image=image[known].astype(np.int32),
        landmark=label[known].astype(np.int32),
        points=tracks.points.astype(np.float32),
        mapped=np.arange(len(mapping) + len(query)) < len(mapping),
    )


def save_scene(path: PathLike, scene: TrainingScene) -> None:
    """Write a scene, whole or not at all."""
    write_atomically(path, save({f.name: np.ascontiguousarray(getattr(scene, f.name)) for f in fields(scene)}))


def load_scene(path: PathLike) -> TrainingScene:
    """Read a scene that :func:`save_scene` wrote."""
    return TrainingScene(**load_file(path))


def _measured(keyframes: Keyframes, poses: FloatArray) -> FloatArray:
    """The points (N, 3) of keypoints by their depth, from cameras at ``poses`` (F, 4, 4); NaN where it is not known."""
    of_image = poses[keyframes.image]
    points = np.einsum("nij,nj->ni", of_image[:, :3, :3], keyframes.rays3() * keyframes.depth[:, None])
    return np.asarray(np.where(keyframes.depth[:, None] > 0, points + of_image[:, :3, 3], np.nan))


def _label_by_point(points: FloatArray, landmarks: FloatArray) -> IntArray:
    label = np.full(len(points), UNKNOWN)
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    distance, nearest = cKDTree(landmarks).query(points[known])
    label[known[distance > REACH_M]] = NOTHING
    label[known[distance < SAME_M]] = nearest[distance < SAME_M]
    return label


def training_scenes(
    folder: Path, seeds: Sequence[int], recordings: Sequence[Path], workers: int, progress: Progress = lambda *_: None
) -> list[TrainingScene]:
    """Load the scenes of virtual places of ``seeds`` and of posed ``recordings`` with depth.

    Those that are not in ``folder`` yet are made, by so many processes. A place whose images share too little is left
    out. Raises what :func:`~neumap.io.sources.open_source` raises for a recording.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {seed: folder / f"place-{seed:06d}.safetensors" for seed in seeds}
    missing = {seed: path for seed, path in places.items() if not (path.exists() or _unusable(path).exists())}
    if missing:
        # processes of their own, since rendering and features both hold the interpreter
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(_make_place, missing.keys(), missing.values()), 1):
                progress("places", done, len(missing))
    paths = [*places.values(), *(_recording(folder, source, progress) for source in recordings)]
    return [load_scene(path) for path in paths if path.exists()]


def _unusable(path: Path) -> Path:
    """The mark of a place that was tried and left out."""
    return path.with_suffix(".unusable")


def _make_place(seed: int, path: Path) -> None:
    set_up(1)
    place = random_place(seed)
    try:
        save_scene(path, make_training_scene(place.mapping, place.query))
    except MappingError as error:
        _unusable(path).write_text(f"{place.description}: {error}\n", encoding="utf-8")


def _recording(folder: Path, source: Path, progress: Progress) -> Path:
    path = folder / f"recording-{'-'.join(source.resolve().parts[-2:])}.safetensors"
    if not path.exists():
        frames = open_source(source, poses=True).frames
        step = max(1, -(-len(frames) // MOST_IMAGES))
        save_scene(path, make_training_scene(frames[::step], (), progress))
    return path


def describe(scenes: Sequence[TrainingScene]) -> str:
    """Return what the scenes hold, in a line."""
    images = sum(len(scene.mapped) for scene in scenes)
    keypoints = sum(len(scene.image) for scene in scenes)
    landmarks = sum(len(scene.points) for scene in scenes)
    return f"{len(scenes)} scenes, {images} images, {keypoints} keypoints, {landmarks} landmarks"
