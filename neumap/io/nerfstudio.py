"""Reads folders of nerfstudio, instant-ngp and their exporters: images and ``transforms.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import CalibrationError, ConfigError, DataError
from neumap.geometry.cameras import make_camera, masked
from neumap.geometry.se3 import make_pose
from neumap.io.camera_info import UNTOLD, Told
from neumap.io.colmap import find_model
from neumap.io.files import PathLike, naming, read_text
from neumap.io.images import first_readable, read_gray
from neumap.io.stamps import stamps_from_names
from neumap.records import Camera, Frame, Source

FILE = "transforms.json"
# LENSES: for each camera model its ROS name, and the names of its coefficients in ROS' order.
_BROWN, _FISHEYE = ("plumb_bob", ("k1", "k2", "p1", "p2", "k3")), ("equidistant", ("k1", "k2", "k3", "k4"))
LENSES = {"PINHOLE": _BROWN, "SIMPLE_PINHOLE": _BROWN, "OPENCV": _BROWN, "OPENCV_FISHEYE": _FISHEYE}
# _OPTICAL_FROM_GL: OpenGL cameras look along -z, with y up.
_OPTICAL_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])
# _ROTATION_TOLERANCE: largest element of R R^T - I; these files are rounded, and may be scaled.
_ROTATION_TOLERANCE = 1e-3
NOTE = "nerfstudio's poses have no scale of their own unless the camera measured it, and its depth is not used"


def is_nerfstudio(path: Path) -> bool:
    """Return whether the path is a folder with ``transforms.json``, and without a COLMAP model, which is preferred."""
    return (path / FILE).is_file() and find_model(path) is None


def read_nerfstudio(folder: PathLike, poses: bool = True, told: Told = UNTOLD) -> Source:
    """Read the images listed in the ``transforms.json`` of a folder, sorted by stamp, with their poses if ``poses``.

    Stamps follow :func:`~neumap.io.stamps.stamps_from_names`. Raises :class:`~neumap.errors.DataError` (or its kin) for
    missing or invalid content and for fewer than two images; :class:`~neumap.errors.ConfigError` if ``told`` states
    whether the images are rectified: the file defines that.
    """
    if told.rectified is not None:
        raise ConfigError(f"{FILE} defines whether its images are rectified: leave that option out")
    folder = Path(folder)
    path = folder / FILE
    try:
        content = json.loads(read_text(path, "the list of images"))
        listed = [dict(frame) for frame in content["frames"]]
        files = [_image(folder, str(frame["file_path"])) for frame in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(f"{path} holds no list of frames with file_path as nerfstudio writes it") from None
    if len(files) < (2 if poses else 1):
        raise DataError(f"{path} lists {len(files)} image(s): at least two are needed")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{len(missing)} of the {len(files)} images that {path} lists are missing, as {missing[0]}")
    stamps, notes = stamps_from_names([file.name for file in files])
    if not all({"w", "h"} <= {**content, **frame}.keys() for frame in listed):
        content["h"], content["w"] = read_gray(first_readable(files)).shape
    frames = []
    for frame, file, stamp in zip(listed, files, stamps, strict=True):
        with naming(f"{path}, {file.name}"):
            camera = masked(_camera({**content, **frame}), told.mask)
            pose = _pose(frame.get("transform_matrix")) if poses else None
        read_image = partial(read_gray, file, (camera.width, camera.height))
        name = str(frame["file_path"]).removeprefix("./")
        frames.append(Frame(name, stamp, camera, read_image, map_from_camera=pose))
    frames.sort(key=lambda frame: frame.stamp_ns)
    return Source(f"nerfstudio folder {folder}", tuple(frames), (NOTE, *notes))


def _image(folder: Path, name: str) -> Path:
    """Return the path of an image; a name without extension gets ``.png``."""
    file = folder / name
    return file if file.suffix else file.with_suffix(".png")


def _camera(values: Mapping[str, Any]) -> Camera:
    model = str(values.get("camera_model", "OPENCV"))
    if model not in LENSES:
        raise CalibrationError(f"the camera model {model} has no ROS counterpart: use one of {', '.join(LENSES)}")
    lens, names = LENSES[model]
    try:
        width, height = int(values["w"]), int(values["h"])
        if "fl_x" in values:
            fx = float(values["fl_x"])
        else:
            fx = 0.5 * width / math.tan(0.5 * float(values["camera_angle_x"]))
        fy = float(values.get("fl_y", fx))
        # as in COLMAP, the centre of the first pixel is at (0.5, 0.5)
        cx, cy = float(values.get("cx", 0.5 * width)) - 0.5, float(values.get("cy", 0.5 * height)) - 0.5
        distortion = [float(values.get(name, 0.0)) for name in names]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise CalibrationError("no focal length (fl_x or camera_angle_x), or a value that is no number") from None
    return make_camera(width, height, [fx, 0, cx, 0, fy, cy, 0, 0, 1], lens, distortion)


def _pose(matrix: Any) -> FloatArray:
    try:
        pose = np.array(matrix, dtype=np.float64)[:3, :4].reshape(3, 4)
    except (TypeError, ValueError, IndexError):
        raise DataError("its transform_matrix is no matrix of 4 x 4 numbers") from None
    rotation = pose[:, :3]
    rigid = np.isfinite(pose).all() and np.abs(rotation @ rotation.T - np.eye(3)).max() <= _ROTATION_TOLERANCE
    if not rigid or np.linalg.det(rotation) < 0:
        raise DataError("its transform_matrix is no rigid transform: export it without scaling")
    u, _, vt = np.linalg.svd(rotation)
    return np.asarray(make_pose(u @ vt, pose[:, 3]) @ _OPTICAL_FROM_GL)
