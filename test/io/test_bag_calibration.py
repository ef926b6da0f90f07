"""Which calibration the images of a bag have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_bags import (
    COLOR,
    HEIGHT,
    INFO,
    MS,
    OPTICAL,
    START,
    WIDTH,
    camera_info,
    drive,
)

from neumap.errors import CalibrationError, ConfigError, DataError
from neumap.records import Source

Open = Callable[..., Source]


def test_the_calibration_beside_the_images(opened: Open) -> None:
    bag = drive(is_compressed=True)
    other = camera_info(frame=OPTICAL, k=np.array([99.0, 0, 15.5, 0, 99.0, 11.5, 0, 0, 1]))
    bag.add("/other/camera_info", other)
    assert opened(bag).frames[0].camera.matrix[0, 0] == 30.0
    assert opened(bag, camera_info_topic="/other/camera_info").frames[0].camera.matrix[0, 0] == 99.0
    bag.replace(INFO, lambda i, m: None)
    assert opened(bag).frames[0].camera.matrix[0, 0] == 99.0
    bag.add("/third/camera_info", camera_info(frame="third"))
    assert opened(bag).frames[0].camera.matrix[0, 0] == 99.0
    bag.add("/fourth/camera_info", other)
    with pytest.raises(ConfigError, match=r"several topics hold calibrations: /fourth/.*, /other/.*--camera-info"):
        opened(bag)
    bag.drop("/other/camera_info", "/fourth/camera_info")
    assert any("their calibration on /third/camera_info is of 'third'" in note for note in opened(bag).notes)
    bag.drop("/third/camera_info")
    with pytest.raises(DataError, match=r"no sensor_msgs/CameraInfo for /camera/color/image_raw/compressed: its"):
        opened(bag)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": np.zeros(9)}, "not calibrated"),
        ({"k": np.full(9, np.nan)}, "not finite"),
        ({"distortion_model": "fov"}, "unknown lens model 'fov'"),
        ({"width": 64}, "another shape"),
        ({"width": 0}, "image size is 0x24"),
    ],
)
def test_calibrations_that_are_none(opened: Open, changes: dict[str, Any], text: str) -> None:
    bag = drive()
    bag.replace(INFO, lambda i, m: camera_info(START + 100 * i * MS, **changes))
    with pytest.raises(CalibrationError, match=f"the calibration of {COLOR}: .*{text}"):
        opened(bag)


def test_a_calibration_that_changes(opened: Open) -> None:
    """As that of a camera with autofocus does; one that is none is left out with its image."""
    bag = drive()
    zoomed = np.array([60.0, 0, 15.5, 0, 62.0, 11.5, 0, 0, 1])
    ks = {7: {"k": zoomed}, 8: {"k": np.zeros(9)}}
    bag.replace(INFO, lambda i, m: camera_info(START + 100 * i * MS, **ks.get(i, {})))
    source = opened(bag)
    focal = {frame.stamp_ns: frame.camera.matrix[0, 0] for frame in source.frames}
    expected = {START + 100 * i * MS: 60.0 if i == 7 else 30.0 for i in range(10) if i != 8}
    assert focal == expected
    (told,) = source.left_out
    assert told.startswith("1 of 10 images have no usable calibration: left out: the calibration's focal length is ")
    assert told in source.notes


def test_images_binned_or_cut(opened: Open) -> None:
    bag = drive()
    bag.replace(INFO, lambda i, m: camera_info(START, width=2 * WIDTH, height=2 * HEIGHT, binning_x=2, binning_y=2))
    source = opened(bag)
    assert source.frames[0].camera.matrix[0, 0] == 15.0
    assert source.frames[0].lenses[0].about == ("binned 2x2",)

    region = camera_info().roi.__class__(x_offset=10, y_offset=4, height=HEIGHT, width=WIDTH, do_rectify=False)
    bag.replace(INFO, lambda i, m: camera_info(START, width=100, height=60, roi=region))
    camera = opened(bag).frames[0].camera
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    assert camera.matrix.tolist() == [[30.0, 0, 5.5], [0, 31.0, 7.5], [0, 0, 1]]


def test_rectified_images_have_another_calibration(opened: Open) -> None:
    bag = drive()
    bag.messages = [(t, "/camera/color/image_rect" if n == COLOR else n, k, m) for t, n, k, m in bag.messages]
    camera = opened(bag).frames[0].camera
    assert camera.matrix.tolist() == [[28.0, 0, 15.0], [0, 29.0, 11.0], [0, 0, 1]]
    assert not camera.distortion.any()
    bag.replace(INFO, lambda i, m: camera_info(START, p=np.zeros(12)))
    with pytest.raises(CalibrationError, match="the calibration has no P"):
        opened(bag)
