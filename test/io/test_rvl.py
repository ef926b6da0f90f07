from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from neumap.errors import DataError
from neumap.io.image_messages import depth_of


def encode(depth: np.ndarray) -> bytes:
    """As the paper's EncodeVLE and CompressRVL do it, number by number."""
    nibbles: list[int] = []

    def put(value: int) -> None:
        while True:
            nibble, value = value & 7, value >> 3
            nibbles.append(nibble | (8 if value else 0))
            if not value:
                return

    pixels, at, previous = depth.reshape(-1).tolist(), 0, 0
    while at < len(pixels):
        start = at
        while at < len(pixels) and not pixels[at]:
            at += 1
        put(at - start)
        start = at
        while at < len(pixels) and pixels[at]:
            at += 1
        put(at - start)
        for value in pixels[start:at]:
            delta = value - previous
            put(2 * delta if delta >= 0 else -2 * delta - 1)
            previous = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{n:x}" for n in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)]
    height, width = depth.shape
    return struct.pack("<ii", width, height) + struct.pack(f"<{len(words)}I", *words)


def message(depth: np.ndarray, encoding: str = "16UC1", a: float = 0.0, b: float = 0.0) -> SimpleNamespace:
    data = struct.pack("<iff", 0, a, b) + encode(depth)
    return SimpleNamespace(format=f"{encoding}; compressedDepth rvl", data=data)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    wall = (1000 + 3 * x + 7 * y).astype(np.uint16)
    holes = np.where(rng.random(wall.shape) < 0.3, 0, wall).astype(np.uint16)
    noise = rng.integers(0, 65536, wall.shape).astype(np.uint16)
    return [wall, holes, noise, np.zeros_like(wall), np.full((1, 1), 65535, np.uint16)]


@pytest.mark.parametrize("depth", pictures(), ids=["wall", "holes", "noise", "nothing", "pixel"])
def test_millimetres(depth: np.ndarray) -> None:
    np.testing.assert_allclose(depth_of(message(depth)), depth * np.float32(1e-3), rtol=1e-6)


def test_inverse_depth() -> None:
    metres = np.array([[1.0, 2.0, 4.0, 0.0]])
    a, b = 1000.0, 50.0
    coded = np.where(metres > 0, a / np.maximum(metres, 1e-9) + b, 0).round().astype(np.uint16)
    np.testing.assert_allclose(depth_of(message(coded, "32FC1", a, b)), metres, rtol=1e-6)


def test_damaged() -> None:
    whole = message(pictures()[1])
    for size in (0, 5, 12, 16, 20, 40, len(whole.data) // 2, len(whole.data) - 8):
        with pytest.raises(DataError, match="cannot be decoded as RVL: it is damaged"):
            depth_of(SimpleNamespace(format=whole.format, data=whole.data[:size]))
    rng = np.random.default_rng(1)
    for _ in range(50):
        noise = struct.pack("<iffii", 0, 0, 0, 64, 48) + rng.integers(0, 256, 400, dtype=np.uint8).tobytes()
        with pytest.raises(DataError, match="RVL"):
            depth_of(SimpleNamespace(format=whole.format, data=noise))
