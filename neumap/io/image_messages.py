"""Decodes sensor_msgs Image and CompressedImage, of rosbags or rclpy, to arrays.

Bags, replay and the node decode here. Tests compare the results with those of cv_bridge, recorded on ROS 2 Jazzy.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import Float32Array, ImageArray
from neumap.errors import DataError
from neumap.io import rvl
from neumap.io.images import decode

Bytes = bytes | memoryview | npt.NDArray[np.uint8]


class _Layout(NamedTuple):
    """Bytes per sample, samples per pixel, and the conversion to grey: a cv2.cvtColor code or a channel's index."""

    itemsize: int
    channels: int
    conversion: int | None = None
    channel: int = 0


# _BAYER: OpenCV names a Bayer pattern after its second row from the second column on, ROS after its first row.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2GRAY,
    "bggr": cv2.COLOR_BayerRG2GRAY,
    "gbrg": cv2.COLOR_BayerGR2GRAY,
    "grbg": cv2.COLOR_BayerGB2GRAY,
}
_COLOURS = {
    "bgr": cv2.COLOR_BGR2GRAY,
    "rgb": cv2.COLOR_RGB2GRAY,
    "bgra": cv2.COLOR_BGRA2GRAY,
    "rgba": cv2.COLOR_RGBA2GRAY,
}
_GRAY: dict[str, _Layout] = {
    "mono8": _Layout(1, 1),
    "mono16": _Layout(2, 1),
    "8UC1": _Layout(1, 1),
    "16UC1": _Layout(2, 1),
    **{f"{name}8": _Layout(1, len(name), code) for name, code in _COLOURS.items()},
    **{f"{name}16": _Layout(2, len(name), code) for name, code in _COLOURS.items()},
    "8UC3": _Layout(1, 3, cv2.COLOR_BGR2GRAY),
    "8UC4": _Layout(1, 4, cv2.COLOR_BGRA2GRAY),
    **{f"bayer_{name}8": _Layout(1, 1, code) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": _Layout(2, 1, code) for name, code in _BAYER.items()},
    # the luma channel is the grey image
    **{name: _Layout(1, 2, channel=1) for name in ("yuv422", "uyvy")},
    **{name: _Layout(1, 2, channel=0) for name in ("yuv422_yuy2", "yuyv")},
    # planar: first all luma, then the chroma, which is not read
    **{name: _Layout(1, 1) for name in ("nv12", "nv21", "nv24")},
}
# _DEPTH: bytes per sample, and metres per unit.
_DEPTH = {"16UC1": (2, 1e-3), "mono16": (2, 1e-3), "32FC1": (4, 1.0)}
# _TRANSPORTS: suffixes that image_transport appends to the name of the base topic.
_TRANSPORTS = frozenset({"compressed", "compressedDepth"})
# _RECTIFIED: words in the last two parts of a topic's name that mark rectified images, as in image_proc's image_rect.
_RECTIFIED = frozenset({"rect", "rectified", "undistorted", "undist", "undistort"})
_PNG = b"\x89PNG\r\n\x1a\n"
# _DEPTH_HEADER: of compressed_depth_image_transport, before the PNG: format and two parameters of inverse depth.
_DEPTH_HEADER = struct.Struct("<iff")


def base_topic(topic: str) -> str:
    """Return the name of an image topic without the suffix of its transport."""
    name, _, last = topic.rpartition("/")
    return name if last in _TRANSPORTS else topic


def named_rectified(topic: str) -> bool | None:
    """Return True if the name of a topic marks its images as rectified, else None."""
    *_, above, own = f"/{base_topic(topic)}".rsplit("/", 2)
    return True if _RECTIFIED & {*above.split("_"), *own.split("_")} else None


def is_depth_encoding(encoding: str) -> bool:
    """Return whether images of an encoding hold depth; mono16 may be either and counts as intensity."""
    return encoding in ("16UC1", "32FC1")


def gray_of(message: Any) -> ImageArray:
    """Decode a sensor_msgs Image or CompressedImage to (H, W) uint8 grey values.

    The values equal those of cv_bridge where it converts to mono8: 16 bits are scaled by 255/65535 and rounded, and YUV
    gives its luma. Encodings without colour names (8UC3, 16UC1) count as BGR or grey. Padded rows and both byte orders
    are supported, unlike in cv_bridge, which misreads some. The result may be a view of the message's data.
    Compressed images are decoded straight to grey, as files are: JPEG then skips the colours, and an EXIF orientation
    is not applied. Raises :class:`~neumap.errors.DataError` for an unknown encoding, an impossible size, and data that
    are too short or damaged.
    """
    if not hasattr(message, "encoding"):
        return np.asarray(_decode(message.data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION), dtype=np.uint8)
    if (layout := _GRAY.get(message.encoding)) is None:
        raise DataError(f"images of the encoding '{message.encoding}' are not understood: {', '.join(_GRAY)} are")
    samples = _samples(message, "u", layout.itemsize, layout.channels)
    if layout.conversion is not None:
        # OpenCV needs native byte order and rows aligned to the samples
        samples = np.asarray(samples, dtype=samples.dtype.newbyteorder("="))
        if message.step % layout.itemsize:
            samples = np.ascontiguousarray(samples)
        gray: npt.NDArray[Any] = cv2.cvtColor(samples[:, :, 0] if layout.channels == 1 else samples, layout.conversion)
    else:
        gray = samples[:, :, layout.channel]
    if layout.itemsize == 2:
        native = np.ascontiguousarray(gray, dtype=np.uint16)
        return np.asarray(cv2.convertScaleAbs(native, alpha=255 / 65535), dtype=np.uint8)
    return np.ascontiguousarray(gray, dtype=np.uint8)


def depth_of(message: Any) -> Float32Array:
    """Decode a sensor_msgs Image or CompressedImage of depth to (H, W) float32 metres, 0 where unknown.

    16-bit samples are millimetres, 32-bit floats metres. A CompressedImage may hold PNG of 16-bit millimetres, or 16UC1
    or 32FC1 compressed by compressed_depth_image_transport to PNG or RVL. Raises :class:`~neumap.errors.DataError` for
    other formats and for data that are too short or damaged.
    """
    if not hasattr(message, "encoding"):
        return _depth_of_compressed(message.format, message.data)
    if message.encoding not in _DEPTH:
        raise DataError(f"depth of the encoding '{message.encoding}' is not understood: {', '.join(_DEPTH)} are")
    itemsize, metres = _DEPTH[message.encoding]
    samples = _samples(message, "u" if itemsize == 2 else "f", itemsize, 1)[:, :, 0]
    return _known(np.asarray(samples * np.float32(metres), dtype=np.float32))


def _depth_of_compressed(format_: str, data: Bytes) -> Float32Array:
    content = np.frombuffer(data, np.uint8)
    offset = _DEPTH_HEADER.size
    if is_rvl := format_.endswith("rvl"):
        samples = rvl.decode(content[offset:])
    elif content[offset : offset + len(_PNG)].tobytes() != _PNG:
        offset = 0
        if content[: len(_PNG)].tobytes() != _PNG:
            raise DataError(f"compressed depth of format '{format_}' cannot be read: only PNG and RVL are known")
    if not is_rvl:
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
    """Replace values that are no distance with zero."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _samples(message: Any, kind: str, itemsize: int, channels: int) -> npt.NDArray[Any]:
    """Return the samples (H, W, C) of an Image as a view of its data."""
    height, width, step, pixel = int(message.height), int(message.width), int(message.step), itemsize * channels
    if not (height and width) or step < width * pixel:
        raise DataError(f"an image of {width}x{height} pixels with rows of {step} bytes is none")
    size = np.frombuffer(message.data, np.uint8).size
    # the padding of the last row may be missing
    if size < (height - 1) * step + width * pixel:
        raise DataError(f"the image holds {size} bytes instead of {height * step}")
    samples: npt.NDArray[Any] = np.ndarray(
        (height, width, channels),
        f"{'>' if message.is_bigendian else '<'}{kind}{itemsize}",
        buffer=message.data,
        strides=(step, pixel, itemsize),
    )
    return samples


def _decode(data: Bytes, flags: int) -> npt.NDArray[Any]:
    content = np.frombuffer(data, np.uint8)
    return decode(content, flags, f"the compressed image of {content.size} bytes")
