"""Streams of recorded messages from a drive through a virtual room, and faults as functions from stream to stream.

A stream is a list of :class:`Recorded` messages in the order of arrival. It holds the truth, too, on a topic that the
localizer does not know, so that what moves messages in time or joins streams keeps their truth. Seconds are those since
``START_NS``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray
from neumap.geometry.se3 import invert_pose, make_pose, matrix_from_quat, quat_from_matrix, rotation_exp
from neumap.io.bags.messages import message
from neumap.io.trajectories import poses_at
from neumap.records import Camera, Trajectory
from neumap.replay.rig import Timed
from neumap.virtual.drive import drive
from neumap.virtual.render import photograph
from neumap.virtual.world import SMALL


class Recorded(NamedTuple):
    """A message as recorded: when it arrived, on which topic, and the message."""

    time_ns: int
    topic: str
    message: Any


Stream = list[Recorded]

SECOND = 1_000_000_000
START_NS = 1_800_000_000 * SECOND
PERIOD_NS, TF_PERIOD_NS = SECOND // 5, SECOND // 20
# after its stamp a message arrives so much later
IMAGE_DELAY_NS, TF_DELAY_NS = 30_000_000, 5_000_000
IMAGE, INFO, TF, TF_STATIC, TRUTH = "/image", "/camera_info", "/tf", "/tf_static", "/ground_truth/pose"
COMPRESSED = "/image/compressed"
IMAGE_TYPE, COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
ROLES = {IMAGE: "image", COMPRESSED: "image", INFO: "camera_info", TF: "tf", TF_STATIC: "tf_static"}
CAMERA_FRAME = "camera_color_optical_frame"
BASE_FROM_CAMERA = make_pose(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.45])
)
# of odometry, per metre driven
DRIFT, TURN_DRIFT_RAD = 0.02, np.deg2rad(1.0)


# --- what a robot sees on its way -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drive:
    """Grey images (H, W) uint8 at 5 Hz and the true poses ``map_from_base`` (N, 4, 4) of the robot."""

    camera: Camera
    images: tuple[ImageArray, ...]
    map_from_base: FloatArray

    def part(self, first: int, count: int) -> Drive:
        """So many images from the ``first`` on."""
        chosen = slice(first, first + count)
        return Drive(self.camera, self.images[chosen], self.map_from_base[chosen])


def drive_through(seed: int, first: int, count: int) -> Drive:
    """Images ``first`` to ``first + count`` of a drive at 0.6 m/s along the way on which the small virtual room of a
    seed is mapped, with three times as many images: what is tested is what becomes of poses, not where there are some.
    """
    whole = drive(SMALL.room(seed), seed, 3 * SMALL.mapping_frames - 2, "mapping")
    return carried(seed, SMALL.camera, whole[first : first + count] @ invert_pose(BASE_FROM_CAMERA))


def carried(
    seed: int, camera: Camera, map_from_base: FloatArray, base_from_camera: FloatArray = BASE_FROM_CAMERA
) -> Drive:
    """What a camera sees in the small virtual room of a seed that a robot carries along poses (N, 4, 4)."""
    room, poses, images = SMALL.room(seed), map_from_base @ base_from_camera, []
    for index in range(len(poses)):
        image, _ = photograph(room, camera, poses, index, seed + 1)
        images.append(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    return Drive(camera, tuple(images), map_from_base)


def standing(drive: Drive, index: int, count: int) -> Drive:
    """The robot stands where it took an image, and takes it so many times."""
    return Drive(drive.camera, (drive.images[index],) * count, np.repeat(drive.map_from_base[index][None], count, 0))


# --- messages ---------------------------------------------------------------------------------------------------------


def time_message(stamp_ns: int) -> Any:
    return message("builtin_interfaces/msg/Time", sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)


def header(stamp_ns: int, frame: str) -> Any:
    return message("std_msgs/msg/Header", stamp=time_message(stamp_ns), frame_id=frame)


def pose_message(pose: FloatArray) -> Any:
    out = message("geometry_msgs/msg/Pose")
    out.position.x, out.position.y, out.position.z = map(float, pose[:3, 3])
    x, y, z, w = map(float, quat_from_matrix(pose[:3, :3]))
    out.orientation.x, out.orientation.y, out.orientation.z, out.orientation.w = x, y, z, w
    return out


def transform_message(stamp_ns: int, parent: str, child: str, pose: FloatArray) -> Any:
    """A TFMessage of one transform."""
    as_pose = pose_message(pose)
    each = message("geometry_msgs/msg/TransformStamped", header=header(stamp_ns, parent), child_frame_id=child)
    for axis in "xyz":
        setattr(each.transform.translation, axis, getattr(as_pose.position, axis))
    each.transform.rotation = as_pose.orientation
    return message("tf2_msgs/msg/TFMessage", transforms=[each])


def transform_of(transform: Any) -> FloatArray:
    """The matrix (4, 4) of a Transform."""
    t, q = transform.translation, transform.rotation
    return make_pose(matrix_from_quat(np.array([q.x, q.y, q.z, q.w])), np.array([t.x, t.y, t.z]))


def image_message(stamp_ns: int, pixels: ImageArray, encoding: str = "mono8", frame: str = CAMERA_FRAME) -> Any:
    """An Image with rows without padding, in this machine's byte order."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    height, width = pixels.shape[:2]
    out = message(IMAGE_TYPE, header=header(stamp_ns, frame), height=height, width=width, encoding=encoding)
    out.step, out.data = rows.shape[1], rows.tobytes()
    return out


def compressed_message(stamp_ns: int, data: bytes, format_: str, frame: str = CAMERA_FRAME) -> Any:
    out = message(COMPRESSED_TYPE, header=header(stamp_ns, frame), format=format_)
    out.data = data
    return out


def camera_info_message(stamp_ns: int, camera: Camera) -> Any:
    out = message("sensor_msgs/msg/CameraInfo", header=header(stamp_ns, CAMERA_FRAME))
    out.height, out.width, out.distortion_model = camera.height, camera.width, camera.distortion_model
    out.k, out.d = [float(v) for v in camera.matrix.reshape(-1)], [float(v) for v in camera.distortion]
    return out


def stamp_of(message_: Any) -> int:
    """In nanoseconds, of a header or of a TFMessage's first transform."""
    stamp = (message_.transforms[0] if hasattr(message_, "transforms") else message_).header.stamp
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def decoded(each: Recorded) -> Any:
    """A copy of the message, to be changed."""
    return copy.deepcopy(each.message)


def to_play(stream: Stream) -> list[Timed]:
    """What of a stream a localizer hears."""
    return [Timed(each.time_ns, ROLES[each.topic], each.message) for each in stream if each.topic in ROLES]


# --- a stream ---------------------------------------------------------------------------------------------------------


def recorded(drive: Drive, start_s: float = 0.0) -> Stream:
    """The stream of a drive: images and camera_info at 5 Hz, odometry that drifts, the camera's place on the robot."""
    start = START_NS + round(start_s * SECOND)
    stamps = start + PERIOD_NS * np.arange(len(drive.images), dtype=np.int64)
    # odometry is there a moment before and after the images
    tf_stamps = np.arange(start - 2 * TF_PERIOD_NS, stamps[-1] + 3 * TF_PERIOD_NS, TF_PERIOD_NS)
    truth, _ = poses_at(
        Trajectory(stamps, drive.map_from_base), np.clip(tf_stamps, stamps[0], stamps[-1]), max_gap_ns=PERIOD_NS
    )
    stream = []
    static = transform_message(start - SECOND // 2, "base_link", CAMERA_FRAME, BASE_FROM_CAMERA)
    stream.append(Recorded(start - SECOND // 2, TF_STATIC, static))
    for stamp, odom, pose in zip(map(int, tf_stamps), drifting(truth), truth, strict=True):
        transform = transform_message(stamp, "odom", "base_link", odom)
        stream.append(Recorded(stamp + TF_DELAY_NS, TF, transform))
        true = message("geometry_msgs/msg/PoseStamped", header=header(stamp, "map"), pose=pose_message(pose))
        stream.append(Recorded(stamp + TF_DELAY_NS, TRUTH, true))
    for stamp, pixels in zip(map(int, stamps), drive.images, strict=True):
        info = camera_info_message(stamp, drive.camera)
        stream.append(Recorded(stamp + IMAGE_DELAY_NS, INFO, info))
        stream.append(Recorded(stamp + IMAGE_DELAY_NS, IMAGE, image_message(stamp, pixels)))
    return in_order(stream)


def drifting(map_from_base: FloatArray) -> FloatArray:
    """What odometry makes of true poses (N, 4, 4): it begins at the identity and is wrong in proportion to the way."""
    odom = [np.eye(4)]
    for before, after in pairwise(map_from_base):
        motion = invert_pose(before) @ after
        turn = rotation_exp(np.array([0.0, 0.0, TURN_DRIFT_RAD * float(np.linalg.norm(motion[:3, 3]))]))
        odom.append(odom[-1] @ make_pose(motion[:3, :3] @ turn, (1 + DRIFT) * motion[:3, 3]))
    return np.array(odom)


def in_order(stream: Stream) -> Stream:
    """Sorted by the time of arrival; what arrives at once stays in its order."""
    return sorted(stream, key=lambda each: each.time_ns)


def truth_of(stream: Stream) -> Trajectory:
    """The true poses of the base in the map."""
    known = {}
    for each in stream:
        if each.topic == TRUTH:
            true = decoded(each)
            p, q = true.pose.position, true.pose.orientation
            known[stamp_of(true)] = make_pose(
                matrix_from_quat(np.array([q.x, q.y, q.z, q.w])), np.array([p.x, p.y, p.z])
            )
    stamps = sorted(known)
    return Trajectory(np.array(stamps, dtype=np.int64), np.array([known[stamp] for stamp in stamps]))


def odometry_of(stream: Stream) -> Trajectory:
    """The poses of the base in odom."""
    known = {stamp_of(m): transform_of(m.transforms[0].transform) for m in map(decoded, on(stream, TF))}
    stamps = sorted(known)
    return Trajectory(np.array(stamps, dtype=np.int64), np.array([known[stamp] for stamp in stamps]))


def on(stream: Stream, *topics: str) -> Stream:
    """The messages on some topics."""
    return [each for each in stream if each.topic in topics]


def begin_of(stream: Stream) -> int:
    """A moment before a stream."""
    return min([START_NS - SECOND, *(each.time_ns for each in stream)])


def ns(seconds: float) -> int:
    return START_NS + round(seconds * SECOND)


# --- faults -----------------------------------------------------------------------------------------------------------


def changed(
    stream: Stream,
    topic: str,
    change: Callable[[Any], Any],
    from_s: float = -np.inf,
    to_s: float = np.inf,
) -> Stream:
    """Exchanges the messages on a topic, stamped within a time, by what ``change(message)`` gives: a message, or None
    to leave it out.
    """
    out = []
    for each in stream:
        if each.topic == topic:
            message_ = decoded(each)
            if from_s <= (stamp_of(message_) - START_NS) / SECOND < to_s:
                message_ = change(message_)
                if message_ is None:
                    continue
                each = each._replace(message=message_)
        out.append(each)
    return out


def without(stream: Stream, *topics: str) -> Stream:
    return [each for each in stream if each.topic not in topics]


def dropped(stream: Stream, topic: str, from_s: float = -np.inf, to_s: float = np.inf) -> Stream:
    return changed(stream, topic, lambda _: None, from_s, to_s)


def with_pixels(stream: Stream, pixels: Callable[[int], ImageArray], from_s: float, to_s: float = np.inf) -> Stream:
    """Other mono8 images: those that ``pixels`` gives for 0, 1, 2 ..."""
    count = iter(range(len(stream)))

    def change(image: Any) -> Any:
        return image_message(stamp_of(image), pixels(next(count)), frame=image.header.frame_id)

    return changed(stream, IMAGE, change, from_s, to_s)


def covered(stream: Stream, from_s: float, to_s: float = np.inf) -> Stream:
    """Somebody holds a hand before the camera."""
    return with_pixels(stream, lambda _: np.full((SMALL.height, SMALL.width), 3, np.uint8), from_s, to_s)


def with_noise(stream: Stream, from_s: float, to_s: float = np.inf) -> Stream:
    """Images of noise."""
    rng = np.random.default_rng(0)
    size = (SMALL.height, SMALL.width)
    return with_pixels(stream, lambda _: rng.integers(0, 256, size).astype(np.uint8), from_s, to_s)


def shifted(stream: Stream, by_s: float) -> Stream:
    """Everything happens later, stamps and all."""
    by = round(by_s * SECOND)
    out = []
    for each in stream:
        message_ = decoded(each)
        for stamped in getattr(message_, "transforms", [message_]):
            stamped.header.stamp = time_message(stamp_of(stamped) + by)
        out.append(each._replace(time_ns=each.time_ns + by, message=message_))
    return out


def restamped(stream: Stream, topic: str, stamp: Callable[[int], int]) -> Stream:
    """Other stamps on one topic; messages arrive when they did."""

    def change(message_: Any) -> Any:
        message_.header.stamp = time_message(stamp(stamp_of(message_)))
        return message_

    return changed(stream, topic, change)


def late(stream: Stream, topic: str, by_s: float) -> Stream:
    """Messages of a topic arrive later than they did."""
    by = round(by_s * SECOND)
    return in_order([each._replace(time_ns=each.time_ns + by) if each.topic == topic else each for each in stream])


def late_tf(stream: Stream, by_s: float) -> Stream:
    return late(stream, TF, by_s)


def duplicated(stream: Stream, topic: str, indices: Sequence[int], after_s: float = 0.05) -> Stream:
    """Some messages of a topic, by their number, arrive again a moment later."""
    again = [on(stream, topic)[index] for index in indices]
    return in_order([*stream, *(each._replace(time_ns=each.time_ns + round(after_s * SECOND)) for each in again)])


def swapped(stream: Stream, topic: str, indices: Sequence[int]) -> Stream:
    """Some messages of a topic, by their number, arrive after the next one on the topic."""
    messages = on(stream, topic)
    arrivals = {id(messages[index]): messages[index + 1].time_ns + SECOND // 100 for index in indices}
    return in_order([each._replace(time_ns=arrivals.get(id(each), each.time_ns)) for each in stream])


def moved_odometry(stream: Stream, change: Callable[[FloatArray], FloatArray], from_s: float = -np.inf) -> Stream:
    """Other poses of the base in odom."""

    def move(tf: Any) -> Any:
        pose = change(transform_of(tf.transforms[0].transform))
        return transform_message(stamp_of(tf), "odom", "base_link", pose)

    return changed(stream, TF, move, from_s)


def frozen_odometry(stream: Stream, from_s: float) -> Stream:
    """From then on odometry says that the robot stands."""
    poses, _ = poses_at(odometry_of(stream), np.array([ns(from_s)]))
    return moved_odometry(stream, lambda _: poses[0], from_s)


def joined(first: Stream, second: Stream) -> Stream:
    """The second goes on where the first ends, as if the robot had been carried over; odometry noticed nothing."""
    end = stamp_of(decoded(on(first, IMAGE, COMPRESSED)[-1]))
    before, _ = poses_at(odometry_of(first), np.array([end]))
    kept = [each for each in first if stamp_of(decoded(each)) <= end]
    begin = stamp_of(decoded(on(second, IMAGE, COMPRESSED)[0]))
    start, _ = poses_at(odometry_of(second), np.array([begin]))
    later = [each for each in without(second, TF_STATIC) if stamp_of(decoded(each)) >= begin]
    later = moved_odometry(later, lambda pose: before[0] @ invert_pose(start[0]) @ pose)
    return in_order([*kept, *shifted(later, (end + PERIOD_NS - begin) / SECOND)])


def reencoded(stream: Stream, encoding: str, big_endian: bool = False, padding: int = 0) -> Stream:
    """The same grey images in another encoding of sensor_msgs/Image, with so many bytes of padding after each row."""

    def change(image: Any) -> Any:
        gray = np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.width)
        out = image_message(stamp_of(image), encoded(gray, encoding), encoding, image.header.frame_id)
        rows = np.frombuffer(bytes(out.data), np.uint8).reshape(out.height, -1)
        if big_endian:
            out.is_bigendian = 1
            if encoding == "mono16":
                rows = np.ascontiguousarray(rows).view("<u2").astype(">u2").view(np.uint8)
        # noise, so that who takes padding for pixels is found out
        noise = np.random.default_rng(1).integers(0, 256, (out.height, padding)).astype(np.uint8)
        rows = np.concatenate([rows, noise], axis=1)
        out.step, out.data = rows.shape[1], rows.tobytes()
        return out

    return changed(stream, IMAGE, change)


def encoded(gray: ImageArray, encoding: str) -> Any:
    """A grey image (H, W) as the pixels of an encoding."""
    channels = {"mono8": 1, "8UC1": 1, "bgr8": 3, "rgb8": 3, "8UC3": 3, "bgra8": 4, "rgba8": 4, "8UC4": 4}
    if encoding == "mono16":
        # the same grey, whether the upper byte is taken or the range is scaled; another one with the bytes swapped
        lower = gray.astype(np.uint16) + np.where(gray < 128, 100, -100).astype(np.int16).astype(np.uint16)
        return (gray.astype(np.uint16) << 8) | (lower & 0xFF)
    if channels[encoding] == 1:
        return gray
    pixels = np.repeat(gray[:, :, None], channels[encoding], axis=2)
    pixels[:, :, 3:] = 255
    return pixels


def compressed(stream: Stream, suffix: str = ".jpg", format_: str = "jpeg") -> Stream:
    """The images as CompressedImage, on the topic of image_transport's compressed one."""
    out = []
    for each in stream:
        if each.topic == IMAGE:
            image = decoded(each)
            gray = np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.width)
            data = cv2.imencode(suffix, gray)[1].tobytes()
            packed = compressed_message(stamp_of(image), data, format_, image.header.frame_id)
            each = Recorded(each.time_ns, COMPRESSED, packed)
        out.append(each)
    return out
