"""Pose estimates as lines of JSON and as a trajectory, and a summary of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from neumap.geometry.se3 import quat_from_matrix
from neumap.io.stamps import format_stamp
from neumap.records import Frame, PoseEstimate, Trajectory


def as_dict(frame: Frame, estimate: PoseEstimate) -> dict[str, Any]:
    """What is known of one image, for JSON; null where not known. The stamp is a string, to keep every digit."""
    pose = None
    if estimate.map_from_camera is not None:
        pose = {
            "position": estimate.map_from_camera[:3, 3].tolist(),
            "quat_xyzw": quat_from_matrix(estimate.map_from_camera[:3, :3]).tolist(),
        }
    error = estimate.reprojection_error_px
    return {
        "stamp": format_stamp(frame.stamp_ns),
        "name": frame.name,
        "status": estimate.status.value,
        "reason": estimate.reason,
        "inliers": estimate.inliers,
        "reprojection_error_px": error if math.isfinite(error) else None,
        "pose": pose,
        "covariance": None if estimate.covariance is None else estimate.covariance.tolist(),
        "times_ms": {stage: round(value, 3) for stage, value in estimate.times_ms.items()},
    }


def as_json_line(frame: Frame, estimate: PoseEstimate) -> str:
    """:func:`as_dict` on one line."""
    return json.dumps(as_dict(frame, estimate), allow_nan=False)


def as_trajectory(frames: Sequence[Frame], estimates: Sequence[PoseEstimate]) -> Trajectory:
    """The poses of the images that were localized."""
    found = [(f.stamp_ns, e.map_from_camera) for f, e in zip(frames, estimates, strict=True) if e.localized]
    return Trajectory(
        np.array([stamp for stamp, _ in found], dtype=np.int64),
        np.array([pose for _, pose in found], dtype=np.float64).reshape(-1, 4, 4),
    )


def summary_text(estimates: Sequence[PoseEstimate]) -> str:
    """How many were localized, why the others were not, and what it took."""
    count = sum(estimate.localized for estimate in estimates)
    lines = [f"localized {count} of {len(estimates)} images"]
    # numbers differ from image to image, what follows the colon does not
    reasons = Counter(e.reason.rpartition(": ")[2] for e in estimates if not e.localized)
    lines += [f"lost {number}: {reason}" for reason, number in reasons.most_common()]
    lines.append(f"time per image {times_text(estimates)}")
    return "\n".join(lines)


def times_text(estimates: Sequence[PoseEstimate]) -> str:
    """The median time of an image and of each stage."""
    if not estimates:
        return "unknown"
    stages = list(dict.fromkeys(stage for estimate in estimates for stage in estimate.times_ms))
    each = {s: float(np.median([e.times_ms.get(s, 0.0) for e in estimates])) for s in stages}
    total = float(np.median([sum(e.times_ms.values()) for e in estimates]))
    return f"{total:.0f} ms (median): " + ", ".join(f"{stage} {value:.0f}" for stage, value in each.items())
