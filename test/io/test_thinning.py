from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neumap.errors import DataError
from neumap.geometry.se3 import kept_by_motion, make_pose, rotation_exp
from neumap.io.sources import thin
from neumap.io.tum import read_tum
from neumap.records import Mount


def poses(x: list[float], yaw_deg: list[float] | None = None) -> np.ndarray:
    turns = np.zeros((len(x), 3))
    turns[:, 2] = 0.0 if yaw_deg is None else np.radians(yaw_deg)
    return make_pose(rotation_exp(turns), np.stack([x, np.zeros(len(x)), np.zeros(len(x))], axis=1))


def test_distance_counts_from_the_last_that_was_kept() -> None:
    some = poses([0.0, 0.06, 0.12, 0.15, 0.2, 0.24, 0.2, 0.0])
    assert kept_by_motion(some, 0.1, None) == [0, 2, 5, 7]


def test_turning_either_way() -> None:
    some = poses([0.0] * 6, [0.0, 4.0, 5.01, 1.0, -0.1, 179.0])
    assert kept_by_motion(some, None, 5.0) == [0, 2, 4, 5]


def test_either_is_enough() -> None:
    some = poses([0.0, 0.0, 0.2, 0.21, 0.22], [0.0, 10.0, 10.0, 11.0, 20.0])
    assert kept_by_motion(some, 0.1, 5.0) == [0, 1, 2, 4]
    assert kept_by_motion(some, 0.1, None) == [0, 2]
    assert kept_by_motion(some, None, 5.0) == [0, 1, 4]


def test_standing_still() -> None:
    assert kept_by_motion(poses([1.0] * 5, [30.0] * 5), 0.01, 0.1) == [0]
    assert kept_by_motion(np.zeros((0, 4, 4)), 0.1, 1.0) == []


def test_a_source(make_tum: Callable[..., Path]) -> None:
    # at 1 m/s along x
    source = read_tum(make_tum([1.0, 1.1, 1.2, 1.3, 1.4]))
    assert thin(source) is source
    thinned = thin(source, every_m=0.15)
    assert [frame.stamp_ns for frame in thinned.frames] == [1_000_000_000, 1_200_000_000, 1_400_000_000]
    assert thinned.notes[-1] == "3 of 5 frames moved 0.15 m since the one before: the others are left out"
    assert "moved 0.15 m or turned 5 deg" in thin(source, 0.15, 5.0).notes[-1]
    with pytest.raises(DataError, match=r"only 1 of 5 frames turned 5 deg .*ask for less motion"):
        thin(source, every_deg=5.0)


@pytest.mark.parametrize("named", [True, False])
def test_each_camera_by_its_own_motion(make_tum: Callable[..., Path], named: bool) -> None:
    """The way from one camera to the other is no motion of the robot."""
    source = read_tum(make_tum([1.0, 1.1, 1.2, 1.3, 1.4]))
    behind, both = poses([-0.5], [180.0])[0], []
    for frame in source.frames:
        mounts = [Mount(frame.stamp_ns, 0), Mount(frame.stamp_ns, 1, behind)]
        for name, mount in zip(("front", "rear"), mounts, strict=True):
            pose = frame.map_from_camera @ mount.rig_from_camera
            known = {"frame_id": name} if named else {"mount": mount}
            both.append(replace(frame, name=f"{name} {frame.name}", map_from_camera=pose, **known))
    thinned = thin(replace(source, frames=tuple(both)), every_m=0.15)
    assert [frame.name for frame in thinned.frames] == [both[i].name for i in (0, 1, 4, 5, 8, 9)]


def test_frames_without_poses(make_tum: Callable[..., Path]) -> None:
    source = read_tum(make_tum(), poses=False)
    with pytest.raises(DataError, match="without poses cannot be thinned"):
        thin(source, every_m=0.1)
    with pytest.raises(DataError, match="only 0 of 0 frames"):
        thin(replace(source, frames=()), every_m=0.1)
