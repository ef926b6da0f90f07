"""Trajectories in the TUM format (``timestamp tx ty tz qx qy qz qw``) and of messages, and poses between samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry.se3 import interpolate, make_pose, matrix_from_quat, quat_from_matrix
from neumap.geometry.transform_tree import Row
from neumap.io.files import PathLike, parse_lines, write_atomically
from neumap.io.stamps import format_stamp, nearest, parse_stamp, stamp_of
from neumap.records import Trajectory

COLUMNS = "timestamp tx ty tz qx qy qz qw"
# MAX_GAP_NS: poses of 10 Hz with their jitter. On hand-held motion capture thinned to this gap, the pose interpolated
# in the middle is off by less than 5 mm and 2 degrees in 95 of 100 cases.
MAX_GAP_NS = 150_000_000
# TOLERANCE_NS: a sample this near is taken even at the edge of a gap: it is less than a frame of a 30 Hz camera away
TOLERANCE_NS = 20_000_000
QUATERNION_NORM_TOLERANCE = 1e-2


def read_trajectory(path: PathLike) -> Trajectory:
    """Read the trajectory of a TUM file, sorted by stamp; of samples with the same stamp the first is kept.

    Stamps are exact to the nanosecond and quaternions are normalized. Raises :class:`~neumap.errors.DataError` for a
    file that is missing, empty or not text, and for a line that does not hold a stamp and a pose.
    """
    samples = parse_lines(path, "the trajectory", COLUMNS, _parse)
    return trajectory_of([stamp for stamp, _ in samples], [row for _, row in samples])


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
    """Read the numbers x y z qx qy qz qw of a geometry_msgs Pose or Transform, as they are."""
    is_pose = hasattr(message, "orientation")
    t, q = (message.position, message.orientation) if is_pose else (message.translation, message.rotation)
    return float(t.x), float(t.y), float(t.z), float(q.x), float(q.y), float(q.z), float(q.w)


def transforms_of(transforms: Iterable[Any]) -> Iterator[tuple[str, str, int, Sequence[float], Sequence[float]]]:
    """Yield parent, child, stamp (ns), xyz and quaternion of TransformStamped messages, for a transform tree."""
    for each in transforms:
        row = row_of(each.transform)
        yield each.header.frame_id, each.child_frame_id, stamp_of(each.header), row[:3], row[3:]


def check_row(row: Sequence[float]) -> None:
    """Raise ``ValueError`` where x y z qx qy qz qw are no pose: not finite, or a quaternion of another norm than 1."""
    if not all(map(math.isfinite, row)):
        raise ValueError("a value is not finite: remove poses that are not known")
    norm = math.hypot(*row[3:])
    if abs(norm - 1) > QUATERNION_NORM_TOLERANCE:
        raise ValueError(f"the quaternion's norm is {norm:.4g} instead of 1 (qx qy qz qw, in this order)")


def trajectory_of(stamps_ns: Sequence[int], rows: Sequence[Sequence[float]]) -> Trajectory:
    """Make a trajectory of poses x y z qx qy qz qw, sorted by stamp; of those with the same stamp the first is kept."""
    times, first = np.unique(np.array(stamps_ns, dtype=np.int64), return_index=True)
    table = np.array(rows, dtype=np.float64)[first]
    return Trajectory(times, make_pose(matrix_from_quat(table[:, 3:]), table[:, :3]))


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


def poses_at(
    trajectory: Trajectory, stamps_ns: IntArray, max_gap_ns: int = MAX_GAP_NS, tolerance_ns: int = TOLERANCE_NS
) -> tuple[FloatArray, BoolArray]:
    """Return poses (N, 4, 4) at ``stamps_ns`` (N,) and whether each is known (N,); unknown ones are NaN.

    Between two samples positions are interpolated linearly and rotations along the shortest arc; beyond the ends the
    end is held. A pose is known where the two samples around it are at most ``max_gap_ns`` apart or the nearest
    sample is within ``tolerance_ns``. ``trajectory`` must be sorted by stamp, as :func:`read_trajectory` gives it.
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
    valid = (inside & (times[right] - times[left] <= max_gap_ns)) | (distance <= tolerance_ns)
    left, right, wanted = left[valid], right[valid], stamps_ns[valid]
    gap = np.maximum(times[right] - times[left], 1)
    share = np.clip((wanted - times[left]) / gap, 0.0, 1.0)
    out[valid] = interpolate(poses[left], poses[right], share)
    return out, valid
