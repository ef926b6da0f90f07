"""Small recordings and maps of one virtual room, under the names that README.md and docs/ use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neumap.cli.main import main
from neumap.geometry.se3 import invert_pose, make_pose, poses_of, rotation_exp, transform_points
from neumap.io.bags.messages import header, message, pose, transform
from neumap.io.bags.reader import BagReader
from neumap.io.bags.topics import CAMERA_INFO, IMAGE, POSE, TF
from neumap.io.bags.writer import BagWriter
from neumap.io.sources import open_source
from neumap.io.trajectories import write_trajectory
from neumap.records import Trajectory
from neumap.virtual.drive import drive
from neumap.virtual.recording import record_mapping
from neumap.virtual.render import photograph
from neumap.virtual.world import EPOCH_NS, SMALL, write_tum

# FIRST_COUNT, SECOND_COUNT, RIG_COUNT: images of the first drive, of the second one, and of each camera of a rig.
FIRST_COUNT, SECOND_COUNT, RIG_COUNT = 36, 20, 12
FRAME_NS = 200_000_000
# FORWARD: axes of a camera that looks along x of base_link.
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
BASE_FROM_FRONT = make_pose(FORWARD, np.array([0.2, 0.0, 1.2]))
BASE_FROM_REAR = make_pose(rotation_exp(np.array([0.0, 0.0, np.pi])) @ FORWARD, np.array([0.1, 0.0, 1.2]))


class Shelf:
    """Makes each recording once, when it is asked for by its name."""

    def __init__(self, folder: Path, world: Path, room_map: Path) -> None:
        self.folder, self.world, self.room_map = folder, world, room_map

    def __call__(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            MAKERS[name](self, path)
        return path

    def lay(self, name: str, folder: Path) -> None:
        """Makes a recording or map in a folder; maps that join its place.neumap are made of that."""
        if name in JOINING:
            if not (folder / PLACE).exists():
                self.lay(PLACE, folder)
            assert main(["transform", str(folder / PLACE), f"--by={JOINING[name]}", "--out", str(folder / name)]) == 0
            return
        path = self(name)
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, folder / name)


def first_drive(shelf: Shelf, path: Path) -> None:
    of, some = shelf.world / "mapping", shelf.folder / "some"
    some.mkdir()
    for name in ("rgb", "depth", "groundtruth.txt", "camera_info.yaml"):
        (some / name).symlink_to(of / name)
    for name in ("rgb.txt", "depth.txt"):
        lines = (of / name).read_text().splitlines()[: 2 + FIRST_COUNT]
        (some / name).write_text("\n".join(lines) + "\n")
    record_mapping(path, some)


def second_drive(shelf: Shelf, path: Path) -> None:
    room = SMALL.room(0)
    write_tum(shelf.folder / "tum", room, SMALL.camera, drive(room, 1, 60, "mapping")[:SECOND_COUNT], seed=1)
    record_mapping(path, shelf.folder / "tum", seed=1)


def image(shelf: Shelf, path: Path) -> None:
    shutil.copy(sorted((shelf.world / "query" / "rgb").iterdir())[0], path)


def clicked_points(shelf: Shelf, path: Path) -> None:
    """Points in the map made from odometry, which begins where the drive did, and in the one made from SLAM."""
    by_slam, by_odometry = (_poses(shelf, odometry=odometry).map_from_camera[0] for odometry in (False, True))
    points = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [1, 1, 1]])
    np.savetxt(path, np.hstack([points, transform_points(by_slam @ np.linalg.inv(by_odometry), points)]))


def base_trajectory(shelf: Shelf, path: Path) -> None:
    """The poses of base_link on the drive, as another program writes them."""
    with BagReader(shelf("drive")) as bag:
        (topic,) = (topic for topic in bag.topics if topic.name == "/tf_static")
        mount = bag.first(topic).transforms[0].transform
    t, q = mount.translation, mount.rotation
    (base_from_camera,) = poses_of([(t.x, t.y, t.z, q.x, q.y, q.z, q.w)])
    camera = _poses(shelf)
    write_trajectory(path, Trajectory(camera.stamps_ns, camera.map_from_camera @ invert_pose(base_from_camera)))


def tracked_drive(shelf: Shelf, path: Path) -> None:
    """One MCAP file of the drive's first images, with no transforms: a tracker publishes the pose of the camera."""
    camera = _poses(shelf)
    with BagReader(shelf("drive")) as drive, BagWriter(shelf.folder / "tracked") as bag:
        for each in drive.messages([topic for topic in drive.topics if topic.name.startswith("/camera")]):
            if each.time_ns <= camera.stamps_ns[RIG_COUNT - 1]:
                bag.write(each.topic.name, each.topic.type, each.time_ns, each.data)
        for stamp_ns, vicon_from_camera in zip(camera.stamps_ns.tolist(), camera.map_from_camera, strict=True):
            fields = {"header": header(stamp_ns, "vicon"), "pose": pose(vicon_from_camera)}
            bag.write("/vicon/camera/pose", POSE, stamp_ns, message(POSE, **fields))
    (file,) = (shelf.folder / "tracked").glob("*.mcap")
    shutil.copy(file, path)


def rig_drive(shelf: Shelf, path: Path) -> None:
    """A drive with a camera at the front and one at the rear, with depth; /tf also has a frame "world"."""
    room = SMALL.room(0)
    front = drive(room, 0, 60, "mapping")[:RIG_COUNT]
    base = front @ invert_pose(BASE_FROM_FRONT)
    with BagWriter(path) as bag:
        static = (
            ("world", "map", np.eye(4)),
            ("base_link", "front", BASE_FROM_FRONT),
            ("base_link", "rear", BASE_FROM_REAR),
        )
        links = [transform(EPOCH_NS, *link) for link in static]
        bag.write("/tf_static", TF, EPOCH_NS, message(TF, transforms=links), latched=True)
        for index, map_from_base in enumerate(base):
            stamp_ns = EPOCH_NS + index * FRAME_NS
            links = [
                transform(stamp_ns, "map", "odom", np.eye(4)),
                transform(stamp_ns, "odom", "base_link", map_from_base),
            ]
            bag.write("/tf", TF, stamp_ns, message(TF, transforms=links))
            for name, poses in (("front", front), ("rear", base @ BASE_FROM_REAR)):
                _write_image(bag, name, stamp_ns, *photograph(room, SMALL.camera, poses, index, 0))


def _write_image(bag: BagWriter, name: str, stamp_ns: int, pixels: np.ndarray, depth: np.ndarray) -> None:
    camera, of = SMALL.camera, header(stamp_ns, name)
    size = {"header": of, "height": camera.height, "width": camera.width}
    calibration = {
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": camera.matrix.ravel(),
        "r": np.eye(3).ravel(),
    }
    bag.write(f"/{name}/camera_info", CAMERA_INFO, stamp_ns, message(CAMERA_INFO, **size, **calibration))
    millimetres = np.rint(1000 * depth).astype("<u2")
    for topic, encoding, values in (("image_raw", "rgb8", pixels), ("depth", "16UC1", millimetres)):
        data = np.ascontiguousarray(values).view(np.uint8)
        fields = {"encoding": encoding, "step": data[0].size, "data": data.ravel()}
        bag.write(f"/{name}/{topic}", IMAGE, stamp_ns, message(IMAGE, **size, **fields))


def _poses(shelf: Shelf, odometry: bool = False) -> Trajectory:
    """The poses of the drive's images by SLAM, or by odometry."""
    frames = open_source(shelf("drive"), poses=True, odometry=odometry).frames
    return Trajectory(np.array([f.stamp_ns for f in frames]), np.array([f.map_from_camera for f in frames]))


# JOINING: maps of the same place, and where the origin of PLACE is in each. MAKERS: what makes all else.
PLACE = "place.neumap"
JOINING = {"hall.neumap": "0,0,0,0", "other.neumap": "3,-2,0,0.7"}
MAKERS: dict[str, Callable[[Shelf, Path], object]] = {
    "drive": first_drive,
    "second_drive": second_drive,
    "drive.mcap": tracked_drive,
    "rig_drive": rig_drive,
    "second_rig_drive": lambda shelf, path: shutil.copytree(shelf("rig_drive"), path),
    PLACE: lambda shelf, path: shutil.copy(shelf.room_map, path),
    "camera_info.yaml": lambda shelf, path: shutil.copy(shelf.world / "mapping" / "camera_info.yaml", path),
    "image.jpg": image,
    "clicked.txt": clicked_points,
    "slam.txt": base_trajectory,
}
# NAMES: those that a page may name.
NAMES = (*MAKERS, *JOINING)
