"""Two publishers of one link are found by motion to and fro; a robot, noise and corrections are not taken for them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from neumap.arrays import FloatArray, IntArray
from neumap.geometry.links import dropouts, to_and_fro
from neumap.geometry.se3 import make_pose, rotation_exp

Samples = tuple[IntArray, FloatArray]
RNG = np.random.default_rng(0)


def robot(t: FloatArray) -> FloatArray:
    """Drives at half a metre a second and swings by more than a radian a second."""
    yaw = 1.2 * np.sin(t)
    steps = np.linspace(0, 300, 60_001)
    way = np.cumsum([np.cos(1.2 * np.sin(steps)), np.sin(1.2 * np.sin(steps))], axis=1) * 0.5 * steps[1]
    return planar(np.interp(t, steps, way[0]), np.interp(t, steps, way[1]), yaw)


def planar(x: FloatArray, y: FloatArray, yaw: FloatArray) -> FloatArray:
    zero = np.zeros(np.broadcast(x, y, yaw).shape)
    turns = rotation_exp(np.stack([zero, zero, yaw + zero], axis=-1))
    return make_pose(turns, np.stack([x + zero, y + zero, zero], axis=-1))


def times(hz: float, seconds: float = 30.0, begin: float = 0.0) -> FloatArray:
    """With a jitter of a tenth of the period."""
    count = round(hz * seconds)
    return np.sort(begin + (np.arange(count) + RNG.normal(0, 0.1, count)) / hz + 1.0)


def together(*parts: tuple[FloatArray, FloatArray]) -> Samples:
    seconds, poses = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(seconds, kind="stable")
    return np.rint(seconds[order] * 1e9).astype(np.int64), poses[order]


def shifted(poses: FloatArray, x: float = 0.0, noise: float = 0.0) -> FloatArray:
    out = poses.copy()
    out[:, :3, 3] += RNG.normal([x, 0, 0], noise, (len(out), 3))
    return out


@pytest.mark.parametrize(("one_hz", "other_hz"), [(30, 50), (50, 50), (10, 10), (5, 5), (5, 50), (1, 20), (10, 100)])
@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_two_publishers_that_are_apart(one_hz: float, other_hz: float, noise: float) -> None:
    one, other = times(one_hz, begin=0.3 / one_hz), times(other_hz)
    found = to_and_fro(*together((one, shifted(robot(one), 0.2, noise)), (other, shifted(robot(other), 0.0, noise))))
    assert found is not None
    assert found.metres == pytest.approx(0.2, abs=0.01)
    assert found.radians < 0.05
    assert found.rates_hz == pytest.approx((one_hz, other_hz), rel=0.05)


def test_what_is_said() -> None:
    one, other = times(30), times(50)
    turned = robot(one) @ make_pose(rotation_exp(np.array([0, 0, 0.1])), np.array([0.0, 0.0, 0.0]))
    found = to_and_fro(*together((one, shifted(turned, 0.2)), (other, robot(other))))
    assert str(found) == "goes to and fro by 20 cm and 6 deg, as if two published it, at 30 and 50 Hz"
    only_turned = to_and_fro(*together((one, turned), (other, robot(other))))
    assert str(only_turned) == "goes to and fro by 6 deg, as if two published it, at 30 and 50 Hz"


def test_publishers_that_drift_apart_with_the_same_stamps() -> None:
    t = times(20)
    found = to_and_fro(*together((t, robot(t)), (t, robot(1.02 * t))))
    assert found is not None
    assert found.rates_hz == pytest.approx((20, 20), rel=0.1)


def test_two_robots_in_one_frame() -> None:
    one, other = times(20), times(25)
    found = to_and_fro(*together((one, robot(one)), (other, planar(3 + 0.2 * other, np.cos(other), 0.1 * other))))
    assert found is not None
    assert found.metres > 1


def test_a_second_publisher_for_a_part_of_the_time() -> None:
    one, other = times(50, 60), times(10, 4, begin=40)
    assert to_and_fro(*together((one, robot(one)), (other, shifted(robot(other), 0.15)))) is not None


def test_two_that_stand_and_send_the_same_again_and_again() -> None:
    one, other = times(50), times(5)
    still = np.zeros(1)
    found = to_and_fro(*together((one, planar(0 * one, still, still)), (other, planar(0.1 + 0 * other, still, still))))
    assert found is not None
    assert found.rates_hz == pytest.approx((5, 50), rel=0.05)


def wiggling(hz: float, turns_hz: float) -> Samples:
    t = times(hz, 100)
    return together((t, planar(0.2 * t, 0 * t, 0.4 * np.sin(2 * np.pi * turns_hz * t))))


def noisy(hz: float, noise: float, axes: FloatArray) -> Samples:
    """Noise along some of x, y and yaw."""
    t = times(hz, 200)
    x, y, yaw = (axes * RNG.normal(0, noise, (len(t), 3))).T
    return together((t, planar(0.3 * t + x, y, yaw)))


def corrected(hz: float, jump: float, hold: int) -> Samples:
    """What AMCL sends: jumps, and the same again until the next one."""
    t = times(hz, 100)
    at = np.repeat(RNG.normal(0, jump, (len(t) // hold + 1, 2)), hold, axis=0)[: len(t)]
    return together((t, planar(at[:, 0], at[:, 1], at[:, 0])))


def walking(step: float) -> Samples:
    t = times(50, 200)
    return together((t, planar(np.cumsum(RNG.normal(0, step, len(t))), 0 * t, 0 * t)))


def sawtooth() -> Samples:
    """Drift that is taken back once a second."""
    t = times(10, 100)
    return together((t, planar(0.2 * (t % 1), 0 * t, 0 * t)))


def flipping() -> Samples:
    """Between two rooms that look alike, every other second."""
    t = times(20, 100)
    return together((t, planar(5.0 * (t % 4 < 2), 0 * t, 0 * t)))


def doubled() -> Samples:
    t = times(50)
    return together((t, robot(t)), (t, robot(t)))


def agreeing() -> Samples:
    one, other = times(30), times(50)
    return together((one, shifted(robot(one), 0.01, 0.002)), (other, shifted(robot(other), 0.0, 0.002)))


def standing() -> Samples:
    t = times(50)
    return together((t, planar(0 * t, 0 * t, 0 * t)))


QUIET: dict[str, Callable[[], Samples]] = {
    **{f"turns at {hz} Hz": lambda hz=hz: wiggling(hz, 0.3) for hz in (5, 10, 100)},
    **{f"wiggles at {hz} Hz": lambda hz=hz: wiggling(hz, 1.0) for hz in (5, 10, 100)},
    **{
        f"noise {noise} along {axes} at {hz} Hz": lambda noise=noise, axes=axes, hz=hz: noisy(hz, noise, np.array(axes))
        for noise in (0.01, 0.02, 0.1)
        for axes in ((1, 0, 0), (1, 1, 0), (0, 0, 1))
        for hz in (5, 100)
    },
    **{f"jumps of {m} m": lambda m=m: corrected(5, m, 3) for m in (0.02, 0.1, 0.5)},
    **{f"walks by {m} m": lambda m=m: walking(m) for m in (0.01, 0.03)},
    "sawtooth": sawtooth,
    "flips": flipping,
    "doubled": doubled,
    "agrees": agreeing,
    "stands": standing,
    "one jump": lambda: together((times(10), planar(np.repeat([0.0, 0.4], 150), np.zeros(1), np.zeros(1)))),
    "few": lambda: together((np.arange(3.0), planar(np.array([0.0, 1.0, 0.0]), np.zeros(1), np.zeros(1)))),
    "none": lambda: (np.zeros(0, np.int64), np.zeros((0, 4, 4))),
}


@pytest.mark.parametrize("name", QUIET)
def test_one_publisher_is_not_taken_for_two(name: str) -> None:
    assert to_and_fro(*QUIET[name]()) is None


@pytest.mark.scenes
def test_recorded_trajectories_have_one_publisher(scenes: object) -> None:
    from pathlib import Path

    from neumap.io.trajectories import read_trajectory

    files = sorted(Path(str(scenes)).glob("*/*/groundtruth.txt"))
    assert files
    for file in files:
        trajectory = read_trajectory(file)
        assert all(a < b for a, b in pairwise(trajectory.stamps_ns))
        assert to_and_fro(trajectory.stamps_ns, trajectory.map_from_camera) is None


def test_zeros_far_from_everything_are_of_what_was_not_seen() -> None:
    t = np.arange(0, 10, 0.01)
    stamps, poses = together((t, planar(1 + 0.3 * t, 2 + 0 * t, 0.1 * t)))
    lost = np.zeros(len(t), dtype=bool)
    lost[[20, *range(300, 400), 777]] = True
    poses[lost] = np.eye(4)
    assert (dropouts(stamps, poses) == lost).all()
    assert to_and_fro(stamps, poses) is None


def test_zeros_that_may_be_so() -> None:
    t = np.arange(0, 10, 0.02)
    # odometry begins there, and a correction may jump away from it
    for x in (np.maximum(0, t - 5), np.where(t < 5, 0.0, 0.4), np.abs(t - 5) * (np.abs(t - 5) > 0.05), 0 * t):
        assert not dropouts(*together((t, planar(x, 0 * t, 0 * t)))).any()
    assert not dropouts(np.zeros(0, np.int64), np.zeros((0, 4, 4))).any()
