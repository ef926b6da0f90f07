"""Checks a drive through a mapped place: where images are localized, and whether their poses agree with odometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry import se3
from neumap.io.stamps import format_stamp
from neumap.localization.outlook import Outlook
from neumap.maps.neural_map import NeuralMap
from neumap.records import Frame, PoseEstimate, stamps_of
from neumap.report.reasons import count_reasons
from neumap.report.replay_report import WRONG_M

# WRONG_DEG, DRIFT: a step disagrees with odometry if it differs by more than WRONG_M plus the share DRIFT of its
# length, or by more than WRONG_DEG degrees. SHOWN: number of worst stretches in the report.
WRONG_DEG, DRIFT, SHOWN = 10.0, 0.05, 4


@dataclass(frozen=True)
class Step:
    """The motion between two successive localized images: their indices, the distance by odometry, metres, and the
    deviation of the poses from odometry, metres and degrees.
    """

    first: int
    second: int
    moved_m: float
    off_m: float
    off_deg: float

    @property
    def disagrees(self) -> bool:
        """Return whether the deviation is larger than the error of odometry."""
        return self.off_m > WRONG_M + DRIFT * self.moved_m or self.off_deg > WRONG_DEG


@dataclass(frozen=True)
class Stretch:
    """Images ``first`` to ``last`` of a drive, none of which is localized.

    ``seconds`` and ``metres`` (by odometry, NaN without) are from the localized image before to the one after.
    ``reason`` is the most frequent one, ``frame`` the frame in the middle.
    """

    first: int
    last: int
    seconds: float
    metres: float
    reason: str
    frame: Frame

    @property
    def middle(self) -> int:
        """Return the index of the image in the middle."""
        return (self.first + self.last) // 2

    @property
    def extent(self) -> str:
        """Return the number of images, the duration and the length as text."""
        images = 1 + self.last - self.first
        far = "" if np.isnan(self.metres) else f", {self.metres:.1f} m"
        return f"{images} image{'s' if images > 1 else ''}, {self.seconds:.1f} s{far}"


@dataclass(frozen=True)
class DriveCheck:
    """The results of N images, or moments of a rig, in order.

    ``localized`` (N,) are the images with a pose; ``seconds`` (N,) their times since the first; ``places`` (N, 4, 4)
    their poses, else those by odometry from the nearest localized image, else NaN; ``foreseen`` (N,) the predicted
    probability of localization there; ``steps`` those between localized images, empty without odometry; ``stretches``
    those without a pose.
    """

    localized: BoolArray
    seconds: FloatArray
    places: FloatArray
    foreseen: FloatArray
    steps: tuple[Step, ...]
    stretches: tuple[Stretch, ...]
    has_odometry: bool
    frames: tuple[Frame, ...]

    @property
    def disagreeing(self) -> list[Step]:
        """Return the steps that disagree with odometry."""
        return [step for step in self.steps if step.disagrees]

    @cached_property
    def worst(self) -> list[Stretch]:
        """Return the longest stretches without a pose, by distance with odometry, else by time."""
        by = (lambda s: (s.metres, s.seconds)) if self.has_odometry else (lambda s: (s.seconds, 0.0))
        return sorted(self.stretches, key=by, reverse=True)[:SHOWN]


def check_drive(
    moments: Sequence[Sequence[Frame]], estimates: Sequence[PoseEstimate], neural_map: NeuralMap
) -> DriveCheck:
    """Evaluate the ``estimates`` of the moments of a drive, each of one image or of those of a rig.

    The poses of the frames, if all have one, are odometry, in any frame.
    """
    frames = [moment[0] for moment in moments]
    localized = np.array([estimate.localized for estimate in estimates], dtype=np.bool_)
    stamps = stamps_of(frames)
    seconds = 1e-9 * (stamps - stamps[0])
    given = [frame.map_from_rig for frame in frames]
    odometry = np.array(given) if all(pose is not None for pose in given) else None
    places = np.full((len(frames), 4, 4), np.nan)
    found = np.flatnonzero(localized)
    if len(found):
        places[found] = [estimates[i].map_from_camera for i in found.tolist()]
    if odometry is not None and len(found):
        for i in np.flatnonzero(~localized):
            near = found[np.argmin(np.abs(found - i))]
            places[i] = places[near] @ se3.invert_pose(odometry[near]) @ odometry[i]
    foreseen = np.full(len(frames), np.nan)
    outlooks: dict[Any, Outlook] = {}
    for i in np.flatnonzero(np.isfinite(places[:, 0, 0])).tolist():
        each = []
        for frame in moments[i]:
            c, place = frame.camera, places[i] @ frame.rig_from_camera
            name = (c.width, c.height, c.matrix.tobytes(), c.distortion_model, c.distortion.tobytes())
            outlook = outlooks.setdefault(name, outlooks.get(name) or Outlook(neural_map, c))
            each.append(outlook(place[:3, 3], place[None, :3, :3]).probability[0])
        # the best camera is a lower bound: together the cameras of a rig may do better
        foreseen[i] = max(each)
    moved = np.full(len(frames), np.nan)
    if odometry is not None:
        steps_m = np.linalg.norm(np.diff(odometry[:, :3, 3], axis=0), axis=1)
        moved = np.concatenate([[0.0], np.cumsum(steps_m)])
    return DriveCheck(
        localized=localized,
        seconds=seconds,
        places=places,
        foreseen=foreseen,
        steps=() if odometry is None else tuple(_steps(places, odometry, moved, found)),
        stretches=tuple(_stretches(frames, estimates, localized, seconds, moved)),
        has_odometry=odometry is not None,
        frames=tuple(frames),
    )


def _steps(places: FloatArray, odometry: FloatArray, moved: FloatArray, found: IntArray) -> list[Step]:
    steps = []
    for a, b in pairwise(found.tolist()):
        ours, theirs = (se3.invert_pose(poses[a]) @ poses[b] for poses in (places, odometry))
        error = se3.pose_error(ours, theirs)
        off_m, off_deg = float(np.linalg.norm(error[:3])), float(np.rad2deg(np.linalg.norm(error[3:])))
        steps.append(Step(a, b, float(moved[b] - moved[a]), off_m, off_deg))
    return steps


def _stretches(
    frames: Sequence[Frame],
    estimates: Sequence[PoseEstimate],
    localized: BoolArray,
    seconds: FloatArray,
    moved: FloatArray,
) -> list[Stretch]:
    edges = np.flatnonzero(np.diff(np.concatenate([[1], localized.astype(int), [1]])))
    found = []
    for first, end in edges.reshape(-1, 2):
        before, after = max(first - 1, 0), min(end, len(frames) - 1)
        reasons = count_reasons(estimates[i].reason for i in range(first, end))
        middle = frames[(first + end - 1) // 2]
        lasted, far = float(seconds[after] - seconds[before]), float(moved[after] - moved[before])
        found.append(Stretch(int(first), int(end) - 1, lasted, far, next(iter(reasons)), middle))
    return found


def as_dict(check: DriveCheck) -> dict[str, Any]:
    """Return the results for JSON; null where unknown."""
    known = np.isfinite(check.foreseen)
    brier = np.mean((check.foreseen[known] - check.localized[known]) ** 2) if known.any() else np.nan
    # without odometry only localized images have a place, so that there is nothing to compare
    comparable = check.has_odometry and bool(known.any())

    def stretch(one: Stretch) -> dict[str, Any]:
        return {
            "from": format_stamp(check.frames[one.first].stamp_ns),
            "to": format_stamp(check.frames[one.last].stamp_ns),
            "images": 1 + one.last - one.first,
            "seconds": one.seconds,
            "metres": None if np.isnan(one.metres) else one.metres,
            "reason": one.reason,
        }

    def median(values: Sequence[float]) -> float | None:
        return float(np.median(values)) if len(values) else None

    return {
        "images": len(check.localized),
        "localized": float(check.localized.mean()),
        "foreseen": float(check.foreseen[known].mean()) if comparable else None,
        "brier": float(brier) if comparable else None,
        "odometry": {
            "steps": len(check.steps),
            "off_m": median([step.off_m for step in check.steps]),
            "off_deg": median([step.off_deg for step in check.steps]),
            "disagreeing": [format_stamp(check.frames[step.second].stamp_ns) for step in check.disagreeing],
        }
        if check.has_odometry
        else None,
        "longest_gap_s": max((s.seconds for s in check.stretches), default=0.0),
        "longest_gap_m": max((s.metres for s in check.stretches), default=0.0) if check.has_odometry else None,
        "worst": [stretch(one) for one in check.worst],
    }


def as_text(check: DriveCheck) -> list[tuple[str, str]]:
    """Return the results as rows of a name and a text."""
    told = as_dict(check)
    rows = [("drive", f"{told['localized']:.0%} of {told['images']} images localized")]
    if told["foreseen"] is not None:
        rows.append(("foreseen", f"{told['foreseen']:.0%} of them, by the map alone"))
    if told["odometry"] and check.steps:
        o = told["odometry"]
        rows.append(
            (
                "odometry",
                f"{len(check.steps) - len(o['disagreeing'])} of {o['steps']} steps agree, off by "
                f"{100 * o['off_m']:.1f} cm, {o['off_deg']:.2f} deg (median)",
            )
        )
    elif not check.has_odometry:
        rows.append(("odometry", "none in the drive: gaps are in seconds only"))
    gap = f"{told['longest_gap_s']:.1f} s"
    if told["longest_gap_m"] is not None:
        gap += f", {told['longest_gap_m']:.1f} m"
    rows.append(("longest gap", gap))
    rows += [
        ("lost", f"{stretch.extent} from {check.seconds[stretch.first]:.1f} s on: {stretch.reason}")
        for stretch in check.worst
    ]
    return rows
