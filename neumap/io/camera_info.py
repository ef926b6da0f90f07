"""Camera calibrations: files as ROS' ``camera_calibration`` writes them, and sensor_msgs/CameraInfo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from neumap.errors import CalibrationError
from neumap.geometry.cameras import make_camera, scaled_to
from neumap.io.files import PathLike, naming, read_text
from neumap.io.images import read_gray
from neumap.records import Camera

CAMERA_INFO = "camera_info.yaml"
_HINT = "give one as ROS' camera_calibration writes it"


def read_camera_info(path: PathLike) -> Camera:
    """Read the camera of a ``camera_info.yaml``.

    Raises :class:`~neumap.errors.DataError` (or its kin) naming the file and the key that is missing or wrong.
    """
    try:
        content = yaml.safe_load(read_text(path, "the calibration"))
    except (yaml.YAMLError, RecursionError):
        raise CalibrationError(f"{path} is not plain YAML: {_HINT}") from None
    if content is None:
        raise CalibrationError(f"the calibration {path} is empty: {_HINT}")
    if not isinstance(content, Mapping):
        raise CalibrationError(f"the calibration {path} is not a list of 'key: value': {_HINT}")
    with naming(str(path)):
        return make_camera(
            _size(content, "image_width"),
            _size(content, "image_height"),
            _values(content, "camera_matrix"),
            str(_value(content, "distortion_model")),
            _values(content, "distortion_coefficients"),
        )


def _value(content: Mapping[Any, Any], key: str) -> Any:
    if content.get(key) is None:
        raise CalibrationError(f"the key '{key}' is missing")
    return content[key]


def _size(content: Mapping[Any, Any], key: str) -> int:
    value = _value(content, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise CalibrationError(f"'{key}' is {value!r} instead of a number of pixels")
    return int(value)


def _values(content: Mapping[Any, Any], key: str) -> list[float]:
    table = _value(content, key)
    values = table.get("data") if isinstance(table, Mapping) else table
    if not isinstance(values, list):
        raise CalibrationError(f"'{key}' has no list of numbers 'data'")
    try:
        # YAML 1.1 reads 1e-05, which has no point, as a string
        return [float(value) for value in values]
    except (TypeError, ValueError):
        raise CalibrationError(f"the 'data' of '{key}' are not all numbers") from None


def find_camera_info(folder: Path, levels: int = 1) -> Path:
    """Find the ``camera_info.yaml`` in a folder or in one of the ``levels`` folders above it, the nearest one.

    Raises :class:`~neumap.errors.CalibrationError` where there is none.
    """
    here = folder.resolve()
    for candidate in [here, *here.parents][: levels + 1]:
        if (candidate / CAMERA_INFO).is_file():
            return candidate / CAMERA_INFO
    above = "its parent folder" if levels == 1 else f"the {levels} folders above it"
    raise CalibrationError(f"no {CAMERA_INFO} in {folder} or {above}: {_HINT}")


def camera_of(info: Any, rectified: bool = False) -> Camera:
    """Read the camera of a sensor_msgs/CameraInfo: of its region of interest, before binning.

    ``rectified`` images have the intrinsics of P and no distortion (image_proc). Raises
    :class:`~neumap.errors.CalibrationError` for a calibration that cannot be used.
    """
    k = np.array(info.k, dtype=np.float64)
    model, distortion = info.distortion_model, np.array(info.d, dtype=np.float64)
    p = np.array(info.p, dtype=np.float64).reshape(3, 4)
    if rectified and np.any(distortion):
        if not p[0, 0] > 0:
            raise CalibrationError("the images are rectified, but the calibration has no P: rectify them again")
        k, model, distortion = p[:, :3].reshape(-1), "plumb_bob", np.zeros(0)
    width, height, region = int(info.width), int(info.height), info.roi
    # all zero is the whole image
    if region.width and region.height:
        width, height = int(region.width), int(region.height)
        k = k - np.array([0, 0, region.x_offset, 0, 0, region.y_offset, 0, 0, 0], dtype=np.float64)
    return make_camera(width, height, k, model, distortion)


def calibration_key(info: Any) -> tuple[Any, ...]:
    """Return all that a sensor_msgs/CameraInfo says of lens and image, to be compared or hashed; not its header.

    Messages themselves are of no use for that: before 2025 their arrays were equal where any number in them was
    (rosidl_python issue 223).
    """
    region = info.roi
    numbers = (np.asarray(values, dtype=np.float64).tobytes() for values in (info.k, info.d, info.p))
    sizes = (info.width, info.height, info.binning_x, info.binning_y)
    return *sizes, region.x_offset, region.y_offset, region.width, region.height, info.distortion_model, *numbers


def fit_to_size(camera: Camera, width: int, height: int) -> tuple[Camera, tuple[str, ...]]:
    """Scale the camera to images of this size in pixels, with a note for the user where that changed it.

    Raises :class:`~neumap.errors.CalibrationError` where their shape is another than the calibration's.
    """
    fitted = scaled_to(camera, width, height)
    note = f"the images are {width}x{height}, the calibration is for {camera.width}x{camera.height}: scaled to fit"
    return fitted, () if fitted is camera else (note,)


def fit_to_image(camera: Camera, image: Path) -> tuple[Camera, tuple[str, ...]]:
    """Scale the camera to an image file, as :func:`fit_to_size` does; errors name the file."""
    height, width = read_gray(image).shape
    with naming(str(image)):
        return fit_to_size(camera, width, height)
