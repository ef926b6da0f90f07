"""Groups the images of a robot's cameras into moments, and looks up where the cameras were then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neumap.arrays import IntArray
from neumap.errors import DataError
from neumap.io.bags.transforms import RecordedTransforms
from neumap.io.stamps import nearest
from neumap.records import Mount

# APART_NS: images of two cameras at most this far apart are of one moment, nanoseconds: half the period of 25 Hz.
APART_NS = 20_000_000
# MOVES_M_S, TURNS_RAD_S: standard deviations of a robot's speed, m/s and rad/s; times the offset of an image from its
# moment they give the uncertainty of the mount.
MOVES_M_S, TURNS_RAD_S = 0.5, 0.5


def mounts_of(
    transforms: RecordedTransforms, camera_frames: Sequence[str], stamps_ns: Sequence[IntArray]
) -> tuple[list[list[Mount | None]], list[str]]:
    """Return the mounts of the images of several cameras, relative to the first camera, None where the transforms do
    not hold one, and notes on these. ``stamps_ns`` holds the stamps (N,) of each camera's images.

    Raises :class:`~neumap.errors.DataError` if the transforms do not connect a camera with the first one.
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
            notes.append(f"{missing} of {len(stamps)} images have no extrinsics of {frame}, {found.gap}: left out")
    return mounts, notes


def moments_of(stamps_ns: Sequence[IntArray]) -> list[IntArray]:
    """Return the moments of images, given the stamps (N,) of each camera.

    An image takes the nearest moment of the previous cameras within 20 ms, which only one image of its camera may take,
    else its own stamp.
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
