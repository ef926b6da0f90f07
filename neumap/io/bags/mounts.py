"""Images of several cameras of a robot brought together: which are of one moment, and where their cameras were then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neumap.arrays import IntArray
from neumap.errors import DataError
from neumap.io.bags.transforms import RecordedTransforms
from neumap.io.stamps import nearest
from neumap.records import Mount

# APART_NS: images of two cameras so far apart in time are of one moment, nanoseconds: half the period of 25 Hz.
APART_NS = 20_000_000
# MOVES_M_S, TURNS_RAD_S: how fast a robot usually moves and turns: what a camera's place is uncertain by that looked
# earlier or later, standard deviations.
MOVES_M_S, TURNS_RAD_S = 0.5, 0.5


def mounts_of(
    transforms: RecordedTransforms, camera_frames: Sequence[str], stamps_ns: Sequence[IntArray]
) -> tuple[list[list[Mount | None]], list[str]]:
    """Return the mounts of the images of several cameras, whose stamps (N,) are given for each, on the first camera;
    None where the transforms do not tell it, and what is said of these.

    Raises :class:`~neumap.errors.DataError` where they never tell it.
    """
    mounts: list[list[Mount | None]] = []
    notes = []
    for camera, (frame, stamps, moments) in enumerate(
        zip(camera_frames, stamps_ns, moments_of(stamps_ns), strict=True)
    ):
        if problem := transforms.problem(camera_frames[0], frame):
            raise DataError(
                f"where {frame} is on the robot is not known: {problem}: give the topic of the transforms (--tf-topic) "
                "or the cameras' frames (--camera-frame), or one --image-topic"
            )
        found = transforms.lookup(camera_frames[0], frame, stamps)
        late_s = np.abs(stamps - moments) * 1e-9
        mounts.append(
            [
                Mount(
                    int(moment),
                    camera,
                    pose,
                    np.diag([(MOVES_M_S * s) ** 2 / 3] * 3 + [(TURNS_RAD_S * s) ** 2 / 3] * 3),
                )
                if known
                else None
                for moment, pose, known, s in zip(moments, found.poses, found.known, late_s, strict=True)
            ]
        )
        if missing := int((~found.known).sum()):
            notes.append(f"of {missing} of {len(stamps)} images where {frame} was is not known, {found.gap}: left out")
    return mounts, notes


def moments_of(stamps_ns: Sequence[IntArray]) -> list[IntArray]:
    """Return the moments that images are of, by their stamps (N,) of each camera: that of the nearest image of the
    cameras before within 20 ms, for one image of a camera only, else their own.
    """
    known = np.zeros(0, dtype=np.int64)
    moments = []
    for stamps in stamps_ns:
        own = stamps.copy()
        if len(known):
            index, far = nearest(known, stamps)
            taken: set[int] = set()
            for image in np.argsort(far, kind="stable"):
                if far[image] <= APART_NS and index[image] not in taken:
                    taken.add(index[image])
                    own[image] = known[index[image]]
        moments.append(own)
        known = np.unique(np.concatenate([known, own]))
    return moments
