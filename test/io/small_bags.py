"""Writes little bags: a robot that drives and turns while its camera looks at a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, quat_from_matrix, rotation_exp
from neumap.records import Source

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types
MS = 1_000_000
START = 1_700_000_000_000_000_000
OPTICAL = "camera_optical_frame"
COLOR, INFO, DEPTH = "/camera/color/image_raw", "/camera/color/camera_info", "/camera/aligned_depth/image_raw"
WIDTH, HEIGHT = 32, 24

# the camera on a mast that leans, and its optical frame
BASE_FROM_MAST = make_pose(rotation_exp(np.array([0.0, 0.2, 0.1])), np.array([0.2, 0.0, 0.4]))
MAST_FROM_CAMERA = make_pose(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.05, 0.02, 0.1])
)


def map_from_odom(t: float) -> FloatArray:
    """Slides and turns evenly, so that interpolation is exact."""
    return make_pose(rotation_exp(np.array([0.0, 0.0, 0.5 + 0.1 * t])), np.array([1.0, 2.0 + 0.01 * t, 0.0]))


def odom_from_base(t: float) -> FloatArray:
    return make_pose(rotation_exp(np.array([0.0, 0.0, 0.8 * t])), np.array([0.3 * t, 0.0, 0.0]))


def map_from_camera(t: float) -> FloatArray:
    return map_from_odom(t) @ odom_from_base(t) @ BASE_FROM_MAST @ MAST_FROM_CAMERA


def header(stamp_ns: int, frame: str) -> Any:
    stamp = T["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return T["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def quaternion(rotation: FloatArray) -> Any:
    x, y, z, w = map(float, quat_from_matrix(rotation))
    return T["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)


def pose(m: FloatArray) -> Any:
    position = T["geometry_msgs/msg/Point"](*map(float, m[:3, 3]))
    return T["geometry_msgs/msg/Pose"](position=position, orientation=quaternion(m[:3, :3]))


def transform(stamp_ns: int, parent: str, child: str, m: FloatArray) -> Any:
    inner = T["geometry_msgs/msg/Transform"](
        translation=T["geometry_msgs/msg/Vector3"](*map(float, m[:3, 3])), rotation=quaternion(m[:3, :3])
    )
    return T["geometry_msgs/msg/TransformStamped"](
        header=header(stamp_ns, parent), child_frame_id=child, transform=inner
    )


def tf(*transforms: Any) -> Any:
    return T["tf2_msgs/msg/TFMessage"](transforms=list(transforms))


def odometry(stamp_ns: int, frame: str, child: str, m: FloatArray) -> Any:
    zero = T["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    twist = T["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
    return T["nav_msgs/msg/Odometry"](
        header=header(stamp_ns, frame),
        child_frame_id=child,
        pose=T["geometry_msgs/msg/PoseWithCovariance"](pose=pose(m), covariance=np.zeros(36)),
        twist=T["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )


def pose_stamped(stamp_ns: int, frame: str, m: FloatArray) -> Any:
    return T["geometry_msgs/msg/PoseStamped"](header=header(stamp_ns, frame), pose=pose(m))


def camera_info(stamp_ns: int = START, frame: str = OPTICAL, **changes: Any) -> Any:
    region = T["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    values = {
        "height": HEIGHT,
        "width": WIDTH,
        "distortion_model": "plumb_bob",
        "d": np.array([0.1, -0.2, 0.001, 0.002, 0.0]),
        "k": np.array([30.0, 0, 15.5, 0, 31.0, 11.5, 0, 0, 1]),
        "r": np.eye(3).reshape(-1),
        "p": np.array([28.0, 0, 15.0, 0, 0, 29.0, 11.0, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": region,
    }
    return T["sensor_msgs/msg/CameraInfo"](header=header(stamp_ns, frame), **values | changes)


def image(
    stamp_ns: int, pixels: np.ndarray, encoding: str = "mono8", frame: str = OPTICAL, is_bigendian: bool = False
) -> Any:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    return T["sensor_msgs/msg/Image"](
        header=header(stamp_ns, frame),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(is_bigendian),
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed(stamp_ns: int, data: bytes, format_: str = "png", frame: str = OPTICAL) -> Any:
    return T["sensor_msgs/msg/CompressedImage"](
        header=header(stamp_ns, frame), format=format_, data=np.frombuffer(data, np.uint8)
    )


def png(pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".png", pixels)
    assert ok
    return bytes(data)


def picture(index: int) -> np.ndarray:
    """The grey image of an index; no two are the same."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((3 * x + 5 * y + 7 * index) % 256, dtype=np.uint8)


def check_poses(source: Source, truth: Callable[[float], np.ndarray] = map_from_camera) -> None:
    assert source.frames
    for frame in source.frames:
        assert frame.map_from_camera is not None
        assert np.allclose(frame.map_from_camera, truth((frame.stamp_ns - START) / 1e9), atol=1e-9)


class Bag:
    """What is to be written: messages by topic, in any order."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, str, str, Any]] = []
        self.path = Path()

    def add(self, topic: str, message: Any, time_ns: int | None = None) -> None:
        if time_ns is None:
            first = message.transforms[0] if hasattr(message, "transforms") else message
            time_ns = first.header.stamp.sec * 10**9 + first.header.stamp.nanosec
        self.messages.append((time_ns, topic, message.__msgtype__, message))

    def replace(self, topic: str, change: Callable[[int, Any], Any]) -> None:
        """Exchanges the messages of a topic by what ``change(index, message)`` gives; None leaves one out."""
        index, kept = 0, []
        for time_ns, name, _, message in self.messages:
            changed = message
            if name == topic:
                changed = change(index, message)
                index += 1
            if changed is not None:
                kept.append((time_ns, name, changed.__msgtype__, changed))
        self.messages = kept

    def drop(self, *topics: str) -> None:
        self.messages = [entry for entry in self.messages if entry[1] not in topics]

    def write(
        self,
        path: Path,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
    ) -> Path:
        writer = Writer(path, version=9, storage_plugin=storage)
        writer.set_compression(compression, CompressionFormat.ZSTD)
        with writer as bag:
            connections: dict[str, Any] = {}
            for time_ns, topic, type_, message in sorted(self.messages, key=lambda entry: entry[0]):
                if topic not in connections:
                    connections[topic] = bag.add_connection(topic, type_, typestore=STORE)
                bag.write(connections[topic], time_ns, STORE.serialize_cdr(message, type_))
        return path


def drive(
    stamps_ms: Sequence[int] = tuple(range(0, 1000, 100)),
    tf_ms: Sequence[int] = tuple(range(-45, 1100, 50)),
    is_compressed: bool = False,
    depth: bool = False,
) -> Bag:
    """A bag as a robot records it: images with calibration, /tf of three dynamic and static links, odometry."""
    bag = Bag()
    bag.add("/tf_static", tf(transform(START, "mast", OPTICAL, MAST_FROM_CAMERA)))
    bag.add("/tf_static", tf(transform(START, "base_link", "mast", BASE_FROM_MAST)), START + 400 * MS)
    for ms in tf_ms:
        stamp, t = START + ms * MS, ms / 1000
        bag.add("/tf", tf(transform(stamp, "map", "odom", map_from_odom(t))))
        bag.add("/tf", tf(transform(stamp, "odom", "base_link", odom_from_base(t))))
        bag.add("/odom", odometry(stamp, "odom", "base_link", odom_from_base(t)))
    for index, ms in enumerate(stamps_ms):
        stamp = START + ms * MS
        # the recorder gets it later than it was taken
        received = stamp + 30 * MS
        if is_compressed:
            bag.add(f"{COLOR}/compressed", compressed(stamp, png(picture(index))), received)
        else:
            bag.add(COLOR, image(stamp, picture(index)), received)
        bag.add(INFO, camera_info(stamp), received)
        if depth:
            bag.add(DEPTH, image(stamp, np.full((HEIGHT, WIDTH), 1000 + index, np.uint16), "16UC1"), received)
    return bag
