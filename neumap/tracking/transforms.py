"""A buffer of /tf and /tf_static: the port ``Transforms``, for both node and replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.links import to_and_fro
from neumap.geometry.se3 import poses_of
from neumap.geometry.transform_tree import (
    LATEST,
    Edge,
    TransformError,
    TransformTree,
    frame_name,
    skipped_text,
)
from neumap.tracking.ports import Cancellable, Clock, RobotPose

# CACHE_NS: time for which transforms are kept, nanoseconds. An image may wait for its search for seconds.
CACHE_NS = 30_000_000_000
# POSTDATED_NS: largest lead of stamps over the clock, nanoseconds. EKFs and AMCL postdate them by tenths of a second.
POSTDATED_NS = 500_000_000
# CORRECTED_AHEAD_NS: additional lead of another localizer's map -> odom, nanoseconds: AMCL postdates it by 1 s.
CORRECTED_AHEAD_NS = 2_000_000_000
# LOOKED_AT: number of samples of a link that are checked for a second publisher: 10 s at 100 Hz.
LOOKED_AT = 1000
# SILENT_NS: age of another localizer's newest transform beyond which it counts as silent, nanoseconds: AMCL sends one
# with every scan.
SILENT_NS = 3_000_000_000
NO_TRANSFORM = "no transform for the image"


class LapGuard:
    """Detects messages from before a jump back in time.

    When a bag restarts or a simulator is reset, messages of the old lap still arrive, with stamps far ahead of the
    clock. They are recognized by that until the clock passes the end of the old lap.
    """

    def __init__(self) -> None:
        self._end_ns: int | None = None

    def begin(self, end_ns: int) -> None:
        """Begin a new lap; the newest stamp of the old one is ``end_ns``."""
        self._end_ns = end_ns

    def is_stale(self, stamp_ns: int, now_ns: int) -> bool:
        """Return whether a message with this stamp is from the old lap."""
        if self._end_ns is None:
            return False
        if now_ns > self._end_ns:
            self._end_ns = None
            return False
        return stamp_ns > now_ns + POSTDATED_NS


@dataclass(eq=False)
class _Waiting:
    """An image that waits for the transforms at its stamp."""

    stamp_ns: int
    camera_frame: str
    done: Callable[[RobotPose | str], None]
    timer: Cancellable | None = None


def _dispute(child: str, edge: Edge) -> str:
    """Return a message if the newest samples of a link have several publishers; else empty."""
    if edge.is_static:
        return ""
    parents = sorted(set(edge.parents[-LOOKED_AT:]))
    if len(parents) > 1:
        return f"the frame {child} has several parents in /tf ({', '.join(parents)})"
    found = to_and_fro(np.array(edge.stamps[-LOOKED_AT:], dtype=np.int64), poses_of(edge.rows[-LOOKED_AT:]))
    return f"the link {parents[0]} -> {child} of /tf {found}" if found else ""


class TransformBuffer:
    """Buffers transforms and looks up poses of base and camera. Implements the port ``Transforms``."""

    def __init__(
        self, clock: Clock, base_frame: str, odom_frame: str, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        """Look up frames of these names; ``odom_frame`` is empty without odometry.

        ``warn`` is called once for each kind of skipped transform.
        """
        self._clock, self._base, self._odom, self._warn = clock, base_frame, odom_frame, warn
        self.tree = TransformTree(CACHE_NS)
        self._guard = LapGuard()
        self._waiting: list[_Waiting] = []
        self._newest_ns = 0
        self._camera_frame = ""
        self._disputed: dict[str, str] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The number of skipped transforms so far, as a message."""
        skipped = self.tree.skipped
        return (f"{skipped.total()} transforms are left out, as tf2 does: {skipped_text(skipped)}",) if skipped else ()

    @property
    def disputes(self) -> tuple[str, ...]:
        """Messages about links that had several publishers so far."""
        return tuple(self._disputed.values())

    @property
    def awaited(self) -> bool:
        """Whether an image waits for transforms."""
        return bool(self._waiting)

    def disputed(self) -> tuple[str, ...]:
        frame, told = self._camera_frame or self._base, dict[str, str]()
        while frame not in told and (edge := self.tree.edges.get(frame)) is not None and edge.stamps:
            told[frame] = _dispute(frame, edge)
            self._note(frame, told[frame])
            frame = edge.parents[-1]
        return tuple(filter(None, told.values()))

    def _note(self, child: str, dispute: str) -> None:
        """Warn once about a frame with several publishers."""
        if dispute and child not in self._disputed:
            self._disputed[child] = dispute
            self._warn(dispute)

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        xyz: Sequence[float],
        quat_xyzw: Sequence[float],
        static: bool = False,
    ) -> None:
        """Add a transform: the position of ``child`` in ``parent`` in metres, and a quaternion."""
        if not static:
            ahead_ns = CORRECTED_AHEAD_NS if frame_name(child) == self._odom else 0
            if self._guard.is_stale(stamp_ns - ahead_ns, self._clock.now_ns()):
                return
            self._newest_ns = max(self._newest_ns, stamp_ns)
        edge = self.tree.edges.get(frame_name(child))
        if edge is not None and edge.stamps and edge.is_static is not static:
            self._note(child, f"the frame {child} is on /tf and on /tf_static: the one that was sent last counts")
        problem = self.tree.add(parent, child, stamp_ns, xyz, quat_xyzw, static)
        if problem and self.tree.skipped[problem] == 1:
            self._warn(problem)
        for waiting in tuple(self._waiting):
            self._finish(waiting, only_if_known=True)

    def at(self, stamp_ns: int, camera_frame: str) -> RobotPose | str:
        """Return the poses at a stamp, or tf2's message about what is missing."""
        try:
            base_from_camera = self.tree.lookup(self._base, camera_frame, stamp_ns)
            odom_from_base = self.tree.lookup(self._odom, self._base, stamp_ns) if self._odom else None
        except TransformError as error:
            return f"{NO_TRANSFORM}: {error}"
        return RobotPose(base_from_camera, odom_from_base)

    def odom_from_base(self) -> FloatArray | None:
        return self._latest(self._odom, self._base) if self._odom else None

    def base_from_camera(self, camera_frame: str) -> FloatArray | None:
        return self._latest(self._base, camera_frame)

    def map_from_base(self, map_frame: str, stamp_ns: int) -> FloatArray | None:
        """See the port. The newest map -> odom is used whatever its stamp, since localizers postdate it by the time for
        which it holds.
        """
        try:
            if not self._odom:
                return self.tree.lookup(map_frame, self._base, stamp_ns)
            newest_ns = self.tree.latest_common(map_frame, self._odom)
            if newest_ns != LATEST and self._clock.now_ns() - newest_ns > SILENT_NS:
                return None
            return self.tree.lookup(map_frame, self._odom) @ self.tree.lookup(self._odom, self._base, stamp_ns)
        except TransformError:
            return None

    def when_known(
        self, stamp_ns: int, camera_frame: str, timeout_s: float, done: Callable[[RobotPose | str], None]
    ) -> None:
        self._camera_frame = camera_frame
        found = self.at(stamp_ns, camera_frame)
        if isinstance(found, RobotPose) or timeout_s <= 0:
            done(found)
            return
        waiting = _Waiting(stamp_ns, camera_frame, done)
        waiting.timer = self._clock.call_after(timeout_s, lambda: self._finish(waiting))
        self._waiting.append(waiting)

    def time_jumped_back(self) -> None:
        """Keep static transforms only."""
        self._guard.begin(self._newest_ns)
        self._newest_ns = 0
        self.tree.clear()
        self.forget_waiting()

    def forget_waiting(self) -> None:
        """Cancel all pending callbacks."""
        for waiting in self._waiting:
            if waiting.timer is not None:
                waiting.timer.cancel()
        self._waiting.clear()

    def _finish(self, waiting: _Waiting, only_if_known: bool = False) -> None:
        found = self.at(waiting.stamp_ns, waiting.camera_frame)
        if waiting not in self._waiting or (only_if_known and isinstance(found, str)):
            return
        self._waiting.remove(waiting)
        if waiting.timer is not None:
            waiting.timer.cancel()
        waiting.done(found)

    def _latest(self, target: str, source: str) -> FloatArray | None:
        try:
            return self.tree.lookup(target, source, LATEST)
        except TransformError:
            return None
