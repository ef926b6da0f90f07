"""The frames of a recording's /tf and /tf_static: the pose of one frame in another at many stamps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry.se3 import invert_pose, make_pose, matrix_from_quat
from neumap.geometry.transform_tree import TransformTree
from neumap.io.pose_messages import transforms_of
from neumap.io.stamps import LIMIT_NS
from neumap.io.trajectories import MAX_GAP_NS, poses_at
from neumap.records import Trajectory

# samples of a link that never differ by more (metres, and entries of a rotation matrix) are one
_SAME = 1e-6
# reasons why transforms were left out that are told, the most frequent ones
_MOST_TOLD = 3


@dataclass(frozen=True)
class Lookup:
    """Poses (N, 4, 4) of a frame in another one, NaN where not known; ``gap`` names what most of these lack."""

    poses: FloatArray
    known: npt.NDArray[np.bool_]
    gap: str = ""


class RecordedTransforms:
    """The transforms of a whole recording in one tree, asked under stricter rules than tf2's.

    A recording that lacks what a robot would wait for is refused or left out with a reason: a frame has one parent, a
    static link never changes, and between two samples of a link there is no gap unless it never moves.
    """

    def __init__(self) -> None:
        self._tree = TransformTree(cache_ns=None)
        self._count = 0
        self._trajectories: dict[str, Trajectory] = {}

    @property
    def stamps_ns(self) -> IntArray:
        """Return all stamps (N,) of /tf, in order, each once."""
        moving = (edge.stamps for edge in self._tree.edges.values() if not edge.is_static)
        return np.array(sorted({stamp for stamps in moving for stamp in stamps}), dtype=np.int64)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what the user should know: how many transforms were left out, and why."""
        skipped = self._tree.skipped
        if not skipped:
            return ()
        told = [f"{reason} ({count})" for reason, count in skipped.most_common(_MOST_TOLD)]
        more = [f"{len(skipped) - _MOST_TOLD} other reasons"] if len(skipped) > _MOST_TOLD else []
        left_out = sum(skipped.values())
        return (f"{left_out} of {self._count} transforms are left out, as tf2 does: {'; '.join(told + more)}",)

    def add(self, transforms: Sequence[Any], is_static: bool) -> None:
        """Add the geometry_msgs/TransformStamped of a tf2_msgs/TFMessage of /tf or /tf_static."""
        self._count += len(transforms)
        for each in transforms_of(transforms):
            self._tree.add(*each, is_static)

    def problem(self, target: str, source: str) -> str:
        """Say why the pose of ``source`` in ``target`` cannot be known at any time; empty where it can."""
        try:
            self._path(target, source)
        except DataError as error:
            return str(error)
        return ""

    def lookup(self, target: str, source: str, stamps_ns: IntArray) -> Lookup:
        """Return the pose of the frame ``source`` in the frame ``target`` at stamps (N,), interpolated link by link.

        Raises :class:`~neumap.errors.DataError` for frames that are not connected, naming those that are known, for a
        frame with several parents, and for a static link that changes.
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
        """Return the links (parent, child) upwards from source and from target to the first common ancestor."""
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
        raise DataError(f"/tf does not connect {target} with {source}: {'; '.join((self._known(), *self.notes))}")

    def _upwards(self, frame: str) -> tuple[list[tuple[str, str]], str]:
        """Return the links from a frame to its root, and what is wrong with the frame where they end."""
        links: list[tuple[str, str]] = []
        while edge := self._tree.edges.get(frame):
            if len(edge.told) > 1:
                return links, f"the frame {frame} has several parents in /tf ({', '.join(sorted(edge.told))})"
            (parent,) = edge.told
            if any(parent == child for _, child in links):
                return links, f"the frames of /tf form a loop at {frame}"
            links.append((parent, frame))
            frame = parent
        return links, ""

    def _known(self) -> str:
        frames = self._tree.frames
        return f"the frames are {', '.join(frames)}" if frames else "there are no transforms"

    def _poses(self, parent: str, child: str, stamps_ns: IntArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        is_static = self._tree.edges[child].is_static
        trajectory = self._samples(child)
        if is_static and not _is_constant(trajectory):
            raise DataError(
                f"the link {parent} -> {child} of /tf_static changes: the bag holds recordings of two robots or of a "
                "calibration"
            )
        if is_static:
            pose = trajectory.map_from_camera[:1]
            return np.broadcast_to(pose, (len(stamps_ns), 4, 4)), np.ones(len(stamps_ns), dtype=np.bool_)
        # between equal samples nothing moved, however far apart they are
        return poses_at(trajectory, stamps_ns, LIMIT_NS if _is_constant(trajectory) else MAX_GAP_NS)

    def _samples(self, child: str) -> Trajectory:
        """Return the samples of a frame in its parent, of /tf the first of each stamp."""
        if child not in self._trajectories:
            edge = self._tree.edges[child]
            stamps, rows = np.array(edge.stamps, dtype=np.int64), np.array(edge.rows)
            if not edge.is_static:
                stamps, first = np.unique(stamps, return_index=True)
                rows = rows[first]
            self._trajectories[child] = Trajectory(stamps, make_pose(matrix_from_quat(rows[:, 3:]), rows[:, :3]))
        return self._trajectories[child]


def _is_constant(trajectory: Trajectory) -> bool:
    poses = trajectory.map_from_camera
    return bool(np.abs(poses - poses[:1]).max() < _SAME)
