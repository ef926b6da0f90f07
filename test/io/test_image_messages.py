from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from neumap.errors import DataError
from neumap.io.image_messages import (
    depth_of_compressed,
    depth_of_image,
    gray_of_compressed,
    gray_of_image,
    is_depth_encoding,
)

HEIGHT, WIDTH = 6, 8
RED, GREEN, BLUE = 200, 100, 30
GRAY = round(0.299 * RED + 0.587 * GREEN + 0.114 * BLUE)


def rows_with_padding(samples: np.ndarray, padding: int) -> tuple[int, bytes]:
    """Step and bytes of samples whose rows are followed by bytes that are none of theirs."""
    rows = np.ascontiguousarray(samples).view(np.uint8).reshape(len(samples), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    return padded.shape[1], padded.tobytes()


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
    **{f"bayer_{pattern}16": mosaic(pattern) for pattern in ("rggb", "bggr", "gbrg", "grbg")},
}


@pytest.mark.parametrize("padding", [0, 1, 16])
@pytest.mark.parametrize("encoding", EIGHT_BITS)
def test_eight_bits(encoding: str, padding: int) -> None:
    step, data = rows_with_padding(EIGHT_BITS[encoding], padding)
    gray = gray_of_image(encoding, HEIGHT, WIDTH, step, False, data)
    assert gray.shape == (HEIGHT, WIDTH)
    assert gray.dtype == np.uint8
    assert np.abs(gray.astype(int) - GRAY).max() <= 1


@pytest.mark.parametrize("padding", [0, 1, 16])
@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("encoding", SIXTEEN_BITS)
def test_sixteen_bits(encoding: str, is_bigendian: bool, padding: int) -> None:
    samples = (SIXTEEN_BITS[encoding].astype(np.uint16) * 256 + 128).astype(">u2" if is_bigendian else "<u2")
    step, data = rows_with_padding(samples, padding)
    gray = gray_of_image(encoding, HEIGHT, WIDTH, step, is_bigendian, data)
    assert gray.dtype == np.uint8
    assert np.abs(gray.astype(int) - GRAY).max() <= 1


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_of_planes_the_luma_is_taken(encoding: str) -> None:
    luma = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    data = luma.tobytes() + bytes(HEIGHT * WIDTH * 2)
    assert np.array_equal(gray_of_image(encoding, HEIGHT, WIDTH, WIDTH, False, data), luma)


def test_pixels_stay_where_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    step, data = rows_with_padding(pixels, 5)
    expected = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(gray_of_image("rgb8", HEIGHT, WIDTH, step, False, data), expected)


def test_gray_bytes_are_not_copied() -> None:
    data = np.arange(HEIGHT * WIDTH, dtype=np.uint8)
    gray = gray_of_image("mono8", HEIGHT, WIDTH, WIDTH, False, data)
    assert np.shares_memory(gray, data)
    assert np.array_equal(gray.reshape(-1), data)


@pytest.mark.parametrize("read", [gray_of_image, depth_of_image])
def test_images_that_are_none(read: Callable[..., np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"'jpeg' cannot be read; known are .*16UC1"):
        read("jpeg", HEIGHT, WIDTH, WIDTH, False, bytes(1000))
    with pytest.raises(DataError, match=r"cut off: 95 bytes instead of 96 \(8x6 16UC1\)"):
        read("16UC1", HEIGHT, WIDTH, 2 * WIDTH, False, bytes(95))
    with pytest.raises(DataError, match=r"takes 16 bytes, .* is 8"):
        read("16UC1", HEIGHT, WIDTH, WIDTH, False, bytes(1000))
    with pytest.raises(DataError, match="is empty: 0x6"):
        read("16UC1", HEIGHT, 0, 0, False, b"")
    with pytest.raises(DataError, match="cut off"):
        read("16UC1", 2**32 - 1, 2**30, 2**32 - 1, False, bytes(10))


def test_the_last_row_needs_no_padding() -> None:
    step, data = rows_with_padding(even(7), 8)
    assert (gray_of_image("mono8", HEIGHT, WIDTH, step, False, data[:-8]) == 7).all()
    with pytest.raises(DataError, match="cut off"):
        gray_of_image("mono8", HEIGHT, WIDTH, step, False, data[:-9])


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_depth_is_in_metres(is_bigendian: bool, padding: int) -> None:
    order = ">" if is_bigendian else "<"
    millimetres = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 100
    for encoding in ("16UC1", "mono16"):
        step, data = rows_with_padding(millimetres.astype(f"{order}u2"), padding)
        depth = depth_of_image(encoding, HEIGHT, WIDTH, step, is_bigendian, data)
        assert depth.dtype == np.float32
        assert np.allclose(depth, millimetres / 1000, atol=1e-6)
    metres = (millimetres / 1000).astype(f"{order}f4")
    metres[0, :4] = np.nan, np.inf, -np.inf, -1.0
    step, data = rows_with_padding(metres, padding)
    depth = depth_of_image("32FC1", HEIGHT, WIDTH, step, is_bigendian, data)
    assert depth.dtype == np.float32
    assert (depth[0, :4] == 0).all()
    assert np.allclose(depth[1:], millimetres[1:] / 1000)


def test_what_is_depth() -> None:
    assert is_depth_encoding("16UC1")
    assert is_depth_encoding("32FC1")
    assert not any(map(is_depth_encoding, ("mono16", "mono8", "bgr8", "")))


def encode(suffix: str, pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode(suffix, pixels)
    assert ok
    return bytes(data)


def test_compressed_images() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    gray = gray_of_compressed(encode(".png", pixels))
    assert np.abs(gray.astype(int) - cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)).max() <= 1
    assert gray_of_compressed(np.frombuffer(encode(".jpg", pixels), np.uint8)).shape == (HEIGHT, WIDTH)


def test_an_orientation_is_not_applied() -> None:
    jpeg = encode(".jpg", np.zeros((HEIGHT, WIDTH), np.uint8))
    # EXIF with one entry: orientation 6, a quarter turn
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (WIDTH, HEIGHT)
    assert gray_of_compressed(turned).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("data", [b"", b"no image", encode(".png", np.zeros((9, 9), np.uint8))[:40]])
def test_damaged_compressed_images(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        gray_of_compressed(data)


def test_compressed_depth() -> None:
    millimetres = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 100
    plain = encode(".png", millimetres)
    for format_, data in (("16UC1; png compressed ", plain), ("16UC1; compressedDepth png", bytes(12) + plain)):
        depth = depth_of_compressed(format_, data)
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
    depth = depth_of_compressed("32FC1; compressedDepth", data)
    assert depth[0, 0] == 0
    assert np.allclose(depth.reshape(-1)[1:], metres.reshape(-1)[1:], rtol=0.01)


def test_compressed_depth_that_is_none() -> None:
    with pytest.raises(DataError, match="'16UC1; compressedDepth rvl' cannot be read: only PNG"):
        depth_of_compressed("16UC1; compressedDepth rvl", bytes(12) + b"something")
    with pytest.raises(DataError, match="only PNG"):
        depth_of_compressed("", b"")
    with pytest.raises(DataError, match="not hold one channel of 16 bits"):
        depth_of_compressed("png", encode(".png", np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(DataError, match="cannot be decoded"):
        depth_of_compressed("png", encode(".png", np.zeros((4, 4), np.uint16))[:50])
