"""Which of the lenses that a calibration leaves open mapping images were taken through: what fits their poses tells."""

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

# TRIED: images that are looked at, each MOVED_M or MOVED_DEG from the one before: enough to tell a lens, and that
# still see the same things.
TRIED, MOVED_M, MOVED_DEG = 16, 0.1, 5.0
# FAR_PX: an observation further from its point is as wrong as one this far.
FAR_PX = 10.0


def settled(source: Source, settings: MappingSettings, progress: Progress = lambda *_: None) -> Source:
    """Return the source with the one lens that its images were taken through, told by some of them where its
    calibration leaves that open, and a note that tells which. Its frames have poses.
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
    # where images show too little in all ways, nothing tells; whether that will do for a map is for others to say
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
    """Return what ``frames`` show as it is ``through`` other cameras, one for each."""
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
    """Tell how well images fit together, with the given poses and with adjusted ones: by how many observations of
    points, and how exactly. Adjusted poses make up for some of what is wrong with a lens, given ones have errors of
    their own. Raises :class:`~neumap.errors.MappingError` where they share too little.
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
