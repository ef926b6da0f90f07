"""Writes the contents of a map in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.geometry.se3 import invert_pose, quat_from_matrix
from neumap.io.files import PathLike, check_may_create, write_atomically

# _CAMERA: a stand-in of 640 x 480 pixels and 65 degrees, since COLMAP requires a camera and a map holds none.
_CAMERA = "1 SIMPLE_PINHOLE 640 480 500 320 240"


def write_ply(path: PathLike, points: FloatArray) -> None:
    """Write ``points`` (N, 3) as a PLY file, in double precision. Raises as
    :func:`~neumap.io.files.write_atomically` does.
    """
    properties = "".join(f"property double {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    write_atomically(path, head.encode() + points.astype("<f8").tobytes())


def check_colmap(folder: Path) -> None:
    """Raise :class:`~neumap.errors.DataError` if ``folder`` is neither an empty folder nor one that can be created."""
    check_may_create(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} exists already and is not an empty folder: remove it or give another name")


def write_colmap(folder: Path, points: FloatArray, cameras: FloatArray) -> None:
    """Write ``points`` (N, 3) and the map_from_camera (M, 4, 4) of mapping images as a COLMAP text model.

    The model has no keypoints and no tracks, and a stand-in for the camera, which a map does not hold. ``folder`` must
    be new or empty; it is written atomically. Raises as :func:`check_colmap` does.
    """
    check_colmap(folder)
    world = invert_pose(cameras)
    images = [
        # the empty line is that of the keypoints
        " ".join([str(number), *_numbers(np.roll(quat_from_matrix(pose[:3, :3]), 1)), *_numbers(pose[:3, 3])])
        + f" 1 mapping_{number:06}.png\n\n"
        for number, pose in enumerate(world, start=1)
    ]
    files = {
        "cameras.txt": ["# stands in for the camera of the mapping images, which the map does not hold\n", _CAMERA],
        "images.txt": ["# mapping cameras of the map: there are no such files\n", *images],
        "points3D.txt": [f"{i} {' '.join(_numbers(p))} 128 128 128 0\n" for i, p in enumerate(points, start=1)],
    }
    target = folder.resolve()
    with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        made = Path(place) / "model"
        made.mkdir()
        for name, lines in files.items():
            (made / name).write_text("".join(lines), encoding="utf-8")
        made.rename(target)


def _numbers(values: FloatArray) -> list[str]:
    return [f"{value:.9g}" for value in values]
