"""Looks up poses between the frames of a recording's /tf and /tf_static, at many stamps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry.links import same, to_and_fro
from neumap.geometry.se3 import invert_pose, poses_of
from neumap.geometry.transform_tree import TransformTree, frame_name, skipped_text
from neumap.io.stamps import NS_PER_SECOND
from neumap.io.trajectories import TOLERANCE_NS, USUAL_SPACING, Spacing, poses_at, spacing_of, trajectory_of
from neumap.io.transform_messages import transforms_of
from neumap.records import Trajectory

# _MOST_AHEAD_NS: a link stamped further ahead is not post-dated but of another clock, nanoseconds.
_MOST_AHEAD_NS = 10 * NS_PER_SECOND
# _LATE_NS: a larger difference between receiving and stamping of images means different clocks, nanoseconds.
# _DELAY_NS: the largest delay of images to the recorder, which cannot be measured with different clocks, nanoseconds.
_LATE_NS, _DELAY_NS = NS_PER_SECOND, 200_000_000


@dataclass(frozen=True)
class Lookup:
    """Poses (N, 4, 4) of a frame in another, NaN where not ``known`` (N,); ``gap`` is the main reason for these."""

    poses: FloatArray
    known: BoolArray
    gap: str = ""


@dataclass(frozen=True)
class _Link:
    """A moving link: its samples, by the time they are valid for, and the spacing that is interpolated. The doubt of
    the spacing is that of the first lookup which gave one.
    """

    samples: Trajectory
    notes: tuple[str, ...]
    spacing: Spacing = USUAL_SPACING


class RecordedTransforms:
    """The transforms of a whole recording in one tree, with stricter rules than tf2's.

    A frame has one parent and one publisher, a static link never changes, and two samples of a link are no further
    apart than is usual for it (:func:`~neumap.io.trajectories.spacing_of`) unless nothing moved between them. What
    violates these rules is refused or left out with a reason.

    A transform stamped ahead of the time at which it was sent, as AMCL's are, is used at that time.
    """

    def __init__(self, max_gap_s: float | None = None, instead: Sequence[str] = ()) -> None:
        """``max_gap_s``: the largest gap between two samples of a link, seconds; None: from the spacing of each.
        ``instead``: topics of poses that an error may suggest.
        """
        self._tree = TransformTree(cache_ns=None)
        self._count = 0
        self._max_gap_s, self._instead = max_gap_s, instead
        self._links: dict[str, _Link] = {}
        self._received: dict[str, list[tuple[int, int]]] = {}
        self._static: set[str] = set()
        self._heard: IntArray = np.zeros((0, 2), dtype=np.int64)

    @property
    def stamps_ns(self) -> IntArray:
        """Return the sorted unique stamps (N,) of /tf."""
        moving = (edge.stamps for edge in self._tree.edges.values() if not edge.is_static)
        return np.array(sorted({stamp for stamps in moving for stamp in stamps}), dtype=np.int64)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return how many transforms were left out, and why, as sentences."""
        skipped = self._tree.skipped
        many = f"{skipped.total()} of {self._count} transforms are left out, as tf2 does: {skipped_text(skipped)}"
        links = ((self._name(child), link.samples.left_out) for child, link in self._links.items())
        return (*([many] if skipped else []), *(f"of the link {name} of /tf {text}" for name, text in links if text))

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes for the user on the links that were looked up."""
        found: list[str] = []
        for child, link in self._links.items():
            found += link.notes
            if link.spacing.doubt:
                found.append(f"the link {self._name(child)} of /tf {link.spacing.doubt}")
        return tuple(found)

    def add(self, transforms: Sequence[Any], is_static: bool, received_ns: int | None = None) -> None:
        """Add the geometry_msgs/TransformStamped of a tf2_msgs/TFMessage of /tf or /tf_static.

        ``received_ns``: when the recorder received the message; None: at its stamps.
        """
        self._count += len(transforms)
        for parent, child, stamp_ns, xyz, quat_xyzw in transforms_of(transforms):
            if self._tree.add(parent, child, stamp_ns, xyz, quat_xyzw, is_static):
                continue
            if is_static:
                self._static.add(frame_name(child))
            else:
                received = stamp_ns if received_ns is None else received_ns
                self._received.setdefault(frame_name(child), []).append((stamp_ns, received))

    def heard(self, times_ns: IntArray) -> None:
        """Set the sorted times (N, 2) of reception and stamps of messages that are not post-dated, such as images."""
        self._heard = times_ns

    def problem(self, target: str, source: str) -> str:
        """Return why the pose of ``source`` in ``target`` is not known at any time; empty if it is."""
        try:
            self._chains(target, source)
        except DataError as error:
            return str(error)
        return ""

    def lookup(self, target: str, source: str, stamps_ns: IntArray) -> Lookup:
        """Return the pose of the frame ``source`` in the frame ``target`` at stamps (N,), interpolated link by link.

        Raises :class:`~neumap.errors.DataError` for frames that are not connected (it names the known ones), a frame
        with several parents, a static link that changes and a link with two publishers.
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
                    worst, link = missing, f"the link {self._name(child)} of /tf"
                    gap = f"{link} has no two samples within {self._links[child].spacing} around them"
            in_common.append(pose)
        poses = invert_pose(in_common[0]) @ in_common[1]
        return Lookup(np.where(known[:, None, None], poses, np.nan), known, gap)

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Return the frames from target and from source up to, without, their first common ancestor."""
        above_target, target_end = self._upwards(target)
        above_source, source_end = self._upwards(source)
        common = next((frame for frame in above_source if frame in above_target), None)
        if common is None:
            frames = self._tree.frames
            known = f"the frames are {', '.join(frames)}" if frames else "there are no transforms"
            unconnected = f"/tf does not connect {target} with {source}: {'; '.join((known, *self.left_out))}"
            raise DataError(source_end or target_end or unconnected)
        return above_target[: above_target.index(common)], above_source[: above_source.index(common)]

    def _upwards(self, frame: str) -> tuple[list[str], str]:
        """Return the frames from one to its root, and an error, else empty, if they end before the root."""
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

    def _name(self, child: str) -> str:
        return f"{self._parent(child)} -> {child}"

    def _poses(self, child: str, stamps_ns: IntArray) -> tuple[FloatArray, BoolArray]:
        """Return the poses (N, 4, 4) of a frame in its parent, and whether each is known (N,)."""
        edge = self._tree.edges[child]
        if not edge.is_static:
            link = self._links.get(child) or self._link(child)
            if not link.spacing.doubt:
                # it depends on the stamps, which differ between cameras
                link = replace(link, spacing=spacing_of(link.samples, stamps_ns, self._max_gap_s))
            self._links[child] = link
            return poses_at(link.samples, stamps_ns, link.spacing.gap_ns, link.spacing.hold_ns)
        poses = poses_of(edge.rows)
        if not same(poses, poses[:1]).all():
            raise DataError(
                f"the link {self._name(child)} of /tf_static changes: the bag holds recordings of two robots or of a "
                "calibration"
            )
        return np.broadcast_to(poses[:1], (len(stamps_ns), 4, 4)), np.ones(len(stamps_ns), dtype=np.bool_)

    def _link(self, child: str) -> _Link:
        # in the order of the tree's rows
        stamps, received = np.array(sorted(self._received[child], key=lambda each: each[0])).T
        rows = self._tree.edges[child].rows
        if found := to_and_fro(stamps, poses_of(rows)):
            topics = "; there are " + ", ".join(self._instead) if self._instead else ""
            raise DataError(
                f"the link {self._name(child)} of /tf {found}: a bag does not tell who; take the poses of one of them "
                f"from a topic of odometry or poses (--pose-topic{topics}), or record again with the other one off"
            )
        notes = []
        if child in self._static:
            notes.append(f"the link {self._name(child)} is on /tf and on /tf_static: /tf counts")
        ahead_ns = self._ahead_ns(stamps, received)
        if ahead_ns:
            ahead = f"the link {self._name(child)} of /tf is stamped {ahead_ns / 1e9:.2f} s ahead"
            notes.append(f"{ahead}: taken for when it was sent")
        return _Link(trajectory_of(stamps - ahead_ns, rows), tuple(notes))

    def _ahead_ns(self, stamps_ns: IntArray, received_ns: IntArray) -> int:
        """Return by how much samples (N,) are stamped ahead of the time they were sent; 0 if they are not."""
        sent, least_ns = received_ns.astype(np.float64), TOLERANCE_NS
        if len(self._heard) and np.median(np.abs(self._heard[:, 0] - self._heard[:, 1])) > _LATE_NS:
            sent = np.interp(sent, self._heard[:, 0], self._heard[:, 1], left=np.nan, right=np.nan)
            least_ns = _DELAY_NS
        ahead = stamps_ns - sent
        ahead_ns = float(np.median(ahead[np.isfinite(ahead)])) if np.isfinite(ahead).any() else 0.0
        return round(ahead_ns) if least_ns < ahead_ns <= _MOST_AHEAD_NS else 0
