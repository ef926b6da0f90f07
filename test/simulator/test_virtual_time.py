"""The virtual clock, and the clocks of rclpy that read it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from neumap_ros.simulator import virtual_time
from neumap_ros.simulator.rclpy.clock import Clock
from neumap_ros.simulator.rclpy.clock_type import ClockType
from neumap_ros.simulator.rclpy.context import Context
from neumap_ros.simulator.rclpy.duration import Duration
from neumap_ros.simulator.rclpy.time import Time

SECOND = 10**9


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    virtual_time.reset()
    yield
    virtual_time.reset()


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    made.init(args=[])
    yield made
    made.try_shutdown()


def test_starts_at_a_fixed_date() -> None:
    assert virtual_time.now_ns() == virtual_time.START_NS
    assert time.gmtime(virtual_time.START_NS / SECOND)[:6] == (2025, 1, 1, 0, 0, 0)


def test_does_not_move_by_itself() -> None:
    clock = Clock()
    before = clock.now()
    time.sleep(0.01)
    assert clock.now() == before


def test_goes_forward_only_unless_it_is_set() -> None:
    start = virtual_time.now_ns()
    virtual_time.advance_to(start + 5)
    virtual_time.advance_to(start + 3)
    virtual_time.advance_by(-4)
    assert virtual_time.now_ns() == start + 5
    virtual_time.advance_by(2)
    assert virtual_time.now_ns() == start + 7
    virtual_time.set(start - 1)
    assert virtual_time.now_ns() == start - 1


@pytest.mark.parametrize("kind", [ClockType.SYSTEM_TIME, ClockType.STEADY_TIME, ClockType.ROS_TIME])
def test_all_clocks_read_it(kind: ClockType) -> None:
    clock = Clock(clock_type=kind)
    virtual_time.advance_by(3 * SECOND)
    assert clock.now().nanoseconds == virtual_time.START_NS + 3 * SECOND
    assert clock.now().clock_type is kind


def test_sleeping_takes_virtual_time_only(context: Context) -> None:
    clock = Clock()
    began = time.monotonic()
    assert clock.sleep_for(Duration(seconds=3600), context)
    assert clock.now().nanoseconds == virtual_time.START_NS + 3600 * SECOND
    assert clock.sleep_until(Time(nanoseconds=virtual_time.START_NS), context)
    assert clock.now().nanoseconds == virtual_time.START_NS + 3600 * SECOND
    assert time.monotonic() - began < 60
