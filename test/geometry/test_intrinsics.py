"""What cameras a calibration may mean, for images of a size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neumap.errors import CalibrationError
from neumap.geometry.cameras import masked, normalize
from neumap.geometry.intrinsics import (
    FISHEYE,
    PINHOLE,
    RAW,
    RECTIFIED,
    UNDISTORTED,
    Calibration,
    Calibrations,
    lenses_of,
)

K = (500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0)
P = (400.0, 0.0, 310.0, 0.0, 0.0, 410.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0)
D = (0.1, -0.02, 0.0, 0.0, 0.0)
PLAIN = Calibration(640, 480, K)
BENT = replace(PLAIN, d=D, p=P)


def matrix(calibration: Calibration, size: tuple[int, int]) -> list[list[float]]:
    (lens,) = lenses_of(calibration, size)
    assert (lens.camera.width, lens.camera.height) == size
    return [[round(value, 6) for value in row] for row in lens.camera.matrix[:2].tolist()]


@pytest.mark.parametrize(
    ("region", "binning", "size", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (640, 480), [[500, 0, 320], [0, 510, 240]]),
        ((0, 0, 640, 480), (1, 1), (640, 480), [[500, 0, 320], [0, 510, 240]]),
        ((160, 120, 320, 240), (0, 0), (320, 240), [[500, 0, 160], [0, 510, 120]]),
        ((100, 40, 200, 300), (0, 0), (200, 300), [[500, 0, 220], [0, 510, 200]]),
        # the middle of the first two pixels is at 0.5
        ((0, 0, 0, 0), (2, 2), (320, 240), [[250, 0, 159.75], [0, 255, 119.75]]),
        ((0, 0, 0, 0), (2, 1), (320, 480), [[250, 0, 159.75], [0, 510, 240]]),
        ((0, 0, 0, 0), (1, 2), (640, 240), [[500, 0, 320], [0, 255, 119.75]]),
        ((161, 121, 321, 241), (2, 2), (160, 120), [[250, 0, 79.25], [0, 255, 59.25]]),
        # drivers that do not do what they say
        ((160, 120, 320, 240), (0, 0), (640, 480), [[500, 0, 320], [0, 510, 240]]),
        ((160, 120, 320, 240), (2, 2), (320, 240), [[250, 0, 159.75], [0, 255, 119.75]]),
        ((0, 0, 0, 0), (2, 1), (640, 480), [[500, 0, 320], [0, 510, 240]]),
        ((400, 120, 320, 240), (0, 0), (640, 480), [[500, 0, 320], [0, 510, 240]]),
        # the rest of the sensor
        ((160, 120, 0, 0), (0, 0), (480, 360), [[500, 0, 160], [0, 510, 120]]),
        # resized as well
        ((160, 120, 320, 240), (0, 0), (160, 120), [[250, 0, 79.75], [0, 255, 59.75]]),
    ],
)
def test_region_binning_and_size(
    region: tuple[int, int, int, int], binning: tuple[int, int], size: tuple[int, int], expected: list[list[float]]
) -> None:
    calibration = replace(PLAIN, region=region, binning=binning)
    assert matrix(calibration, size) == expected
    # of P the very same
    (lens,) = lenses_of(
        replace(BENT, p=(*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0), region=region, binning=binning), size, True
    )
    np.testing.assert_allclose(lens.camera.matrix[:2], expected)


@pytest.mark.parametrize("size", [(400, 400), (640, 400), (240, 320)])
def test_images_of_another_shape(size: tuple[int, int]) -> None:
    with pytest.raises(CalibrationError, match=f"the image is {size[0]}x{size[1]}, the calibration is for 320x240"):
        lenses_of(replace(PLAIN, region=(160, 120, 320, 240)), size)


@pytest.mark.parametrize(
    ("changes", "rectified", "origins"),
    [
        ({}, None, [RAW, RECTIFIED, UNDISTORTED]),
        ({}, False, [RAW]),
        ({}, True, [RECTIFIED]),
        ({"p": ()}, None, [RAW, UNDISTORTED]),
        ({"p": (0.0,) * 12}, None, [RAW, UNDISTORTED]),
        ({"p": (float("nan"),) * 12}, None, [RAW, UNDISTORTED]),
        ({"d": ()}, None, [PINHOLE, RECTIFIED]),
        ({"d": (0.0,) * 5, "p": ()}, None, [PINHOLE]),
        ({"d": (), "p": ()}, True, [PINHOLE]),
        ({"d": (0.0,) * 4, "p": (), "distortion_model": "equidistant"}, None, [PINHOLE, FISHEYE]),
        ({"d": (0.0,) * 4, "p": (), "distortion_model": "fisheye"}, False, [PINHOLE, FISHEYE]),
        ({"d": (0.0,) * 6, "p": (), "distortion_model": "ocam"}, None, [PINHOLE]),
        ({"distortion_model": "ocam"}, True, [RECTIFIED]),
        ({"k": (0.0,) * 9}, True, [RECTIFIED]),
    ],
)
def test_what_is_open(changes: dict[str, object], rectified: bool | None, origins: list[str]) -> None:
    lenses = lenses_of(replace(BENT, **changes), rectified=rectified)  # type: ignore[arg-type]
    assert [lens.origin for lens in lenses] == origins


@pytest.mark.parametrize(
    ("changes", "rectified", "message"),
    [
        ({"k": (0.0,) * 9}, None, "not calibrated"),
        ({"distortion_model": "ocam"}, None, "unknown lens model 'ocam'"),
        ({"p": (0.0,) * 12}, True, "the calibration has no P"),
        ({"width": 0}, None, "image size is 0x480"),
    ],
)
def test_what_is_refused(changes: dict[str, object], rectified: bool | None, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        lenses_of(replace(BENT, **changes), rectified=rectified)  # type: ignore[arg-type]


def test_a_mask_hides_pixels() -> None:
    mask = np.ones((240, 320), dtype=bool)
    mask[:, 160:] = False
    camera = lenses_of(PLAIN, None, None, mask)[0].camera
    rays = normalize(camera, np.array([[0.0, 0.0], [319.4, 100.0], [319.6, 100.0], [639.4, 479.4]]))
    assert np.isfinite(rays).all(axis=1).tolist() == [True, True, False, False]
    with pytest.raises(CalibrationError, match="the mask is 200x200, the images are 640x480, another shape"):
        masked(camera, np.ones((200, 200), dtype=bool))


# --- calibrations that change -----------------------------------------------------------------------------------------

NEAR, FAR = PLAIN, replace(PLAIN, k=(510.0, *K[1:]))


def test_each_image_has_its_own() -> None:
    known = Calibrations()
    assert known.at(5) is None
    for stamp, calibration in ((10, NEAR), (30, FAR), (20, NEAR), (40, NEAR)):
        known.add(stamp, calibration)
    assert [known.at(stamp) for stamp in (5, 10, 20, 25, 30, 39, 40, 50)] == [
        NEAR, NEAR, NEAR, NEAR, FAR, FAR, NEAR, NEAR
    ]  # fmt: skip


def test_one_without_stamps_is_that_of_all_images() -> None:
    known = Calibrations()
    known.add(0, NEAR)
    assert known.at(10**18) == NEAR
    assert not known.awaits(10**18)


def test_those_that_change_are_awaited() -> None:
    known = Calibrations(most=100)
    assert not known.awaits(10)
    known.add(10, NEAR)
    assert not known.awaits(11)  # whether they have the stamps of images is not known yet
    assert known.at(10) == NEAR
    assert known.awaits(20)
    known.add(20, FAR)
    assert not known.awaits(20)
    assert known.at(20) == FAR
    # one was lost, and the next is here: images do not wait for ever
    known.add(40, NEAR)
    assert not known.awaits(30)
    assert known.at(30) == FAR
    assert not known.awaits(41)


def test_none_is_awaited_for_longer_than_an_image() -> None:
    known = Calibrations(most=100)
    for stamp, calibration in ((10, NEAR), (20, FAR)):
        known.add(stamp, calibration)
    assert known.at(20) == FAR
    assert known.awaits(30)
    assert known.awaits(30)
    assert not known.awaits(40)
    assert known.at(40) == FAR
    assert not known.awaits(50)


def test_those_that_stay_the_same_are_not_awaited() -> None:
    known = Calibrations(most=100)
    for stamp in range(10, 110, 10):
        known.add(stamp, replace(NEAR))
        assert known.at(stamp) == NEAR
    assert not known.awaits(110)


def test_after_time_jumped_back_the_last_one_holds() -> None:
    known = Calibrations()
    known.time_jumped_back()
    assert known.at(5) is None
    known.add(100, NEAR)
    known.add(200, FAR)
    known.time_jumped_back()
    assert known.at(50) == FAR
    known.add(60, NEAR)
    assert known.at(70) == NEAR
