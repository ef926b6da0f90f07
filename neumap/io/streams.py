"""Associates images, depth and poses of one recording by their stamps, with notes on what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.errors import DataError
from neumap.io.files import noting
from neumap.io.stamps import nearest, span
from neumap.io.trajectories import Spacing, poses_at
from neumap.records import Source, Trajectory, stamps_of

# MAX_DEPTH_OFFSET_NS: the largest offset in time between an image and its depth, nanoseconds.
MAX_DEPTH_OFFSET_NS = 20_000_000

# Where: where an image is stored: the name of a file or a position in a bag.
Where = TypeVar("Where")


def once_each(images: Iterable[tuple[int, Where]]) -> tuple[list[tuple[int, Where]], list[str]]:
    """Sort images by stamp (ns) and keep the first of each stamp; return them with notes."""
    images = sorted(images, key=lambda each: each[0])
    first: dict[int, Where] = {}
    for stamp_ns, where in images:
        first.setdefault(stamp_ns, where)
    dropped = len(images) - len(first)
    notes = [f"{dropped} of {len(images)} images have the stamp of another one: left out"] if dropped else []
    return list(first.items()), notes


def depth_of_each(
    depths: Iterable[tuple[int, Where]], stamps_ns: IntArray, on: str = ""
) -> tuple[list[Where | None], list[str]]:
    """Find the depth within 20 ms of each image; return it with notes, in which ``on`` names the topic."""
    depths = sorted(depths, key=lambda each: each[0])
    index, distance = nearest(np.array([stamp_ns for stamp_ns, _ in depths], dtype=np.int64), stamps_ns)
    found = [depths[i][1] if far <= MAX_DEPTH_OFFSET_NS else None for i, far in zip(index, distance, strict=True)]
    without = found.count(None)
    note = f"{without} of {len(found)} images have no depth{on} within {MAX_DEPTH_OFFSET_NS / 1e6:g} ms"
    return found, [note] if without else []


def pose_of_each(
    poses: FloatArray, known: BoolArray, stamps_ns: IntArray, place: str, problem: str, gap: str
) -> tuple[Sequence[FloatArray | None], list[str]]:
    """Return the poses (N, 4, 4) of images where they are ``known`` (N,), else None, and notes.

    Raises :class:`~neumap.errors.DataError` for fewer than two poses; it names the ``place`` of the poses and the
    ``problem``. ``gap`` is the reason in the note on images without a pose.
    """
    count, total = int(known.sum()), len(stamps_ns)
    if count < 2:
        which = f"only one of the {total} images has" if count else "no image has"
        why = "; ".join(filter(None, [problem, f"the images are {span(stamps_ns)}"]))
        raise DataError(f"{which} a pose in {place}, and two are needed at least: {why}")
    notes = [f"{total - count} of {total} images have no pose, {gap}: left out"] if count < total else []
    return [pose if is_known else None for pose, is_known in zip(poses, known, strict=True)], notes


def posed(source: Source, trajectory: Trajectory, path: Path, spacing: Spacing) -> Source:
    """Set the poses of frames from a ``trajectory`` of the optical frame of the camera (of a rig, of its first camera)
    that was read from ``path``. Leaves out frames at whose stamps its samples are further apart than ``spacing``.

    Raises :class:`~neumap.errors.DataError` if fewer than two frames get a pose.
    """
    stamps = stamps_of(source.frames)
    poses, known = poses_at(trajectory, stamps, spacing.gap_ns, spacing.hold_ns)
    problem = f"its poses are {span(trajectory.stamps_ns)} (are they of the same recording and clock?)"
    gap = f"{path.name} has gaps of more than {spacing} there"
    left_out = [trajectory.left_out] if trajectory.left_out else []
    with noting(left_out):
        each, notes = pose_of_each(poses, known, stamps, str(path), problem, gap)
    frames = (
        replace(frame, map_from_camera=None if pose is None else pose @ frame.rig_from_camera)
        for frame, pose in zip(source.frames, each, strict=True)
    )
    return replace(
        source,
        frames=tuple(frame for frame in frames if frame.map_from_camera is not None),
        notes=(*left_out, *source.notes, *filter(None, [spacing.doubt and f"{path.name} {spacing.doubt}"]), *notes),
        left_out=(*source.left_out, *left_out),
    )
