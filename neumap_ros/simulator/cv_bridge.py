"""cv_bridge: images between messages and OpenCV's arrays, with the conversions and the peculiarities of ROS 2's."""

from __future__ import annotations

import re
import sys
from itertools import product
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neumap_ros.simulator.messages import message_class

Pixels = npt.NDArray[Any]

CHANNELS = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}
BAYER = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}
YUV = {"yuv422": "UYVY", "yuv422_yuy2": "YUY2"}
DEPTHS: dict[str, np.dtype[Any]] = {
    "8U": np.dtype(np.uint8),
    "8S": np.dtype(np.int8),
    "16U": np.dtype(np.uint16),
    "16S": np.dtype(np.int16),
    "32S": np.dtype(np.int32),
    "32F": np.dtype(np.float32),
    "64F": np.dtype(np.float64),
}
DEPTH_NAMES = {dtype.name: name for name, dtype in DEPTHS.items()}
GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)C([0-9]+)")


class CvBridgeError(TypeError):
    """An encoding is unknown, or cannot be converted."""


def _layout(encoding: str) -> tuple[np.dtype[Any], int, str]:
    """Data type, number of channels, and the name of the colours ("" where the encoding says nothing about them)."""
    if encoding in YUV:
        return DEPTHS["8U"], 2, encoding
    if match := re.fullmatch(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)", encoding):
        return DEPTHS[match[2] + "U"], 1, match[1]
    if match := re.fullmatch(r"(mono|bgr|rgb|bgra|rgba)(8|16)", encoding):
        return DEPTHS[match[2] + "U"], CHANNELS[match[1]], match[1]
    if match := GENERIC.fullmatch(encoding):
        return DEPTHS[match[1]], int(match[2]), ""
    raise CvBridgeError(f"Unrecognized image encoding [{encoding}]")


def _colour_codes() -> dict[tuple[str, str], int]:
    """OpenCV's conversions between kinds of colours."""
    opencv = {name: "GRAY" if name == "mono" else name.upper() for name in CHANNELS}
    codes = {
        (source, target): getattr(cv2, f"COLOR_{opencv[source]}2{opencv[target]}")
        for source, target in product(CHANNELS, repeat=2)
        if source != target
    }
    for name, order in YUV.items():
        codes |= {(name, target): getattr(cv2, f"COLOR_YUV2{opencv[target]}_{order}") for target in CHANNELS}
    for name, order in BAYER.items():
        codes |= {
            (name, target): getattr(cv2, f"COLOR_Bayer{order}2{opencv[target]}") for target in ("mono", "rgb", "bgr")
        }
    return codes


COLOUR_CODES = _colour_codes()


def _to_depth(image: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """Values as another type, rounded and kept in its range; 8 and 16 bits are scaled to each other."""
    scale = {("uint8", "uint16"): 65535 / 255, ("uint16", "uint8"): 255 / 65535}.get(
        (image.dtype.name, dtype.name), 1.0
    )
    if dtype.kind == "f":
        return image.astype(dtype)
    limits = np.iinfo(dtype)
    values = np.nan_to_num(image.astype(np.float64) * scale, nan=limits.min)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def cvtColor2(image: Any, encoding_in: str, encoding_out: str) -> Any:  # noqa: N802
    """``image`` of one encoding as another. Raises CvBridgeError for what makes no sense.

    An encoding that says nothing about colours ("16UC1") becomes another such one of as many channels only.
    """
    if encoding_out in ("", encoding_in):
        return image
    if image is None:
        raise CvBridgeError("there is no image")
    _, channels, colours = _layout(encoding_in)
    wanted_dtype, wanted_channels, wanted_colours = _layout(encoding_out)
    if wanted_colours and not colours:
        raise CvBridgeError(
            f"[{encoding_in}] is not a color format. but [{encoding_out}] is. The conversion does not make sense"
        )
    if not wanted_colours:
        if channels != wanted_channels:
            raise CvBridgeError(f"[{encoding_in}] and [{encoding_out}] do not have the same number of channel")
        return _to_depth(image, wanted_dtype)
    if colours != wanted_colours:
        code = COLOUR_CODES.get((colours, wanted_colours))
        if code is None:
            raise CvBridgeError(f"Unsupported conversion from [{encoding_in}] to [{encoding_out}]")
        try:
            image = cv2.cvtColor(image, code)
        except cv2.error as error:
            raise CvBridgeError(str(error)) from None
    return image if image.dtype == wanted_dtype else _to_depth(image, wanted_dtype)


class CvBridge:
    """Converts images."""

    def imgmsg_to_cv2(self, img_msg: Any, desired_encoding: str = "passthrough") -> Any:
        """Array (H, W) or (H, W, C) of an Image message, which shares its memory where nothing had to be changed.

        Raises CvBridgeError for an encoding that is unknown or cannot be converted, TypeError for too little data.
        """
        dtype, channels, _ = _layout(img_msg.encoding)
        dtype = dtype.newbyteorder(">" if img_msg.is_bigendian else "<")
        columns = int(img_msg.step / dtype.itemsize / channels)
        shape = (img_msg.height, columns) if channels == 1 else (img_msg.height, columns, channels)
        image: Any = np.ndarray(shape, dtype, buffer=img_msg.data)
        image = np.ascontiguousarray(image[: img_msg.height, : img_msg.width])
        if img_msg.is_bigendian == (sys.byteorder == "little"):
            # NumPy 2 has no newbyteorder of arrays: there the real cv_bridge ends with an AttributeError, too.
            image = image.byteswap().newbyteorder()
        if desired_encoding == "passthrough":
            return image
        return cvtColor2(image, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: Any, desired_encoding: str = "passthrough") -> Any:
        """Array of a CompressedImage, None for one that cannot be decoded; taken for bgr8 whatever it is.

        Raises cv2.error where there is no data, CvBridgeError for a conversion that makes no sense.
        """
        image = cv2.imdecode(np.frombuffer(cmprs_img_msg.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if desired_encoding == "passthrough":
            return image
        return cvtColor2(image, "bgr8", desired_encoding)

    def cv2_to_imgmsg(self, cvim: Any, encoding: str = "passthrough", header: Any = None) -> Any:
        """Image message of an array, in the encoding that is given or ("passthrough") a generic one like 8UC3.

        Raises TypeError for what is no array, KeyError for a data type that OpenCV lacks, CvBridgeError for an array
        that does not fit the encoding.
        """
        _check_array(cvim)
        message = message_class("sensor_msgs/msg/Image")()
        message.height, message.width = cvim.shape[0], cvim.shape[1]
        if header is not None:
            message.header = header
        channels = cvim.shape[2] if cvim.ndim > 2 else 1
        kind = f"{DEPTH_NAMES[cvim.dtype.name]}C{channels}"
        if encoding != "passthrough":
            dtype, wanted_channels, _ = _layout(encoding)
            if (dtype.name, wanted_channels) != (cvim.dtype.name, channels):
                raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {kind}")
        message.encoding = kind if encoding == "passthrough" else encoding
        message.is_bigendian = int(cvim.dtype.byteorder == ">")
        message.data.frombytes(cvim.tobytes())
        message.step = len(message.data) // message.height
        return message

    def cv2_to_compressed_imgmsg(self, cvim: Any, dst_format: str = "jpg") -> Any:
        """CompressedImage of an array. Raises TypeError for what is no array, cv2.error for an unknown format."""
        _check_array(cvim)
        message = message_class("sensor_msgs/msg/CompressedImage")(format=dst_format)
        message.data.frombytes(cv2.imencode(f".{dst_format}", cvim)[1].tobytes())
        return message


def _check_array(image: Any) -> None:
    if not isinstance(image, (np.ndarray, np.generic)):
        raise TypeError("Your input type is not a numpy array")
