"""COLMAP models through pycolmap."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import CalibrationError, DataError, MissingDependencyError
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import invert_pose, make_pose
from neumap.io.camera_info import fit_to_image
from neumap.io.files import PathLike
from neumap.io.images import read_gray
from neumap.io.stamps import stamps_from_names
from neumap.records import Camera, Frame, Source

# COLMAP's lens model: the ROS model, the number of focal lengths, and where each of COLMAP's remaining parameters goes
# among the coefficients of the ROS model
LENSES: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "SIMPLE_PINHOLE": ("plumb_bob", 1, ()),
    "PINHOLE": ("plumb_bob", 2, ()),
    "SIMPLE_RADIAL": ("plumb_bob", 1, (0,)),
    "RADIAL": ("plumb_bob", 1, (0, 1)),
    "OPENCV": ("plumb_bob", 2, (0, 1, 2, 3)),
    "FULL_OPENCV": ("rational_polynomial", 2, (0, 1, 2, 3, 4, 5, 6, 7)),
    "SIMPLE_RADIAL_FISHEYE": ("equidistant", 1, (0,)),
    "RADIAL_FISHEYE": ("equidistant", 1, (0, 1)),
    "OPENCV_FISHEYE": ("equidistant", 2, (0, 1, 2, 3)),
}
SCALE_NOTE = (
    "a COLMAP model has no scale of its own: unless this one was scaled to metres, all lengths are in its units"
)


def find_model(folder: Path) -> Path | None:
    """Find the COLMAP model in a folder: itself, ``sparse/0`` or ``sparse`` in it; None where there is none."""
    for candidate in (folder, folder / "sparse" / "0", folder / "sparse"):
        for suffix in (".bin", ".txt"):
            if all((candidate / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
                return candidate
    return None


def read_colmap(model_folder: PathLike, image_folder: PathLike | None = None, poses: bool = True) -> Source:
    """Read the registered images of a COLMAP model, sorted by stamp, with their poses if ``poses``.

    Each frame has the camera that COLMAP gave it. The images are searched in ``image_folder``, else in ``images/``
    in and above the model, else beside the model. Stamps are the file names where those are numbers, else 0 s, 1 s,
    ... in the order of the names. There is no depth, and the scale is the model's: a note says so.

    Raises :class:`~neumap.errors.DataError` for a model or images that are missing or damaged, and for fewer than
    two images with a pose; :class:`~neumap.errors.CalibrationError` for a lens model that ROS does not have;
    :class:`~neumap.errors.MissingDependencyError` without pycolmap.
    """
    folder = Path(model_folder)
    model = find_model(folder)
    if model is None:
        raise DataError(f"no COLMAP model (cameras and images, .bin or .txt) in {folder}, its sparse/0 or its sparse")
    reconstruction = _load(model)
    images = sorted((reconstruction.images[i] for i in reconstruction.reg_image_ids()), key=lambda image: image.name)
    if len(images) < (2 if poses else 1):
        raise DataError(f"the COLMAP model {model} has {len(images)} registered image(s): at least two are needed")
    names = [str(image.name) for image in images]
    directory = _image_directory(folder, model, None if image_folder is None else Path(image_folder), names)

    cameras: dict[int, Camera] = {}
    notes: list[str] = [SCALE_NOTE]
    for image in images:
        if image.camera_id not in cameras:
            camera = camera_from_colmap(reconstruction.cameras[image.camera_id])
            cameras[image.camera_id], camera_notes = fit_to_image(camera, directory / image.name)
            notes += [note for note in camera_notes if note not in notes]
    stamps, stamp_notes = stamps_from_names(names)
    frames = []
    for image, name, stamp in zip(images, names, stamps, strict=True):
        camera = cameras[image.camera_id]
        frames.append(
            Frame(
                name=name,
                stamp_ns=stamp,
                camera=camera,
                read_image=partial(read_gray, directory / name, (camera.width, camera.height)),
                map_from_camera=_map_from_camera(image) if poses else None,
            )
        )
    frames.sort(key=lambda frame: frame.stamp_ns)
    return Source(f"COLMAP model {model}", tuple(frames), (*notes, *stamp_notes))


def camera_from_colmap(camera: Any) -> Camera:
    """Make the :class:`~neumap.records.Camera` of a ``pycolmap.Camera``.

    COLMAP puts the centre of the first pixel at (0.5, 0.5), this package and OpenCV at (0, 0). Raises
    :class:`~neumap.errors.CalibrationError` for a lens model that ROS does not have.
    """
    name = camera.model.name
    if name not in LENSES:
        raise CalibrationError(
            f"COLMAP's lens model {name} has no ROS counterpart: undistort the images (colmap image_undistorter) "
            f"or use one of {', '.join(LENSES)}"
        )
    model, focals, places = LENSES[name]
    values = np.asarray(camera.params, dtype=np.float64)
    fx, fy, (cx, cy) = values[0], values[focals - 1], values[focals : focals + 2] - 0.5
    coefficients = np.zeros(8 if model == "rational_polynomial" else 4)
    coefficients[list(places)] = values[focals + 2 :]
    return make_camera(camera.width, camera.height, [fx, 0, cx, 0, fy, cy, 0, 0, 1], model, coefficients)


def _map_from_camera(image: Any) -> FloatArray:
    camera_from_map = np.asarray(image.cam_from_world().matrix(), dtype=np.float64)
    return invert_pose(make_pose(camera_from_map[:, :3], camera_from_map[:, 3]))


def _load(model: Path) -> Any:
    try:
        import pycolmap
    except ImportError:
        raise MissingDependencyError("reading a COLMAP model needs pycolmap: pip install 'neumap[colmap]'") from None
    damaged = DataError(f"the COLMAP model {model} is damaged or incomplete: export it again")
    if not _whole(model):
        raise damaged
    try:
        reconstruction = pycolmap.Reconstruction(model)
    except Exception:  # whatever COLMAP's C++ threw: ValueError, IndexError, MemoryError ...
        raise damaged from None
    if (model / "cameras.bin").is_file():
        expected = 8 + sum(24 + 8 * len(camera.params) for camera in reconstruction.cameras.values())
        # COLMAP reads zeros where parameters are cut off
        if (model / "cameras.bin").stat().st_size < expected:
            raise damaged
    return reconstruction


def _whole(model: Path) -> bool:
    """Tell whether no binary file is cut off: COLMAP would read such a one for ever, filling the memory."""
    for name, skip in (("images.bin", _skip_image), ("points3D.bin", _skip_point)):
        path = model / name
        if not path.is_file():
            continue
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                (count,) = struct.unpack_from("<Q", data, 0)
                position = 8
                for _ in range(count):
                    position = skip(data, position)
                    if position > len(data):
                        return False
        except (ValueError, struct.error):
            return False
    return True


def _skip_image(data: mmap.mmap, position: int) -> int:
    # id, quaternion, translation, camera id, name, then x, y and point id of each keypoint
    end = data.find(b"\0", position + 64)
    if end < 0:
        raise ValueError("no end of the name")
    (count,) = struct.unpack_from("<Q", data, end + 1)
    return end + 9 + 24 * int(count)


def _skip_point(data: mmap.mmap, position: int) -> int:
    # id, position, colour, error, then image id and keypoint index of each observation
    (count,) = struct.unpack_from("<Q", data, position + 43)
    return position + 51 + 8 * int(count)


def _image_directory(folder: Path, model: Path, given: Path | None, names: Sequence[str]) -> Path:
    if given is not None and not given.is_dir():
        raise DataError(f"the image folder {given} does not exist")
    candidates = list(_candidates(folder, model)) if given is None else [given]
    found = [[name for name in names if (candidate / name).is_file()] for candidate in candidates]
    best = max(range(len(candidates)), key=lambda i: len(found[i]))
    if not found[best] and given is None:
        raise DataError(f"none of the {len(names)} images of {model} is in images/ beside it: give --images FOLDER")
    missing = sorted(set(names) - set(found[best]))
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} images of the COLMAP model {model} are missing in "
            f"{candidates[best]}, the first is {missing[0]}"
        )
    return candidates[best]


def _candidates(folder: Path, model: Path) -> Iterator[Path]:
    here = model.resolve()
    bases = [folder, here, *list(here.parents)[:2]]
    yield from (base / "images" for base in bases)
    yield from bases
