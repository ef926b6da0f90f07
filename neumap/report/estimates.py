"""Writes pose estimates as lines of JSON and as a trajectory, and summarizes them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from neumap.geometry.se3 import quat_from_matrix
from neumap.io.stamps import format_stamp
from neumap.records import Frame, PoseEstimate, Trajectory
from neumap.report.reasons import count_reasons

# Moment: an image, or the images that several cameras took at the same time.
Moment: TypeAlias = Sequence[Frame]


def as_json_line(frames: Moment, estimate: PoseEstimate) -> str:
    """Return the estimate of one moment as a line of JSON; null where unknown, the stamp as a string of all digits."""
    pose, covariance, error = estimate.map_from_camera, estimate.covariance, estimate.reprojection_error_px
    if pose is None:
        place = None
    else:
        place = {"position": pose[:3, 3].tolist(), "quat_xyzw": quat_from_matrix(pose[:3, :3]).tolist()}
    content = {
        "stamp": format_stamp(frames[0].moment_ns),
        "name": frames[0].name,
        "images": [frame.name for frame in frames],
        "status": estimate.status.value,
        "reason": estimate.reason,
        "inliers": estimate.inliers,
        "reprojection_error_px": error if math.isfinite(error) else None,
        "pose": place,
        "covariance": None if covariance is None else covariance.tolist(),
        "times_ms": {stage: round(value, 3) for stage, value in estimate.times_ms.items()},
    }
    return json.dumps(content, allow_nan=False)


def as_trajectory(moments: Sequence[Moment], estimates: Sequence[PoseEstimate]) -> Trajectory:
    """Return the trajectory of the localized moments."""
    found = [(f[0].moment_ns, e.map_from_camera) for f, e in zip(moments, estimates, strict=True) if e.localized]
    return Trajectory(
        np.array([stamp for stamp, _ in found], dtype=np.int64),
        np.array([pose for _, pose in found], dtype=np.float64).reshape(-1, 4, 4),
    )


def summary_text(moments: Sequence[Moment], estimates: Sequence[PoseEstimate]) -> str:
    """Return how many moments were localized, why the others were not, and the times, as text."""
    count, images = sum(estimate.localized for estimate in estimates), sum(map(len, moments))
    of = f"{images} images" if images == len(moments) else f"{len(moments)} moments, of {images} images"
    lines = [f"localized {count} of {of}"]
    reasons = count_reasons(e.reason for e in estimates if not e.localized)
    lines += [f"lost {number}: {reason}" for reason, number in reasons.items()]
    lines.append(f"time per {'image' if images == len(moments) else 'moment'} {times_text(estimates)}")
    return "\n".join(lines)


def times_text(estimates: Sequence[PoseEstimate]) -> str:
    """Return the median time of an image and of each stage as text."""
    # images that cannot be read have no times
    times = [estimate.times_ms for estimate in estimates if estimate.times_ms]
    if not times:
        return "unknown"
    total = np.median([sum(each.values()) for each in times])
    stages = (f"{stage} {np.median([each[stage] for each in times]):.0f}" for stage in times[0])
    return f"{total:.0f} ms (median): {', '.join(stages)}"
