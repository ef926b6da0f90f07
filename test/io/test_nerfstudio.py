from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neumap.errors import CalibrationError, ConfigError, DataError
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.io.camera_info import Told
from neumap.io.nerfstudio import NOTE
from neumap.io.sources import open_source

INTRINSICS = {"fl_x": 30.0, "fl_y": 31.0, "cx": 16.0, "cy": 12.0, "w": 32, "h": 24, "k1": 0.1, "p2": 0.02}
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def pose(index: int) -> np.ndarray:
    return make_pose(rotation_exp(np.array([0.1, 0.2, 0.3]) * index), np.array([index, 2.0, 3.0]))


@pytest.fixture
def make(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., Path]:
    def write(intrinsics: dict[str, Any] = INTRINSICS, suffix: str = ".png", **changes: Any) -> Path:
        frames = []
        for index in range(3):
            write_image(tmp_path / f"images/frame {index}.png")
            matrix = (pose(index) @ FLIP).round(7).tolist()
            frames.append({"file_path": f"./images/frame {index}{suffix}", "transform_matrix": matrix} | changes)
        (tmp_path / "transforms.json").write_text(json.dumps({**intrinsics, "frames": frames}))
        return tmp_path

    return write


@pytest.mark.parametrize("suffix", [".png", ""])
def test_frames(make: Callable[..., Path], suffix: str) -> None:
    source = open_source(make(suffix=suffix), poses=True)
    assert source.description.startswith("nerfstudio folder")
    assert source.notes[0] == NOTE
    for index, frame in enumerate(source.frames):
        assert frame.map_from_camera is not None
        np.testing.assert_allclose(frame.map_from_camera, pose(index), atol=1e-6)
        np.testing.assert_allclose(frame.camera.matrix, [[30, 0, 15.5], [0, 31, 11.5], [0, 0, 1]])
        np.testing.assert_allclose(frame.camera.distortion, [0.1, 0, 0, 0.02, 0])
        assert frame.read_image().shape == (24, 32)
    assert [frame.map_from_camera for frame in open_source(make(), poses=False).frames] == [None] * 3


def test_what_is_told_of_the_images(make: Callable[..., Path]) -> None:
    mask = np.ones((24, 32), bool)
    mask[12:] = False
    source = open_source(make(), poses=True, told=Told(mask=mask))
    assert all(frame.camera.mask is mask for frame in source.frames)
    with pytest.raises(ConfigError, match=r"transforms\.json defines whether its images are rectified"):
        open_source(make(), poses=True, told=Told(rectified=True))


def test_mirrored_poses_are_refused(make: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="no rigid transform: export it without scaling"):
        open_source(make(transform_matrix=np.diag([1.0, 1.0, -1.0, 1.0]).tolist()), poses=True)


def test_cameras_of_their_own_and_by_their_angle(make: Callable[..., Path]) -> None:
    source = open_source(
        make({"camera_angle_x": 2 * np.arctan(0.5)}, camera_model="OPENCV_FISHEYE", k4=0.5), poses=True
    )
    camera = source.frames[0].camera
    np.testing.assert_allclose(camera.matrix, [[32, 0, 15.5], [0, 32, 11.5], [0, 0, 1]])
    assert (camera.distortion_model, camera.distortion.tolist()) == ("equidistant", [0, 0, 0, 0.5])


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"transform_matrix": (2 * np.eye(4)).tolist()}, DataError, "is no rigid transform: export it without scaling"),
        ({"transform_matrix": [[1, 2], [3, 4]]}, DataError, "is no matrix of 4 x 4 numbers"),
        ({"file_path": "images/none.png"}, DataError, "3 of the 3 images that .*transforms.json lists are missing"),
        ({"camera_model": "EQUIRECTANGULAR"}, CalibrationError, "camera model EQUIRECTANGULAR has no ROS counterpart"),
        ({"fl_x": "wide"}, CalibrationError, r"no focal length \(fl_x or camera_angle_x\), or a value that is no"),
    ],
)
def test_what_is_wrong_is_said(
    make: Callable[..., Path], changes: dict[str, Any], error: type[DataError], said: str
) -> None:
    with pytest.raises(error, match=said):
        open_source(make(**changes), poses=True)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"frames": 3}', '{"frames": [{}]}'])
def test_files_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(DataError, match="holds no list of frames with file_path as nerfstudio writes it"):
        open_source(tmp_path, poses=True)
