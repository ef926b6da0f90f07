"""Small recordings written to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from neumap.records import Source

CAMERA_INFO = """\
image_width: {width}
image_height: {height}
camera_name: test
camera_matrix:
  rows: 3
  cols: 3
  data: [30.0, 0.0, 15.5, 0.0, 31.0, 11.5, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 1e-05]}}
"""


@pytest.fixture
def camera_info() -> Callable[..., str]:
    def text(width: int = 32, height: int = 24) -> str:
        return CAMERA_INFO.format(width=width, height=height)

    return text


@pytest.fixture
def write_image() -> Callable[..., Path]:
    def write(path: Path, width: int = 32, height: int = 24, value: int = 100) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((height, width), value, np.uint8))
        return path

    return write


@pytest.fixture
def make_tum(tmp_path: Path, camera_info: Callable[..., str], write_image: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a TUM folder: an image at each stamp, depth 10 ms later, and the camera moving along x at 1 m/s."""

    def make(
        stamps: Sequence[float] = (1.0, 1.1, 1.2),
        *,
        pose_stamps: Sequence[float] | None = None,
        depth_offset: float = 0.01,
        name: str = "mapping",
    ) -> Path:
        folder = tmp_path / name
        (folder / "depth").mkdir(parents=True)
        rgb, depth = ["# color images"], []
        for stamp in stamps:
            write_image(folder / f"rgb/{stamp:.6f}.png")
            rgb.append(f"{stamp:.6f} rgb/{stamp:.6f}.png")
            cv2.imwrite(str(folder / f"depth/{stamp:.6f}.png"), np.full((24, 32), 10000, np.uint16))
            depth.append(f"{stamp + depth_offset:.6f} depth/{stamp:.6f}.png")
        poses = [f"{t:.6f} {t:.6f} 0 0 0 0 0 1" for t in (stamps if pose_stamps is None else pose_stamps)]
        for file, lines in (("rgb.txt", rgb), ("depth.txt", depth), ("groundtruth.txt", poses)):
            (folder / file).write_text("\n".join(lines) + "\n")
        (folder / "camera_info.yaml").write_text(camera_info())
        return folder

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Source]:
    """Writes a bag of small_bags and opens it; keywords are options of the bag."""
    from neumap.io.bags.source import open_bag
    from neumap.io.bags.topics import BagOptions

    count = 0

    def run(bag: Any, poses: bool = True, depth: bool = True, **options: str) -> Source:
        nonlocal count
        count += 1
        return open_bag(bag.write(tmp_path / f"bag{count}"), poses=poses, depth=depth, options=BagOptions(**options))

    return run
