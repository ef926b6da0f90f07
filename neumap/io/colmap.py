"""COLMAP models, read with pycolmap, and their rigs."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import CalibrationError, ConfigError, DataError, MissingDependencyError
from neumap.geometry.cameras import make_camera, masked
from neumap.geometry.se3 import make_pose
from neumap.io.camera_info import UNTOLD, Told, fit_to_image
from neumap.io.files import PathLike
from neumap.io.images import first_readable, read_gray
from neumap.io.stamps import stamps_from_names
from neumap.records import Camera, Frame, Mount, Source

# LENSES: the ROS names of COLMAP's lens models. Both order the coefficients alike; COLMAP's list may be shorter.
LENSES = {
    "SIMPLE_PINHOLE": "plumb_bob",
    "PINHOLE": "plumb_bob",
    "SIMPLE_RADIAL": "plumb_bob",
    "RADIAL": "plumb_bob",
    "OPENCV": "plumb_bob",
    "FULL_OPENCV": "rational_polynomial",
    "SIMPLE_RADIAL_FISHEYE": "equidistant",
    "RADIAL_FISHEYE": "equidistant",
    "OPENCV_FISHEYE": "equidistant",
    "SIMPLE_FISHEYE": "equidistant",
    "FISHEYE": "equidistant",
}
# _RECORDS: the layout of the entries in a binary file: bytes before the length of the entry's own list, whether a
# zero-terminated name follows these bytes, and bytes of an item of that list.
_RECORDS = {
    # id, quaternion, translation, camera id, name; x, y and point id of each keypoint
    "images.bin": (64, True, 24),
    # id, position, colour, error; image id and keypoint index of each observation
    "points3D.bin": (43, False, 8),
}
SCALE_NOTE = (
    "a COLMAP model has no scale of its own: unless this one was scaled to metres, all lengths are in its units"
)


def find_model(folder: Path) -> Path | None:
    """Return the first COLMAP model that :func:`find_models` finds in a folder, or None."""
    return next(iter(find_models(folder)), None)


def find_models(folder: Path) -> list[Path]:
    """Find the COLMAP models of a folder, the one with the most images first.

    The folder itself is a model, or holds models, numbered by COLMAP, in ``sparse``, directly (where it is the
    ``sparse`` folder), or in nerfstudio's ``colmap/sparse``.
    """
    if _suffix(folder):
        return [folder]
    for parent in (folder / "sparse", folder, folder / "colmap" / "sparse"):
        if found := [model for model in (parent, *sorted(parent.glob("[0-9]*"))) if _suffix(model)]:
            return sorted(found, key=_image_count, reverse=True)
    return []


def _suffix(model: Path) -> str:
    """Return the suffix of the files of a model, empty if the folder holds no model."""
    files = ((suffix, [model / f"{name}{suffix}" for name in ("cameras", "images")]) for suffix in (".bin", ".txt"))
    return next((suffix for suffix, needed in files if all(file.is_file() for file in needed)), "")


def _image_count(model: Path) -> int:
    if _suffix(model) == ".txt":
        return len(_names_in_text(model))
    with (model / "images.bin").open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def _names_in_text(model: Path) -> dict[int, str]:
    """Return image names by image id from ``images.txt``; COLMAP itself cuts names at the first space."""
    names, lines = {}, iter((model / "images.txt").read_text(errors="replace").splitlines())
    for line in lines:
        if line.strip() and not line.startswith("#"):
            number, *fields = line.split(maxsplit=9)
            if len(fields) == 9 and number.isdecimal():
                names[int(number)] = fields[8].strip()
            next(lines, None)  # the line of keypoints, which may be empty
    return names


def read_colmap(
    model_folder: PathLike, image_folder: PathLike | None = None, poses: bool = True, told: Told = UNTOLD
) -> Source:
    """Read the registered images of a COLMAP model, sorted by stamp, with their poses if ``poses``.

    Each frame has its camera of the model. Images are looked up in ``image_folder``, else in ``images/`` in and above
    the model, else beside the model. Stamps follow :func:`~neumap.io.stamps.stamps_from_names`; images that a rig took
    at the same time get the stamp of its first camera's image. There is no depth. Lengths are in the units of the
    model, which a note states.

    Raises :class:`~neumap.errors.DataError` (or its kin) for a missing or damaged model or image, for fewer than two
    images with a pose, for a rig without the extrinsics of its cameras and for a lens model without ROS counterpart;
    :class:`~neumap.errors.ConfigError` if ``told`` states whether the images are rectified: the model defines that.
    """
    if told.rectified is not None:
        raise ConfigError("a COLMAP model defines whether its images are rectified: leave that option out")
    folder = Path(model_folder)
    models = find_models(folder)
    if not models:
        raise DataError(f"no COLMAP model (cameras and images, .bin or .txt) in {folder}, its sparse/0 or its sparse")
    model = models[0]
    reconstruction = _load(model)
    name_of = _names_in_text(model) if _suffix(model) == ".txt" else {}
    found = {i: name_of.get(i, str(reconstruction.images[i].name)) for i in reconstruction.reg_image_ids()}
    images = [reconstruction.images[i] for i in sorted(found, key=found.__getitem__)]
    mounted = {image.image_id: _mounted(image, reconstruction.cameras) for image in images}
    if len(images) < (2 if poses else 1):
        raise DataError(f"the COLMAP model {model} has {len(images)} registered image(s): at least two are needed")
    names = sorted(found.values())
    directory = _image_directory(folder, model, None if image_folder is None else Path(image_folder), names)

    notes = [SCALE_NOTE]
    if len(models) > 1:
        notes.append(f"the model with the most images of {len(models)} is used: {model}, {len(images)} images")
    of_camera: dict[int, list[Path]] = {}
    for image, name in zip(images, names, strict=True):
        of_camera.setdefault(image.camera_id, []).append(directory / name)
    cameras = {}
    for camera_id, files in of_camera.items():
        camera = camera_from_colmap(reconstruction.cameras[camera_id])
        fitted, camera_notes = fit_to_image(camera, first_readable(files))
        cameras[camera_id] = masked(fitted, told.mask)
        notes += [note for note in camera_notes if note not in notes]
    # a moment's name, and so its stamp, is that of the image of its first camera, which comes last here
    first = {moment: found[i] for i, (moment, *_) in sorted(mounted.items(), key=lambda item: -item[1][1])}
    moments = sorted(first, key=first.__getitem__)
    stamps, stamp_notes = stamps_from_names([first[moment] for moment in moments])
    stamp_of = dict(zip(moments, stamps, strict=True))
    frames = []
    for image, name in zip(images, names, strict=True):
        camera = cameras[image.camera_id]
        read_image = partial(read_gray, directory / name, (camera.width, camera.height))
        map_from_camera = _inverse(image.cam_from_world()) if poses else None
        moment, number, rig_from_camera = mounted[image.image_id]
        stamp = stamp_of[moment]
        mount = None if rig_from_camera is None else Mount(stamp, number, rig_from_camera)
        frames.append(Frame(name, stamp, camera, read_image, map_from_camera=map_from_camera, mount=mount))
    frames.sort(key=lambda frame: (frame.stamp_ns, 0 if frame.mount is None else frame.mount.camera))
    return Source(f"COLMAP model {model}", tuple(frames), (*notes, *stamp_notes))


def _mounted(image: Any, cameras: Iterable[int]) -> tuple[int, int, FloatArray | None]:
    """Return the id of an image's COLMAP frame, the index of its camera on its rig, and ``rig_from_camera`` (4, 4),
    None for a rig of one camera. ``cameras`` are the ids of the model's cameras; the reference camera has index 0.
    """
    rig, sensor = image.frame.rig, image.data_id.sensor_id
    sensors = [type(sensor)(type=sensor.type, id=camera) for camera in sorted(cameras)]
    order = [each.id for each in sorted(sensors, key=lambda each: not rig.is_ref_sensor(each)) if rig.has_sensor(each)]
    if len(order) < 2:
        return image.frame_id, 0, None
    if rig.is_ref_sensor(sensor):
        return image.frame_id, 0, np.eye(4)
    camera_from_rig = rig.sensor_from_rig(sensor)
    if camera_from_rig is None:
        raise DataError(
            f"the rig {rig.rig_id} of the COLMAP model does not tell where camera {sensor.id} is on it: let COLMAP "
            "estimate it (colmap rig_configurator, bundle_adjuster), or remove rigs and frames from the model's folder"
        )
    return image.frame_id, order.index(sensor.id), _inverse(camera_from_rig)


def _inverse(transform: Any) -> FloatArray:
    """Return the inverse (4, 4) of a ``pycolmap.Rigid3d``."""
    matrix = transform.inverse().matrix()
    return make_pose(matrix[:, :3], matrix[:, 3])


def camera_from_colmap(camera: Any) -> Camera:
    """Convert a ``pycolmap.Camera``.

    COLMAP puts the centre of the first pixel at (0.5, 0.5), this package and OpenCV at (0, 0). Raises
    :class:`~neumap.errors.CalibrationError` for a lens model without ROS counterpart.
    """
    name = camera.model.name
    if name not in LENSES:
        raise CalibrationError(
            f"COLMAP's lens model {name} has no ROS counterpart: undistort the images (colmap image_undistorter) "
            f"or use one of {', '.join(LENSES)}"
        )
    matrix = camera.calibration_matrix()
    matrix[:2, 2] -= 0.5
    distortion = [camera.params[index] for index in camera.extra_params_idxs()]
    return make_camera(camera.width, camera.height, matrix, LENSES[name], distortion)


def _load(model: Path) -> Any:
    try:
        import pycolmap
    except ImportError:
        raise MissingDependencyError("reading a COLMAP model needs pycolmap: pip install 'neumap[colmap]'") from None
    damaged = DataError(
        f"the COLMAP model {model} is damaged or incomplete, or newer than pycolmap {pycolmap.__version__}: "
        "export it again, or update pycolmap"
    )
    if any((model / name).is_file() and _is_cut_off(model / name) for name in _RECORDS):
        raise damaged
    try:
        reconstruction = _reconstruction(model)
    except OSError:
        raise
    except Exception:  # whatever COLMAP's C++ threw: ValueError, IndexError, MemoryError ...
        raise damaged from None
    if (model / "cameras.bin").is_file():
        expected = 8 + sum(24 + 8 * len(camera.params) for camera in reconstruction.cameras.values())
        # COLMAP reads zeros for missing parameters
        if (model / "cameras.bin").stat().st_size < expected:
            raise damaged
    return reconstruction


def _reconstruction(model: Path) -> Any:
    """Read a model with pycolmap, which requires a file of points, though points are not used here."""
    import pycolmap

    points = f"points3D{_suffix(model)}"
    if (model / points).is_file():
        return pycolmap.Reconstruction(model)
    with TemporaryDirectory() as folder:
        for file in model.iterdir():
            (Path(folder) / file.name).symlink_to(file.resolve())
        # no points: a count of zero in eight bytes, or an empty text file
        (Path(folder) / points).write_bytes(bytes(8) if points.endswith(".bin") else b"")
        return pycolmap.Reconstruction(folder)


def _is_cut_off(path: Path) -> bool:
    """Return whether a file of _RECORDS is truncated: COLMAP would read it forever and fill the memory."""
    head, is_named, item = _RECORDS[path.name]
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            (count,) = struct.unpack_from("<Q", data)
            end = 8
            for _ in range(count):
                end += head
                if is_named:
                    end = data.find(b"\0", end) + 1
                    if not end:
                        return True
                (items,) = struct.unpack_from("<Q", data, end)
                end += 8 + item * items
            return end > len(data)
    except (ValueError, struct.error):  # an empty file, or the length of a list is missing
        return True


def _image_directory(folder: Path, model: Path, given: Path | None, names: Sequence[str]) -> Path:
    if given is not None and not given.is_dir():
        raise DataError(f"the image folder {given} does not exist")
    bases = [folder, *[model.resolve(), *model.resolve().parents][:4]]
    candidates = [*(base / "images" for base in bases), *bases] if given is None else [given]
    best = max(candidates, key=lambda candidate: sum((candidate / name).is_file() for name in names))
    missing = [name for name in names if not (best / name).is_file()]
    if len(missing) == len(names) and given is None:
        raise DataError(f"none of the {len(names)} images of {model} is in images/ beside it: give --images FOLDER")
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} images of the COLMAP model {model} are missing in {best}, "
            f"the first is {missing[0]}"
        )
    return best
