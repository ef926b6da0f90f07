"""A virtual furnished room to map and to localize in when there is no robot at hand: for the demo and for tests.

Everything follows from seeds: the same room, drive and images every time on the same versions of numpy and OpenCV.
Planes, depth and poses are exact; light, print and clutter are made to look enough like a real room for image
features to behave as they do in one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray, IntArray
from neumap.errors import DataError
from neumap.geometry.se3 import rotation_log
from neumap.io.camera_info import CAMERA_INFO
from neumap.io.files import PathLike
from neumap.io.stamps import format_stamp
from neumap.io.trajectories import write_trajectory
from neumap.records import Camera, Trajectory
from neumap.virtual.drive import CLEARANCE, clearance, drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import expose, render
from neumap.virtual.scene import Rectangle, Room, Solid

__all__ = [
    "CLEARANCE",
    "DEPTH_SCALE",
    "EPOCH_NS",
    "Rectangle",
    "Room",
    "Solid",
    "blank_wall_view",
    "camera_info_yaml",
    "clearance",
    "drive",
    "expose",
    "make_room",
    "render",
    "sensor_image",
    "stamps",
    "write_tum",
]

EPOCH_NS = 1_700_000_000_000_000_000
DEPTH_SCALE = 5000
_FRAME_NS = 200_000_000
# the share of the time between two frames for which the shutter is open
_SHUTTER = 0.03


def blank_wall_view(room: Room, camera: Camera) -> FloatArray:
    """A pose map_from_camera (4, 4) from which the camera sees nothing but the blank stretch of wall."""
    origin, right, down = room.blank_wall
    along, below = right / np.linalg.norm(right), down / np.linalg.norm(down)
    forward = np.cross(along, below)
    corners = np.array([[0.0, 0.0], [camera.width, 0.0], [0.0, camera.height], [camera.width, camera.height]])
    reach = np.abs(corners - camera.matrix[:2, 2]) / np.diag(camera.matrix)[:2]
    # distortion bends rays by a fraction; half of the stretch is left as a margin for it
    distance = 0.5 * min(np.linalg.norm(right) / 2 / reach[:, 0].max(), 1.2 / reach[:, 1].max())
    pose = np.eye(4)
    pose[:3, :3] = np.stack([along, below, forward], axis=1)
    pose[:3, 3] = origin + right / 2 + down / 2 - min(distance, 1.0) * forward
    return pose


def stamps(count: int, start_ns: int = EPOCH_NS) -> IntArray:
    """The stamps (N,) in nanoseconds of ``count`` frames at 5 Hz."""
    return start_ns + _FRAME_NS * np.arange(count, dtype=np.int64)


def sensor_image(image: ImageArray, camera: Camera, poses: FloatArray, index: int, seed: int) -> ImageArray:
    """What a camera on the way along ``poses`` (N, 4, 4) takes at ``index`` of the rendered ``image``.

    Mild changes of exposure, noise, and the blur of the camera's own turning; the same for the same seed and index.
    """
    rng = np.random.default_rng([seed, index])
    first, last = max(0, index - 1), min(len(poses) - 1, index + 1)
    turn = rotation_log(poses[first, :3, :3].T @ poses[last, :3, :3]) / max(1, last - first)
    motion = _SHUTTER * camera.matrix[0, 0] * np.array([-turn[1], turn[0]]) + rng.normal(0, 0.3, 2)
    return expose(
        image,
        rng,
        gain=float(np.clip(rng.normal(1.0, 0.07), 0.8, 1.15)),
        gamma=float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)),
        noise_sigma=float(rng.uniform(1.2, 2.4)),
        motion_px=(float(motion[0]), float(motion[1])),
    )


def write_tum(
    folder: PathLike,
    room: Room,
    camera: Camera,
    poses: FloatArray,
    *,
    with_depth: bool = True,
    seed: int = 0,
    start_ns: int = EPOCH_NS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the images that ``camera`` takes at ``poses`` (N, 4, 4) as a TUM RGB-D folder with camera_info.yaml.

    Images pass through :func:`sensor_image`; depth is exact, in 1/5000 m. ``progress`` is called with the number of
    frames done and of all. Raises :class:`~neumap.errors.DataError` where the folder cannot be written.
    """
    folder = Path(folder)
    frame_stamps = stamps(len(poses), start_ns)
    rgb_list = ["# color images", "# timestamp filename"]
    depth_list = [f"# depth maps (16-bit PNG, {DEPTH_SCALE} = 1 m, registered to the color image)", rgb_list[1]]
    try:
        (folder / "rgb").mkdir(parents=True, exist_ok=True)
        if with_depth:
            (folder / "depth").mkdir(exist_ok=True)
        for index, pose in enumerate(poses):
            name = format_stamp(int(frame_stamps[index]))
            image, depth = render(room, camera, pose)
            image = sensor_image(image, camera, poses, index, seed)
            _write_image(folder / f"rgb/{name}.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            rgb_list.append(f"{name} rgb/{name}.jpg")
            if with_depth:
                steps = np.clip(np.rint(depth * DEPTH_SCALE), 0, 65535).astype(np.uint16)
                _write_image(folder / f"depth/{name}.png", steps, [cv2.IMWRITE_PNG_COMPRESSION, 3])
                depth_list.append(f"{name} depth/{name}.png")
            if progress is not None:
                progress(index + 1, len(poses))
        write_trajectory(folder / "groundtruth.txt", Trajectory(frame_stamps, poses))
        for file, lines in ({"rgb.txt": rgb_list} | ({"depth.txt": depth_list} if with_depth else {})).items():
            (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / CAMERA_INFO).write_text(camera_info_yaml(camera, "virtual_camera"), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the images to {folder}: {error.strerror or error}") from error


def camera_info_yaml(camera: Camera, name: str) -> str:
    """The calibration as ROS' camera_calibration package writes it."""
    k = camera.matrix
    projection = np.column_stack([k, np.zeros(3)])
    lines = [f"image_width: {camera.width}", f"image_height: {camera.height}", f"camera_name: {name}"]
    lines += _yaml_matrix("camera_matrix", k)
    lines += [f"distortion_model: {camera.distortion_model}"]
    lines += _yaml_matrix("distortion_coefficients", np.asarray(camera.distortion).reshape(1, -1))
    lines += _yaml_matrix("rectification_matrix", np.eye(3))
    lines += _yaml_matrix("projection_matrix", projection)
    return "\n".join(lines) + "\n"


def _yaml_matrix(name: str, values: FloatArray) -> list[str]:
    rows, columns = values.shape
    data = ", ".join(repr(float(value)) for value in values.ravel())
    return [f"{name}:", f"  rows: {rows}", f"  cols: {columns}", f"  data: [{data}]"]


def _write_image(path: Path, image: np.ndarray, options: list[int]) -> None:
    encoded, data = cv2.imencode(path.suffix, image, options)
    if not encoded:
        raise OSError(f"OpenCV cannot encode {path.name}")
    path.write_bytes(data.tobytes())
