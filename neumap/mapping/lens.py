"""Choose the lens of mapping images whose calibration is ambiguous, by the fit of their matches to their poses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from neumap.arrays import IntArray
from neumap.errors import DataError, MappingError
from neumap.geometry import cameras, se3
from neumap.localization.lens import UNSURE_PX, seen_through, undecided
from neumap.mapping.keyframes import Keyframes, field_of_view, focal
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import extract, find_tracks
from neumap.mapping.tracks import refine_points
from neumap.mapping.triangulation import with_triangulated_depth
from neumap.progress import Progress, ignore
from neumap.records import Frame, Source

# TRIED: images used, each MOVED_M or MOVED_DEG from the one before: far enough to distinguish lenses, and near enough
# to overlap.
TRIED, MOVED_M, MOVED_DEG = 16, 0.1, 5.0
# FAR_PX: limit of reprojection errors, pixels; larger ones are reduced to it.
FAR_PX = 10.0


def settled(source: Source, settings: MappingSettings, progress: Progress = ignore) -> Source:
    """Return the source with one lens per image and a note that names it; some images decide if it is ambiguous.

    All frames must have poses.
    """
    frames = undecided(source)
    if not frames:
        return seen_through(source, "")
    moving = se3.kept_by_motion(np.array([frame.map_from_camera for frame in frames]), MOVED_M, MOVED_DEG)
    tried = [frame for frame in (frames[i] for i in moving[:TRIED]) if _is_readable(frame)]
    if not tried:
        return seen_through(source, "")
    fits = dict.fromkeys((lens.origin for lens in tried[0].lenses), 0.0)
    total = len(tried) + len(fits)
    # images that overlap too little decide nothing here; mapping reports whether they suffice
    with suppress(MappingError):
        keyframes = extract(tried, settings, lambda _, done, __: progress("lens", done, total))
        for number, origin in enumerate(fits):
            progress("lens", len(tried) + number, total)
            with suppress(MappingError):
                fits[origin] = _fit(_seen_through(keyframes, tried, [frame.through(origin) for frame in tried]))
    progress("lens", total, total)
    best = max(fits, key=fits.__getitem__)
    return seen_through(source, best if fits[best] > 0 else "")


def _is_readable(frame: Frame) -> bool:
    try:
        frame.read_image()
    except DataError:
        return False
    return True


def _seen_through(keyframes: Keyframes, frames: Sequence[Frame], through: Sequence[Frame]) -> Keyframes:
    """Return the keyframes of ``frames`` with the cameras of ``through``, one for each."""
    rays3 = keyframes.rays3()
    rays = np.concatenate(
        [
            cameras.normalize(to.camera, cameras.project(frame.camera, rays3[keyframes.slice(i)]))
            for i, (frame, to) in enumerate(zip(frames, through, strict=True))
        ]
    )
    seen = np.flatnonzero(np.isfinite(rays).all(axis=1))
    counts: IntArray = np.bincount(keyframes.image[seen], minlength=len(keyframes))
    each = {
        name: getattr(keyframes, name)[seen]
        for name in ("image", "depth", "size", "angle", "descriptors", "coarse", "quick")
    }
    return replace(
        keyframes,
        focal_px=np.array([focal(frame) for frame in through]),
        view=field_of_view(through[0]),
        rays=rays[seen],
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        **each,
    )


def _fit(keyframes: Keyframes) -> float:
    """Return how well the images fit together: observations over the mean squared reprojection error, multiplied for
    given and adjusted poses. Adjusted poses absorb part of a wrong lens; given poses have errors of their own.

    Raises :class:`~neumap.errors.MappingError` if the images overlap too little.
    """
    if not keyframes.depth_measured:
        keyframes = with_triangulated_depth(keyframes, ignore)
    found, adjusted = find_tracks(keyframes, ignore, 2)
    fits = 1.0
    for poses in (adjusted, keyframes.map_from_camera):
        _, error_px = refine_points(found, keyframes, poses)
        mean = np.mean(np.minimum(error_px, FAR_PX) ** 2)
        fits *= float(len(error_px) / (mean + UNSURE_PX**2))
    return fits
