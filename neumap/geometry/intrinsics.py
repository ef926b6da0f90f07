"""The intrinsics of images by their camera_info: one rule for map, localize, replay and node.

A camera_info describes the whole sensor, for raw images (K and D) and for rectified ones (P). It does not state which
of both its images are, nor whether they were resized.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from neumap.arrays import BoolArray, FloatArray
from neumap.errors import CalibrationError
from neumap.geometry.cameras import SYNONYMS, make_camera, masked, resized, scaled_to
from neumap.records import Camera, Intrinsics

RAW = "K and D of camera_info, for images as the lens makes them"
PINHOLE = "K of camera_info, which has no distortion"
FISHEYE = "K of camera_info, for an equidistant lens without distortion"
RECTIFIED = "P of camera_info, for rectified images"
UNDISTORTED = "K of camera_info, for images that were undistorted"
# MOST_KEPT: calibrations of a live camera that are kept; an image is localized within seconds of its timestamp.
# SETTLED: after this many equal calibrations an image does not wait for its own.
MOST_KEPT, SETTLED = 100, 10


@dataclass(frozen=True)
class Calibration:
    """The content of a camera_info, unchecked, comparable and hashable.

    ``k`` and ``p`` are in row-major order; ``p`` is empty or zero if there is none. ``region`` is x, y, width and
    height of the region of interest on the sensor of ``width`` x ``height`` pixels; all zero: the whole sensor.
    ``binning`` is the number of sensor pixels per image pixel, horizontally and vertically.
    """

    width: int
    height: int
    k: tuple[float, ...]
    d: tuple[float, ...] = ()
    distortion_model: str = "plumb_bob"
    p: tuple[float, ...] = ()
    region: tuple[int, int, int, int] = (0, 0, 0, 0)
    binning: tuple[int, int] = (1, 1)


def lenses_of(
    calibration: Calibration,
    size: tuple[int, int] | None = None,
    rectified: bool | None = None,
    mask: BoolArray | None = None,
) -> tuple[Intrinsics, ...]:
    """Return the possible intrinsics of images of ``size`` (width, height), most likely first.

    There are several if ``rectified`` is None and it makes a difference. ``size`` None: that of the calibration.
    ``mask`` is that of the camera. Raises :class:`~neumap.errors.CalibrationError` for a calibration that cannot be
    used, or does not fit such images.
    """
    found: list[Intrinsics] = []
    for origin, camera in _models(calibration, rectified):
        fitted, about = _fitted(camera, calibration, size)
        if not any(_same(fitted, other.camera) for other in found):
            found.append(Intrinsics(masked(fitted, mask), origin, about))
    return tuple(found)


def _models(calibration: Calibration, rectified: bool | None) -> Iterator[tuple[str, Camera]]:
    """Yield the possible cameras of the whole sensor, each with its origin."""
    size, bends = (calibration.width, calibration.height), any(calibration.d)
    p = np.array(calibration.p, dtype=np.float64)
    has_p = p.size == 12 and p[0] > 0
    if rectified and has_p:
        yield RECTIFIED, make_camera(*size, p.reshape(3, 4)[:, :3])
        return
    if rectified and bends:
        raise CalibrationError("the images are rectified, but the calibration has no P: rectify them again")
    if bends:
        yield RAW, make_camera(*size, calibration.k, calibration.distortion_model, calibration.d)
    else:
        # as image_geometry does, whatever the lens model's name
        yield PINHOLE, make_camera(*size, calibration.k)
        model = calibration.distortion_model.lower()
        if SYNONYMS.get(model, model) == "equidistant" and not rectified:
            yield FISHEYE, make_camera(*size, calibration.k, "equidistant")
    if rectified is not None:
        return
    # an invalid P is ignored
    with suppress(CalibrationError):
        if has_p:
            yield RECTIFIED, make_camera(*size, p.reshape(3, 4)[:, :3])
    yield UNDISTORTED, make_camera(*size, calibration.k)


def _fitted(camera: Camera, calibration: Calibration, size: tuple[int, int] | None) -> tuple[Camera, tuple[str, ...]]:
    """Fit the camera of the whole sensor to images of ``size``, with notes on crop, binning and scale.

    Images have the region and binning of the calibration; or, since some drivers ignore these, show the whole sensor
    or are not binned; or are one of these resized.
    """
    ways = list(_windows(camera, calibration))
    if size is None:
        return ways[0]
    exact = (way for way in ways if (way[0].width, way[0].height) == size)
    for fitted, about in (*exact, *ways):
        with suppress(CalibrationError):
            scaled = scaled_to(fitted, *size)
            resize = (
                f"the images are {size[0]}x{size[1]}, the calibration is for {fitted.width}x{fitted.height}: "
                "scaled to fit"
            )
            return scaled, (*about, *([] if scaled is fitted else [resize]))
    return scaled_to(ways[0][0], *size), ()  # raises


def _windows(camera: Camera, calibration: Calibration) -> Iterator[tuple[Camera, tuple[str, ...]]]:
    """Yield the camera of the whole sensor cropped and binned as in the calibration, then with one or none of both."""
    x, y, width, height = calibration.region
    width, height = width or camera.width - x, height or camera.height - y
    is_part = (x, y, width, height) != (0, 0, camera.width, camera.height)
    wide, high = (max(1, each) for each in calibration.binning)
    # a region beyond the sensor belongs to a calibration of the region itself
    parts = [True, False] if is_part and x + width <= camera.width and y + height <= camera.height else [False]
    for bx, by in dict.fromkeys([(wide, high), (1, 1)]):
        for cut in parts:
            k, about = camera.matrix, []
            left, top, w, h = (x, y, width, height) if cut else (0, 0, camera.width, camera.height)
            if cut:
                k = k - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]], dtype=np.float64)
                about.append(f"the region of interest, {w}x{h} at {left}, {top}")
            if (bx, by) != (1, 1):
                about.append(f"binned {bx}x{by}")
            if w // bx and h // by:
                k = resized(k, 1 / bx, 1 / by)
                yield replace(camera, width=w // bx, height=h // by, matrix=k), tuple(about)


def _same(one: Camera, other: Camera) -> bool:
    numbers: list[tuple[FloatArray, FloatArray]] = [(one.matrix, other.matrix), (one.distortion, other.distortion)]
    return one.distortion_model == other.distortion_model and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in numbers
    )


class Calibrations:
    """The calibrations of a camera by timestamp, since zoom or autofocus change it from image to image."""

    def __init__(self, most: int | None = None) -> None:
        """Keep the newest ``most``; None: all."""
        self._most, self._stamps, self._said = most, list[int](), list[Calibration]()
        # the timestamp of the last image, and whether camera_info has the timestamps of images
        self._asked_ns, self._paired = -1, False
        self._awaited_ns: int | None = None

    def add(self, stamp_ns: int, calibration: Calibration) -> None:
        """Add the calibration of one message."""
        # share equal ones
        if self._said and calibration == self._said[-1]:
            calibration = self._said[-1]
        at = bisect.bisect_right(self._stamps, stamp_ns)
        self._stamps.insert(at, stamp_ns)
        self._said.insert(at, calibration)
        self._paired |= stamp_ns == self._asked_ns
        if self._most is not None and len(self._said) > self._most:
            del self._stamps[0], self._said[0]

    def at(self, stamp_ns: int) -> Calibration | None:
        """Return the calibration with an image's timestamp, else the last before, else the first, else None."""
        at = bisect.bisect_right(self._stamps, stamp_ns)
        self._asked_ns, self._paired = stamp_ns, at > 0 and self._stamps[at - 1] == stamp_ns
        return self._said[max(at - 1, 0)] if self._said else None

    def awaits(self, stamp_ns: int) -> bool:
        """Return whether to wait for the calibration of an image, which may differ from the last one.

        That is so if the image before had one of its own timestamp. A wait ends when another image arrives.
        """
        may_change = len(self._said) < SETTLED or len(set(self._said)) > 1
        awaits = self._paired and self._stamps[-1] < stamp_ns and may_change
        is_over = self._awaited_ns not in (None, stamp_ns)
        self._awaited_ns = stamp_ns if awaits and not is_over else None
        return awaits and not is_over

    def time_jumped_back(self) -> None:
        """Keep the last calibration, for all timestamps."""
        self._stamps, self._said = [0] * len(self._said[-1:]), self._said[-1:]
        self._asked_ns, self._paired = -1, False
