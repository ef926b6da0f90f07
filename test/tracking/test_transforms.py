"""The robot's frames: waiting for a stamp, and what is left of the lap before when time jumps back."""

from __future__ import annotations

import numpy as np
import pytest

from neumap.replay.clock import VirtualClock
from neumap.tracking.ports import RobotPose
from neumap.tracking.transforms import TransformBuffer

SECOND = 1_000_000_000
START_NS = 1000 * SECOND
NO_TURN = (0.0, 0.0, 0.0, 1.0)


class Buffer(TransformBuffer):
    """A buffer on virtual time that knows where the camera is; ``found`` is what those who wait were told."""

    def __init__(self) -> None:
        self.time = VirtualClock(START_NS)
        self.warnings: list[str] = []
        super().__init__(self.time, "base_link", "odom", self.warnings.append)
        self.add("base_link", "camera", START_NS, (0.2, 0.0, 0.0), NO_TURN, static=True)
        self.found: list[RobotPose | str] = []

    def odom(self, stamp_s: float, x: float) -> None:
        """Hear odometry."""
        self.add("odom", "base_link", START_NS + round(stamp_s * SECOND), (x, 0.0, 0.0), NO_TURN)

    def wait_for(self, stamp_s: float, timeout_s: float = 1.0) -> None:
        """Wait for the poses at a stamp."""
        self.when_known(START_NS + round(stamp_s * SECOND), "camera", timeout_s, self.found.append)

    def at_s(self, seconds: float) -> None:
        """Let time pass up to then."""
        self.time.advance_to(START_NS + round(seconds * SECOND))

    @property
    def x(self) -> float | None:
        """Where the newest odometry is."""
        pose = self.odom_from_base()
        return None if pose is None else float(pose[0, 3])


@pytest.fixture
def buffer() -> Buffer:
    return Buffer()


def test_poses_known_are_told_at_once(buffer: Buffer) -> None:
    buffer.odom(0.0, 1.0)
    buffer.odom(0.1, 2.0)
    buffer.wait_for(0.05)
    (pose,) = buffer.found
    assert isinstance(pose, RobotPose)
    assert pose.odom_from_base is not None
    assert pose.odom_from_base[0, 3] == pytest.approx(1.5)
    assert pose.base_from_camera[0, 3] == pytest.approx(0.2)


def test_poses_to_come_are_told_once_when_they_are_there(buffer: Buffer) -> None:
    buffer.odom(0.0, 1.0)
    buffer.wait_for(0.05)
    assert buffer.found == []
    buffer.odom(0.1, 2.0)
    buffer.odom(0.2, 3.0)
    buffer.at_s(5.0)
    assert len(buffer.found) == 1
    assert isinstance(buffer.found[0], RobotPose)


def test_what_is_missing_is_told_when_the_time_is_up(buffer: Buffer) -> None:
    buffer.odom(0.0, 1.0)
    buffer.wait_for(0.5, timeout_s=0.3)
    buffer.at_s(0.29)
    assert buffer.found == []
    buffer.at_s(0.31)
    (reason,) = buffer.found
    assert isinstance(reason, str)
    assert reason.startswith("no transform for the image: ")


def test_who_waits_when_time_jumps_back_hears_nothing_more(buffer: Buffer) -> None:
    buffer.wait_for(0.5)
    buffer.time_jumped_back()
    buffer.odom(0.4, 1.0)
    buffer.odom(0.6, 1.0)
    buffer.at_s(9.0)
    assert buffer.found == []


def test_late_transforms_of_the_old_lap_are_not_of_the_new_one(buffer: Buffer) -> None:
    buffer.at_s(20.0)
    buffer.odom(20.0, 7.0)
    buffer.time.jump_back_to(START_NS + SECOND)
    buffer.time_jumped_back()
    assert buffer.x is None
    # still queued when everything was forgotten
    buffer.odom(19.9, 6.9)
    buffer.odom(20.0, 7.0)
    assert buffer.x is None
    buffer.odom(1.0, 0.1)
    buffer.odom(19.95, 6.95)
    # small post-dating is normal
    buffer.odom(1.3, 0.3)
    assert buffer.x == pytest.approx(0.3)
    # once the clock has passed the old lap's end nothing is told from it any more
    buffer.at_s(20.5)
    buffer.odom(21.2, 9.0)
    assert buffer.x == pytest.approx(9.0)


def test_what_is_said_once_and_for_all_stays(buffer: Buffer) -> None:
    buffer.time_jumped_back()
    pose = buffer.base_from_camera("camera")
    assert pose is not None
    assert pose[:3, 3] == pytest.approx(np.array([0.2, 0.0, 0.0]))


def test_the_correction_of_another_localizer_is_of_the_new_lap(buffer: Buffer) -> None:
    def correct(stamp_s: float, x: float) -> None:
        buffer.add("map", "odom", START_NS + round(stamp_s * SECOND), (x, 0.0, 0.0), NO_TURN)

    def told(stamp_s: float) -> float | None:
        pose = buffer.map_from_base("map", START_NS + round(stamp_s * SECOND))
        return None if pose is None else float(pose[0, 3])

    buffer.at_s(20.0)
    buffer.odom(20.0, 7.0)
    correct(21.0, 100.0)
    # the newest one holds, though it is dated ahead, until there is none for a while
    assert told(20.0) == pytest.approx(107.0)
    buffer.at_s(24.5)
    assert told(20.0) is None
    buffer.time.jump_back_to(START_NS + SECOND)
    buffer.time_jumped_back()
    buffer.odom(1.0, 0.5)
    correct(20.9, 100.0)
    assert told(1.0) is None
    correct(2.0, 3.0)
    assert told(1.0) == pytest.approx(3.5)


def test_what_tf2_skips_is_told_once(buffer: Buffer) -> None:
    for stamp in (0.0, 0.1):
        buffer.odom(stamp, float("nan"))
    (warning,) = buffer.warnings
    assert warning.startswith("TF_NAN_INPUT")
    assert buffer.left_out == (f"2 transforms are left out, as tf2 does: {warning} (2)",)
    assert buffer.x is None


def tell(buffer: Buffer, stamp_s: float, parent: str, child: str, x: float) -> None:
    buffer.add(parent, child, START_NS + round(stamp_s * SECOND), (x, 0.0, 0.0), NO_TURN)


def test_two_publishers_of_a_link_are_told(buffer: Buffer) -> None:
    for step in range(100):
        tell(buffer, 0.02 * step, "odom", "base_link", 0.01 * step)
        tell(buffer, 0.02 * step + 0.007, "map", "odom", 0.0)
        if step % 5 == 0:
            tell(buffer, 0.02 * step + 0.011, "map", "odom", 0.3)
    buffer.wait_for(0.5)
    told = "the link map -> odom of /tf goes to and fro by 30 cm, as if two published it, at 10 and 50 Hz"
    assert buffer.disputed() == buffer.disputed() == (told,)
    assert buffer.warnings == [told]
    assert buffer.disputes == (told,)
    # when it is over it is not told any more, but was
    for step in range(100, 1200):
        tell(buffer, 0.02 * step, "map", "odom", 0.0)
    assert buffer.disputed() == ()
    assert buffer.disputes == (told,)


def test_a_frame_with_two_parents_is_told(buffer: Buffer) -> None:
    tell(buffer, 0.0, "odom", "base_link", 1.0)
    assert buffer.disputed() == ()
    tell(buffer, 0.1, "vicon", "base_link", 1.0)
    assert buffer.disputed() == ("the frame base_link has several parents in /tf (odom, vicon)",)


def test_odometry_and_corrections_of_one_publisher_are_not_in_dispute(buffer: Buffer) -> None:
    for step in range(300):
        tell(buffer, 0.02 * step, "odom", "base_link", 0.01 * step + 0.1 * (step % 50 > 25))
        tell(buffer, 0.02 * step + 1.0, "map", "odom", 0.3 * (step // 60 % 2))
    assert buffer.disputed() == ()
    assert buffer.disputes == ()
    assert buffer.warnings == []


def test_frames_in_a_loop_are_looked_at_once(buffer: Buffer) -> None:
    tell(buffer, 0.0, "odom", "base_link", 1.0)
    tell(buffer, 0.0, "base_link", "odom", 1.0)
    assert buffer.disputed() == ()


def test_a_frame_that_is_static_and_moving_is_told_once(buffer: Buffer) -> None:
    for stamp in (0.0, 0.1):
        tell(buffer, stamp, "odom", "base_link", 1.0)
        buffer.add("odom", "base_link", START_NS, (0.0, 0.0, 0.0), NO_TURN, static=True)
    told = "the frame base_link is on /tf and on /tf_static: the one that was sent last counts"
    assert buffer.warnings == [told]
    assert buffer.disputes == (told,)
