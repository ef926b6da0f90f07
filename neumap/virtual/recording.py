"""Bags of a virtual robot's drives, as a recorder on the robot would have made them.

Both bags hold, at the stamps of the images, JPEG images, their calibration, odometry and /tf; /tf_static says where
the camera sits on the robot. The mapping bag also has depth, and its /tf leads from map over odom to base_link, as a
SLAM system leaves it. The query bag has no map in /tf; the true pose of base_link in map is on a topic of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from neumap.arrays import Float32Array, FloatArray, ImageArray, IntArray
from neumap.errors import DataError, MissingDependencyError
from neumap.geometry.se3 import invert_pose, make_pose, quat_from_matrix, rotation_exp
from neumap.io.bags.writer import BagWriter
from neumap.io.camera_info import find_camera_info, read_camera_info
from neumap.io.files import PathLike
from neumap.io.images import read_depth
from neumap.io.stamps import NS_PER_SECOND
from neumap.io.trajectories import poses_at, read_trajectory
from neumap.io.tum import read_image_list
from neumap.records import Camera, Trajectory
from neumap.virtual import room as virtual_room

IMAGE_TOPIC = "/camera/color/image_raw/compressed"
INFO_TOPIC = "/camera/color/camera_info"
DEPTH_TOPIC = "/camera/aligned_depth_to_color/image_raw"
ODOMETRY_TOPIC = "/odom"
TRUTH_TOPIC = "/ground_truth/pose"
MAP, ODOM, BASE, OPTICAL = "map", "odom", "base_link", "camera_color_optical_frame"

QUERY_HZ = 10
COVERED_S = 4.0
# odometry reads so much too far, and turns to the left though the robot does not
OVER_READS = 0.02
TURNS_DEG_PER_M = 1.0
_QUERY_START_NS = virtual_room.EPOCH_NS + 90_000 * NS_PER_SECOND
_SPEED, _ASIDE_M, _ASIDE_DEG = 0.6, 0.15, 15.0
_AHEAD_M, _DOWN_DEG = 0.2, 7.0
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 92]

Step = Callable[[int, int], None]


class Covered(NamedTuple):
    """When the lens was covered: stamps in nanoseconds, from the first black image to the first good one."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class RobotDrive:
    """A drive as the robot knows it: ``stamps_ns`` (N,) and poses (N, 4, 4), and where its camera sits (4, 4)."""

    stamps_ns: IntArray
    map_from_base: FloatArray
    odom_from_base: FloatArray
    base_from_camera: FloatArray


def robot_drive(camera_path: Trajectory, seed: int) -> RobotDrive:
    """The drive of a robot that carries its camera along ``camera_path``, 0.2 m ahead of base_link, tilted down.

    The camera is mounted at the height that keeps base_link on the floor on average.
    """
    tilt = rotation_exp(np.array([0.0, np.deg2rad(_DOWN_DEG), 0.0]))
    optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    height = float(camera_path.map_from_camera[:, 2, 3].mean())
    base_from_camera = make_pose(tilt @ optical, np.array([_AHEAD_M, 0.0, height]))
    map_from_base = np.asarray(camera_path.map_from_camera @ invert_pose(base_from_camera))
    return RobotDrive(camera_path.stamps_ns, map_from_base, drifting_odometry(map_from_base, seed), base_from_camera)


def drifting_odometry(map_from_base: FloatArray, seed: int) -> FloatArray:
    """Poses odom_from_base (N, 4, 4) that wheels would tell of a drive (N, 4, 4), from the identity on.

    They drift by 2 % of the distance and 1 degree per metre, with some noise; the same for the same seed.
    """
    rng = np.random.default_rng([seed, 4])
    steps = invert_pose(map_from_base[:-1]) @ map_from_base[1:]
    distance = np.linalg.norm(steps[:, :3, 3], axis=1)
    turns = np.zeros((len(steps), 3))
    turns[:, 2] = np.deg2rad(TURNS_DEG_PER_M * distance + rng.normal(0, 0.02, len(steps)))
    told = make_pose(
        steps[:, :3, :3] @ rotation_exp(turns),
        (1 + OVER_READS) * steps[:, :3, 3] + rng.normal(0, 0.001, (len(steps), 3)),
    )
    poses = [np.eye(4)]
    for step in told:
        poses.append(poses[-1] @ step)
    return np.array(poses)


def record_mapping(path: PathLike, folder: PathLike, *, seed: int = 0, progress: Step = lambda *_: None) -> None:
    """Writes the images, depth and poses of a TUM folder as :func:`~.room.write_tum` makes it to the bag ``path``.

    An older bag of that name is replaced. Raises :class:`~neumap.errors.DataError` where the folder cannot be read
    or the bag not written, :class:`~neumap.errors.MissingDependencyError` without rosbags.
    """
    folder = Path(folder)
    images, depths = (read_image_list(folder / name) for name in ("rgb.txt", "depth.txt"))
    drive = robot_drive(read_trajectory(folder / "groundtruth.txt"), seed)
    if [stamp for stamp, _ in images] != drive.stamps_ns.tolist() or len(depths) != len(images):
        raise DataError(f"{folder} does not hold a depth image and a pose for every image: write it anew")
    with _Recorder(path, read_camera_info(find_camera_info(folder)), drive) as recorder:
        map_from_odom = drive.map_from_base @ invert_pose(drive.odom_from_base)
        for index, ((_, name), (_, depth_name)) in enumerate(zip(images, depths, strict=True)):
            recorder.transforms(index, map_from_odom[index])
            recorder.image(index, (folder / name).read_bytes())
            recorder.depth(index, read_depth(folder / depth_name))
            progress(index + 1, len(images))


def record_query(
    path: PathLike,
    room: virtual_room.Room,
    camera: Camera,
    mapped: FloatArray,
    seconds: float,
    *,
    seed: int = 0,
    progress: Step = lambda *_: None,
) -> Covered:
    """Drives for some ``seconds`` about where it was ``mapped`` (N, 4, 4) and writes the bag ``path``.

    10 images a second are taken; in the middle of the drive the lens is covered for four seconds, which are returned,
    while the robot drives on. Raises as :func:`record_mapping` does.
    """
    count = round(seconds * QUERY_HZ)
    poses = drive_again(mapped, count, seed)
    stamps = _QUERY_START_NS + NS_PER_SECOND // QUERY_HZ * np.arange(count, dtype=np.int64)
    drive = robot_drive(Trajectory(stamps, poses), seed)
    covered_count = round(COVERED_S * QUERY_HZ)
    first = (count - covered_count) // 2
    with _Recorder(path, camera, drive) as recorder:
        for index in range(count):
            if first <= index < first + covered_count:
                image = _black(camera, seed, index)
            else:
                rendered, _ = virtual_room.render(room, camera, poses[index])
                image = virtual_room.sensor_image(rendered, camera, poses, index, seed + 2)
            recorder.transforms(index)
            recorder.image(index, cv2.imencode(".jpg", image, _QUALITY)[1].tobytes())
            recorder.truth(index)
            progress(index + 1, count)
    return Covered(int(stamps[first]), int(stamps[first + covered_count]))


def drive_again(poses: FloatArray, count: int, seed: int) -> FloatArray:
    """``count`` poses (count, 4, 4), 0.1 s apart, of a camera that follows a part of the way of ``poses`` (N, 4, 4).

    At 0.6 m/s or, where the way is short, slower; up to 0.15 m beside it and below it, looking up to 15 degrees aside.
    """
    rng = np.random.default_rng([seed, 6])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1))])
    length = min(float(along[-1]), _SPEED * (count - 1) / QUERY_HZ)
    at = rng.uniform(0, along[-1] - length) + np.linspace(0, length, count)
    # micrometres as nanoseconds: interpolation is the same along a way as in time
    way = Trajectory(np.rint(1e6 * along).astype(np.int64), poses)
    out, _ = poses_at(way, np.rint(1e6 * at).astype(np.int64), max_gap_ns=2**62)
    side, turn = (np.sin(2 * np.pi * (at / period + rng.random())) for period in (3.7, 4.9))
    out[:, :3, 3] += _ASIDE_M * side[:, None] * out[:, :3, 0] - [0.0, 0.0, _ASIDE_M]
    turns = np.zeros((count, 3))
    turns[:, 2] = np.deg2rad(_ASIDE_DEG) * turn
    out[:, :3, :3] = rotation_exp(turns) @ out[:, :3, :3]
    return out


def _black(camera: Camera, seed: int, index: int) -> ImageArray:
    rng = np.random.default_rng([seed, 5, index])
    return np.clip(rng.normal(3, 1.5, (camera.height, camera.width, 3)), 0, 255).astype(np.uint8)


class _Recorder:
    """Writes the messages of a drive by the index of their stamps; a context manager.

    Entering writes where the camera sits; leaving makes the bag appear.
    """

    def __init__(self, path: PathLike, camera: Camera, drive: RobotDrive) -> None:
        self._camera, self._drive = camera, drive
        typestore = _typestore()
        self._types = typestore.types
        self._bag = BagWriter(path, typestore, overwrite=True)

    def __enter__(self) -> _Recorder:
        self._bag.__enter__()
        mount = self._transform(0, BASE, OPTICAL, self._drive.base_from_camera)
        self._write(0, "/tf_static", "tf2_msgs/msg/TFMessage", latched=True, transforms=[mount])
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._bag.__exit__(*error)
        except OSError as failure:
            raise DataError(f"cannot write the bag {self._bag.path}: {failure.strerror or failure}") from failure

    def transforms(self, index: int, map_from_odom: FloatArray | None = None) -> None:
        """odom -> base_link on /tf, after map -> odom where that is given, and odometry."""
        odom_from_base = self._drive.odom_from_base[index]
        links = [self._transform(index, ODOM, BASE, odom_from_base)]
        if map_from_odom is not None:
            links.insert(0, self._transform(index, MAP, ODOM, map_from_odom))
        self._write(index, "/tf", "tf2_msgs/msg/TFMessage", transforms=links)
        zero = self._make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        twist = self._make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
        unknown = np.zeros(36)
        self._write(
            index,
            ODOMETRY_TOPIC,
            "nav_msgs/msg/Odometry",
            header=self._header(index, ODOM),
            child_frame_id=BASE,
            pose=self._make(
                "geometry_msgs/msg/PoseWithCovariance", pose=self._pose(odom_from_base), covariance=unknown
            ),
            twist=self._make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=unknown),
        )

    def image(self, index: int, jpeg: bytes) -> None:
        """An image and its calibration."""
        camera, header = self._camera, self._header(index, OPTICAL)
        whole = self._make(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        self._write(
            index,
            INFO_TOPIC,
            "sensor_msgs/msg/CameraInfo",
            header=header,
            height=camera.height,
            width=camera.width,
            distortion_model=camera.distortion_model,
            d=np.asarray(camera.distortion),
            k=camera.matrix.reshape(-1),
            r=np.eye(3).reshape(-1),
            p=np.column_stack([camera.matrix, np.zeros(3)]).reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=whole,
        )
        data = np.frombuffer(jpeg, dtype=np.uint8)
        self._write(index, IMAGE_TOPIC, "sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=data)

    def depth(self, index: int, metres: Float32Array) -> None:
        """Depth that is registered to the image, written in millimetres."""
        millimetres = np.clip(np.rint(1000 * metres), 0, 65535).astype("<u2")
        height, width = millimetres.shape
        self._write(
            index,
            DEPTH_TOPIC,
            "sensor_msgs/msg/Image",
            header=self._header(index, OPTICAL),
            height=height,
            width=width,
            encoding="16UC1",
            is_bigendian=0,
            step=2 * width,
            data=millimetres.reshape(-1).view(np.uint8),
        )

    def truth(self, index: int) -> None:
        """Where base_link really is."""
        self._write(
            index,
            TRUTH_TOPIC,
            "geometry_msgs/msg/PoseStamped",
            header=self._header(index, MAP),
            pose=self._pose(self._drive.map_from_base[index]),
        )

    def _write(self, index: int, topic: str, type_: str, latched: bool = False, **fields: Any) -> None:
        self._bag.write(topic, type_, int(self._drive.stamps_ns[index]), self._make(type_, **fields), latched)

    def _make(self, type_: str, **fields: Any) -> Any:
        return self._types[type_](**fields)

    def _header(self, index: int, frame: str) -> Any:
        sec, nanosec = divmod(int(self._drive.stamps_ns[index]), NS_PER_SECOND)
        stamp = self._make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def _transform(self, index: int, parent: str, child: str, pose: FloatArray) -> Any:
        translation = self._xyz("geometry_msgs/msg/Vector3", pose[:3, 3])
        inner = self._make(
            "geometry_msgs/msg/Transform", translation=translation, rotation=self._quaternion(pose[:3, :3])
        )
        header = self._header(index, parent)
        return self._make("geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child, transform=inner)

    def _pose(self, pose: FloatArray) -> Any:
        position = self._xyz("geometry_msgs/msg/Point", pose[:3, 3])
        return self._make("geometry_msgs/msg/Pose", position=position, orientation=self._quaternion(pose[:3, :3]))

    def _xyz(self, type_: str, values: FloatArray) -> Any:
        return self._make(type_, **_named("xyz", values))

    def _quaternion(self, rotation: FloatArray) -> Any:
        return self._make("geometry_msgs/msg/Quaternion", **_named("xyzw", quat_from_matrix(rotation)))


def _named(names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _typestore() -> Any:
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise MissingDependencyError("writing a rosbag needs rosbags: pip install 'neumap[bags]'") from None
    return get_typestore(Stores.ROS2_JAZZY)
