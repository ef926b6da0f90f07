"""Bags of a virtual robot's drives, as recorded on a robot.

Both bags hold JPEG images and, with the same stamps, their calibration, odometry and /tf; /tf_static holds the camera's
pose on the robot. The mapping bag also has depth, and its /tf has map -> odom -> base_link, as from SLAM. The query bag
has no map in /tf; the true pose of base_link in map is on a separate topic.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from neumap.arrays import Float32Array, FloatArray
from neumap.errors import DataError
from neumap.geometry.se3 import invert_pose, make_pose, rotation_exp
from neumap.io.bags.messages import header, message, pose, transform
from neumap.io.bags.topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, ODOMETRY, POSE, TF
from neumap.io.bags.writer import BagWriter
from neumap.io.files import PathLike
from neumap.io.stamps import NS_PER_SECOND
from neumap.io.trajectories import poses_at
from neumap.io.tum import read_tum
from neumap.records import Camera, Trajectory
from neumap.virtual.drive import lengths_along
from neumap.virtual.render import JPEG, covered_lens, photograph
from neumap.virtual.scene import Room
from neumap.virtual.world import EPOCH_NS

IMAGE_TOPIC = "/camera/color/image_raw/compressed"
INFO_TOPIC = "/camera/color/camera_info"
DEPTH_TOPIC = "/camera/aligned_depth_to_color/image_raw"
ODOMETRY_TOPIC = "/odom"
TRUTH_TOPIC = "/ground_truth/pose"
MAP, ODOM, BASE, OPTICAL = "map", "odom", "base_link", "camera_color_optical_frame"

# QUERY_HZ: default image rate of a query bag; COVERED_S: time for which its lens is covered, seconds, long enough for a
# localizer to lose track.
QUERY_HZ, COVERED_S = 10, 4.0
# OVER_READS: scale error of the odometry; TURNS_DEG_PER_M: its spurious turn to the left. Both are typical of cheap
# wheels.
OVER_READS, TURNS_DEG_PER_M = 0.02, 1.0
# _QUERY_START_NS: start of a query bag, nanoseconds: another day than the mapping.
_QUERY_START_NS = EPOCH_NS + 90_000 * NS_PER_SECOND
# _SPEED: largest speed of the robot, m/s; _ASIDE_M, _ASIDE_DEG: offsets of its second drive from the first.
_SPEED, _ASIDE_M, _ASIDE_DEG = 0.6, 0.15, 15.0
# _AHEAD_M, _DOWN_DEG: position of the camera ahead of base_link, and its tilt.
_AHEAD_M, _DOWN_DEG = 0.2, 7.0
_UP = np.array([0.0, 0.0, 1.0])

Step = Callable[[int, int], None]


class Covered(NamedTuple):
    """The time for which the lens was covered: stamps of the first black and the next good image, nanoseconds."""

    start_ns: int
    end_ns: int


def drifting_odometry(map_from_base: FloatArray, seed: int) -> FloatArray:
    """Return wheel odometry odom_from_base (N, 4, 4) of a drive (N, 4, 4), starting at the identity.

    It drifts by 2 % of the distance and 1 degree per metre, with some noise; the same for the same seed.
    """
    rng = np.random.default_rng([seed, 4])
    steps = invert_pose(map_from_base[:-1]) @ map_from_base[1:]
    distance = np.linalg.norm(steps[:, :3, 3], axis=1)
    turns = np.deg2rad(TURNS_DEG_PER_M * distance + rng.normal(0, 0.02, len(steps)))
    moves = (1 + OVER_READS) * steps[:, :3, 3] + rng.normal(0, 0.001, (len(steps), 3))
    told = make_pose(steps[:, :3, :3] @ rotation_exp(turns[:, None] * _UP), moves)
    return np.array(list(accumulate(told, np.matmul, initial=np.eye(4))))


def wandering_odometry(
    poses: FloatArray, seed: int, share: float = 0.02, turn_rad: float = np.deg2rad(0.5), too_long: float = 0.0
) -> FloatArray:
    """Return odometry (N, 4, 4) with known vertical of a drive (N, 4, 4), starting at its first pose.

    Errors have zero mean and the standard deviations ``share`` of the distance and, about z, ``turn_rad`` per metre;
    they grow with the square root of the distance. All steps are ``too_long`` by a fraction. Follows from the seed.
    """
    rng = np.random.default_rng([seed, 7])
    steps = invert_pose(poses[:-1]) @ poses[1:]
    root = np.sqrt(np.linalg.norm(steps[:, :3, 3], axis=1))[:, None]
    turns = turn_rad * root * rng.normal(size=(len(steps), 1)) * poses[1:, 2, :3]
    moves = (1 + too_long) * steps[:, :3, 3] + share * root * rng.normal(size=(len(steps), 3))
    told = make_pose(steps[:, :3, :3] @ rotation_exp(turns), moves)
    return np.array(list(accumulate(told, np.matmul, initial=poses[0])))


def record_mapping(path: PathLike, folder: PathLike, *, seed: int = 0, progress: Step = lambda *_: None) -> None:
    """Write the images, depth and poses of a TUM folder as :func:`~.world.write_tum` makes it to the bag ``path``.

    An existing bag is replaced. Raises :class:`~neumap.errors.DataError` if the folder cannot be read or the bag not
    written, :class:`~neumap.errors.MissingDependencyError` without rosbags.
    """
    source = read_tum(folder)
    depths = [frame.read_depth for frame in source.frames if frame.read_depth is not None]
    if source.notes or len(depths) < len(source.frames):
        raise DataError(f"{folder} does not hold a depth image and a pose for every image: write it anew")
    stamps, poses = zip(*((frame.stamp_ns, frame.map_from_camera) for frame in source.frames), strict=True)
    with _Recorder(path, source.frames[0].camera, Trajectory(np.array(stamps), np.array(poses)), seed) as recorder:
        for index, (frame, read_depth) in enumerate(zip(source.frames, depths, strict=True)):
            recorder.transforms(index, with_map=True)
            recorder.image(index, (Path(folder) / frame.name).read_bytes())
            recorder.depth(index, read_depth())
            progress(index + 1, len(depths))


def record_query(
    path: PathLike,
    room: Room,
    camera: Camera,
    mapped: FloatArray,
    seconds: float,
    *,
    hz: int = QUERY_HZ,
    seed: int = 0,
    progress: Step = lambda *_: None,
) -> Covered:
    """Write the bag ``path`` of a drive of some ``seconds`` near the ``mapped`` poses (N, 4, 4).

    It has ``hz`` images a second. In the middle of the drive the lens is covered for four seconds, which are returned,
    while the robot drives on. Raises as :func:`record_mapping`.
    """
    count, covered_count = round(seconds * hz), round(COVERED_S * hz)
    poses = drive_again(mapped, count, seed, hz)
    stamps = _QUERY_START_NS + NS_PER_SECOND // hz * np.arange(count, dtype=np.int64)
    first = (count - covered_count) // 2
    with _Recorder(path, camera, Trajectory(stamps, poses), seed) as recorder:
        for index in range(count):
            if first <= index < first + covered_count:
                image = covered_lens(np.random.default_rng([seed, 5, index]), (camera.height, camera.width, 3))
            else:
                image, _ = photograph(room, camera, poses, index, seed + 2)
            recorder.transforms(index)
            recorder.image(index, cv2.imencode(".jpg", image, JPEG)[1].tobytes())
            recorder.truth(index)
            progress(index + 1, count)
    return Covered(int(stamps[first]), int(stamps[first + covered_count]))


def drive_again(poses: FloatArray, count: int, seed: int, hz: int = QUERY_HZ) -> FloatArray:
    """Return poses (``count``, 4, 4) of a camera that follows a part of the path of ``poses`` (N, 4, 4).

    ``hz`` a second, at 0.6 m/s or, on a short path, slower; up to 0.15 m beside it and 0.15 m below it, looking up to
    15 degrees aside.
    """
    rng = np.random.default_rng([seed, 6])
    along = lengths_along(poses[:, :3, 3])
    length = min(float(along[-1]), _SPEED * (count - 1) / hz)
    at = rng.uniform(0, along[-1] - length) + np.linspace(0, length, count)
    # micrometres in place of nanoseconds: interpolation along a path is the same as in time
    way = Trajectory(np.rint(1e6 * along).astype(np.int64), poses)
    out, _ = poses_at(way, np.rint(1e6 * at).astype(np.int64), max_gap_ns=2**62)
    side, turn = (np.sin(2 * np.pi * (at / period + rng.random())) for period in (3.7, 4.9))
    out[:, :3, 3] += _ASIDE_M * side[:, None] * out[:, :3, 0] - [0.0, 0.0, _ASIDE_M]
    out[:, :3, :3] = rotation_exp((np.deg2rad(_ASIDE_DEG) * turn)[:, None] * _UP) @ out[:, :3, :3]
    return out


class _Recorder:
    """Writes the messages of a robot whose camera moves along a path, by pose index; a context manager.

    The camera is 0.2 m ahead of base_link, tilted down, and at the height that keeps base_link on the floor on average.
    Entering writes the camera's mounting; leaving completes the bag.
    """

    def __init__(self, path: PathLike, camera: Camera, camera_path: Trajectory, seed: int) -> None:
        tilt = rotation_exp(np.array([0.0, np.deg2rad(_DOWN_DEG), 0.0]))
        optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        height = float(camera_path.map_from_camera[:, 2, 3].mean())
        self._base_from_camera = make_pose(tilt @ optical, np.array([_AHEAD_M, 0.0, height]))
        self._stamps_ns = camera_path.stamps_ns
        self._map_from_base = camera_path.map_from_camera @ invert_pose(self._base_from_camera)
        self._odom_from_base = drifting_odometry(self._map_from_base, seed)
        self._map_from_odom = self._map_from_base @ invert_pose(self._odom_from_base)
        k = camera.matrix
        arrays = {"d": camera.distortion, "k": k, "r": np.eye(3), "p": np.column_stack([k, np.zeros(3)])}
        self._calibration: dict[str, Any] = {
            "height": camera.height,
            "width": camera.width,
            "distortion_model": camera.distortion_model,
            **{name: np.ravel(values) for name, values in arrays.items()},
        }
        self._bag = BagWriter(path, overwrite=True)

    def __enter__(self) -> _Recorder:
        self._bag.__enter__()
        mount = transform(int(self._stamps_ns[0]), BASE, OPTICAL, self._base_from_camera)
        self._write(0, "/tf_static", TF, latched=True, transforms=[mount])
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._bag.__exit__(*error)
        except OSError as failure:
            raise DataError(f"cannot write the bag {self._bag.path}: {failure.strerror or failure}") from failure

    def transforms(self, index: int, with_map: bool = False) -> None:
        """Write odom -> base_link on /tf, ``with_map`` after map -> odom, and odometry."""
        stamp_ns, odom_from_base = int(self._stamps_ns[index]), self._odom_from_base[index]
        links = [transform(stamp_ns, MAP, ODOM, self._map_from_odom[index])] if with_map else []
        self._write(index, "/tf", TF, transforms=[*links, transform(stamp_ns, ODOM, BASE, odom_from_base)])
        where = {"pose": pose(odom_from_base)}
        self._write(index, ODOMETRY_TOPIC, ODOMETRY, ODOM, child_frame_id=BASE, pose=where)

    def image(self, index: int, jpeg: bytes) -> None:
        """Write an image and its calibration."""
        self._write(index, INFO_TOPIC, CAMERA_INFO, OPTICAL, **self._calibration)
        data = np.frombuffer(jpeg, dtype=np.uint8)
        self._write(index, IMAGE_TOPIC, COMPRESSED_IMAGE, OPTICAL, format="jpeg", data=data)

    def depth(self, index: int, metres: Float32Array) -> None:
        """Write depth registered to the image, in millimetres."""
        millimetres = np.clip(np.rint(1000 * metres), 0, 65535).astype("<u2")
        height, width = millimetres.shape
        shape = {"height": height, "width": width, "step": 2 * width}
        data = millimetres.reshape(-1).view(np.uint8)
        self._write(index, DEPTH_TOPIC, IMAGE, OPTICAL, **shape, encoding="16UC1", data=data)

    def truth(self, index: int) -> None:
        """Write the true pose of base_link."""
        self._write(index, TRUTH_TOPIC, POSE, MAP, pose=pose(self._map_from_base[index]))

    def _write(self, index: int, topic: str, type_: str, frame: str = "", latched: bool = False, **fields: Any) -> None:
        """Write a message, with a header if a ``frame`` is given."""
        stamp_ns = int(self._stamps_ns[index])
        if frame:
            fields["header"] = header(stamp_ns, frame)
        self._bag.write(topic, type_, stamp_ns, message(type_, **fields), latched)
