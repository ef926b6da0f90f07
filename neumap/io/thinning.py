"""Leaves out images that were taken where the one before was: a robot that stands still records many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.records import Source


def thin(source: Source, every_m: float | None = None, every_deg: float | None = None) -> Source:
    """Keep the frames that moved ``every_m`` metres or turned ``every_deg`` degrees since the last one kept.

    Either is enough where both are given; without both the source stays as it is. A note tells how many were kept.
    Raises :class:`~neumap.errors.DataError` where fewer than two frames are left, or one has no pose.
    """
    if every_m is None and every_deg is None:
        return source
    poses = [frame.map_from_camera for frame in source.frames]
    known = [pose for pose in poses if pose is not None]
    if len(known) < len(poses):
        raise DataError(f"{source.description}: frames without poses cannot be thinned by motion")
    kept = kept_by_motion(np.array(known).reshape(-1, 4, 4), every_m, every_deg)
    limits = [] if every_m is None else [f"moved {every_m:g} m"]
    limits += [] if every_deg is None else [f"turned {every_deg:g} deg"]
    what = f"{len(kept)} of {len(poses)} frames {' or '.join(limits)} since the one before"
    if len(kept) < 2:
        raise DataError(f"{source.description}: only {what}, two are needed at least: ask for less motion")
    frames = tuple(source.frames[i] for i in kept)
    return replace(source, frames=frames, notes=(*source.notes, f"{what}: the others are left out"))


def kept_by_motion(poses: FloatArray, every_m: float | None, every_deg: float | None) -> npt.NDArray[np.int64]:
    """Return the indices of poses (N, 4, 4) in order: the first, and each that moved or turned enough since.

    ``every_m`` in metres, ``every_deg`` in degrees; None: motion of that kind does not count.
    """
    kept: list[int] = []
    # the cosine alone would tell nothing of angles below a hundredth of a degree, which nobody asks for
    cosine = -np.inf if every_deg is None else np.cos(np.radians(min(every_deg, 180.0)))
    metres = np.inf if every_m is None else every_m
    for index, pose in enumerate(poses):
        if kept:
            last = poses[kept[-1]]
            moved = np.linalg.norm(pose[:3, 3] - last[:3, 3])
            turned = (np.sum(pose[:3, :3] * last[:3, :3]) - 1) / 2
            if moved < metres and turned > cosine:
                continue
        kept.append(index)
    return np.array(kept, dtype=np.int64)
