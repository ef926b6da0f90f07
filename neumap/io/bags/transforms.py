"""The frames of a recording's /tf and /tf_static: the pose of one frame in another at many stamps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry.se3 import invert_pose
from neumap.geometry.transform_tree import TransformTree
from neumap.io.stamps import LIMIT_NS
from neumap.io.trajectories import MAX_GAP_NS, poses_at, trajectory_of, transforms_of
from neumap.records import Trajectory

# _SAME: samples of a link that never differ by more (metres, and entries of a rotation matrix) are one
_SAME = 1e-6
# _MOST_TOLD: so many reasons why transforms were left out are told, the most frequent ones.
_MOST_TOLD = 3


@dataclass(frozen=True)
class Lookup:
    """Poses (N, 4, 4) of a frame in another one, NaN where not known; ``gap`` names what most of these lack."""

    poses: FloatArray
    known: BoolArray
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
            self._chains(target, source)
        except DataError as error:
            return str(error)
        return ""

    def lookup(self, target: str, source: str, stamps_ns: IntArray) -> Lookup:
        """Return the pose of the frame ``source`` in the frame ``target`` at stamps (N,), interpolated link by link.

        Raises :class:`~neumap.errors.DataError` for frames that are not connected, naming those that are known, for a
        frame with several parents, and for a static link that changes.
        """
        known = np.ones(len(stamps_ns), dtype=np.bool_)
        gap, worst = "", 0
        in_common = []
        for frames in self._chains(target, source):
            pose = np.broadcast_to(np.eye(4), (len(stamps_ns), 4, 4))
            for child in frames:
                step, step_known = self._poses(child, stamps_ns)
                pose = step @ pose
                known &= step_known
                if (missing := int((~step_known).sum())) and missing >= worst:
                    worst, link = missing, f"the link {self._parent(child)} -> {child} of /tf"
                    gap = f"{link} has no two samples within {MAX_GAP_NS / 1e9:g} s around them"
            in_common.append(pose)
        poses = invert_pose(in_common[0]) @ in_common[1]
        return Lookup(np.where(known[:, None, None], poses, np.nan), known, gap)

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Return the frames from target and from source upwards, below the first that is above both."""
        above_target, target_end = self._upwards(target)
        above_source, source_end = self._upwards(source)
        common = next((frame for frame in above_source if frame in above_target), None)
        if common is None:
            frames = self._tree.frames
            known = f"the frames are {', '.join(frames)}" if frames else "there are no transforms"
            unconnected = f"/tf does not connect {target} with {source}: {'; '.join((known, *self.notes))}"
            raise DataError(source_end or target_end or unconnected)
        return above_target[: above_target.index(common)], above_source[: above_source.index(common)]

    def _upwards(self, frame: str) -> tuple[list[str], str]:
        """Return the frames from one to its root, and what is wrong with the last where they end before."""
        frames = [frame]
        while edge := self._tree.edges.get(frame):
            if len(edge.told) > 1:
                return frames, f"the frame {frame} has several parents in /tf ({', '.join(sorted(edge.told))})"
            frame = self._parent(frame)
            if frame in frames:
                return frames, f"the frames of /tf form a loop at {frame}"
            frames.append(frame)
        return frames, ""

    def _parent(self, child: str) -> str:
        (parent,) = self._tree.edges[child].told
        return parent

    def _poses(self, child: str, stamps_ns: IntArray) -> tuple[FloatArray, BoolArray]:
        """Return the poses (N, 4, 4) of a frame in its parent, and whether each is known (N,)."""
        trajectory = self._samples(child)
        poses = trajectory.map_from_camera
        is_constant = bool(np.abs(poses - poses[:1]).max() < _SAME)
        if not self._tree.edges[child].is_static:
            # between equal samples nothing moved, however far apart they are
            return poses_at(trajectory, stamps_ns, LIMIT_NS if is_constant else MAX_GAP_NS)
        if not is_constant:
            raise DataError(
                f"the link {self._parent(child)} -> {child} of /tf_static changes: the bag holds recordings of two "
                "robots or of a calibration"
            )
        return np.broadcast_to(poses[:1], (len(stamps_ns), 4, 4)), np.ones(len(stamps_ns), dtype=np.bool_)

    def _samples(self, child: str) -> Trajectory:
        """Return the samples of a frame in its parent, of /tf the first of each stamp."""
        if child not in self._trajectories:
            edge = self._tree.edges[child]
            # the stamps of static ones, all the same, would hide that they change
            stamps = range(len(edge.rows)) if edge.is_static else edge.stamps
            self._trajectories[child] = trajectory_of(stamps, edge.rows)
        return self._trajectories[child]
