from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from neumap.errors import DataError
from neumap.io.images import read_depth, read_gray


def test_gray(tmp_path: Path) -> None:
    file = tmp_path / "bild ä.png"
    file.write_bytes(cv2.imencode(".png", np.full((3, 4, 3), (10, 20, 200), np.uint8))[1].tobytes())
    image = read_gray(file)
    assert (image.shape, image.dtype) == ((3, 4), np.uint8)


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((8, 16), np.uint8))[1].tobytes()
    # a TIFF block with the single tag 0x0112 (orientation), 6: rotate by 90 degrees
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    file = tmp_path / "rotated.jpg"
    file.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    assert cv2.imread(str(file)).shape == (16, 8, 3)
    assert read_gray(file).shape == (8, 16)


@pytest.mark.parametrize("read", [read_gray, read_depth])
def test_unreadable(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        read(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)
    for content in (b"", b"not an image"):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
            read(tmp_path / "bad.png")


def test_depth(tmp_path: Path) -> None:
    file = tmp_path / "depth.png"
    cv2.imwrite(str(file), np.array([[0, 5000], [65535, 1]], np.uint16))
    depth = read_depth(file)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[0, 1], [13.107, 0.0002]], rtol=1e-6)
    np.testing.assert_allclose(read_depth(file, 1000.0)[0, 1], 5)


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint16)])
def test_not_depth(tmp_path: Path, array: np.ndarray) -> None:
    file = tmp_path / "depth.png"
    cv2.imwrite(str(file), array)
    with pytest.raises(DataError, match=r"depth\.png has . channel\(s\) of uint"):
        read_depth(file)


def test_another_size(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), np.zeros((3, 4), np.uint16))
    assert read_gray(file, (4, 3)).shape == read_depth(file, size=(4, 3)).shape == (3, 4)
    with pytest.raises(DataError, match=r"a\.png is 4x3, the others of its camera are 8x6"):
        read_gray(file, (8, 6))
    with pytest.raises(DataError, match=r"a\.png is 4x3"):
        read_depth(file, size=(3, 4))


def test_readers_can_go_to_another_process(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((3, 4), np.uint8))
    reader = pickle.loads(pickle.dumps(partial(read_gray, tmp_path / "a.png", (4, 3))))
    assert reader().shape == (3, 4)
