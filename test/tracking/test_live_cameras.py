"""Whose image is looked at, and how often."""

from __future__ import annotations

import numpy as np

from neumap.geometry.intrinsics import Calibration
from neumap.tracking.cameras import Cameras
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Look, Track

SECOND = 10**9
NAMES = ("front", "left", "rear", "right")


def cameras(*offsets: float) -> Cameras:
    """Four, which start at one second."""
    return Cameras(Settings(camera_names=NAMES, image_time_offset=offsets or (0.0,)), {}, SECOND)


def see(all_: Cameras, name: str, stamp_ns: int) -> bool:
    return all_[name].see(stamp_ns, name, lambda: np.zeros((9, 9), np.uint8), None, stamp_ns)


def test_the_one_that_was_looked_at_longest_ago_is_next() -> None:
    all_ = cameras()
    assert all_.next() is None
    for i, name in enumerate(("rear", "left", "front")):
        assert not see(all_, name, 2 * SECOND + i)
        all_[name].taken_ns = SECOND - i
    assert see(all_, "left", 3 * SECOND)
    order = []
    while (camera := all_.next()) is not None:
        order.append((camera.name, camera.take().stamp_ns))
    assert order == [("front", 2 * SECOND + 2), ("left", 3 * SECOND), ("rear", 2 * SECOND)]


def test_an_image_that_waits_for_its_calibration_holds_up_no_other() -> None:
    all_ = cameras()
    rear = all_["rear"]
    calibration = Calibration(9, 9, (9.0, 0.0, 4.0, 0.0, 9.0, 4.0, 0.0, 0.0, 1.0))
    rear.calibrate(SECOND, calibration)
    see(all_, "rear", SECOND)
    rear.shot(rear.take(), Settings())
    rear.taken_ns = SECOND
    for name in ("rear", "right"):
        see(all_, name, 2 * SECOND)
        all_[name].taken_ns = SECOND if name == "rear" else 2 * SECOND - 1
    camera = all_.next()
    assert camera is not None
    assert camera.name == "right"
    rear.calibrate(2 * SECOND, calibration)
    assert all_.next() is rear


def test_stamps_are_corrected_by_camera_and_calibrations_are_not() -> None:
    all_ = cameras(0.0, -0.05, 0.0, 0.1)
    for name in ("left", "right"):
        see(all_, name, 2 * SECOND)
    taken = {name: all_[name].take() for name in ("left", "right")}
    assert [image.stamp_ns for image in taken.values()] == [1_950_000_000, 2_100_000_000]
    assert {image.header_ns for image in taken.values()} == {2 * SECOND}


def test_cameras_that_see_nothing_have_one_share_together() -> None:
    all_, now_ns = cameras(), 5 * SECOND
    for name in NAMES:
        see(all_, name, now_ns)

    def shares(*seeing: str) -> list[int]:
        track = Track(looks={name: Look(now_ns, name in seeing) for name in NAMES})
        return [all_.sharing(all_[name], now_ns, track, 1.0) for name in NAMES]

    assert shares() == [4, 4, 4, 4]
    assert shares(*NAMES) == [4, 4, 4, 4]
    assert shares("front") == [2, 6, 6, 6]
    assert shares("front", "rear") == [3, 6, 3, 6]
    # who is silent has none
    see(all_, "front", 7 * SECOND)
    assert all_.sharing(all_["front"], 7 * SECOND, Track(), 1.0) == 1
    health = {each.name: each.silent for each in all_.health(7 * SECOND, 1.0)}
    assert health == {"front": False, "left": True, "rear": True, "right": True}
