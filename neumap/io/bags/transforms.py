"""The frames of /tf and /tf_static: collecting the links between them, and the pose of one frame in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry.se3 import invert_pose, make_pose, matrix_from_quat
from neumap.io.stamps import LIMIT_NS, seconds
from neumap.io.trajectories import MAX_GAP_NS, QUATERNION_NORM_TOLERANCE, poses_at
from neumap.records import Trajectory

# samples of a link that never differ by more (metres, and entries of a rotation matrix) are one
_SAME = 1e-6


@dataclass(frozen=True)
class Lookup:
    """Poses (N, 4, 4) of a frame in another one, NaN where not known; ``gap`` names what most of these lack."""

    poses: FloatArray
    known: npt.NDArray[np.bool_]
    gap: str = ""


@dataclass
class _Samples:
    """What was said of one link: stamps in nanoseconds and x y z qx qy qz qw."""

    is_static: bool
    stamps: list[int]
    rows: list[tuple[float, ...]]


def checked_trajectory(stamps: Sequence[int], rows: Sequence[Sequence[float]], what: str) -> Trajectory:
    """The trajectory of samples ``x y z qx qy qz qw``, sorted by stamp, the first of each stamp.

    Raises :class:`~neumap.errors.DataError`, which begins with ``what``, for values that are not finite and for a
    quaternion whose norm is not 1 (within 1 %).
    """
    times, first = np.unique(np.array(stamps, dtype=np.int64), return_index=True)
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)[first]
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        raise DataError(f"{what} holds values that are not finite, first at {seconds(times[bad][0])} s")
    norm = np.linalg.norm(table[:, 3:], axis=1)
    bad = np.abs(norm - 1) > QUATERNION_NORM_TOLERANCE
    if bad.any():
        raise DataError(
            f"{what} holds a quaternion of norm {norm[bad][0]:.4g} instead of 1, first at {seconds(times[bad][0])} s"
        )
    return Trajectory(times, make_pose(matrix_from_quat(table[:, 3:]), table[:, :3]))


class TransformTree:
    """Links between frames, as tf2 knows them: each frame has one parent, in which its pose is known over time."""

    def __init__(self) -> None:
        # by child, then by parent
        self._links: dict[str, dict[str, _Samples]] = {}
        self._trajectories: dict[tuple[str, str], Trajectory] = {}

    @property
    def frames(self) -> tuple[str, ...]:
        """The names of all frames, sorted."""
        return tuple(sorted({*self._links, *(parent for parents in self._links.values() for parent in parents)}))

    def add(self, transforms: Sequence[Any], is_static: bool) -> None:
        """Adds the geometry_msgs/TransformStamped of a tf2_msgs/TFMessage of /tf or /tf_static."""
        for each in transforms:
            parent, child = frame_name(each.header.frame_id), frame_name(each.child_frame_id)
            samples = self._links.setdefault(child, {}).setdefault(parent, _Samples(is_static, [], []))
            if is_static and not samples.is_static:
                continue
            if samples.is_static and not is_static:
                # what /tf tells over time outweighs what /tf_static said once
                samples = self._links[child][parent] = _Samples(False, [], [])
            t, q = each.transform.translation, each.transform.rotation
            samples.stamps.append(stamp_of(each.header))
            samples.rows.append((t.x, t.y, t.z, q.x, q.y, q.z, q.w))

    def problem(self, target: str, source: str) -> str:
        """Why the pose of ``source`` in ``target`` cannot be known at any time; empty where it can."""
        try:
            self._path(target, source)
        except DataError as error:
            return str(error)
        return ""

    def lookup(self, target: str, source: str, stamps_ns: IntArray) -> Lookup:
        """The pose of the frame ``source`` in the frame ``target`` at stamps (N,), interpolated link by link.

        Raises :class:`~neumap.errors.DataError` for frames that are not connected, naming those that are known,
        for a frame with several parents, and for transforms that are none.
        """
        down, up = self._path(target, source)
        poses = np.broadcast_to(np.eye(4), (len(stamps_ns), 4, 4))
        known = np.ones(len(stamps_ns), dtype=np.bool_)
        gap, worst = "", 0
        # from the target up to the common ancestor is against the links, from there down to the source along them
        for (parent, child), against in [*((link, True) for link in up), *((link, False) for link in reversed(down))]:
            step, step_known = self._poses(parent, child, stamps_ns)
            poses = poses @ (invert_pose(step) if against else step)
            known &= step_known
            if (missing := int((~step_known).sum())) > worst:
                worst = missing
                gap = (
                    f"the link {parent} -> {child} of /tf has no two samples within {MAX_GAP_NS / 1e9:g} s around them"
                )
        poses = np.where(known[:, None, None], poses, np.nan)
        return Lookup(poses, known, gap)

    def _path(self, target: str, source: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The links (parent, child) upwards from the source, and from the target, to the first common ancestor."""
        from_source, source_end = self._upwards(source)
        from_target, target_end = self._upwards(target)
        above_source = [source, *(parent for parent, _ in from_source)]
        above_target = [target, *(parent for parent, _ in from_target)]
        for count, frame in enumerate(above_source):
            if frame in above_target:
                return from_source[:count], from_target[: above_target.index(frame)]
        for end in (source_end, target_end):
            if end:
                raise DataError(end)
        raise DataError(f"/tf does not connect {target} with {source}: {self._known()}")

    def _upwards(self, frame: str) -> tuple[list[tuple[str, str]], str]:
        """The links from a frame to its root, and what is wrong with the frame where they end."""
        links: list[tuple[str, str]] = []
        while parents := self._links.get(frame):
            if len(parents) > 1:
                return links, f"the frame {frame} has several parents in /tf ({', '.join(sorted(parents))})"
            (parent,) = parents
            if any(parent == child for _, child in links) or parent == frame:
                return links, f"the frames of /tf form a loop at {frame}"
            links.append((parent, frame))
            frame = parent
        return links, ""

    def _known(self) -> str:
        frames = self.frames
        return f"the frames are {', '.join(frames)}" if frames else "there are no transforms"

    def _poses(self, parent: str, child: str, stamps_ns: IntArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        samples = self._links[child][parent]
        trajectory = self._trajectories.get((parent, child))
        if trajectory is None:
            what = f"the link {parent} -> {child} of {'/tf_static' if samples.is_static else '/tf'}"
            # a static link may be told again and again, always with another stamp or none at all
            stamps = range(len(samples.stamps)) if samples.is_static else samples.stamps
            trajectory = checked_trajectory(stamps, samples.rows, what)
            if samples.is_static and not _is_constant(trajectory):
                raise DataError(f"{what} changes: the bag holds recordings of two robots or of a calibration")
            self._trajectories[parent, child] = trajectory
        if samples.is_static:
            pose = trajectory.map_from_camera[:1]
            return np.broadcast_to(pose, (len(stamps_ns), 4, 4)), np.ones(len(stamps_ns), dtype=np.bool_)
        # between equal samples nothing moved, however far apart they are
        return poses_at(trajectory, stamps_ns, LIMIT_NS if _is_constant(trajectory) else MAX_GAP_NS)


def _is_constant(trajectory: Trajectory) -> bool:
    poses = trajectory.map_from_camera
    return bool(np.abs(poses - poses[:1]).max() < _SAME)


def frame_name(name: str) -> str:
    """The frame's name as tf2 has it, without the leading slash of old recordings."""
    return name.removeprefix("/")


def stamp_of(header: Any) -> int:
    """The stamp of a std_msgs/Header in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
