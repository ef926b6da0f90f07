"""What is published of what is believed, without images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.replay.clock import VirtualClock
from neumap.replay.recorder import Recorder
from neumap.tracking.announcer import Announcer
from neumap.tracking.fix import Fix
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import State, Track
from neumap.tracking.transforms import TransformBuffer

SECOND = 1_000_000_000
GOOD = np.diag([0.01**2] * 3 + [0.005**2] * 3)


def pose(x: float, yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> FloatArray:
    turn = rotation_exp(np.deg2rad([0.0, 0.0, yaw_deg])) @ rotation_exp(np.deg2rad([0.0, pitch_deg, 0.0]))
    return make_pose(turn, np.array([x, 0.0, 0.0]))


class Bench:
    """An announcer, what it published, and a robot that stands at the origin of odom."""

    def __init__(self, **parameters: Any) -> None:
        self.clock = VirtualClock(1000 * SECOND)
        self.out = Recorder(self.clock)
        self.transforms = TransformBuffer(self.clock, "base_link", "odom")
        self.announcer = Announcer(lambda: Settings(**parameters), self.clock, self.transforms, self.out)

    def see(self, seen: FloatArray, theirs: float | None = None, agreed: int = 0) -> int:
        """A believed image every 0.2 s, and where another localizer has the robot; how often that was told so far."""
        self.clock.advance_to(self.clock.now_ns() + SECOND // 5)
        now_ns = self.clock.now_ns()
        self.transforms.add("odom", "base_link", now_ns, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        if theirs is not None:
            self.transforms.add("map", "odom", now_ns + SECOND, (theirs, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        fix = Fix(now_ns, seen, GOOD, np.eye(4))
        self.announcer.announce(Track(State.TRACKING, "", fix, believed=True, agreed=agreed))
        return len(self.out.initial_poses)


def test_what_is_not_believed_is_not_published() -> None:
    bench = Bench(mode="initializer")
    bench.announcer.announce(Track(State.DEGRADED, "no", Fix(0, pose(1.0), GOOD, np.eye(4))))
    assert bench.out.poses == bench.out.transforms == bench.out.initial_poses == []


@pytest.mark.parametrize(("parameters", "warned"), [({"two_d_mode": True}, 1), ({}, 0)])
def test_a_map_that_is_tilted_a_little_is_told_of_on_a_floor(parameters: dict[str, Any], warned: int) -> None:
    bench = Bench(**parameters)
    for _ in range(250):
        bench.see(pose(1.0, pitch_deg=8.0))
    lines = [line for line in bench.out.log_lines if "the robot was tilted by 8 deg in 100 images" in line]
    assert len(lines) == warned


def test_one_that_says_nothing_is_told_every_five_seconds() -> None:
    bench = Bench(mode="initializer")
    told = [bench.see(pose(1.0), agreed=1 if i == 0 else 0) for i in range(60)]
    assert told[:3] == [1, 1, 1]
    assert [told.index(n) for n in (1, 2, 3)] == [0, 25, 50]
    assert bench.out.transforms == []


def test_one_that_agrees_from_the_start_is_told_once() -> None:
    bench = Bench(mode="initializer")
    assert [bench.see(pose(1.0), 1.05, agreed=1 if i == 0 else 0) for i in range(60)] == [1] * 60


def test_against_another_localizer_three_images_must_agree() -> None:
    bench = Bench(mode="initializer")
    assert [bench.see(pose(1.0), 4.0, agreed=1 if i == 0 else 0) for i in range(5)] == [0, 0, 1, 1, 1]
    # when it has heard
    assert [bench.see(pose(1.0), 1.0) for _ in range(3)] == [1, 1, 1]
    # images that do not agree with each other are none
    assert [bench.see(pose(1.0 + 3 * i), 1.0, agreed=1) for i in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_after_a_jump_it_is_told_at_once() -> None:
    bench = Bench(mode="initializer")
    for agreed in (1, 0, 0):
        bench.see(pose(1.0), 1.0, agreed)
    assert bench.see(pose(5.0), 1.0, agreed=3) == 2
    # and once only, though it does not listen
    assert [bench.see(pose(5.0), 1.0) for _ in range(60)] == [2] * 60


@pytest.mark.parametrize(("correct", "told"), [(False, 1), (True, 3)])
def test_one_that_goes_astray_is_told_again_if_asked(correct: bool, told: int) -> None:
    bench = Bench(mode="initializer", correct_other=correct)
    for i in range(40):
        bench.see(pose(1.0), 1.0, agreed=1 if i == 0 else 0)
    # 6 s in which it does not listen
    for _ in range(30):
        bench.see(pose(1.0, yaw_deg=40.0), 1.0)
    assert len(bench.out.initial_poses) == told
    assert bench.announcer.other.disagrees
    assert str(bench.announcer.other) == "the other localizer is 0.00 m, 40 deg from where the camera says"


def test_what_is_told_is_on_the_floor_and_as_uncertain_as_maps_differ() -> None:
    bench = Bench(mode="initializer", other_sigma_m=0.2, other_sigma_rad=0.1)
    bench.see(pose(1.0, 30.0, 6.0), agreed=1)
    ((_, fix),) = bench.out.initial_poses
    np.testing.assert_allclose(fix.map_from_base, pose(1.0, 30.0), atol=1e-12)
    sigma = np.sqrt(np.diag(fix.covariance))
    np.testing.assert_allclose(sigma[[0, 1, 5]], [np.hypot(0.2, 0.01)] * 2 + [np.hypot(0.1, 0.005)])
    assert (sigma > 0).all()
