"""The stand-in of cv_bridge converts as the real one was seen to convert."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap_ros.simulator.cv_bridge import CvBridge, CvBridgeError
from neumap_ros.simulator.messages import message_class

BRIDGE = CvBridge()
COLOURS = bytes([10, 20, 30, 200, 210, 220])


def image(encoding: str, width: int, step: int, data: bytes, height: int = 1, big: int = 0) -> Any:
    return message_class("sensor_msgs/msg/Image")(
        encoding=encoding, height=height, width=width, step=step, data=data, is_bigendian=big
    )


def u16(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


@pytest.mark.parametrize(
    ("encoding", "data", "wanted", "expected"),
    [
        ("mono8", b"\x0a\xc8", "passthrough", [10, 200]),
        ("mono8", b"\x0a\xc8", "bgr8", [[10, 10, 10], [200, 200, 200]]),
        ("bgr8", COLOURS, "mono8", [22, 212]),
        ("rgb8", COLOURS, "mono8", [18, 208]),
        ("rgb8", COLOURS, "bgr8", [[30, 20, 10], [220, 210, 200]]),
        ("bgr8", COLOURS, "", [[10, 20, 30], [200, 210, 220]]),
        ("rgba8", bytes([10, 20, 30, 40, 200, 210, 220, 230]), "bgr8", [[30, 20, 10], [220, 210, 200]]),
        ("mono16", u16(256, 65535), "mono8", [1, 255]),
        ("mono16", u16(32768, 65535), "bgr8", [[128, 128, 128], [255, 255, 255]]),
        ("16UC1", u16(256, 65535), "32FC1", [256.0, 65535.0]),
        ("32FC1", np.array([1.5, -3.0], "<f4").tobytes(), "16UC1", [2, 0]),
        ("32FC1", np.array([70000.0, np.nan], "<f4").tobytes(), "16UC1", [65535, 0]),
        ("yuv422", bytes([100, 120, 150, 130]), "mono8", [120, 130]),
        ("yuv422_yuy2", bytes([100, 120, 150, 130]), "mono8", [100, 150]),
    ],
)
def test_conversion(encoding: str, data: bytes, wanted: str, expected: list[Any]) -> None:
    assert BRIDGE.imgmsg_to_cv2(image(encoding, 2, len(data), data), wanted).tolist() == [expected]


@pytest.mark.parametrize(
    ("encoding", "data", "wanted"),
    [
        ("16UC1", u16(1, 2), "mono8"),
        ("8UC3", COLOURS, "bgr8"),
        ("bgr8", COLOURS, "8UC1"),
        ("bgr8", COLOURS, "nonsense"),
        ("bgr8", COLOURS, "yuv422"),
        ("nonsense", b"ab", "passthrough"),
        ("nv21", b"ab", "passthrough"),
        ("", b"ab", "passthrough"),
    ],
)
def test_senseless_conversion(encoding: str, data: bytes, wanted: str) -> None:
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(image(encoding, 2, len(data), data), wanted)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_one_colour(pattern: str) -> None:
    colour = {"r": 200, "g": 100, "b": 50}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 4))
    converted = BRIDGE.imgmsg_to_cv2(image(f"bayer_{pattern}8", 8, 8, mosaic.tobytes(), 8), "rgb8")
    assert converted[3, 3].tolist() == [200, 100, 50]


def test_rows() -> None:
    padded = image("mono8", 2, 4, bytes([1, 2, 99, 99, 3, 4, 99, 99]), 2)
    assert BRIDGE.imgmsg_to_cv2(padded).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(TypeError):
        BRIDGE.imgmsg_to_cv2(image("mono8", 2, 2, b"abc", 2))


def test_memory_is_shared_where_nothing_is_changed() -> None:
    message = image("mono8", 2, 2, bytes(4), 2)
    BRIDGE.imgmsg_to_cv2(message)[0, 0] = 99
    assert message.data[0] == 99


def test_big_endian() -> None:
    message = image("mono16", 2, 4, np.array([1, 258], ">u2").tobytes(), big=1)
    if hasattr(np.ndarray, "newbyteorder"):
        assert BRIDGE.imgmsg_to_cv2(message).tolist() == [[1, 258]]
    else:
        with pytest.raises(AttributeError):
            BRIDGE.imgmsg_to_cv2(message)


def test_to_message() -> None:
    message = BRIDGE.cv2_to_imgmsg(np.arange(8, dtype=np.uint8).reshape(2, 4)[:, ::2], "mono8")
    assert (message.encoding, message.height, message.width, message.step) == ("mono8", 2, 2, 2)
    assert bytes(message.data) == b"\x00\x02\x04\x06"
    assert BRIDGE.cv2_to_imgmsg(np.zeros((1, 2, 3), np.uint8)).encoding == "8UC3"
    header = message_class("std_msgs/msg/Header")(frame_id="cam")
    assert BRIDGE.cv2_to_imgmsg(np.zeros((1, 2), np.float32), "32FC1", header).header is header


@pytest.mark.parametrize(
    ("array", "encoding", "error"),
    [
        (np.zeros((1, 2), np.uint8), "bgr8", CvBridgeError),
        (np.zeros((1, 2), np.uint16), "mono8", CvBridgeError),
        (np.zeros((1, 2), np.int64), "passthrough", KeyError),
        (np.zeros(3, np.uint8), "mono8", IndexError),
        (np.zeros((0, 2), np.uint8), "mono8", ZeroDivisionError),
        ([[1]], "mono8", TypeError),
    ],
)
def test_arrays_that_are_no_images(array: Any, encoding: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        BRIDGE.cv2_to_imgmsg(array, encoding)


def test_compressed() -> None:
    red = np.zeros((2, 4, 3), np.uint8)
    red[..., 2] = 250
    message = BRIDGE.cv2_to_compressed_imgmsg(red, dst_format="png")
    assert message.format == "png"
    assert BRIDGE.compressed_imgmsg_to_cv2(message)[0, 0].tolist() == [0, 0, 250]
    assert BRIDGE.compressed_imgmsg_to_cv2(message, "rgb8")[0, 0].tolist() == [250, 0, 0]
    assert BRIDGE.compressed_imgmsg_to_cv2(message, "mono8").shape == (2, 4)
    grey = BRIDGE.cv2_to_compressed_imgmsg(np.zeros((2, 4), np.uint8))
    assert BRIDGE.compressed_imgmsg_to_cv2(grey, "bgr8").shape == (2, 4)
    with pytest.raises(CvBridgeError):
        BRIDGE.compressed_imgmsg_to_cv2(grey, "mono8")


def test_compressed_junk() -> None:
    compressed = message_class("sensor_msgs/msg/CompressedImage")
    junk = compressed(format="jpeg", data=b"not a jpeg")
    assert BRIDGE.compressed_imgmsg_to_cv2(junk) is None
    assert BRIDGE.compressed_imgmsg_to_cv2(junk, "bgr8") is None
    with pytest.raises(CvBridgeError):
        BRIDGE.compressed_imgmsg_to_cv2(junk, "mono8")
    with pytest.raises(cv2.error):
        BRIDGE.compressed_imgmsg_to_cv2(compressed(format="jpeg"))
