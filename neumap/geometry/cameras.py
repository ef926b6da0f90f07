"""Calibrated cameras: checking, rescaling, and pixels to rays and back through OpenCV's lens models."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray
from neumap.errors import CalibrationError
from neumap.records import Camera

COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}


def make_camera(
    width: int,
    height: int,
    matrix: npt.ArrayLike,
    distortion_model: str = "plumb_bob",
    distortion: npt.ArrayLike = (),
) -> Camera:
    """Make a checked :class:`~neumap.records.Camera`.

    Raises :class:`~neumap.errors.CalibrationError` for a size, focal length or coefficient that cannot be, or a
    lens model other than plumb_bob, rational_polynomial and equidistant.
    """
    k: FloatArray = np.array(matrix, dtype=np.float64).reshape(-1)
    d = np.array(distortion, dtype=np.float64).reshape(-1)
    if k.size != 9:
        raise CalibrationError(f"the camera matrix has {k.size} values instead of 9")
    k = k.reshape(3, 3)
    if width <= 0 or height <= 0:
        raise CalibrationError(f"the calibration's image size is {width}x{height}")
    if not (np.isfinite(k).all() and np.isfinite(d).all()):
        raise CalibrationError("the calibration holds values that are not finite")
    if k[0, 0] <= 0 or k[1, 1] <= 0:
        raise CalibrationError("the calibration's focal length is zero or negative: the camera is not calibrated")
    # OpenCV's lens models ignore every other entry, so a skew would silently be lost
    if k[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]].tolist() != [0, 0, 0, 0, 1]:
        raise CalibrationError("the camera matrix is not of the form fx 0 cx 0 fy cy 0 0 1")
    model = distortion_model or "plumb_bob"
    if model not in COEFFICIENTS:
        raise CalibrationError(f"unknown lens model '{model}'; known are {', '.join(sorted(COEFFICIENTS))}")
    count = COEFFICIENTS[model]
    if d.size > count and np.any(d[count:]):
        raise CalibrationError(f"lens model {model} takes {count} coefficients, the calibration has {d.size}")
    d = np.pad(d[:count], (0, max(0, count - d.size)))
    k.flags.writeable = False
    d.flags.writeable = False
    return Camera(int(width), int(height), k, model, d)


def scaled_to(camera: Camera, width: int, height: int) -> Camera:
    """Return the camera of an image resized to ``width`` x ``height`` pixels.

    Raises :class:`~neumap.errors.CalibrationError` where the aspect ratio differs by more than the rounding of
    both sides to whole pixels: such an image was cropped or is another camera's.
    """
    if (width, height) == (camera.width, camera.height):
        return camera
    if width <= 0 or height <= 0:
        raise CalibrationError(f"an image of {width}x{height} pixels has no calibration")
    # sides off by less than a pixel each: |w + dw - (h + dh) * W / H| with |dw|, |dh| < 1, times H
    if abs(width * camera.height - height * camera.width) > camera.width + camera.height:
        raise CalibrationError(
            f"the image is {width}x{height}, the calibration is for {camera.width}x{camera.height}, another shape: "
            "give the calibration of this image size"
        )
    sx, sy = width / camera.width, height / camera.height
    k = camera.matrix.copy()
    # pixel centres are at integers: the image's corner is at (-0.5, -0.5)
    k[0] = [k[0, 0] * sx, 0.0, (k[0, 2] + 0.5) * sx - 0.5]
    k[1] = [0.0, k[1, 1] * sy, (k[1, 2] + 0.5) * sy - 0.5]
    k.flags.writeable = False
    return replace(camera, width=width, height=height, matrix=k)


def normalize(camera: Camera, pixels: npt.NDArray[np.floating]) -> FloatArray:
    """Return undistorted normalized coordinates (N, 2) (x/z, y/z in the optical frame) of pixels (N, 2).

    NaN where the lens model has no inverse (outside its valid field of view).
    """
    pixels = np.ascontiguousarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
    if len(pixels) == 0:
        return np.zeros((0, 2))
    if not camera.distortion.any() and camera.distortion_model != "equidistant":
        k = camera.matrix
        return np.asarray((pixels[:, 0] - k[:2, 2]) / [k[0, 0], k[1, 1]])
    if camera.distortion_model == "equidistant":
        out = cv2.fisheye.undistortPoints(pixels, camera.matrix, camera.distortion)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)
        out = cv2.undistortPointsIter(pixels, camera.matrix, camera.distortion, np.eye(3), np.eye(3), criteria)
    out = np.asarray(out, dtype=np.float64).reshape(-1, 2)
    # a polynomial lens model folds over outside the field of view it was fitted on: what does not come back is invalid
    with np.errstate(invalid="ignore", over="ignore"):
        back = project(camera, np.concatenate([out, np.ones((len(out), 1))], axis=1))
        bad = ~(np.abs(back - pixels[:, 0]).max(axis=1) < 0.5)
    out[bad] = np.nan
    return out


def project(camera: Camera, points: npt.NDArray[np.floating]) -> FloatArray:
    """Project points (N, 3) in the optical frame to pixels (N, 2), lens included; NaN for points behind the camera."""
    points = np.asarray(points, dtype=np.float64)
    front = points[:, 2] > 1e-6
    out = np.full((len(points), 2), np.nan)
    if front.any():
        zero = np.zeros(3)
        p = np.ascontiguousarray(points[front]).reshape(-1, 1, 3)
        if camera.distortion_model == "equidistant":
            pixels, _ = cv2.fisheye.projectPoints(p, zero, zero, camera.matrix, camera.distortion)
        else:
            pixels, _ = cv2.projectPoints(p, zero, zero, camera.matrix, camera.distortion)
        out[front] = np.asarray(pixels).reshape(-1, 2)
    return out
