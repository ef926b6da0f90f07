"""Reads and writes trajectories in the TUM format (``timestamp tx ty tz qx qy qz qw``), and interpolates poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry.links import deviations, dropouts, same
from neumap.geometry.se3 import interpolate, pose_error, poses_of, quat_from_matrix
from neumap.geometry.transform_tree import Row
from neumap.io.files import PathLike, parse_most_lines, write_atomically
from neumap.io.stamps import format_stamp, nearest, parse_stamp
from neumap.records import Trajectory

COLUMNS = "timestamp tx ty tz qx qy qz qw"
# MAX_GAP_NS: the largest gap that is always interpolated, nanoseconds: the period of 10 Hz with jitter. On hand-held
# motion capture thinned to this gap, the error in its middle is below 5 mm and 2 degrees in 95 of 100 cases.
MAX_GAP_NS = 150_000_000
# TOLERANCE_NS: a sample this near is used even at the edge of a gap, nanoseconds: less than the period of 30 Hz.
TOLERANCE_NS = 20_000_000
# GAP_PERIODS: the largest gap that is interpolated, in median periods: one missing sample, and jitter.
GAP_PERIODS = 2.5
# HELD_M: a sample is held while motion at the mean speed covers this, metres; one radian counts as one metre.
HELD_M = 0.01
# DOUBTED_M: interpolation errors above this give a note, metres; rotations count as for HELD_M.
DOUBTED_M = 0.05
QUATERNION_NORM_TOLERANCE = 1e-2


def read_trajectory(path: PathLike, may_be_empty: bool = False) -> Trajectory:
    """Read the trajectory of a TUM file, sorted by stamp; of samples with the same stamp the first is kept.

    Stamps are exact to the nanosecond and quaternions are normalized. Lines that do not hold a stamp and a pose are
    left out and counted. Raises :class:`~neumap.errors.DataError` for a file that is missing, not text or mostly
    invalid, and for an empty one unless it ``may_be_empty``.
    """
    samples, problems = parse_most_lines(path, "the trajectory", COLUMNS, _parse, may_be_empty)
    left_out = left_out_text(f"lines of {path}", len(samples) + len(problems), problems)
    return trajectory_of([stamp for stamp, _ in samples], [row for _, row in samples], left_out)


def left_out_text(what: str, total: int, problems: Sequence[str]) -> str:
    """Return how many of ``total`` are left out and the first of the ``problems``, as a sentence; empty if none.

    Raises :class:`~neumap.errors.DataError` if there are problems with most: the data are then not what was expected.
    """
    if 2 * len(problems) > total:
        raise DataError(f"{len(problems)} of {total} {what} hold no pose, the first is {problems[0]}")
    return f"{len(problems)} of {total} {what} are left out, the first is {problems[0]}" if problems else ""


def _parse(line: str) -> tuple[int, list[float]]:
    fields = line.split()
    if len(fields) != 8:
        raise ValueError(f"{len(fields)} columns instead of 8 ({COLUMNS})")
    stamp = parse_stamp(fields[0])
    try:
        row = [float(field) for field in fields[1:]]
    except ValueError:
        raise ValueError(f"a column is not a number (expected {COLUMNS})") from None
    check_row(row)
    return stamp, row


def row_of(message: Any) -> Row:
    """Return x y z qx qy qz qw of a geometry_msgs Pose or Transform, unchecked."""
    is_pose = hasattr(message, "orientation")
    t, q = (message.position, message.orientation) if is_pose else (message.translation, message.rotation)
    return float(t.x), float(t.y), float(t.z), float(q.x), float(q.y), float(q.z), float(q.w)


def check_row(row: Sequence[float]) -> None:
    """Raise ``ValueError`` if x y z qx qy qz qw are not finite or the norm of the quaternion is not 1."""
    if not all(map(math.isfinite, row)):
        raise ValueError("a value is not finite")
    norm = math.hypot(*row[3:])
    if abs(norm - 1) > QUATERNION_NORM_TOLERANCE:
        raise ValueError(f"the quaternion's norm is {norm:.4g} instead of 1 (qx qy qz qw, in this order)")


def trajectory_of(
    stamps_ns: Sequence[int] | IntArray, rows: Sequence[Sequence[float]], left_out: str = ""
) -> Trajectory:
    """Make a trajectory of poses x y z qx qy qz qw, sorted by stamp; of those with the same stamp the first is kept.

    Dropouts of motion capture are left out and counted, after what was ``left_out`` before.
    """
    times, first = np.unique(np.array(stamps_ns, dtype=np.int64), return_index=True)
    poses = poses_of(rows)[first]
    lost = dropouts(times, poses)
    zero = f"{lost.sum()} of {len(lost)} poses are left out: zero, far from those beside them, as of an object not seen"
    told = "; ".join(filter(None, [left_out, zero if lost.any() else ""]))
    return Trajectory(times[~lost], poses[~lost], told)


def write_trajectory(path: PathLike, trajectory: Trajectory) -> None:
    """Write a TUM file atomically: metres, unit quaternions with qw >= 0, all with nine decimals.

    Raises as :func:`~neumap.io.files.write_atomically` does, and ``ValueError`` for poses that are not finite.
    """
    poses = trajectory.map_from_camera
    if not np.isfinite(poses).all():
        raise ValueError("a pose of the trajectory is not finite")
    quaternions = quat_from_matrix(poses[:, :3, :3])
    quaternions = np.where(quaternions[:, 3:] < 0, -quaternions, quaternions)
    rows = np.concatenate([poses[:, :3, 3], quaternions], axis=1)
    lines = [
        " ".join([format_stamp(stamp), *(f"{value:.9f}" for value in row)])
        for stamp, row in zip(trajectory.stamps_ns, rows, strict=True)
    ]
    write_atomically(path, "".join(f"{line}\n" for line in [f"# {COLUMNS}", *lines]).encode())


@dataclass(frozen=True)
class Spacing:
    """The largest gap between two samples to interpolate, and how long a sample is held beyond the ends; nanoseconds.

    ``doubt`` is a note that interpolated poses are inexact, or empty.
    """

    gap_ns: int
    hold_ns: int
    doubt: str = ""

    def __str__(self) -> str:
        return f"{self.gap_ns / 1e9:.2g} s"


# USUAL_SPACING: for motion capture, and for poses at the stamps of the images.
USUAL_SPACING = Spacing(MAX_GAP_NS, TOLERANCE_NS)


def spacing_of(samples: Trajectory, stamps_ns: IntArray, max_gap_s: float | None = None) -> Spacing:
    """Return the spacing of samples that may be interpolated, from their median period and their speed.

    A gap may be one missing sample long, and 0.15 s in any case, unless ``max_gap_s`` (seconds) replaces the limit. A
    sample of slow motion, such as a correction of odometry, is held for up to its period, one of fast motion for less.
    The result has a doubt if most of ``stamps_ns`` (N,) are between samples and interpolation there is inexact.
    """
    times, poses = samples.stamps_ns, samples.map_from_camera
    gaps = np.diff(times)
    period = int(np.median(gaps)) if len(gaps) else 0
    gap_ns = max(MAX_GAP_NS, GAP_PERIODS * period) if max_gap_s is None else round(max_gap_s * 1e9)
    way = _lengths(pose_error(poses[1:], poses[:-1])).sum()
    held = HELD_M / way * float(times[-1] - times[0]) if way > 0 else np.inf
    hold_ns = max(TOLERANCE_NS, int(min(held, period)))
    # deviations are measured at twice the spacing, where the error is four times as large
    off = float(np.quantile(_lengths(deviations(times, poses)), 0.9)) / 4 if len(times) > 2 else 0.0
    slow = (
        f"comes at {1e9 / max(period, 1):.2g} Hz only: the poses between its samples may be off by {100 * off:.0f} cm"
    )
    between = len(stamps_ns) > 0 and np.median(nearest(times, stamps_ns)[1]) > TOLERANCE_NS
    return Spacing(int(gap_ns), hold_ns, slow if between and off > DOUBTED_M else "")


def _lengths(errors: FloatArray) -> FloatArray:
    """Return the sizes (N,) of pose errors (N, 6) in metres, one radian counted as one metre."""
    return np.asarray(np.linalg.norm(errors.reshape(-1, 2, 3), axis=2).sum(axis=1))


def poses_at(
    trajectory: Trajectory, stamps_ns: IntArray, max_gap_ns: int = MAX_GAP_NS, tolerance_ns: int = TOLERANCE_NS
) -> tuple[FloatArray, BoolArray]:
    """Return poses (N, 4, 4) at ``stamps_ns`` (N,) and whether each is known (N,); unknown ones are NaN.

    Between two samples positions are interpolated linearly and rotations along the shortest arc; beyond the ends the
    last sample is held. A pose is known if the two samples around it are at most ``max_gap_ns`` apart or equal, or the
    nearest sample is within ``tolerance_ns``. ``trajectory`` must be sorted by stamp.
    """
    stamps_ns = np.asarray(stamps_ns, dtype=np.int64).reshape(-1)
    out = np.full((len(stamps_ns), 4, 4), np.nan)
    times, poses = trajectory.stamps_ns, trajectory.map_from_camera
    if len(times) == 0:
        return out, np.zeros(len(stamps_ns), dtype=np.bool_)
    after = np.searchsorted(times, stamps_ns, side="right")
    left, right = np.maximum(after - 1, 0), np.minimum(after, len(times) - 1)
    inside = (stamps_ns >= times[0]) & (stamps_ns <= times[-1])
    _, distance = nearest(times, stamps_ns)
    bridged = (times[right] - times[left] <= max_gap_ns) | same(poses[left], poses[right])
    valid = (inside & bridged) | (distance <= tolerance_ns)
    left, right, wanted = left[valid], right[valid], stamps_ns[valid]
    gap = np.maximum(times[right] - times[left], 1)
    share = np.clip((wanted - times[left]) / gap, 0.0, 1.0)
    out[valid] = interpolate(poses[left], poses[right], share)
    return out, valid
