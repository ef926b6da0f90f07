from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from neumap.errors import CalibrationError, DataError
from neumap.geometry.cameras import make_camera
from neumap.geometry.intrinsics import lenses_of
from neumap.io.camera_info import calibration_of, find_camera_info, fit_to_image, read_camera_info
from neumap.records import Camera


def test_block_and_flow_style(tmp_path: Path, camera_info: Callable[..., str]) -> None:
    file = tmp_path / "camera_info.yaml"
    for text in (camera_info(), yaml.safe_dump(yaml.safe_load(camera_info()), default_flow_style=None)):
        file.write_text(text)
        camera = read_camera_info(file)
        assert (camera.width, camera.height, camera.distortion_model) == (32, 24, "plumb_bob")
        np.testing.assert_array_equal(camera.matrix, [[30, 0, 15.5], [0, 31, 11.5], [0, 0, 1]])
        np.testing.assert_array_equal(camera.distortion, [0.1, -0.2, 0.001, 0.002, 1e-05])


@pytest.mark.parametrize(
    "key", ["image_width", "image_height", "camera_matrix", "distortion_model", "distortion_coefficients"]
)
def test_missing_keys_are_named(tmp_path: Path, camera_info: Callable[..., str], key: str) -> None:
    file = tmp_path / "camera_info.yaml"
    content = yaml.safe_load(camera_info())
    del content[key]
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(CalibrationError, match=f"camera_info.yaml: the key '{key}' is missing"):
        read_camera_info(file)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_width", "wide", "'image_width' is 'wide'"),
        ("image_width", True, "'image_width' is True"),
        ("image_width", 32.5, "'image_width' is 32.5"),
        ("image_height", float("nan"), "'image_height' is nan"),
        ("image_height", float("inf"), "'image_height' is inf"),
        ("image_height", 0, "image size is 32x0"),
        ("camera_matrix", {"rows": 3}, "'camera_matrix' has no list of numbers 'data'"),
        ("camera_matrix", 5, "'camera_matrix' has no list"),
        ("camera_matrix", {"data": [1, 2, 3]}, "3 values instead of 9"),
        ("camera_matrix", {"data": ["a"] * 9}, "'data' of 'camera_matrix' are not all numbers"),
        ("camera_matrix", {"data": [[1, 2, 3]] * 3}, "'data' of 'camera_matrix' are not all numbers"),
        ("camera_matrix", {"data": [0.0] * 9}, "focal length is zero"),
        ("distortion_model", "magic", "unknown lens model 'magic'"),
        ("distortion_coefficients", {"data": [0.1] * 15}, "takes 14 coefficients"),
        ("distortion_coefficients", {"data": [float("nan")] * 5}, "not finite"),
    ],
)
def test_wrong_values(tmp_path: Path, camera_info: Callable[..., str], key: str, value: object, message: str) -> None:
    file = tmp_path / "camera_info.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(camera_info()) | {key: value}))
    with pytest.raises(CalibrationError, match=f"camera_info.yaml: .*{message}"):
        read_camera_info(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("- 1\n- 2\n", "is not a list of 'key: value'"),
        ("just words", "is not a list of 'key: value'"),
        ("a: [1, 2", "is not plain YAML"),
        ("%YAML:1.0\n---\nK: !!opencv-matrix\n", "is not plain YAML"),
        ("!!python/object/apply:os.system ['true']", "is not plain YAML"),
        ("[" * 5000, "is not plain YAML"),
    ],
)
def test_not_a_calibration(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "camera_info.yaml"
    file.write_text(text)
    with pytest.raises(CalibrationError, match=message):
        read_camera_info(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the calibration .* does not exist"):
        read_camera_info(tmp_path / "none.yaml")


def test_the_nearest_calibration_is_found(
    tmp_path: Path, camera_info: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (tmp_path / "a" / "camera_info.yaml").write_text(camera_info())
    assert find_camera_info(folder, levels=2) == tmp_path.resolve() / "a" / "camera_info.yaml"
    with pytest.raises(CalibrationError, match=r"no camera_info.yaml in .* or its parent folder"):
        find_camera_info(folder)
    (folder.parent / "camera_info.yaml").write_text(camera_info())
    monkeypatch.chdir(folder)
    assert find_camera_info(Path()) == folder.parent.resolve() / "camera_info.yaml"


def test_fit_to_image(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    camera = make_camera(64, 48, [60, 0, 31.5, 0, 60, 23.5, 0, 0, 1])
    half, notes = fit_to_image(camera, write_image(tmp_path / "half.png", 32, 24))
    assert (half.width, half.height) == (32, 24)
    assert half.matrix[0, 0] == 30
    assert "scaled" in notes[0]
    assert fit_to_image(camera, write_image(tmp_path / "same.png", 64, 48)) == (camera, ())
    with pytest.raises(CalibrationError, match=r"other\.png: the image is 48x64"):
        fit_to_image(camera, write_image(tmp_path / "other.png", 48, 64))


def info(**changes: Any) -> Any:
    """A sensor_msgs/CameraInfo, as far as its fields go."""
    values = {
        "header": None,
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": [0.1, 0.0, 0.0, 0.0, 0.0],
        "k": [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0],
        "p": [400.0, 0.0, 310.0, 0.0, 0.0, 410.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": region(),
    }
    return SimpleNamespace(**values | changes)


def region(**changes: int) -> Any:
    return SimpleNamespace(**{"x_offset": 0, "y_offset": 0, "width": 0, "height": 0} | changes)


def camera_of(message: Any, rectified: bool = False) -> Camera:
    (lens,) = lenses_of(calibration_of(message), rectified=rectified)
    return lens.camera


def test_a_message() -> None:
    camera = camera_of(info())
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_array_equal(camera.matrix, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_array_equal(camera.distortion, [0.1, 0, 0, 0, 0])
    with pytest.raises(CalibrationError, match="not calibrated"):
        camera_of(info(k=[0.0] * 9))


def test_a_message_of_rectified_images() -> None:
    camera = camera_of(info(), rectified=True)
    np.testing.assert_array_equal(camera.matrix, [[400, 0, 310], [0, 410, 230], [0, 0, 1]])
    assert not camera.distortion.any()
    # without distortion or P they are what they were
    assert camera_of(info(d=[]), rectified=True).matrix[0, 0] == 400
    assert camera_of(info(d=[], p=[0.0] * 12), rectified=True).matrix[0, 0] == 500
    with pytest.raises(CalibrationError, match="the calibration has no P"):
        camera_of(info(p=[0.0] * 12), rectified=True)


def test_a_message_of_a_part_of_the_sensor() -> None:
    camera = camera_of(info(roi=region(x_offset=100, y_offset=40, width=320, height=240)))
    assert (camera.width, camera.height) == (320, 240)
    np.testing.assert_array_equal(camera.matrix, [[500, 0, 220], [0, 510, 200], [0, 0, 1]])


@pytest.mark.parametrize(
    "change",
    [
        {"width": 320},
        {"height": 240},
        {"distortion_model": "equidistant"},
        {"d": [0.1, 0.1]},
        {"k": [501.0, *([0.0] * 8)]},
        {"p": [401.0, *([0.0] * 11)]},
        {"binning_x": 2},
        {"roi": region(width=320, height=240)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_another_calibration(change: dict[str, Any]) -> None:
    """Not the header nor what holds the numbers; and a single number of an array does."""
    said = calibration_of(info())
    assert said == calibration_of(info(header="later", d=np.array(info().d), k=tuple(info().k)))
    assert len({said, calibration_of(info(**change))}) == 2
