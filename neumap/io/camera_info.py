"""Camera calibrations from files of ROS' ``camera_calibration`` and from sensor_msgs/CameraInfo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from neumap.arrays import BoolArray
from neumap.errors import CalibrationError
from neumap.geometry.cameras import scaled_to
from neumap.geometry.intrinsics import Calibration, lenses_of
from neumap.io.files import PathLike, naming, read_text
from neumap.io.images import read_gray
from neumap.records import Camera, Intrinsics

CAMERA_INFO = "camera_info.yaml"
_HINT = "give one as ROS' camera_calibration writes it"


@dataclass(frozen=True)
class Told:
    """What the user states about images: whether they are ``rectified`` (None: find out from their names and contents),
    and the ``mask`` (H, W), true where images show the place (None: everywhere).
    """

    rectified: bool | None = None
    mask: BoolArray | None = None


UNTOLD = Told()


def read_camera_info(path: PathLike) -> Camera:
    """Read the camera of the raw, unrectified images from a ``camera_info.yaml``.

    Without distortion it is a pinhole, whatever the name of the lens model, as in image_geometry.
    Raises :class:`~neumap.errors.DataError` (or its kin) naming the file and the key that is missing or wrong.
    """
    calibration = read_calibration(path)
    with naming(str(path)):
        return lenses_of(calibration, rectified=False)[0].camera


def read_calibration(path: PathLike) -> Calibration:
    """Read the calibration in a ``camera_info.yaml``. Raises as :func:`read_camera_info`, but not for wrong values."""
    try:
        content = yaml.safe_load(read_text(path, "the calibration"))
    except (yaml.YAMLError, RecursionError):
        raise CalibrationError(f"{path} is not plain YAML: {_HINT}") from None
    if content is None:
        raise CalibrationError(f"the calibration {path} is empty: {_HINT}")
    if not isinstance(content, Mapping):
        raise CalibrationError(f"the calibration {path} is not a list of 'key: value': {_HINT}")
    with naming(str(path)):
        return Calibration(
            _size(content, "image_width"),
            _size(content, "image_height"),
            _values(content, "camera_matrix"),
            _values(content, "distortion_coefficients"),
            str(_value(content, "distortion_model")),
            _values(content, "projection_matrix") if content.get("projection_matrix") else (),
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


def _values(content: Mapping[Any, Any], key: str) -> tuple[float, ...]:
    table = _value(content, key)
    values = table.get("data") if isinstance(table, Mapping) else table
    if not isinstance(values, list):
        raise CalibrationError(f"'{key}' has no list of numbers 'data'")
    try:
        # YAML 1.1 reads 1e-05, which has no point, as a string
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise CalibrationError(f"the 'data' of '{key}' are not all numbers") from None


def find_camera_info(folder: Path, levels: int = 1) -> Path:
    """Find the nearest ``camera_info.yaml`` in a folder or in one of the ``levels`` folders above it.

    Raises :class:`~neumap.errors.CalibrationError` if there is none.
    """
    here = folder.resolve()
    for candidate in [here, *here.parents][: levels + 1]:
        if (candidate / CAMERA_INFO).is_file():
            return candidate / CAMERA_INFO
    above = "its parent folder" if levels == 1 else f"the {levels} folders above it"
    raise CalibrationError(f"no {CAMERA_INFO} in {folder} or {above}: {_HINT}")


def calibration_of(info: Any) -> Calibration:
    """Convert a sensor_msgs/CameraInfo, without its header, to a calibration.

    The messages themselves cannot be compared: before 2025, two of their arrays compared equal if any element did
    (rosidl_python issue 223).
    """
    k, d, p = (tuple(np.asarray(values, dtype=np.float64).ravel().tolist()) for values in (info.k, info.d, info.p))
    region = info.roi
    return Calibration(
        int(info.width),
        int(info.height),
        k,
        d,
        info.distortion_model,
        p,
        region=(int(region.x_offset), int(region.y_offset), int(region.width), int(region.height)),
        binning=(int(info.binning_x), int(info.binning_y)),
    )


def fit_to_image(camera: Camera, image: Path) -> tuple[Camera, tuple[str, ...]]:
    """Scale the camera to the size of an image file; return it with a note for the user if that changed it.

    Raises :class:`~neumap.errors.CalibrationError`, which names the file, if the aspect ratios differ.
    """
    height, width = read_gray(image).shape
    with naming(str(image)):
        fitted = scaled_to(camera, width, height)
    note = f"the images are {width}x{height}, the calibration is for {camera.width}x{camera.height}: scaled to fit"
    return fitted, () if fitted is camera else (note,)


def lenses_of_image(folder: Path, image: Path, told: Told, levels: int = 1) -> tuple[Intrinsics, ...]:
    """Return the candidate intrinsics of the images in ``folder``, from its ``camera_info.yaml`` and one ``image``.

    Raises :class:`~neumap.errors.DataError` (or its kin) if there is no calibration, or none that fits the image.
    """
    path = find_camera_info(folder, levels)
    calibration = read_calibration(path)
    with naming(str(path)):
        lenses_of(calibration, None, told.rectified)
    height, width = read_gray(image).shape
    with naming(str(image)):
        return lenses_of(calibration, (width, height), told.rectified, told.mask)
