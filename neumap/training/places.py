"""The training scenes of a pre-training: made once, cached in a folder."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from neumap.errors import ConfigError, MappingError
from neumap.features import DEFAULT, default_settings
from neumap.io.sources import open_source
from neumap.process import set_up
from neumap.progress import Progress
from neumap.training.scenes import TrainingScene, load_scene, make_training_scene, save_scene
from neumap.virtual.curriculum import Place
from neumap.virtual.mixture import curriculum_place

# MOST_IMAGES: largest number of images of a recording; a scene holds all their keypoints, and more add size, not value.
MOST_IMAGES = 250


def training_scenes(
    folder: Path,
    seeds: Sequence[int],
    recordings: Sequence[Path],
    workers: int,
    progress: Progress = lambda *_: None,
    extractor: str = DEFAULT,
    place: Callable[[int], Place] = curriculum_place,
) -> list[TrainingScene]:
    """Return the scenes of virtual places, made by ``place`` from ``seeds``, and of posed ``recordings`` with depth.

    Missing ones are made in ``folder`` by ``workers`` processes, which import ``place``. A place is skipped if
    its images share too little or it has no space to move in. Each ``place`` function and ``extractor`` has separate
    files. Raises what :func:`~neumap.io.sources.open_source` raises for a recording.
    """
    folder = folder if extractor == DEFAULT else folder / extractor
    folder.mkdir(parents=True, exist_ok=True)
    places = {seed: folder / f"{_name(place)}-{seed:06d}.safetensors" for seed in seeds}
    missing = {seed: path for seed, path in places.items() if not (path.exists() or _unusable(path).exists())}
    # processes, since rendering and features both hold the interpreter lock
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = pool.map(partial(_make_scene, place, extractor=extractor), missing.keys(), missing.values())
        for done, _ in enumerate(made, 1):
            progress("places", done, len(missing))
    paths = [*places.values(), *(_recording(folder, source, extractor, progress) for source in recordings)]
    return [load_scene(path) for path in paths if path.exists()]


def _name(place: Callable[[int], Place]) -> str:
    return getattr(place, "__name__", "place").replace("_", "-")


def _unusable(path: Path) -> Path:
    """Return the marker file of a place that was skipped."""
    return path.with_suffix(".unusable")


def _make_scene(place: Callable[[int], Place], seed: int, path: Path, extractor: str) -> None:
    set_up(1)
    try:
        seen = place(seed)
        settings = default_settings(extractor)
        scene = make_training_scene(seen.mapping, seen.query, settings, depth_reach_m=seen.depth_reach_m)
    except (ConfigError, MappingError) as error:
        _unusable(path).write_text(f"{error}\n", encoding="utf-8")
    else:
        save_scene(path, scene)


def _recording(folder: Path, source: Path, extractor: str, progress: Progress) -> Path:
    path = folder / f"recording-{'-'.join(source.resolve().parts[-2:])}.safetensors"
    if not path.exists():
        frames = open_source(source, poses=True).frames
        step = max(1, -(-len(frames) // MOST_IMAGES))
        save_scene(path, make_training_scene(frames[::step], (), default_settings(extractor), progress))
    return path


def describe(scenes: Sequence[TrainingScene]) -> str:
    """Summarize the scenes in a line."""
    images = sum(len(scene.mapped) for scene in scenes)
    keypoints = sum(len(scene.image) for scene in scenes)
    landmarks = sum(len(scene.points) for scene in scenes)
    return f"{len(scenes)} scenes, {images} images, {keypoints} keypoints, {landmarks} landmarks"
