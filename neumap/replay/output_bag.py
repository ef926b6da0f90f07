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
from neumap.replay.recorder import Recorder, Seen

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
    images: Mapping[Topic, tuple[str, int]],
    frame_id: str,
    link: tuple[str, str] | None,
    node: str,
) -> None:
    """Write the bag ``path``, which replaces an older one. ``span_ns`` is the part of the recording that was played.
    ``tf`` maps its topics of transforms to whether they are static, and ``images`` its topics of images to the camera
    and the offset of its stamps, nanoseconds. ``frame_id`` is the frame of the map.

    Each of several cameras has its own topics of images and inliers, under ``/node/camera``; one alone has them under
    ``/node``. The transform ``link`` (map, child) is the localizer's: the recording's own is left out.
    """
    status_topic, landmarks_topic = f"/{node}/status", f"/{node}/landmarks"
    prefixes = {name: f"/{node}/{name}" if len(images) > 1 else f"/{node}" for name, _ in images.values()}
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
            _Line(t, f"{prefixes[of.camera]}/inliers", POINT_CLOUD, cloud_message(of.inliers, of.stamp_ns, frame_id))
            for t, of in out.seen
        ),
        _searched(bag, images, span_ns, out.seen, prefixes),
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
    bag: BagReader,
    topics: Mapping[Topic, tuple[str, int]],
    span_ns: tuple[int, int],
    seen: Iterable[tuple[int, Seen]],
    prefixes: Mapping[str, str],
) -> Iterator[_Line]:
    """Yield the images that were searched, with the stamps of their inliers: unchanged where they are compressed, else
    as grey JPEG.
    """
    start_ns, end_ns = span_ns
    searched = {(each.camera, each.stamp_ns) for _, each in seen}
    for message in bag.messages(topics, start_ns):
        if message.time_ns > end_ns:
            return
        image, (camera, offset_ns) = bag.try_to_decode(message), topics[message.topic]
        if image is not None and (camera, stamp_ns := stamp_of(image.header) + offset_ns) in searched:
            content = image
            if message.topic.type != COMPRESSED_IMAGE:
                content = jpeg_message(gray_of(image), stamp_ns, image.header.frame_id)
            elif offset_ns == 0:
                content = bytes(message.data)
            else:
                image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp_ns, NS_PER_SECOND)
            yield _Line(message.time_ns, f"{prefixes[camera]}/image/compressed", COMPRESSED_IMAGE, content)


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
