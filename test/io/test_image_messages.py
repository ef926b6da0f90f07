"""Pixels of messages; `cv_bridge_answers.json` holds what cv_bridge of ROS 2 Jazzy was recorded to answer."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from neumap.errors import DataError
from neumap.io.image_messages import depth_of, gray_of, is_depth_encoding
from neumap.io.images import read_gray

ANSWERS = json.loads((Path(__file__).parent / "cv_bridge_answers.json").read_text())

HEIGHT, WIDTH = 6, 8
RED, GREEN, BLUE = 200, 100, 30
GRAY = round(0.299 * RED + 0.587 * GREEN + 0.114 * BLUE)


def message(encoding: str, width: int, height: int, step: int, data: Any, is_bigendian: int = 0) -> Any:
    """A sensor_msgs/Image, as far as its fields go."""
    return SimpleNamespace(
        encoding=encoding, width=width, height=height, step=step, data=data, is_bigendian=is_bigendian
    )


def image(samples: np.ndarray, encoding: str, padding: int = 0, is_bigendian: bool = False) -> Any:
    """The message of samples whose rows are followed by bytes that are none of theirs."""
    rows = np.ascontiguousarray(samples).view(np.uint8).reshape(len(samples), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    height, width = samples.shape[:2]
    return message(encoding, width, height, padded.shape[1], padded.tobytes(), int(is_bigendian))


def compressed(data: Any, format_: str = "jpeg") -> Any:
    return SimpleNamespace(format=format_, data=data)


def encode(suffix: str, pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode(suffix, pixels)
    assert ok
    return bytes(data)


def mosaic(pattern: str) -> np.ndarray:
    """An even colour as a sensor with this pattern of colours sees it."""
    value = {"r": RED, "g": GREEN, "b": BLUE}
    cell = np.array([value[letter] for letter in pattern], np.uint8).reshape(2, 2)
    return np.tile(cell, (HEIGHT // 2, WIDTH // 2))


def even(*channels: int) -> np.ndarray:
    return np.tile(np.array(channels, np.uint8), (HEIGHT, WIDTH, 1))


EIGHT_BITS = {
    "mono8": even(GRAY),
    "8UC1": even(GRAY),
    "rgb8": even(RED, GREEN, BLUE),
    "bgr8": even(BLUE, GREEN, RED),
    "rgba8": even(RED, GREEN, BLUE, 9),
    "bgra8": even(BLUE, GREEN, RED, 9),
    "8UC3": even(BLUE, GREEN, RED),
    "8UC4": even(BLUE, GREEN, RED, 9),
    "yuv422": np.tile(np.array([[9, GRAY], [77, GRAY]], np.uint8), (HEIGHT, WIDTH // 2, 1)),
    "uyvy": np.tile(np.array([[9, GRAY], [77, GRAY]], np.uint8), (HEIGHT, WIDTH // 2, 1)),
    "yuv422_yuy2": np.tile(np.array([[GRAY, 9], [GRAY, 77]], np.uint8), (HEIGHT, WIDTH // 2, 1)),
    "yuyv": np.tile(np.array([[GRAY, 9], [GRAY, 77]], np.uint8), (HEIGHT, WIDTH // 2, 1)),
    **{f"bayer_{pattern}8": mosaic(pattern) for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}
SIXTEEN_BITS = {
    "mono16": even(GRAY),
    "16UC1": even(GRAY),
    "rgb16": even(RED, GREEN, BLUE),
    "bgr16": even(BLUE, GREEN, RED),
    "rgba16": even(RED, GREEN, BLUE, 9),
    "bgra16": even(BLUE, GREEN, RED, 9),
    **{f"bayer_{pattern}16": mosaic(pattern) for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}


def check_even(given: Any) -> None:
    gray = gray_of(given)
    assert gray.shape == (HEIGHT, WIDTH)
    assert gray.dtype == np.uint8
    assert gray.flags.c_contiguous
    assert np.abs(gray.astype(int) - GRAY).max() <= 1


@pytest.mark.parametrize("padding", [0, 1, 16])
@pytest.mark.parametrize("encoding", EIGHT_BITS)
def test_eight_bits(encoding: str, padding: int) -> None:
    check_even(image(EIGHT_BITS[encoding], encoding, padding))
    check_even(image(EIGHT_BITS[encoding], encoding, padding, is_bigendian=True))


@pytest.mark.parametrize("padding", [0, 1, 16])
@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("encoding", SIXTEEN_BITS)
def test_sixteen_bits(encoding: str, is_bigendian: bool, padding: int) -> None:
    samples = (SIXTEEN_BITS[encoding].astype(np.uint16) * 257).astype(">u2" if is_bigendian else "<u2")
    check_even(image(samples, encoding, padding, is_bigendian))


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_of_planes_the_luma_is_taken(encoding: str) -> None:
    luma = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    given = image(luma, encoding)
    given.data += bytes(HEIGHT * WIDTH * 2)
    assert np.array_equal(gray_of(given), luma)


# pixels of the recorded calls; those in a row of two
SENT = {
    "mono8": bytes([10, 200]),
    **dict.fromkeys(("rgb8", "bgr8"), bytes([10, 20, 30, 200, 210, 220])),
    **dict.fromkeys(("rgba8", "bgra8"), bytes([10, 20, 30, 40, 200, 210, 220, 230])),
    "mono16": np.array([256, 65535], "<u2").tobytes(),
    **dict.fromkeys(("yuv422", "yuv422_yuy2"), bytes([100, 120, 150, 130])),
}


@pytest.mark.parametrize("encoding", SENT)
def test_grey_is_that_of_cv_bridge(encoding: str) -> None:
    given = message(encoding, 2, 1, len(SENT[encoding]), SENT[encoding])
    assert gray_of(given).tolist() == ANSWERS["to_mono8"][encoding][2]


def test_the_recorded_answers_of_cv_bridge() -> None:
    assert ANSWERS["to_mono8"].keys() == SENT.keys()
    values = np.array([0, 256, 32768, 65535], "<u2")
    assert gray_of(message("mono16", 4, 1, 8, values.tobytes())).tolist() == ANSWERS["mono16_to_mono8_scaling"][2]
    assert gray_of(message("mono16", 4, 1, 8, values.astype(">u2").tobytes(), 1)).tolist() == [[0, 1, 128, 255]]
    rows = bytes([1, 2, 99, 99, 3, 4, 99, 99])
    assert gray_of(message("mono8", 2, 2, 4, rows)).tolist() == ANSWERS["padded_rows"][2]
    rows = bytes([1, 2, 3, 99, 99, 99, 4, 5, 6, 99, 99, 99])
    colours = np.array(ANSWERS["padded_rows_multiple_of_pixel"][2], np.uint8)
    assert np.array_equal(gray_of(message("bgr8", 1, 2, 6, rows)), cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY))
    assert gray_of(message("mono8", 2, 2, 2, b"abcdef")).tolist() == ANSWERS["data_too_long"][2]


def test_sixteen_bits_are_rounded() -> None:
    values = np.arange(65536, dtype="<u2").reshape(256, 256)
    assert np.array_equal(gray_of(image(values, "mono16")), np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize("hold", [bytes, bytearray, memoryview, lambda data: array("B", data), np.frombuffer])
def test_whatever_holds_the_data(hold: Callable[..., Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def held(data: bytes) -> Any:
        return hold(data, np.uint8) if hold is np.frombuffer else hold(data)

    given = image(pixels, "rgb8", padding=5)
    given.data = held(given.data)
    assert np.array_equal(gray_of(given), cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    assert gray_of(compressed(held(encode(".png", pixels)))).shape == (HEIGHT, WIDTH)
    with pytest.raises(DataError, match="image of 0 bytes cannot be decoded"):
        gray_of(compressed(held(b"")))


def test_gray_bytes_are_not_copied() -> None:
    data = np.arange(HEIGHT * WIDTH, dtype=np.uint8)
    gray = gray_of(message("mono8", WIDTH, HEIGHT, WIDTH, data))
    assert np.shares_memory(gray, data)
    assert np.array_equal(gray.reshape(-1), data)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 0}, "an image of 0x6 pixels with rows of 16 bytes is none"),
        ({"height": 0}, "an image of 8x0 pixels with rows of 16 bytes is none"),
        ({"step": 15}, "an image of 8x6 pixels with rows of 15 bytes is none"),
        ({"width": 9}, "an image of 9x6 pixels with rows of 16 bytes is none"),
        ({"height": 7}, "the image holds 96 bytes instead of 112"),
        ({"data": b""}, "the image holds 0 bytes instead of 96"),
        ({"height": 2**32 - 1}, "the image holds 96 bytes instead of 68719476720"),
    ],
)
def test_images_that_are_none(changes: dict[str, Any], text: str) -> None:
    for read in (gray_of, depth_of):
        given = image(np.zeros((HEIGHT, WIDTH), np.uint16), "16UC1")
        vars(given).update(changes)
        with pytest.raises(DataError, match=f"^{text}$"):
            read(given)


@pytest.mark.parametrize("encoding", ["jpeg", "", "64FC1", "MONO8"])
def test_encodings_that_are_not_known(encoding: str) -> None:
    given = image(np.zeros((HEIGHT, WIDTH), np.uint8), encoding)
    with pytest.raises(DataError, match=f"^images of the encoding '{encoding}' are not understood: mono8, .* are$"):
        gray_of(given)
    with pytest.raises(DataError, match=f"^depth of the encoding '{encoding}' is not understood: 16UC1, mono16, 32FC1"):
        depth_of(given)


def test_the_last_row_needs_no_padding() -> None:
    given = image(even(7), "mono8", padding=8)
    whole = given.data
    given.data = whole[:-8]
    assert (gray_of(given) == 7).all()
    given.data = whole[:-9]
    with pytest.raises(DataError, match="holds 87 bytes instead of 96"):
        gray_of(given)


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_depth_is_in_metres(is_bigendian: bool, padding: int) -> None:
    order = ">" if is_bigendian else "<"
    millimetres = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 100
    for encoding in ("16UC1", "mono16"):
        depth = depth_of(image(millimetres.astype(f"{order}u2"), encoding, padding, is_bigendian))
        assert depth.dtype == np.float32
        assert np.allclose(depth, millimetres / 1000, atol=1e-6)
    metres = (millimetres / 1000).astype(f"{order}f4")
    metres[0, :4] = np.nan, np.inf, -np.inf, -1.0
    depth = depth_of(image(metres, "32FC1", padding, is_bigendian))
    assert depth.dtype == np.float32
    assert (depth[0, :4] == 0).all()
    assert np.allclose(depth[1:], millimetres[1:] / 1000)


def test_what_is_depth() -> None:
    assert is_depth_encoding("16UC1")
    assert is_depth_encoding("32FC1")
    assert not any(map(is_depth_encoding, ("mono16", "mono8", "bgr8", "")))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_compressed_images(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
    expected = pixels[:, :, 0] if channels == 1 else cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_BGR2GRAY)
    assert np.abs(gray_of(compressed(encode(".png", pixels))).astype(int) - expected).max() <= 1


def test_a_jpeg_gives_the_pixels_of_its_file(tmp_path: Path) -> None:
    jpeg = encode(".jpg", cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 3))
    (tmp_path / "image.jpg").write_bytes(jpeg)
    # whatever the message says of its format
    assert np.array_equal(gray_of(compressed(jpeg, "rgb8; png compressed")), read_gray(tmp_path / "image.jpg"))


def test_an_orientation_is_not_applied() -> None:
    jpeg = encode(".jpg", np.zeros((HEIGHT, WIDTH), np.uint8))
    # EXIF with one entry: orientation 6, a quarter turn
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (WIDTH, HEIGHT)
    assert gray_of(compressed(turned)).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("data", [b"", b"no image", encode(".png", np.zeros((9, 9), np.uint8))[:40]])
def test_damaged_compressed_images(data: bytes) -> None:
    with pytest.raises(DataError, match=f"^the compressed image of {len(data)} bytes cannot be decoded: it is damaged"):
        gray_of(compressed(data))


def test_compressed_depth() -> None:
    millimetres = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 100
    plain = encode(".png", millimetres)
    for format_, data in (("16UC1; png compressed ", plain), ("16UC1; compressedDepth png", bytes(12) + plain)):
        depth = depth_of(compressed(data, format_))
        assert depth.dtype == np.float32
        assert np.allclose(depth, millimetres / 1000, atol=1e-6)


def test_compressed_depth_of_floats() -> None:
    # as compressed_depth_image_transport quantizes: a / depth + b, 0 for unknown
    depth_max, quantization = 10.0, 100.0
    a = quantization * (quantization + 1)
    b = 1 - a / depth_max
    metres = np.linspace(0.5, 9.5, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    inverse = np.round(a / metres + b).astype(np.uint16)
    inverse[0, 0] = 0
    data = struct.pack("<iff", 0, a, b) + encode(".png", inverse)
    depth = depth_of(compressed(data, "32FC1; compressedDepth"))
    assert depth[0, 0] == 0
    assert np.allclose(depth.reshape(-1)[1:], metres.reshape(-1)[1:], rtol=0.01)


def test_compressed_depth_that_is_none() -> None:
    with pytest.raises(DataError, match="'16UC1; compressedDepth zfp' cannot be read: only PNG and RVL are known"):
        depth_of(compressed(bytes(12) + b"something", "16UC1; compressedDepth zfp"))
    with pytest.raises(DataError, match="only PNG"):
        depth_of(compressed(b"", ""))
    with pytest.raises(DataError, match="not hold one channel of 16 bits"):
        depth_of(compressed(encode(".png", np.zeros((4, 4, 3), np.uint8)), "png"))
    with pytest.raises(DataError, match="cannot be decoded"):
        depth_of(compressed(encode(".png", np.zeros((4, 4), np.uint16))[:50], "png"))
