"""Finds the camera's poses in the map, from the transforms of a bag or a topic of poses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neumap.arrays import IntArray
from neumap.errors import ConfigError, DataError
from neumap.geometry.links import to_and_fro
from neumap.geometry.se3 import poses_of
from neumap.geometry.transform_tree import Row, frame_name
from neumap.io.bags.reader import BagReader, Topic
from neumap.io.bags.topics import (
    ODOMETRY,
    PATH,
    POSE,
    POSE_WITH_COVARIANCE,
    TF,
    TRANSFORM,
    BagOptions,
    choose_pose,
)
from neumap.io.bags.transforms import Lookup, RecordedTransforms
from neumap.io.stamps import format_stamp, stamp_of
from neumap.io.trajectories import (
    check_row,
    left_out_text,
    poses_at,
    read_trajectory,
    row_of,
    spacing_of,
    trajectory_of,
)
from neumap.records import Trajectory

# TRUTH_TYPES: message types that may hold true poses of the base.
TRUTH_TYPES = (POSE, POSE_WITH_COVARIANCE, ODOMETRY)
MAP_FRAME, ODOM_FRAME = "map", "odom"
BASE_FRAME = "base_link"
# FEWEST_STAMPS: the least number of different stamps in a path that was driven; a planned path has fewer.
FEWEST_STAMPS = 3


@dataclass(frozen=True)
class Track:
    """The content of a topic of poses: the pose of ``child`` (empty: not in the messages) in ``frame``."""

    trajectory: Trajectory
    frame: str
    child: str


class CameraPoses(NamedTuple):
    """Poses ``found`` of the camera's optical frame, ``notes`` for the user, notes on ``left_out`` poses, and whether
    the poses are those of odometry, which drifts.
    """

    found: Lookup
    notes: list[str]
    left_out: list[str]
    drifts: bool


def camera_poses(
    bag: BagReader, transforms: RecordedTransforms, camera_frame: str, stamps_ns: IntArray, options: BagOptions
) -> CameraPoses:
    """Return the poses of the camera's optical frame in the map at stamps (N,).

    They come from the given trajectory; else from /tf if it connects the map's frame with the camera's; else from the
    only topic with poses in the map's frame; else from odometry, of a topic or of /tf. Raises
    :class:`~neumap.errors.DataError` if the bag holds no poses, :class:`~neumap.errors.ConfigError` if the user has to
    choose the topic.
    """
    map_frame = options.map_frame or MAP_FRAME
    odom_frame = options.map_frame or ODOM_FRAME
    carried = partial(_carried, transforms=transforms, camera_frame=camera_frame, stamps_ns=stamps_ns, options=options)
    if options.trajectory is not None:
        if options.pose_topic is not None:
            raise ConfigError("--trajectory and --pose-topic both give the poses: use one of them")
        path, base = Path(options.trajectory), options.base_frame or camera_frame
        notes = [f"the poses are those of {base} in {path}"]
        return carried(read_trajectory(path), base, path.name, notes=notes, drifts=options.odometry)
    problem = "odometry is asked for" if options.odometry else transforms.problem(map_frame, camera_frame)
    in_tf = not transforms.problem(odom_frame if options.odometry else ODOM_FRAME, camera_frame)
    topic = choose_pose(bag, "" if options.odometry else map_frame, problem, options.pose_topic, in_tf)
    if topic is None or topic.type == TF:
        drifts = options.odometry or (topic is None and bool(problem))
        frame = map_frame if not drifts else odom_frame if options.odometry else ODOM_FRAME
        notes = [_drifting(f"/tf, of the camera in '{frame}'")] if drifts else []
        return CameraPoses(transforms.lookup(frame, camera_frame, stamps_ns), notes, [], drifts)
    track = read_track(bag, topic)
    if options.map_frame is not None and track.frame != options.map_frame:
        raise ConfigError(
            f"the poses on {topic.name} are in the frame {track.frame}, not in {options.map_frame}: "
            "give another --pose-topic or --map-frame"
        )
    base = options.base_frame or track.child or BASE_FRAME
    notes = [f"the poses are those of {base} on {topic.name}"]
    drifts = options.odometry or (topic.type == ODOMETRY and track.frame != map_frame)
    if drifts:
        notes = [_drifting(f"{base} on {topic.name}, in '{track.frame}'")]
    elif track.frame != map_frame:
        notes.append(f"their frame '{track.frame}' is taken for the map's")
    return carried(track.trajectory, base, topic.name, notes=notes, drifts=drifts)


def _drifting(what: str) -> str:
    return f"the poses are those of odometry ({what}), which drifts"


def _carried(
    trajectory: Trajectory,
    base: str,
    name: str,
    *,
    transforms: RecordedTransforms,
    camera_frame: str,
    stamps_ns: IntArray,
    options: BagOptions,
    notes: list[str],
    drifts: bool,
) -> CameraPoses:
    """Return the poses of the camera from a trajectory of the frame ``base``, on which it is mounted.

    ``name`` is the trajectory's name in messages, ``notes`` are those about it, and ``drifts`` whether it drifts.
    """
    if problem := transforms.problem(base, camera_frame):
        raise DataError(
            f"where the camera is on {base}, whose poses {name} tells, is not known: {problem}; "
            f"name another frame with --base-frame ({camera_frame} if the poses are the camera's)"
        )
    mounted = transforms.lookup(base, camera_frame, stamps_ns)
    spacing = spacing_of(trajectory, stamps_ns, options.max_gap_s)
    poses, known = poses_at(trajectory, stamps_ns, spacing.gap_ns, spacing.hold_ns)
    gap = mounted.gap
    if known.sum() <= mounted.known.sum():
        gap = f"{name} has no two poses within {spacing} around them"
    notes = [*notes, f"{name} {spacing.doubt}"] if spacing.doubt else notes
    left_out = [trajectory.left_out] if trajectory.left_out else []
    return CameraPoses(Lookup(poses @ mounted.poses, known & mounted.known, gap), notes, left_out, drifts)


def read_track(bag: BagReader, topic: Topic) -> Track:
    """Read a topic of poses, by the stamps of the headers; of samples with the same stamp the first is kept.

    Invalid poses are left out and counted. Raises :class:`~neumap.errors.DataError` if most are invalid, if the topic
    holds poses of several frames, and if two publishers on it disagree.
    """
    frames: set[tuple[str, str]] = set()
    stamps, rows, problems = [], [], []
    for header, child, row in _samples(bag, topic):
        stamp = stamp_of(header)
        try:
            check_row(row)
        except ValueError as error:
            problems.append(f"at {format_stamp(stamp)} s: {error}")
            continue
        frames.add((frame_name(header.frame_id), child))
        stamps.append(stamp)
        rows.append(row)
    left_out = left_out_text(f"poses on {topic.name}", len(stamps) + len(problems), problems)
    if not frames:
        raise DataError(f"no message on {topic.name} can be decoded")
    if len(frames) > 1:
        names = ", ".join(sorted({" -> ".join(filter(None, pair)) for pair in frames}))
        raise DataError(f"{topic.name} holds poses of several frames ({names}): give another --pose-topic")
    ((frame, child),) = frames
    order = np.argsort(stamps, kind="stable")
    if found := to_and_fro(np.array(stamps, dtype=np.int64)[order], poses_of(rows)[order]):
        raise DataError(f"{topic.name} {found}: give another --pose-topic, or record again with one of them off")
    return Track(trajectory_of(stamps, rows, left_out), frame, child)


def _samples(bag: BagReader, topic: Topic) -> Iterator[tuple[Any, str, Row]]:
    """Yield the header, the child frame and the pose of each sample on a topic of poses."""
    if topic.type == PATH:
        # SLAM publishes the whole path after each pose and each correction: the last one is the best
        *_, last = bag.messages([topic])
        path = bag.decode(last)
        if len({stamp_of(each.header) for each in path.poses}) < min(len(path.poses), FEWEST_STAMPS):
            raise DataError(
                f"the poses on {topic.name} have no stamps of their own, as what a planner draws: give the path of SLAM"
            )
        for each in path.poses:
            each.header.frame_id = each.header.frame_id or path.header.frame_id
            yield each.header, "", row_of(each.pose)
        return
    for decoded in filter(None, map(bag.try_to_decode, bag.messages([topic]))):
        child = frame_name(decoded.child_frame_id) if topic.type in (ODOMETRY, TRANSFORM) else ""
        pose = decoded.transform if topic.type == TRANSFORM else decoded.pose
        yield decoded.header, child, row_of(pose.pose if topic.type in (ODOMETRY, POSE_WITH_COVARIANCE) else pose)


def true_poses(bag: BagReader, given: str | None) -> Trajectory | None:
    """Read true poses of the base in the map from the topic or TUM file ``given``, else from the only topic with
    ground_truth in its name; None if there is none.

    Raises :class:`~neumap.errors.ConfigError` if ``given`` is neither a topic of poses nor a file.
    """
    topics = [topic for topic in bag.topics if topic.type in TRUTH_TYPES and topic.count]
    chosen = [t for t in topics if t.name == given or (given is None and "ground_truth" in t.name)]
    if len(chosen) == 1:
        return read_track(bag, chosen[0]).trajectory
    if given is None:
        return None
    if not Path(given).is_file():
        names = ", ".join(topic.name for topic in topics) or "none"
        raise ConfigError(f"'{given}' is neither a file nor a topic of poses; those of the bag are: {names}")
    return read_trajectory(given)


def odometry_of(bag: BagReader, tf: Mapping[Topic, bool], odom: str, base: str) -> Trajectory | None:
    """Read the poses of ``base`` in ``odom`` from topics ``tf``, static or not; None if they do not connect them."""
    tree = RecordedTransforms()
    for message in bag.messages(tf):
        if (decoded := bag.try_to_decode(message)) is not None:
            tree.add(decoded.transforms, tf[message.topic])
    try:
        found = tree.lookup(odom, base, tree.stamps_ns)
    except DataError:
        return None
    return Trajectory(tree.stamps_ns[found.known], found.poses[found.known])
