"""Pixels of sensor_msgs/Image and CompressedImage as arrays; the fields of the message go in, whoever read it."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import Float32Array, ImageArray
from neumap.errors import DataError

Bytes = bytes | memoryview | npt.NDArray[np.uint8]


class _Layout(NamedTuple):
    """Bytes of a sample, samples of a pixel, and how they become grey: a code of cv2.cvtColor or a channel's index."""

    itemsize: int
    channels: int
    conversion: int | None = None
    channel: int = 0


# OpenCV names a Bayer pattern by the second row from the second column on, ROS by the first row
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2GRAY,
    "bggr": cv2.COLOR_BayerRG2GRAY,
    "gbrg": cv2.COLOR_BayerGR2GRAY,
    "grbg": cv2.COLOR_BayerGB2GRAY,
}
_GRAY: dict[str, _Layout] = {
    "mono8": _Layout(1, 1),
    "mono16": _Layout(2, 1),
    "8UC1": _Layout(1, 1),
    "16UC1": _Layout(2, 1),
    "bgr8": _Layout(1, 3, cv2.COLOR_BGR2GRAY),
    "rgb8": _Layout(1, 3, cv2.COLOR_RGB2GRAY),
    "bgra8": _Layout(1, 4, cv2.COLOR_BGRA2GRAY),
    "rgba8": _Layout(1, 4, cv2.COLOR_RGBA2GRAY),
    "bgr16": _Layout(2, 3, cv2.COLOR_BGR2GRAY),
    "rgb16": _Layout(2, 3, cv2.COLOR_RGB2GRAY),
    "8UC3": _Layout(1, 3, cv2.COLOR_BGR2GRAY),
    "8UC4": _Layout(1, 4, cv2.COLOR_BGRA2GRAY),
    **{f"bayer_{name}8": _Layout(1, 1, code) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": _Layout(2, 1, code) for name, code in _BAYER.items()},
    # the luma is grey already
    **{name: _Layout(1, 2, channel=1) for name in ("yuv422", "uyvy")},
    **{name: _Layout(1, 2, channel=0) for name in ("yuv422_yuy2", "yuyv")},
    # planes: all luma, then the chroma, which is not looked at
    **{name: _Layout(1, 1) for name in ("nv12", "nv21", "nv24")},
}
# bytes of a sample, and metres of a unit
_DEPTH = {"16UC1": (2, 1e-3), "mono16": (2, 1e-3), "32FC1": (4, 1.0)}
_PNG = b"\x89PNG\r\n\x1a\n"
# compressed_depth_image_transport puts its format and the two parameters of the inverse depth before the PNG
_DEPTH_HEADER = struct.Struct("<iff")


def is_depth_encoding(encoding: str) -> bool:
    """Whether images of this encoding hold distances, not light; mono16 may be either and is taken as light."""
    return encoding in ("16UC1", "32FC1")


def gray_of_image(encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Bytes) -> ImageArray:
    """The (H, W) uint8 grey values of a sensor_msgs/Image; of 16-bit samples the upper byte.

    Where the samples are grey bytes already this is a view of ``data``. Raises
    :class:`~neumap.errors.DataError` for an encoding that is not known and for data that are too short.
    """
    layout = _GRAY.get(encoding)
    if layout is None:
        raise DataError(f"images of encoding '{encoding}' cannot be read; known are {', '.join(_GRAY)}")
    kind = np.dtype(f"{'>' if is_bigendian else '<'}u{layout.itemsize}")
    samples = _samples(encoding, height, width, step, kind, layout.channels, data)
    if layout.conversion is not None:
        # OpenCV wants its own byte order and rows that begin at whole samples
        samples = np.asarray(samples, dtype=kind.newbyteorder("="))
        if step % layout.itemsize:
            samples = np.ascontiguousarray(samples)
        gray: npt.NDArray[Any] = cv2.cvtColor(samples[:, :, 0] if layout.channels == 1 else samples, layout.conversion)
    else:
        gray = samples[:, :, layout.channel]
    if layout.itemsize == 2:
        gray = gray >> 8
    return np.ascontiguousarray(gray, dtype=np.uint8)


def depth_of_image(encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Bytes) -> Float32Array:
    """The (H, W) float32 metres of a sensor_msgs/Image of depth, 0 where unknown.

    16-bit samples are millimetres, 32-bit floats metres. Raises :class:`~neumap.errors.DataError` for another
    encoding and for data that are too short.
    """
    if encoding not in _DEPTH:
        raise DataError(f"depth of encoding '{encoding}' cannot be read; known are {', '.join(_DEPTH)}")
    itemsize, metres = _DEPTH[encoding]
    kind = np.dtype(f"{'>' if is_bigendian else '<'}{'u' if itemsize == 2 else 'f'}{itemsize}")
    samples = _samples(encoding, height, width, step, kind, 1, data)[:, :, 0]
    if itemsize == 2:
        return np.asarray(samples * np.float32(metres), dtype=np.float32)
    return _known(samples.astype(np.float32))


def gray_of_compressed(data: Bytes) -> ImageArray:
    """The (H, W) uint8 grey values of a sensor_msgs/CompressedImage, as stored: an EXIF orientation is not applied.

    Raises :class:`~neumap.errors.DataError` for data that OpenCV cannot decode.
    """
    return np.asarray(_decode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION), dtype=np.uint8)


def depth_of_compressed(format_: str, data: Bytes) -> Float32Array:
    """The (H, W) float32 metres of a sensor_msgs/CompressedImage of depth, 0 where unknown.

    ``format_`` is the message's ``format``. Read are PNG of 16-bit millimetres, and what
    compressed_depth_image_transport makes of 16UC1 and 32FC1 as PNG. Raises
    :class:`~neumap.errors.DataError` for anything else and for damaged data.
    """
    content = np.frombuffer(data, np.uint8)
    offset = _DEPTH_HEADER.size
    if content[offset : offset + len(_PNG)].tobytes() != _PNG:
        offset = 0
        if content[: len(_PNG)].tobytes() != _PNG:
            raise DataError(f"compressed depth of format '{format_}' cannot be read: only PNG is known")
    samples = _decode(content[offset:], cv2.IMREAD_UNCHANGED)
    if samples.dtype != np.uint16 or samples.ndim != 2:
        raise DataError(f"compressed depth of format '{format_}' does not hold one channel of 16 bits")
    if not offset or not format_.startswith("32FC1"):
        return np.asarray(samples * np.float32(1e-3), dtype=np.float32)
    _, a, b = _DEPTH_HEADER.unpack(content[:offset].tobytes())
    inverse = samples.astype(np.float32) - np.float32(b)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _known(np.where(samples > 0, np.float32(a) / inverse, np.float32(0)))


def _known(depth: Float32Array) -> Float32Array:
    """Zero where it is not a distance."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _samples(
    encoding: str, height: int, width: int, step: int, kind: np.dtype[Any], channels: int, data: Bytes
) -> npt.NDArray[Any]:
    """The samples (H, W, C) as a view of ``data``."""
    pixel = kind.itemsize * channels
    if height <= 0 or width <= 0:
        raise DataError(f"the image is empty: {width}x{height} pixels")
    if step < width * pixel:
        raise DataError(
            f"a row of {width} pixels of {encoding} takes {width * pixel} bytes, the image's step is {step}"
        )
    # the last row may come without its padding
    needed = (height - 1) * step + width * pixel
    size = np.frombuffer(data, np.uint8).size
    if size < needed:
        raise DataError(f"the image is cut off: {size} bytes instead of {height * step} ({width}x{height} {encoding})")
    shape, strides = (height, width, channels), (step, pixel, kind.itemsize)
    samples: npt.NDArray[Any] = np.ndarray(shape, kind, buffer=data, strides=strides)
    return samples


def _decode(data: Bytes, flags: int) -> npt.NDArray[Any]:
    content = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(content, flags) if content.size else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError("the image cannot be decoded: it is damaged, or of a format that OpenCV does not know")
    return np.asarray(image)
