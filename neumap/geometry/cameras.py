"""Calibrated cameras: checks, rescaling, projection and unprojection by OpenCV's lens models."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import BoolArray, FloatArray
from neumap.errors import CalibrationError
from neumap.records import Camera

# COEFFICIENTS: numbers of coefficients of each lens model; fewer are padded with zeros. The first two are one model of
# OpenCV, whose last coefficients are the thin prism and the tilt of the sensor.
COEFFICIENTS = {"plumb_bob": (5, 8, 12, 14), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
# SYNONYMS: names of lens models in drivers and other software, in lower case.
SYNONYMS = {
    "fisheye": "equidistant",
    "opencv_fisheye": "equidistant",
    "kannala_brandt4": "equidistant",
} | dict.fromkeys(("", "radtan", "brown_conrady", "opencv"), "plumb_bob")


def make_camera(
    width: int,
    height: int,
    matrix: npt.ArrayLike,
    distortion_model: str = "plumb_bob",
    distortion: npt.ArrayLike = (),
) -> Camera:
    """Make a checked :class:`~neumap.records.Camera`.

    Raises :class:`~neumap.errors.CalibrationError` for an invalid size, focal length or coefficient, or a lens model
    other than plumb_bob, rational_polynomial, equidistant and their ``SYNONYMS``.
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
    # OpenCV's lens models ignore all other entries, such as a skew
    if k[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]].tolist() != [0, 0, 0, 0, 1]:
        raise CalibrationError("the camera matrix is not of the form fx 0 cx 0 fy cy 0 0 1")
    model = SYNONYMS.get(distortion_model.lower(), distortion_model.lower())
    if model not in COEFFICIENTS:
        raise CalibrationError(f"unknown lens model '{model}'; known are {', '.join(sorted(COEFFICIENTS))}")
    used = int(np.max(np.flatnonzero(d), initial=-1)) + 1
    if used > COEFFICIENTS[model][-1]:
        raise CalibrationError(
            f"lens model {model} takes {COEFFICIENTS[model][-1]} coefficients, the calibration has {d.size}"
        )
    count = next(each for each in COEFFICIENTS[model] if each >= used)
    d = np.pad(d[:count], (0, max(0, count - d.size)))
    k.flags.writeable = False
    d.flags.writeable = False
    return Camera(int(width), int(height), k, model, d)


def scaled_to(camera: Camera, width: int, height: int) -> Camera:
    """Return the camera of an image resized to ``width`` x ``height`` pixels.

    Raises :class:`~neumap.errors.CalibrationError` if the aspect ratio differs by more than the rounding of both sides
    to whole pixels: such an image was cropped or is of another camera.
    """
    if (width, height) == (camera.width, camera.height):
        return camera
    if width <= 0 or height <= 0:
        raise CalibrationError(f"an image of {width}x{height} pixels has no calibration")
    if not _is_of_shape(camera, width, height):
        raise CalibrationError(
            f"the image is {width}x{height}, the calibration is for {camera.width}x{camera.height}, another shape: "
            "give the calibration of this image size"
        )
    k = resized(camera.matrix, width / camera.width, height / camera.height)
    return replace(camera, width=width, height=height, matrix=k)


def _is_of_shape(camera: Camera, width: int, height: int) -> bool:
    # sides off by less than a pixel each: |w + dw - (h + dh) * W / H| with |dw|, |dh| < 1, times H
    return abs(width * camera.height - height * camera.width) <= camera.width + camera.height


def resized(matrix: FloatArray, x: float, y: float) -> FloatArray:
    """Return the matrix (3, 3) of images resized by ``x`` and ``y``; pixel centres are at integers."""
    k = np.array([[x, 1, x], [1, y, y], [1, 1, 1]]) * matrix
    # the image's corner is at (-0.5, -0.5)
    k[:2, 2] += 0.5 * np.array([x, y]) - 0.5
    k.flags.writeable = False
    return k


def masked(camera: Camera, mask: BoolArray | None) -> Camera:
    """Return the camera that sees only where ``mask`` (H, W) is true; None: everywhere.

    Raises :class:`~neumap.errors.CalibrationError` for a mask of another shape than the images.
    """
    if mask is None:
        return camera
    height, width = mask.shape
    if not _is_of_shape(camera, width, height):
        raise CalibrationError(
            f"the mask is {width}x{height}, the images are {camera.width}x{camera.height}, another shape: "
            "make the mask of one of the images"
        )
    return replace(camera, mask=mask)


def normalize(camera: Camera, pixels: npt.NDArray[np.floating]) -> FloatArray:
    """Return undistorted normalized coordinates (N, 2) (x/z, y/z in the optical frame) of pixels (N, 2).

    NaN outside the valid field of view of the lens model, and where the camera's mask is false.
    """
    rays = _rays(camera, pixels)
    if camera.mask is not None:
        scale = np.divide(camera.mask.shape[::-1], (camera.width, camera.height))
        column, row = np.floor((np.asarray(pixels).reshape(-1, 2) + 0.5) * scale).astype(np.int64).T
        height, width = camera.mask.shape
        rays[~camera.mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]] = np.nan
    return rays


def _rays(camera: Camera, pixels: npt.NDArray[np.floating]) -> FloatArray:
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
    # a polynomial lens model folds over outside its valid field of view: pixels that do not project back are invalid
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
