"""What nodes published during a replay: as records for a report, and as a bag."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, matrix_from_quat
from neumap.records import Trajectory
from neumap.report.replay_report import STATES, ReplayLog, StatusLine
from neumap_ros.simulator.messages import from_cdr, message_class, to_cdr, typestore
from neumap_ros.simulator.player import Timed

if TYPE_CHECKING:
    from neumap.io.bags.reader import BagReader

POSE, STATUS, TF = (
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "neumap_ros/msg/LocalizationStatus",
    "tf2_msgs/msg/TFMessage",
)
# not copied to the output: large, and in the input already
LARGE = frozenset({"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2"})
# not written: of the simulated middleware, not of the localizer
OWN_BUSINESS = frozenset({"/rosout", "/parameter_events", "/clock"})


def replay_log(published: Sequence[Timed], start_ns: int, end_ns: int, first_image_ns: int | None) -> ReplayLog:
    """The log of what a localizer published, for a recording that was played from ``start_ns`` to ``end_ns``."""
    poses = [(m.time_ns, decoded(m)) for m in published if m.type == POSE]
    statuses = [(m.time_ns, decoded(m)) for m in published if m.type == STATUS]
    transforms = [(m.time_ns, decoded(m).transforms[0].transform) for m in published if m.type == TF]
    return ReplayLog(
        start_ns=start_ns,
        end_ns=end_ns,
        first_image_ns=first_image_ns,
        statuses=tuple(
            StatusLine(
                time_ns=time_ns,
                stamp_ns=nanoseconds(status.header.stamp),
                state=STATES[status.state],
                reason=status.reason,
                inliers=status.inliers,
                latency_s=status.latency,
                processed=status.images_processed,
                dropped=status.images_dropped,
            )
            for time_ns, status in statuses
        ),
        poses=Trajectory(
            np.array([nanoseconds(pose.header.stamp) for _, pose in poses], dtype=np.int64),
            matrices([(pose.pose.pose.position, pose.pose.pose.orientation) for _, pose in poses]),
        ),
        covariances=np.array([pose.pose.covariance for _, pose in poses], dtype=np.float64).reshape(-1, 6, 6),
        published_ns=np.array([time_ns for time_ns, _ in poses], dtype=np.int64),
        transform_ns=np.array([time_ns for time_ns, _ in transforms], dtype=np.int64),
        map_from_odom=matrices([(t.translation, t.rotation) for _, t in transforms]),
    )


def decoded(message: Timed) -> Any:
    """The message itself."""
    return from_cdr(message.cdr, message_class(message.type))


def nanoseconds(stamp: Any) -> int:
    """Of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def matrices(pairs: Sequence[tuple[Any, Any]]) -> FloatArray:
    """Transforms (N, 4, 4) of pairs of a position and a quaternion."""
    if not pairs:
        return np.zeros((0, 4, 4))
    positions = np.array([(p.x, p.y, p.z) for p, _ in pairs], dtype=np.float64)
    quaternions = np.array([(q.x, q.y, q.z, q.w) for _, q in pairs], dtype=np.float64)
    return make_pose(matrix_from_quat(quaternions), positions)


def write_output(
    path: Path,
    bag: BagReader,
    published: Sequence[Timed],
    start_ns: int,
    end_ns: int,
    link: tuple[str, str],
) -> None:
    """Writes what was published, beside all of the input that is not large, as a bag that replaces an older one.

    The transform ``link`` (parent, child) is the localizer's: where the recording has one too, it is left out.
    """
    from neumap.io.bags.writer import BagWriter

    small = [topic for topic in bag.topics if topic.type not in LARGE and topic.type in typestore().types]
    outputs = [m for m in published if m.topic not in OWN_BUSINESS]
    latched = {"/tf_static", *(m.topic for m in outputs if m.type in (POSE, STATUS))}
    with BagWriter(path, typestore(), overwrite=True) as writer:
        for message in merged(_recorded(bag, small, start_ns, end_ns, link), outputs):
            writer.write(message.topic, message.type, message.time_ns, message.cdr, message.topic in latched)


def _recorded(
    bag: BagReader, topics: Sequence[Any], start_ns: int, end_ns: int, link: tuple[str, str]
) -> Iterator[Timed]:
    for message in bag.messages(topics):
        if start_ns <= message.time_ns <= end_ns or message.topic.name == "/tf_static":
            time_ns = max(message.time_ns, start_ns)
            timed = Timed(time_ns, message.topic.name, message.topic.type, bytes(message.data))
            yield without_link(timed, link) if timed.type == TF else timed


def without_link(message: Timed, link: tuple[str, str]) -> Timed:
    """A message of transforms without that from ``link[0]`` to ``link[1]``."""
    transforms = decoded(message)
    kept = [t for t in transforms.transforms if (t.header.frame_id, t.child_frame_id) != link]
    if len(kept) == len(transforms.transforms):
        return message
    transforms.transforms = kept
    return message._replace(cdr=to_cdr(transforms))


def merged(first: Iterable[Timed], second: Iterable[Timed]) -> Iterator[Timed]:
    """Both in the order of their times; of equal times the ``first`` come first."""
    return heapq.merge(first, second, key=lambda message: message.time_ns)
