"""The tree of frames over time that tf2 keeps: samples per edge, interpolation, and the search for a path.

Times are integer nanoseconds; 0 stands for "the latest", as in tf2. A transform maps points of the child frame into its
parent's, in metres, with a quaternion as x, y, z, w. Errors have the classes and texts of tf2.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

logger = logging.getLogger(__name__)

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

LATEST = 0
LONGEST_CHAIN = 1000
NO_TURN: Quaternion = (0.0, 0.0, 0.0, 1.0)


class TransformException(Exception):  # noqa: N818  # the names are tf2's
    """Base of all errors of tf2."""


class LookupException(TransformException):
    """A frame does not exist."""


class ConnectivityException(TransformException):
    """The frames belong to different trees."""


class ExtrapolationException(TransformException):
    """There is no data for the time that was asked for."""


class InvalidArgumentException(TransformException):
    """The name of a frame is empty or starts with a slash."""


class TimeoutException(TransformException):
    """Nothing raises it; tf2 has it."""


@dataclass(frozen=True)
class Rigid:
    """A rotation, then a translation."""

    translation: Vector = (0.0, 0.0, 0.0)
    rotation: Quaternion = NO_TURN

    def __matmul__(self, other: Rigid) -> Rigid:
        """First ``other``, then this."""
        turned = rotate(self.rotation, other.translation)
        (x, y, z), (a, b, c) = self.translation, turned
        return Rigid((x + a, y + b, z + c), multiply(self.rotation, other.rotation))

    def inverse(self) -> Rigid:
        x, y, z, w = self.rotation
        back = (-x, -y, -z, w)
        a, b, c = rotate(back, self.translation)
        return Rigid((-a, -b, -c), back)


@dataclass(frozen=True)
class Sample:
    """Where a frame was in its parent at a time."""

    stamp: int
    parent: str
    pose: Rigid


def multiply(p: Quaternion, q: Quaternion) -> Quaternion:
    """Hamilton product: first the rotation ``q``, then ``p``."""
    a, b, c, d = p
    x, y, z, w = q
    return (
        d * x + a * w + b * z - c * y,
        d * y + b * w + c * x - a * z,
        d * z + c * w + a * y - b * x,
        d * w - a * x - b * y - c * z,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    """The vector ``v`` turned by ``q`` of norm 1."""
    x, y, z, w = q
    a, b, c = v
    s, t, u = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return (a + w * s + y * u - z * t, b + w * t + z * s - x * u, c + w * u + x * t - y * s)


def slerp(p: Quaternion, q: Quaternion, ratio: float) -> Quaternion:
    """The rotation ``ratio`` of the short way from ``p`` to ``q``, both of norm 1."""
    cosine = sum(a * b for a, b in zip(p, q, strict=True))
    angle = math.acos(min(abs(cosine), 1.0))
    if angle == 0:
        return p
    first = math.sin((1 - ratio) * angle) / math.sin(angle)
    second = math.copysign(math.sin(ratio * angle) / math.sin(angle), cosine)
    x, y, z, w = (first * a + second * b for a, b in zip(p, q, strict=True))
    return (x, y, z, w)


def interpolate(before: Sample, after: Sample, stamp: int) -> Rigid:
    """Between two samples of the same parent: translation linear, rotation by slerp."""
    ratio = (stamp - before.stamp) / (after.stamp - before.stamp)
    x, y, z = (
        (1 - ratio) * a + ratio * b for a, b in zip(before.pose.translation, after.pose.translation, strict=True)
    )
    return Rigid((x, y, z), slerp(before.pose.rotation, after.pose.rotation, ratio))


def shown(stamp: int) -> str:
    return f"{stamp / 1e9:.6f}"


class Edge(Protocol):
    """What is known of a frame in its parent over time."""

    authority: str

    def at(self, stamp: int) -> Sample:
        """The sample at a time (or the latest). Raises ExtrapolationException."""

    def latest(self) -> Sample | None:
        """The newest sample; its stamp is 0 if it holds at any time."""

    def add(self, sample: Sample) -> bool:
        """Keeps a sample; False if it is too old."""

    def clear(self) -> None:
        """Forgets what a jump of time makes wrong."""

    def span(self) -> tuple[int, int, int]:
        """How many samples, and the oldest and newest stamp."""


class StaticEdge:
    """A sample that holds at any time."""

    def __init__(self) -> None:
        self.authority = ""
        self._sample: Sample | None = None

    def at(self, stamp: int) -> Sample:
        if self._sample is None:
            raise ExtrapolationException("")
        return replace(self._sample, stamp=stamp)

    def latest(self) -> Sample | None:
        return self._sample

    def add(self, sample: Sample) -> bool:
        self._sample = replace(sample, stamp=LATEST)
        return True

    def clear(self) -> None:
        pass

    def span(self) -> tuple[int, int, int]:
        return (1, 0, 0)


class MovingEdge:
    """Samples of the last ``cache_ns`` before the newest."""

    def __init__(self, cache_ns: int) -> None:
        self.authority = ""
        self._cache_ns = cache_ns
        self._samples: list[Sample] = []

    def at(self, stamp: int) -> Sample:
        samples = self._samples
        if not samples:
            raise ExtrapolationException("")
        oldest, newest = samples[0], samples[-1]
        if stamp in (LATEST, newest.stamp):
            return newest
        if len(samples) == 1:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {shown(stamp)}, "
                f"but only time {shown(newest.stamp)} is in the buffer"
            )
        if stamp == oldest.stamp:
            return oldest
        if stamp > newest.stamp:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  Requested time {shown(stamp)} "
                f"but the latest data is at time {shown(newest.stamp)}"
            )
        if stamp < oldest.stamp:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  Requested time {shown(stamp)} "
                f"but the earliest data is at time {shown(oldest.stamp)}"
            )
        index = bisect_right(samples, stamp, key=lambda sample: sample.stamp)
        before, after = samples[index - 1], samples[index]
        if before.parent != after.parent:
            return replace(before, stamp=stamp)
        return Sample(stamp, before.parent, interpolate(before, after, stamp))

    def latest(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def add(self, sample: Sample) -> bool:
        # Old samples go before the new one is added, not after it: so does tf2.
        if self._samples:
            limit = self._samples[-1].stamp - self._cache_ns
            if sample.stamp < limit:
                return False
            outdated = next(index for index, old in enumerate(self._samples) if old.stamp >= limit)
            del self._samples[:outdated]
        insort(self._samples, sample, key=lambda kept: kept.stamp)
        return True

    def clear(self) -> None:
        self._samples.clear()

    def span(self) -> tuple[int, int, int]:
        if not self._samples:
            return (0, 0, 0)
        return (len(self._samples), self._samples[0].stamp, self._samples[-1].stamp)


class TransformTree:
    """All frames. ``cache_ns`` is how long samples are kept, in nanoseconds before an edge's newest."""

    def __init__(self, cache_ns: int) -> None:
        self._cache_ns = cache_ns
        self._edges: dict[str, Edge] = {}
        self._known: set[str] = set()

    def add(self, child: str, sample: Sample, authority: str, static: bool) -> bool:
        """Keeps where ``child`` was; False, with a warning in the log, for what tf2 refuses.

        Refused are frames in themselves or without a name, NaN, quaternions of length 0 and samples older than the
        cache. Quaternions are normalised. The kind of the newest sample decides whether an edge is static.
        """
        child, parent = child.removeprefix("/"), sample.parent.removeprefix("/")
        length = math.hypot(*sample.pose.rotation)
        problem = ""
        if not child or not parent:
            problem = "a frame has no name"
        elif child == parent:
            problem = "the frame is its own parent"
        elif any(map(math.isnan, sample.pose.translation)) or math.isnan(length):
            problem = "a value is NaN"
        elif length == 0:
            problem = "the quaternion is zero"
        if problem:
            logger.warning("Ignored the transform of '%s' in '%s' from '%s': %s", child, parent, authority, problem)
            return False
        x, y, z, w = (value / length for value in sample.pose.rotation)
        sample = Sample(sample.stamp, parent, Rigid(sample.pose.translation, (x, y, z, w)))
        self._known |= {child, parent}
        edge = self._edges.get(child)
        if edge is None or isinstance(edge, StaticEdge) != static:
            edge = self._edges[child] = StaticEdge() if static else MovingEdge(self._cache_ns)
        if not edge.add(sample):
            logger.warning(
                "Ignored the transform of '%s' from '%s': its time %s is long past",
                child,
                authority,
                shown(sample.stamp),
            )
            return False
        edge.authority = authority
        return True

    def clear(self) -> None:
        """Forgets all samples that are not static; the names of frames stay known."""
        for edge in self._edges.values():
            edge.clear()

    def check_frame(self, argument: str, frame: str) -> None:
        """Raises InvalidArgumentException or LookupException for the name of a frame that cannot be looked up."""
        self._check_name(argument, frame)
        if frame not in self._known:
            raise LookupException(f'"{frame}" passed to {argument} does not exist. ')

    def can_look_up(self, target: str, source: str, stamp: int) -> tuple[bool, str]:
        """Whether :meth:`look_up` would answer, and if not, why."""
        try:
            if target != source:
                for name, frame in (("target_frame", target), ("source_frame", source)):
                    argument = f"canTransform argument {name}"
                    self._check_name(argument, frame)
                    if frame not in self._known:
                        return False, f'Invalid frame ID "{frame}" passed to {argument} - frame does not exist'
            self.look_up(target, source, stamp)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def look_up(self, target: str, source: str, stamp: int) -> tuple[int, Rigid]:
        """The transform of points of ``source`` into ``target`` at a time (0: the latest common), and that time.

        Raises the errors of tf2.
        """
        if target == source:
            newest = self._latest(source) if stamp == LATEST else None
            return (newest.stamp if newest else stamp), Rigid()
        self.check_frame("lookupTransform argument target_frame", target)
        self.check_frame("lookupTransform argument source_frame", source)
        if stamp == LATEST:
            stamp = self.latest_common(target, source)
        return stamp, self._walk(target, source, stamp)

    def look_up_full(self, target: str, target_stamp: int, source: str, source_stamp: int, fixed: str) -> Rigid:
        """From ``source`` at one time into ``target`` at another, while ``fixed`` stands still."""
        for name, frame in (("target_frame", target), ("source_frame", source), ("fixed_frame", fixed)):
            self.check_frame(f"lookupTransform argument {name}", frame)
        _, target_from_fixed = self.look_up(target, fixed, target_stamp)
        _, fixed_from_source = self.look_up(fixed, source, source_stamp)
        return target_from_fixed @ fixed_from_source

    def latest_common(self, target: str, source: str) -> int:
        """The newest time at which all edges between the frames have data; 0 if all of them are static."""
        if target == source:
            newest = self._latest(source)
            return newest.stamp if newest else LATEST
        stamps: list[int] = []
        passed: dict[str, int] = {}
        for parent, stamp in self._upwards(source):
            stamps.append(stamp)
            passed[parent] = len(stamps)
            if parent == target:
                return min(filter(None, stamps), default=LATEST)
        below: list[int] = []
        for parent, stamp in self._upwards(target):
            below.append(stamp)
            if parent == source:
                return min(filter(None, below), default=LATEST)
            if parent in passed:
                return min(filter(None, below + stamps[: passed[parent]]), default=LATEST)
        raise self._unconnected(target, source)

    def frames(self) -> Iterator[tuple[str, str, Edge]]:
        """All frames with a parent: name, newest parent (NO_PARENT after a clear), edge."""
        for child, edge in self._edges.items():
            newest = edge.latest()
            yield child, newest.parent if newest else "NO_PARENT", edge

    def listing(self) -> str:
        return "".join(f"Frame {child} exists with parent {parent}.\n" for child, parent, _ in self.frames())

    def _check_name(self, argument: str, frame: str) -> None:
        if not frame:
            raise InvalidArgumentException(
                f'Invalid argument "" passed to {argument} - in tf2 frame_ids cannot be empty'
            )
        if frame.startswith("/"):
            raise InvalidArgumentException(
                f"Invalid argument \"{frame}\" passed to {argument} - in tf2 frame_ids cannot start with a '/'"
            )

    def _latest(self, frame: str) -> Sample | None:
        edge = self._edges.get(frame)
        return edge.latest() if edge else None

    def _upwards(self, frame: str) -> Iterator[tuple[str, int]]:
        """The newest parent of a frame and the stamp of that, its parent, and so on."""
        for _ in range(LONGEST_CHAIN):
            newest = self._latest(frame)
            if newest is None:
                return
            yield newest.parent, newest.stamp
            frame = newest.parent
        raise self._endless()

    def _walk(self, target: str, source: str, stamp: int) -> Rigid:
        top_from_source, top = Rigid(), source
        missing: ExtrapolationException | None = None
        for _ in range(LONGEST_CHAIN):
            edge = self._edges.get(top)
            if edge is None or top == target:
                break
            try:
                sample = edge.at(stamp)
            except ExtrapolationException as error:
                # Not an error yet: the target may be reached from here by going down.
                missing = error
                break
            top_from_source, top = sample.pose @ top_from_source, sample.parent
        else:
            raise self._endless()
        frame, frame_from_target = target, Rigid()
        for _ in range(LONGEST_CHAIN):
            edge = self._edges.get(frame)
            if edge is None or frame in (top, source):
                break
            try:
                sample = edge.at(stamp)
            except ExtrapolationException as error:
                raise self._not_at(error, target, source) from None
            frame_from_target, frame = sample.pose @ frame_from_target, sample.parent
        else:
            raise self._endless()
        if frame == source:
            return frame_from_target.inverse()
        if frame == top:
            return frame_from_target.inverse() @ top_from_source
        if missing is not None:
            raise self._not_at(missing, target, source)
        raise self._unconnected(target, source)

    def _not_at(self, error: ExtrapolationException, target: str, source: str) -> ExtrapolationException:
        return ExtrapolationException(f"{error}, when looking up transform from frame [{source}] to frame [{target}]")

    def _unconnected(self, target: str, source: str) -> ConnectivityException:
        return ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are not part of the same "
            "tree.Tf has two or more unconnected trees."
        )

    def _endless(self) -> LookupException:
        return LookupException(f"The tf tree is invalid because it contains a loop.\n{self.listing()}")
