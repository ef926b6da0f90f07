"""A transform tree with the rules and messages of tf2 (ros2/geometry2, buffer_core.cpp and cache.cpp).

Mapping, replay and the node keep their transforms here. A transform maps points of the child frame to the parent frame,
in metres. Timestamps are integer nanoseconds; 0 means the latest, as in tf2.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import NeumapError
from neumap.geometry.se3 import interpolate, invert_pose, make_pose, matrix_from_quat

LATEST = 0
# LONGEST_CHAIN: depth of the tree at most, tf2's MAX_GRAPH_DEPTH; more is a loop.
LONGEST_CHAIN = 1000
# CACHE_NS: length of tf2's default cache, nanoseconds.
CACHE_NS = 10_000_000_000
# MOST_TOLD: most frequent reasons for skipped transforms in a message.
MOST_TOLD = 3

Row = tuple[float, float, float, float, float, float, float]


class TransformError(NeumapError):
    """A transform is not available; the message is tf2's."""


def frame_name(name: str) -> str:
    """Return the frame's name without the leading slash of old recordings, as tf2 does."""
    return name.removeprefix("/")


def skipped_text(skipped: Counter[str]) -> str:
    """Return the reasons for skipped transforms, each with its count, as one message."""
    told = [f"{reason} ({count})" for reason, count in skipped.most_common(MOST_TOLD)]
    more = [f"{len(skipped) - MOST_TOLD} other reasons"] if len(skipped) > MOST_TOLD else []
    return "; ".join(told + more)


@dataclass
class Edge:
    """The transforms of one child frame, sorted by timestamp (ns), equal ones in order of arrival.

    ``rows`` hold x y z qx qy qz qw, ``parents`` the parent frame of each. The newest sample of a static edge is valid
    at any time. ``told`` are all parents that the frame ever had.
    """

    is_static: bool
    stamps: list[int] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def insert(self, stamp_ns: int, parent: str, row: Row) -> None:
        """Insert a sample."""
        index = bisect_right(self.stamps, stamp_ns)
        self.stamps.insert(index, stamp_ns)
        self.parents.insert(index, parent)
        self.rows.insert(index, row)

    def drop(self, count: int | None = None) -> None:
        """Delete the ``count`` oldest samples, or all."""
        del self.stamps[:count], self.parents[:count], self.rows[:count]

    def at(self, stamp_ns: int) -> tuple[str, FloatArray]:
        """Return the parent at a timestamp and the pose (4, 4) in it. The edge must have samples.

        Raises :class:`TransformError` outside of the samples.
        """
        stamps = self.stamps
        if self.is_static or stamp_ns in (LATEST, stamps[-1]):
            return self.parents[-1], _pose(self.rows[-1])
        if stamp_ns == stamps[0]:
            return self.parents[0], _pose(self.rows[0])
        if not stamps[0] < stamp_ns < stamps[-1]:
            raise TransformError(self._beyond(stamp_ns))
        after = bisect_right(stamps, stamp_ns)
        before = after - 1
        pose = _pose(self.rows[before])
        # no interpolation between different parents
        if stamps[before] != stamp_ns and self.parents[before] == self.parents[after]:
            share = (stamp_ns - stamps[before]) / (stamps[after] - stamps[before])
            pose = interpolate(pose, _pose(self.rows[after]), share)
        return self.parents[before], pose

    def _beyond(self, stamp_ns: int) -> str:
        wanted, oldest, newest = (f"{stamp / 1e9:.6f}" for stamp in (stamp_ns, self.stamps[0], self.stamps[-1]))
        if len(self.stamps) == 1:
            return f"Lookup would require extrapolation at time {wanted}, but only time {newest} is in the buffer"
        where, end, time = ("future", "latest", newest) if stamp_ns > self.stamps[-1] else ("past", "earliest", oldest)
        return (
            f"Lookup would require extrapolation into the {where}.  Requested time {wanted} "
            f"but the {end} data is at time {time}"
        )


# cached, since a node looks up the same few samples repeatedly
@lru_cache(maxsize=256)
def _pose(row: Row) -> FloatArray:
    pose = make_pose(matrix_from_quat(np.array(row[3:])), np.array(row[:3]))
    pose.flags.writeable = False
    return pose


class TransformTree:
    """The tree of all frames. Samples older than ``cache_ns`` before their edge's newest are dropped; None keeps all.

    With None (a recording, where order means little) transforms of /tf take precedence over those of /tf_static, while
    tf2 uses the kind that arrived last; and all samples of a static edge are kept. ``skipped`` counts the transforms
    that were not kept, by the reason that :meth:`add` returned.
    """

    def __init__(self, cache_ns: int | None = CACHE_NS) -> None:
        self.skipped: Counter[str] = Counter()
        self._cache_ns = cache_ns
        self._edges: dict[str, Edge] = {}
        self._known: set[str] = set()

    @property
    def frames(self) -> tuple[str, ...]:
        """The names of all frames that were ever added, sorted."""
        return tuple(sorted(self._known))

    @property
    def edges(self) -> Mapping[str, Edge]:
        """The edge of each frame that has a parent, read-only."""
        return self._edges

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        xyz: Sequence[float] | FloatArray,
        quat_xyzw: Sequence[float] | FloatArray,
        static: bool = False,
    ) -> str:
        """Add the transform of ``child`` in ``parent``; return "" or, in tf2's words, why it was skipped.

        Skipped are frames without a name or that are their own parent, values that are not finite (though tf2 accepts
        an infinite translation), a quaternion of length zero (others are normalized) and transforms older than the
        cache. The reason contains no values, so that equal faults have equal messages.
        """
        parent, child = frame_name(parent), frame_name(child)
        x, y, z = map(float, xyz)
        qx, qy, qz, qw = map(float, quat_xyzw)
        row = (x, y, z, qx, qy, qz, qw)
        problem = _problem(parent, child, row) or self._keep(parent, child, stamp_ns, row, static)
        if problem:
            self.skipped[problem] += 1
        return problem

    def _keep(self, parent: str, child: str, stamp_ns: int, row: Row, static: bool) -> str:
        self._known |= {parent, child}
        edge = self._edges.setdefault(child, Edge(static))
        edge.told.add(parent)
        if edge.is_static != static:
            if static and self._cache_ns is None:
                return ""
            edge.drop()
            edge.is_static = static
        if self._cache_ns is not None and edge.stamps:
            # before the new sample is inserted, as in tf2
            limit = edge.stamps[-1] - self._cache_ns
            edge.drop(None if static else bisect_left(edge.stamps, limit))
            if not static and stamp_ns < limit:
                return f"TF_OLD_DATA ignoring data from the past for frame {child}"
        # the timestamp of a static sample is ignored, the last one added is valid
        edge.insert(LATEST if static else stamp_ns, parent, row)
        return ""

    def clear(self) -> None:
        """Delete all samples but static ones, as tf2 does on a jump back in time; names of frames stay known."""
        for edge in self._edges.values():
            if not edge.is_static:
                edge.drop()

    def lookup(self, target: str, source: str, stamp_ns: int = LATEST) -> FloatArray:
        """Return the transform (4, 4) of points of ``source`` to ``target`` at a timestamp, or the latest common one.

        Raises :class:`TransformError` as tf2 does: for frames that are not known or not connected, and for a timestamp
        outside of the samples.
        """
        if target == source:
            return np.eye(4)
        self._check("lookupTransform argument target_frame", target)
        self._check("lookupTransform argument source_frame", source)
        if stamp_ns == LATEST:
            stamp_ns = self.latest_common(target, source)
        top, top_from_source, missing = self._climb(source, stamp_ns, (target,))
        end, end_from_target, problem = self._climb(target, stamp_ns, (top, source))
        if end == top:
            return invert_pose(end_from_target) @ top_from_source
        if end == source:
            return invert_pose(end_from_target)
        if problem or missing:
            raise TransformError(
                f"{problem or missing}, when looking up transform from frame [{source}] to frame [{target}]"
            )
        raise _unconnected(target, source)

    def latest_common(self, target: str, source: str) -> int:
        """Return the latest timestamp at which all edges between two frames have data; 0 if all are static.

        Raises :class:`TransformError` for frames that are not known or not connected.
        """
        self._check("get_latest_common_time", target)
        self._check("get_latest_common_time", source)
        above_source, above_target = dict(self._upwards(source)), dict(self._upwards(target))
        common = next((frame for frame in above_source if frame in above_target), None)
        if common is None:
            raise _unconnected(target, source)
        stamps: list[int] = []
        for above in (above_source, above_target):
            for frame, stamp in above.items():
                if frame == common:
                    break
                stamps.append(stamp)
        return min(filter(None, stamps), default=LATEST)

    def _upwards(self, frame: str) -> Iterator[tuple[str, int]]:
        """Yield a frame and the timestamp of its newest sample, then the same for its newest parent, and so on."""
        for _ in range(LONGEST_CHAIN):
            edge = self._edges.get(frame)
            if edge is None or not edge.stamps:
                yield frame, LATEST
                return
            yield frame, edge.stamps[-1]
            frame = edge.parents[-1]
        raise self._endless()

    def _climb(self, frame: str, stamp_ns: int, ends: tuple[str, ...]) -> tuple[str, FloatArray, str]:
        """Go up from a frame to one of ``ends``, or as far as there are samples.

        Returns the frame reached, the transform (4, 4) of points to it, and the error that ended the search, or "".
        """
        pose, top = np.eye(4), frame
        for _ in range(LONGEST_CHAIN):
            edge = self._edges.get(top)
            if top in ends or edge is None or not edge.stamps:
                return top, pose, ""
            try:
                top, step = edge.at(stamp_ns)
            except TransformError as error:
                return top, pose, str(error)
            pose = step @ pose
        raise self._endless()

    def _check(self, argument: str, frame: str) -> None:
        if frame and not frame.startswith("/"):
            if frame not in self._known:
                raise TransformError(f'"{frame}" passed to {argument} does not exist. ')
            return
        what = "start with a '/'" if frame else "be empty"
        raise TransformError(f'Invalid argument "{frame}" passed to {argument} - in tf2 frame_ids cannot {what}')

    def _endless(self) -> TransformError:
        listing = "".join(
            f"Frame {child} exists with parent {edge.parents[-1]}.\n"
            for child, edge in self._edges.items()
            if edge.stamps
        )
        return TransformError(f"The tf tree is invalid because it contains a loop.\n{listing}")


def _problem(parent: str, child: str, row: Row) -> str:
    """Return why tf2 rejects a transform, without its values and its sender; empty if it does not."""
    if not child:
        return "TF_NO_CHILD_FRAME_ID: Ignoring transform because child_frame_id not set"
    if not parent:
        return f'TF_NO_FRAME_ID: Ignoring transform with child_frame_id "{child}" because frame_id not set'
    if child == parent:
        return (
            f'TF_SELF_TRANSFORM: Ignoring transform with frame_id and child_frame_id "{child}" '
            "because they are the same"
        )
    for_child = f'Ignoring transform for child_frame_id "{child}" because of'
    # tf2 divides by the squared length, which under- and overflows
    squared = sum(value * value for value in row[3:])
    if not (all(map(math.isfinite, row)) and math.isfinite(squared)):
        return f"TF_NAN_INPUT: {for_child} a nan value in the transform"
    if squared == 0:
        return f"TF_DENORMALIZED_QUATERNION: {for_child} an invalid quaternion in the transform"
    return ""


def _unconnected(target: str, source: str) -> TransformError:
    return TransformError(
        f"Could not find a connection between '{target}' and '{source}' because they are not part of the same "
        "tree.Tf has two or more unconnected trees."
    )
