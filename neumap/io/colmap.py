"""COLMAP models through pycolmap, and the rigs in them."""

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

# LENSES: COLMAP's lens models as ROS calls them; their coefficients come in one order, COLMAP's may end early.
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
# _RECORDS: of a list in a binary model, the bytes of an entry before the length of its own list, whether its name (of
# any length, with a zero at its end) follows them, and the bytes of an item of that list.
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
    """Find the COLMAP model in a folder: the first of :func:`find_models`, None where there is none."""
    return next(iter(find_models(folder)), None)


def find_models(folder: Path) -> list[Path]:
    """Find the COLMAP models of a folder, that of most images first: the folder itself, or those in its ``sparse``, in
    itself if that is ``sparse``, or in the ``colmap/sparse`` of nerfstudio, where COLMAP numbers them.
    """
    for parent in (None, folder / "sparse", folder, folder / "colmap" / "sparse"):
        within = sorted(parent.glob("[0-9]*")) if parent is not None else []
        found = [place for place in (parent or folder, *within) if _suffix(place)]
        if found:
            return sorted(found, key=_image_count, reverse=True)
    return []


def _suffix(model: Path) -> str:
    """Return how the files of a model end; empty where the folder holds none."""
    files = ((suffix, [model / f"{name}{suffix}" for name in ("cameras", "images")]) for suffix in (".bin", ".txt"))
    return next((suffix for suffix, needed in files if all(file.is_file() for file in needed)), "")


def _image_count(model: Path) -> int:
    if _suffix(model) == ".txt":
        return len(_names_in_text(model))
    with (model / "images.bin").open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def _names_in_text(model: Path) -> dict[int, str]:
    """Return the names of the images in ``images.txt`` by their numbers; COLMAP itself ends them at the first space."""
    names, lines = {}, iter((model / "images.txt").read_text(errors="replace").splitlines())
    for line in lines:
        if line.strip() and not line.startswith("#"):
            number, *fields = line.split(maxsplit=9)
            if len(fields) == 9 and number.isdecimal():
                names[int(number)] = fields[8].strip()
            # its keypoints, which may be none
            next(lines, None)
    return names


def read_colmap(
    model_folder: PathLike, image_folder: PathLike | None = None, poses: bool = True, told: Told = UNTOLD
) -> Source:
    """Read the registered images of a COLMAP model, sorted by stamp, with their poses if ``poses``.

    Each frame has the camera that COLMAP gave it. The images are searched in ``image_folder``, else in ``images/`` in
    and above the model, else beside the model. Stamps are as of :func:`~neumap.io.stamps.stamps_from_names`; images
    that a rig took together have that of its first camera's. There is no depth, and the scale is the model's: a note
    says so.

    Raises :class:`~neumap.errors.DataError` (or its kin) for a model or images that are missing or damaged, for fewer
    than two images with a pose, for a rig that does not tell where its cameras are and for a lens model that ROS does
    not have; and
    :class:`~neumap.errors.ConfigError` where it is ``told`` whether the images are rectified, which the model knows.
    """
    if told.rectified is not None:
        raise ConfigError("a COLMAP model tells by itself whether its images are rectified: leave that option out")
    folder = Path(model_folder)
    models = find_models(folder)
    if not models:
        raise DataError(f"no COLMAP model (cameras and images, .bin or .txt) in {folder}, its sparse/0 or its sparse")
    model = models[0]
    reconstruction = _load(model)
    name_of = _names_in_text(model) if _suffix(model) == ".txt" else {}
    found = {i: name_of.get(i, str(reconstruction.images[i].name)) for i in reconstruction.reg_image_ids()}
    images = [reconstruction.images[i] for i in sorted(found, key=lambda i: found[i])]
    mounted = {image.image_id: _mounted(image, reconstruction.cameras) for image in images}
    if len(images) < (2 if poses else 1):
        raise DataError(f"the COLMAP model {model} has {len(images)} registered image(s): at least two are needed")
    names = sorted(found.values())
    directory = _image_directory(folder, model, None if image_folder is None else Path(image_folder), names)

    cameras: dict[int, Camera] = {}
    notes = [SCALE_NOTE]
    if len(models) > 1:
        notes.append(f"of {len(models)} models the one with the most images is taken, {model} with {len(images)}")
    frames = []
    # of images that were taken together the first camera's has the name that tells when
    first = {each[0]: found[i] for i, each in sorted(mounted.items(), key=lambda item: -item[1][1])}
    stamped = sorted(first, key=lambda moment: first[moment])
    stamps, stamp_notes = stamps_from_names([first[moment] for moment in stamped])
    stamp_of = dict(zip(stamped, stamps, strict=True))
    of_camera: dict[int, list[Path]] = {}
    for image, name in zip(images, names, strict=True):
        of_camera.setdefault(image.camera_id, []).append(directory / name)
    for image, name in zip(images, names, strict=True):
        if image.camera_id not in cameras:
            camera = camera_from_colmap(reconstruction.cameras[image.camera_id])
            fitted, camera_notes = fit_to_image(camera, first_readable(of_camera[image.camera_id]))
            cameras[image.camera_id] = masked(fitted, told.mask)
            notes += [note for note in camera_notes if note not in notes]
        camera = cameras[image.camera_id]
        read_image = partial(read_gray, directory / name, (camera.width, camera.height))
        pose = image.cam_from_world().inverse().matrix() if poses else None
        map_from_camera = None if pose is None else make_pose(pose[:, :3], pose[:, 3])
        moment, number, rig_from_camera = mounted[image.image_id]
        stamp = stamp_of[moment]
        mount = None if rig_from_camera is None else Mount(stamp, number, rig_from_camera)
        frames.append(Frame(name, stamp, camera, read_image, map_from_camera=map_from_camera, mount=mount))
    frames.sort(key=lambda frame: (frame.stamp_ns, 0 if frame.mount is None else frame.mount.camera))
    return Source(f"COLMAP model {model}", tuple(frames), (*notes, *stamp_notes))


def _mounted(image: Any, cameras: Iterable[int]) -> tuple[int, int, FloatArray | None]:
    """Return the number of the frame that an image is of, that of its camera among those of the model's ``cameras``
    that are on its rig, the first 0, and ``rig_from_camera``; None of a camera alone.
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
            "find it (colmap rig_configurator, bundle_adjuster), or remove rigs and frames from the model's folder"
        )
    pose = camera_from_rig.inverse().matrix()
    return image.frame_id, order.index(sensor.id), make_pose(pose[:, :3], pose[:, 3])


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
        # COLMAP reads zeros where parameters are cut off
        if (model / "cameras.bin").stat().st_size < expected:
            raise damaged
    return reconstruction


def _reconstruction(model: Path) -> Any:
    """Read a model with pycolmap, which wants points, though there is no use for them here."""
    import pycolmap

    points = f"points3D{_suffix(model)}"
    if (model / points).is_file():
        return pycolmap.Reconstruction(model)
    with TemporaryDirectory() as folder:
        for file in model.iterdir():
            (Path(folder) / file.name).symlink_to(file.resolve())
        # none, as their number in eight bytes or as no line
        (Path(folder) / points).write_bytes(bytes(8) if points.endswith(".bin") else b"")
        return pycolmap.Reconstruction(folder)


def _is_cut_off(path: Path) -> bool:
    """Tell whether a file of _RECORDS ends early: COLMAP would read such a one for ever, filling the memory."""
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
    except (ValueError, struct.error):  # empty, or without the length of a list
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
