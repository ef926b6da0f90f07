"""Recordings in a virtual room: a mapping drive, a query drive, and images that must not be localized."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import DataError
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose
from neumap.io.camera_info import CAMERA_INFO
from neumap.io.files import PathLike
from neumap.io.stamps import format_stamp
from neumap.io.trajectories import write_trajectory
from neumap.progress import Progress
from neumap.records import Camera, Trajectory
from neumap.virtual.drive import drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import JPEG, covered_lens, photograph
from neumap.virtual.scene import Room, Size

MAPPING, QUERY, NEGATIVES = "mapping", "query", "negatives"

# EPOCH_NS: start of the mapping drive, nanoseconds; the query drive starts on another day.
EPOCH_NS = 1_700_000_000_000_000_000
_QUERY_START_NS = EPOCH_NS + 86_400_000_000_000
# _FRAME_NS: time between two frames, 5 Hz.
_FRAME_NS = 200_000_000
# DEPTH_SCALE: units of a depth image per metre, as in TUM RGB-D.
DEPTH_SCALE = 5000
# _OTHER_ROOM_SEED: offset of the seed of the room that was not mapped.
_OTHER_ROOM_SEED = 1000


@dataclass(frozen=True)
class VirtualWorld:
    """Settings of the recordings: camera, sizes of the room and its textures, number of images, length and rate of the
    query bag. Every ``query_every``-th query image is kept.
    """

    width: int = 640
    height: int = 480
    focal_px: float = 525.0
    room_m: Size = (6.0, 5.0, 2.7)
    texture_px_per_m: float = 420.0
    mapping_frames: int = 160
    query_frames: int = 40
    other_room_frames: int = 6
    bag_seconds: float = 24.0
    bag_hz: int = 10
    query_every: int = 1

    @property
    def camera(self) -> Camera:
        """A pinhole camera."""
        centre_x, centre_y = (self.width - 1) / 2, (self.height - 1) / 2
        matrix = [self.focal_px, 0, centre_x, 0, self.focal_px, centre_y, 0, 0, 1]
        return make_camera(self.width, self.height, matrix)

    def room(self, seed: int) -> Room:
        """Return the furnished room of a seed."""
        return make_room(seed, self.room_m, detail=self.texture_px_per_m)


SMALL = VirtualWorld(320, 240, 262.0, (4.5, 4.0, 2.7), 250.0, 60, 12, 4, 16.0)
# DEMO: small enough to ship its query images, a query bag and a map.
DEMO = VirtualWorld(480, 360, 394.0, (6.0, 5.0, 2.7), 315.0, 90, 70, 3, 10.0, 5, 7)


def write_world(folder: PathLike, world: VirtualWorld, seed: int = 0, progress: Progress = lambda *_: None) -> Room:
    """Write the TUM folders ``mapping`` (with depth) and ``query`` and the folder of images ``negatives``.

    Returns the room. The negatives are views of another room, a blank wall, noise, and a covered lens. Everything
    follows from the seed. Raises :class:`~neumap.errors.DataError` if the folder cannot be written.
    """
    folder, camera = Path(folder), world.camera
    progress("furnish room", 0, 1)
    room = world.room(seed)
    mapping = drive(room, seed, world.mapping_frames, "mapping")
    query = drive(room, seed, world.query_frames, "query")
    progress("furnish room", 1, 1)
    step = partial(progress, "record mapping")
    write_tum(folder / MAPPING, room, camera, mapping, seed=seed, progress=step)
    start_ns, step = _QUERY_START_NS, partial(progress, "record query")
    write_tum(
        folder / QUERY,
        room,
        camera,
        query,
        False,
        every=world.query_every,
        seed=seed + 1,
        start_ns=start_ns,
        progress=step,
    )
    progress("record negatives", 0, 1)
    with _folder_of_images(folder / NEGATIVES, camera) as negatives:
        for name, image in _negatives(room, world, seed):
            _write_image(negatives / f"{name}.jpg", image, JPEG)
    progress("record negatives", 1, 1)
    return room


def _negatives(room: Room, world: VirtualWorld, seed: int) -> Iterator[tuple[str, ImageArray]]:
    """Yield names and images that show nothing of the mapped room, or nothing that can be localized."""
    camera, rng = world.camera, np.random.default_rng([seed, 3])
    shape = (world.height, world.width)
    wall = blank_wall_view(room, camera)
    yield "blank_wall", photograph(room, camera, wall[None], 0, seed)[0]
    yield "noise", rng.integers(0, 256, shape, dtype=np.uint8)
    yield "covered_lens", covered_lens(rng, shape)
    other = world.room(seed + _OTHER_ROOM_SEED)
    poses = drive(other, seed, 10 * world.other_room_frames, "mapping")
    for index in range(0, len(poses), 10):
        yield f"other_room_{index:03d}", photograph(other, camera, poses, index, seed)[0]


def blank_wall_view(room: Room, camera: Camera) -> FloatArray:
    """Return a pose map_from_camera (4, 4) from which the camera sees nothing but the blank stretch of wall."""
    origin, right, down = room.blank_wall
    along, below = right / np.linalg.norm(right), down / np.linalg.norm(down)
    forward = np.cross(along, below)
    centre, size = camera.matrix[:2, 2], (camera.width, camera.height)
    reach = np.maximum(centre, size - centre) / np.diag(camera.matrix)[:2]
    # half of the stretch is a margin for distortion
    distance = min(0.5 * min(np.linalg.norm(right) / 2 / reach[0], 1.2 / reach[1]), 1.0)
    position = origin + right / 2 + down / 2 - distance * forward
    return make_pose(np.stack([along, below, forward], axis=1), position)


def write_tum(
    folder: PathLike,
    room: Room,
    camera: Camera,
    poses: FloatArray,
    with_depth: bool = True,
    *,
    every: int = 1,
    seed: int = 0,
    start_ns: int = EPOCH_NS,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> None:
    """Write a camera's images at every ``every``-th of ``poses`` (N, 4, 4) as a TUM RGB-D folder.

    Poses are 0.2 s apart. The folder has a camera_info.yaml. Depth is in 1/5000 m; images are those of
    :func:`~neumap.virtual.render.photograph`. ``progress`` is called with the number of frames done and of all. Raises
    :class:`~neumap.errors.DataError` if the folder cannot be written.
    """
    taken = range(0, len(poses), every)
    stamps = start_ns + _FRAME_NS * np.array(taken, dtype=np.int64)
    names = [format_stamp(int(stamp)) for stamp in stamps]
    titles = {"rgb/{}.jpg": "# color images"}
    if with_depth:
        titles["depth/{}.png"] = f"# depth maps (16-bit PNG, {DEPTH_SCALE} = 1 m, registered to the color image)"
    with _folder_of_images(Path(folder), camera) as to:
        for done, (index, name) in enumerate(zip(taken, names, strict=True), start=1):
            image, depth = photograph(room, camera, poses, index, seed)
            _write_image(to / f"rgb/{name}.jpg", image, JPEG)
            if with_depth:
                steps = np.clip(np.rint(depth * DEPTH_SCALE), 0, 65535).astype(np.uint16)
                _write_image(to / f"depth/{name}.png", steps, [cv2.IMWRITE_PNG_COMPRESSION, 3])
            progress(done, len(names))
        write_trajectory(to / "groundtruth.txt", Trajectory(stamps, poses[::every]))
        for path, title in titles.items():
            lines = [title, "# timestamp filename", *(f"{name} {path.format(name)}" for name in names), ""]
            (to / f"{Path(path).parent}.txt").write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def _folder_of_images(folder: Path, camera: Camera) -> Iterator[Path]:
    """Make a folder with the camera's calibration; raise DataError if writing to it fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CAMERA_INFO).write_text(_camera_info_yaml(camera), encoding="utf-8")
        yield folder
    except OSError as error:
        raise DataError(f"cannot write the images to {folder}: {error.strerror or error}") from error


def _camera_info_yaml(camera: Camera) -> str:
    """Format the calibration as ROS' camera_calibration package does."""

    def matrix(values: FloatArray) -> dict[str, object]:
        rows, columns = values.shape
        return {"rows": rows, "cols": columns, "data": values.ravel().tolist()}

    content = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": "virtual_camera",
        "camera_matrix": matrix(camera.matrix),
        "distortion_model": camera.distortion_model,
        "distortion_coefficients": matrix(np.asarray(camera.distortion).reshape(1, -1)),
        "rectification_matrix": matrix(np.eye(3)),
        "projection_matrix": matrix(np.column_stack([camera.matrix, np.zeros(3)])),
    }
    return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=1000))


def _write_image(path: Path, image: npt.NDArray[np.integer], options: Sequence[int] = ()) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())
