"""Images that are missing, late, twice or in another order, and time that jumps or stands still."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome, assert_alive, outcome_of, same_poses
from streams import IMAGE, INFO, TF, Drive, dropped, duplicated, moved_odometry, recorded, restamped, swapped

from neumap.replay.rig import Rig

Replayed = Callable[..., Outcome]

NO_IMAGE = ("UNINITIALIZED", "no image on 'image' yet")
GAP = "no image since 1 s"


def test_short_gap(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(dropped(recorded(drive.part(0, 14)), IMAGE, 0.9, 2.5))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", GAP), ("TRACKING", ""))
    ((doubted, _),) = outcome.times_of("DEGRADED")
    assert 1.0 < (doubted - streams.ns(0.8)) * 1e-9 < 1.1


def test_gap_that_is_not_noticed(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(dropped(recorded(drive.part(0, 10)), IMAGE, 0.7, 1.3))
    outcome.tells(NO_IMAGE, ("TRACKING", ""))


def test_long_gap(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(dropped(recorded(drive.part(0, 27)), IMAGE, 0.5, 5.0))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", GAP), ("LOST", GAP), ("TRACKING", ""))
    ((lost, found),) = outcome.times_of("LOST")
    assert 0 < (lost - streams.ns(0.4)) * 1e-9 - 3.0 < 0.1
    shown = outcome.log.transform_ns
    assert not ((shown > lost) & (shown < found)).any()


def test_gap_with_other_parameters(replayed: Replayed, drive: Drive) -> None:
    stream = dropped(recorded(drive.part(0, 14)), IMAGE, 0.5, 2.1)
    outcome = replayed(stream, image_timeout=0.7, lost_after=0.9)
    gap = "no image since 0.7 s"
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", gap), ("LOST", gap), ("TRACKING", ""))


def test_stamps_twice(replayed: Replayed, drive: Drive) -> None:
    stream = recorded(drive.part(0, 8))
    whole, twice = replayed(stream), replayed(duplicated(stream, IMAGE, [1, 2, 6]))
    twice.tells(NO_IMAGE, ("TRACKING", ""))
    assert (twice.processed, twice.dropped) == (8, 3)
    assert same_poses(whole, twice)
    assert twice.logged("WARN image dropped: its stamp is not after that of the image before")


def test_stamps_out_of_order(replayed: Replayed, drive: Drive) -> None:
    stream = recorded(drive.part(0, 8))
    without_two = dropped(dropped(stream, IMAGE, 0.3, 0.5), IMAGE, 0.9, 1.1)
    fewer, mixed = replayed(without_two), replayed(swapped(stream, IMAGE, [2, 5]))
    mixed.tells(NO_IMAGE, ("TRACKING", ""))
    assert (mixed.processed, mixed.dropped) == (6, 2)
    assert same_poses(fewer, mixed)


def test_transforms_and_calibration_twice_and_out_of_order(replayed: Replayed, drive: Drive) -> None:
    stream = recorded(drive.part(0, 6))
    whole = replayed(stream)
    mixed = swapped(duplicated(duplicated(stream, TF, range(3, 20)), INFO, [0, 2]), TF, [5, 9, 14])
    outcome = replayed(mixed)
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert same_poses(whole, outcome)


def test_time_jumps_back(replayed: Replayed, drive: Drive) -> None:
    """A bag that is played twice, while the node runs."""
    once = recorded(drive.part(0, 8))
    outcome = replayed(once + once)
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("UNINITIALIZED", "time jumped back"), ("TRACKING", ""))
    assert outcome.logged("WARN time jumped back: starting over")
    assert not outcome.logged("(?i)extrapolat|no transform|TF_OLD_DATA")
    stamps = outcome.log.poses.stamps_ns
    (jump,) = np.flatnonzero(np.diff(stamps) < 0)
    assert jump >= 6
    assert len(stamps) - jump - 1 == 8


def test_time_jumps_back_and_odometry_is_another(replayed: Replayed, drive: Drive) -> None:
    """Another bag of the same time: transforms of the first are not mixed with those of the second."""
    offset = np.eye(4)
    offset[:2, 3] = 3.0, -2.0
    first = recorded(drive.part(0, 8))
    second = moved_odometry(recorded(drive.part(0, 6)), lambda pose: offset @ pose)
    outcome = replayed(first + second)
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("UNINITIALIZED", "time jumped back"), ("TRACKING", ""))
    odometry, truth = streams.odometry_of(second), streams.truth_of(second)
    pose = outcome.log.map_from_odom[-1] @ odometry.map_from_camera[-1]
    assert pose[:3, 3] == pytest.approx(truth.map_from_camera[-1][:3, 3], abs=0.05)


def test_time_jumps_back_a_little(replayed: Replayed, drive: Drive) -> None:
    """As when the player goes back by a second: half of what is played was not there yet."""
    stream = recorded(drive.part(0, 12))
    outcome = replayed(
        [each for each in stream if each.time_ns < streams.ns(1.7)]
        + [each for each in stream if each.time_ns > streams.ns(0.7)]
    )
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("UNINITIALIZED", "time jumped back"), ("TRACKING", ""))


def test_stamps_of_zero(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(restamped(recorded(drive.part(0, 5)), IMAGE, lambda _: 0))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", r"stamped -180000000\d s from this clock: is use_sim_time right\?"))
    assert outcome.processed == len(outcome.log.poses) == 0
    assert outcome.logged("WARN image dropped: the images are stamped")


@pytest.mark.parametrize("off_s", [-3600, 3600])
def test_stamps_of_another_clock(replayed: Replayed, drive: Drive, off_s: int) -> None:
    outcome = replayed(restamped(recorded(drive.part(0, 4)), IMAGE, lambda stamp: stamp + off_s * streams.SECOND))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", re.escape(f"stamped {off_s:+d} s from this clock")))
    assert outcome.processed == len(outcome.log.poses) == 0


def test_one_stamp_of_another_clock(replayed: Replayed, drive: Drive) -> None:
    """It does not shut out the images after it."""
    wrong = streams.ns(0.6)
    stream = restamped(
        recorded(drive.part(0, 8)), IMAGE, lambda stamp: stamp + 3600 * streams.SECOND if stamp == wrong else stamp
    )
    outcome = replayed(stream)
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert (outcome.processed, outcome.dropped) == (7, 1)


def test_old_messages_after_a_jump_back(replayed: Replayed, drive: Drive) -> None:
    """A looped bag: the end of the old lap is still queued when time has jumped back, and arrives after it."""
    once = recorded(drive.part(0, 16))
    queued = [each for each in once if each.topic in (TF, IMAGE)][-12:]
    begin = once[0].time_ns
    late = [each._replace(time_ns=begin + round(0.1 * streams.SECOND)) for each in queued]
    again = streams.in_order([*once, *late])
    outcome = replayed([*once, *again])
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("UNINITIALIZED", "time jumped back"), ("TRACKING", ""))
    stamps = outcome.log.poses.stamps_ns
    (jump,) = np.flatnonzero(np.diff(stamps) < 0)
    assert len(stamps) - jump - 1 == 16
    assert outcome.logged("WARN image dropped: it was taken before time jumped back")


def test_no_clock(virtual_map: Path, drive: Drive) -> None:
    """Somebody set use_sim_time, and nobody plays: time stands at 0."""
    stream = recorded(drive.part(0, 4))
    rig = Rig({"map": str(virtual_map)}, start_ns=0)
    rig.start()
    for each in streams.to_play(stream):
        rig.deliver(each)
    outcome = outcome_of(rig, stream)
    assert_alive(rig)
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "is use_sim_time right?"))
    assert len(outcome.log.poses) == 0
