"""The bag that a replay leaves: what the localizer said and the images that it searched, beside what of the recording
is not large.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neumap.geometry.transform_tree import frame_name
from neumap.io.bags.messages import STATUS, typestore
from neumap.io.bags.reader import BagReader, Topic
from neumap.io.bags.topics import COMPRESSED_IMAGE, IMAGES, POSE_WITH_COVARIANCE, TF
from neumap.io.bags.writer import BagWriter
from neumap.io.image_messages import gray_of
from neumap.io.stamps import NS_PER_SECOND, stamp_of
from neumap.replay.messages import (
    DIAGNOSTICS,
    POINT_CLOUD,
    cloud_message,
    diagnostics_message,
    jpeg_message,
    pose_message,
    status_message,
    transform_message,
)
from neumap.replay.recorder import Recorder

# not copied to the output, but for images that were searched: large, and in the input already
LARGE = frozenset({*IMAGES, POINT_CLOUD})


class _Line(NamedTuple):
    """A message to write: an object of the typestore, or CDR bytes."""

    time_ns: int
    topic: str
    type: str
    message: Any


def write_output_bag(
    path: Path,
    bag: BagReader,
    out: Recorder,
    span_ns: tuple[int, int],
    tf: Mapping[Topic, bool],
    images: Mapping[Topic, int],
    frame_id: str,
    link: tuple[str, str] | None,
    node: str,
) -> None:
    """Write a bag that replaces an older one. ``span_ns`` is the part of the recording that was played, ``tf`` are its
    topics of transforms, which are static or not, and ``images`` those of images, with what is added to their stamps,
    nanoseconds; ``frame_id`` is that of the map.

    The transform ``link`` (map, child) is the localizer's: where the recording has one too, it is left out.
    """
    status_topic, landmarks_topic = f"/{node}/status", f"/{node}/landmarks"
    static = {topic.name for topic, is_static in tf.items() if is_static}
    tf_topic = next((topic.name for topic, is_static in tf.items() if not is_static), "/tf")
    said = heapq.merge(
        (_Line(t, "/pose", POSE_WITH_COVARIANCE, pose_message(fix, frame_id)) for t, fix in out.poses),
        (_Line(t, tf_topic, TF, transform_message(sent, frame_id)) for t, sent in out.transforms),
        (_Line(t, status_topic, STATUS, status_message(status, frame_id)) for t, status in out.statuses),
        (_Line(t, "/initialpose", POSE_WITH_COVARIANCE, pose_message(fix, frame_id)) for t, fix in out.initial_poses),
        (_Line(t, "/diagnostics", DIAGNOSTICS, diagnostics_message(d, t, node)) for t, d in out.diagnoses),
        (_Line(t, landmarks_topic, POINT_CLOUD, cloud_message(cloud, 0, frame_id)) for t, cloud in out.maps),
        (
            _Line(t, f"/{node}/inliers", POINT_CLOUD, cloud_message(seen.inliers, seen.stamp_ns, frame_id))
            for t, seen in out.seen
        ),
        _searched(bag, images, span_ns, out.decoded, f"/{node}/image/compressed"),
        key=_time,
    )
    small = [topic for topic in bag.topics if topic.type not in LARGE and topic.type in typestore().types]
    latched = {*static, "/pose", status_topic, landmarks_topic}
    with BagWriter(path, overwrite=True) as writer:
        for line in heapq.merge(_recorded(bag, small, span_ns, static, link), said, key=_time):
            writer.write(line.topic, line.type, line.time_ns, line.message, line.topic in latched)


def _time(line: _Line) -> int:
    return line.time_ns


def _searched(
    bag: BagReader, topics: Mapping[Topic, int], span_ns: tuple[int, int], which: Collection[tuple[int, str]], name: str
) -> Iterator[_Line]:
    """The images of these stamps and frames: as they came where they were compressed, else as JPEG; but for the stamp,
    which is that of their inliers.
    """
    start_ns, end_ns = span_ns
    for message in bag.messages(topics, start_ns):
        if message.time_ns > end_ns:
            return
        image = bag.try_to_decode(message)
        if image is not None and (taken := (stamp_of(image.header), image.header.frame_id)) in which:
            stamp_ns, content = taken[0] + topics[message.topic], image
            if message.topic.type != COMPRESSED_IMAGE:
                content = jpeg_message(gray_of(image), stamp_ns, taken[1])
            elif stamp_ns == taken[0]:
                content = bytes(message.data)
            else:
                image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp_ns, NS_PER_SECOND)
            yield _Line(message.time_ns, name, COMPRESSED_IMAGE, content)


def _recorded(
    bag: BagReader,
    topics: Iterable[Topic],
    span_ns: tuple[int, int],
    static: Collection[str],
    link: tuple[str, str] | None,
) -> Iterator[_Line]:
    """The part that was played; what is said once and for all counts though it was said before."""
    start_ns, end_ns = span_ns
    for message in bag.messages(topics):
        name, type_name = message.topic.name, message.topic.type
        if start_ns <= message.time_ns <= end_ns or name in static:
            content: Any = bytes(message.data)
            if type_name == TF:
                if (decoded := bag.try_to_decode(message)) is None:
                    continue
                kept = [
                    t
                    for t in decoded.transforms
                    if (frame_name(t.header.frame_id), frame_name(t.child_frame_id)) != link
                ]
                if len(kept) < len(decoded.transforms):
                    decoded.transforms = kept
                    content = decoded
            yield _Line(max(message.time_ns, start_ns), name, type_name, content)
