from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neumap.errors import CalibrationError, DataError
from neumap.io.sources import read_images

SECOND = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path, camera_info: Callable[..., str]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "camera_info.yaml").write_text(camera_info())
    return folder


def test_names_that_are_stamps(folder: Path, write_image: Callable[..., Path]) -> None:
    for name in ("10.5.png", "9.JPG", ".hidden.png"):
        write_image(folder / name)
    source = read_images(folder)
    assert source.notes == ()
    assert [(f.name, f.stamp_ns) for f in source.frames] == [("9.JPG", 9 * SECOND), ("10.5.png", 10_500_000_000)]
    assert source.frames[0].read_image().shape == (24, 32)
    assert source.frames[0].map_from_camera is None
    assert not source.has_depth


def test_names_that_are_not(folder: Path, write_image: Callable[..., Path]) -> None:
    for name in ("b.png", "a.png"):
        write_image(folder / name)
    source = read_images(folder)
    assert [(f.name, f.stamp_ns) for f in source.frames] == [("a.png", 0), ("b.png", SECOND)]
    assert "0 s, 1 s" in source.notes[0]


def test_a_single_image_finds_the_calibration_of_its_recording(folder: Path, write_image: Callable[..., Path]) -> None:
    source = read_images(write_image(folder / "query" / "rgb" / "5.png"))
    assert [(f.name, f.stamp_ns) for f in source.frames] == [("5.png", 5 * SECOND)]


def test_errors(folder: Path, write_image: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="holds no image"):
        read_images(folder)
    with pytest.raises(DataError, match="does not exist"):
        read_images(folder / "none.png")
    (folder / "bad.png").write_text("")
    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        read_images(folder)
    write_image(folder / "bad.png", 24, 32)
    with pytest.raises(CalibrationError, match=r"bad\.png: the image is 24x32"):
        read_images(folder)
    (folder / "camera_info.yaml").unlink()
    with pytest.raises(CalibrationError, match="or the 2 folders above it"):
        read_images(folder)
