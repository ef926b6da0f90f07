"""sensor_msgs/CameraInfo to cameras."""

from __future__ import annotations

from typing import Any

import numpy as np

from neumap.errors import CalibrationError
from neumap.geometry.cameras import make_camera
from neumap.records import Camera


def camera_of(info: Any, rectified: bool = False) -> Camera:
    """The camera of a CameraInfo message: of its region of interest, before binning.

    ``rectified`` images have the intrinsics of P and no distortion. Raises
    :class:`~neumap.errors.CalibrationError` for a calibration that cannot be used.
    """
    k = np.array(info.k, dtype=np.float64)
    model, distortion = info.distortion_model, np.array(info.d, dtype=np.float64)
    p = np.array(info.p, dtype=np.float64).reshape(3, 4)
    if rectified and np.any(distortion):
        if not p[0, 0] > 0:
            raise CalibrationError("the images are rectified, but the calibration has no P: rectify them again")
        k, model, distortion = p[:, :3].reshape(-1), "plumb_bob", np.zeros(0)
    width, height = int(info.width), int(info.height)
    # all zero is the whole image
    if info.roi.width and info.roi.height:
        width, height = int(info.roi.width), int(info.roi.height)
        k = k - np.array([0, 0, info.roi.x_offset, 0, 0, info.roi.y_offset, 0, 0, 0], dtype=np.float64)
    return make_camera(width, height, k, model, distortion)


def same_calibration(a: Any, b: Any) -> bool:
    """Whether two messages say the same of the lens, whatever their headers say."""
    fields = ("width", "height", "distortion_model", "binning_x", "binning_y")
    regions = ("x_offset", "y_offset", "width", "height")
    return (
        all(getattr(a, name) == getattr(b, name) for name in fields)
        and all(getattr(a.roi, name) == getattr(b.roi, name) for name in regions)
        and all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in ("k", "d", "p"))
    )
