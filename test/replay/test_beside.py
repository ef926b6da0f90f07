"""Beside another localizer: it is told where the robot is, and watched. And poses that stay on the floor."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from amcl import Amcl
from bench import Bench, claimed
from streams import CAMERA_FRAME, Drive, Stream

from neumap.geometry.se3 import make_pose, pose_error, rotation_exp
from neumap.io.trajectories import poses_at
from neumap.tracking.diagnosis import OK, WARN, diagnose
from neumap.tracking.fix import Fix
from neumap.tracking.planar import flattened

BESIDE = {"mode": "initializer"}
# an image a second is enough for what takes long
SLOWLY = {**BESIDE, "max_image_rate": 1.0, "image_timeout": 2.0}
AWAY = make_pose(rotation_exp(np.array([0.0, 0.0, 0.5])), np.array([2.0, -1.0, 0.0]))
TOLD = "the other localizer is told where the robot is"

Make = Callable[..., Bench]


@pytest.fixture
def bench(virtual_map: Path, drive: Drive) -> Make:
    """Makes an active session and a stream of a drive."""

    def make(stream: Stream | None = None, images: int = 12, **parameters: Any) -> Bench:
        made = Bench(virtual_map, stream or streams.recorded(drive.part(0, images)), **parameters)
        made.rig.start()
        return made

    return make


def told(bench: Bench) -> list[Fix]:
    return [fix for _, fix in bench.out.initial_poses]


def right(fix: Fix, stream: Stream) -> bool:
    """Whether a fix is on the floor where the robot was."""
    (truth,), _ = poses_at(streams.truth_of(stream), np.array([fix.stamp_ns]))
    error = pose_error(fix.map_from_base, flattened(truth))
    assert fix.map_from_base[2, 3] == 0
    np.testing.assert_array_equal(fix.map_from_base[2, :3], [0, 0, 1])
    return bool(np.linalg.norm(error[:3]) < 0.03 and np.linalg.norm(error[3:]) < 0.02)


# --- told -------------------------------------------------------------------------------------------------------------


def test_it_is_told_once_where_the_robot_is_and_sends_the_transform_itself(bench: Make, drive: Drive) -> None:
    stream = streams.recorded(drive.part(0, 20))
    b = bench(stream, **BESIDE)
    amcl = Amcl(b)
    b.until(4.0)
    (fix,) = told(b)
    assert right(fix, stream)
    assert len(amcl.taken) == 1
    assert b.transforms() == []
    assert len(b.poses()) == 20
    # were it as narrow as the camera is exact, AMCL's cloud would be a point: it is as wide as the maps may differ
    sigma = np.sqrt(np.diag(fix.covariance))
    assert (sigma[:2] > 0.1).all()
    assert (sigma[:2] < 0.2).all()
    assert 0.05 < sigma[5] < 0.1
    last = b.statuses()[-1]
    assert not last.other_disagrees
    assert last.other_distance_m < 0.15
    diagnosis = diagnose(b.session)
    assert diagnosis.level == OK
    values = dict(diagnosis.values)
    assert float(values["metres from the other localizer"]) < 0.15


def test_one_that_starts_late_is_told_when_it_can_hear(bench: Make, drive: Drive) -> None:
    stream = streams.recorded(drive)
    b = bench(stream, **SLOWLY)
    amcl = Amcl(b, from_s=3.0)
    b.until(11.9)
    assert len(told(b)) == 2
    assert all(right(fix, stream) for fix in told(b))
    assert len(amcl.taken) == 1
    assert b.statuses()[-1].other_distance_m >= 0


def test_one_that_begins_elsewhere_is_told(bench: Make) -> None:
    b = bench(**BESIDE)
    amcl = Amcl(b, map_from_odom=AWAY)
    b.until(2.3)
    assert len(told(b)) == 1
    assert amcl.taken
    assert not b.statuses()[-1].other_disagrees


def test_one_that_is_right_is_left_alone_when_the_camera_sees_again(bench: Make, drive: Drive) -> None:
    b = bench(streams.covered(streams.recorded(drive.part(0, 32)), 1.0, 5.5), **BESIDE)
    Amcl(b)
    b.until(6.3)
    assert "LOST" in {state for state, _ in b.told()}
    assert b.state == "TRACKING"
    assert len(told(b)) == 1
    # while the camera knows nothing, nothing is said of the other
    lost = [status for status in b.statuses() if status.state.name == "LOST"]
    assert all(status.other_distance_m == -1 for status in lost)


def test_one_image_is_not_enough_against_another_localizer(bench: Make, drive: Drive) -> None:
    b = bench(streams.covered(streams.recorded(drive.part(0, 34)), 1.0, 5.5), **BESIDE)
    amcl = Amcl(b)
    b.until(3.0)
    amcl.moved(AWAY)
    b.until(6.7)
    assert "LOST" in {state for state, _ in b.told()}
    # the lens is free again from 5.6 s on: the third image
    assert [fix.stamp_ns for fix in told(b)] == [streams.ns(0.0), streams.ns(6.0)]
    assert b.poses(5.6)[0].stamp_ns == streams.ns(5.6)
    assert b.statuses()[-1].other_distance_m < 0.15


def test_it_is_told_again_when_asked_to_begin_anew(bench: Make) -> None:
    b = bench(**BESIDE)
    Amcl(b)
    b.until(1.2)
    b.reinitialize()
    b.until(2.3)
    assert len(told(b)) == 2


def test_a_robot_that_is_carried(bench: Make, drive: Drive, elsewhere: Drive) -> None:
    stream = streams.joined(streams.recorded(drive.part(0, 8)), streams.recorded(elsewhere.part(0, 8)))
    b = bench(stream, **BESIDE)
    amcl = Amcl(b)
    b.until(3.1)
    first, second = told(b)
    assert right(first, stream)
    assert right(second, stream)
    # three images at 5 Hz agree, the last of 2.0 s; AMCL takes what it hears after 0.3 s and a scan
    assert 2.0 < amcl.taken[1] < 2.6
    # the first image after that: a correction dated ahead counts at once
    after = next(status for status in b.statuses(amcl.taken[1] + 0.3) if status.latency_s)
    assert after.other_distance_m < 0.15


# --- watched ----------------------------------------------------------------------------------------------------------


def test_one_that_went_astray_is_told_of(bench: Make) -> None:
    b = bench(images=16, **BESIDE)
    amcl = Amcl(b)
    b.until(1.5)
    amcl.moved(AWAY)
    b.until(3.1)
    assert len(told(b)) == 1
    first = next(status for status in b.statuses(1.5) if status.other_disagrees)
    # the third image after it
    assert (first.stamp_ns - streams.ns(1.5)) * 1e-9 == pytest.approx(0.5, abs=0.15)
    assert first.state.name == "TRACKING"
    assert first.other_angle_rad == pytest.approx(0.5, abs=0.05)
    assert first.other_distance_m > 1.0
    diagnosis = diagnose(b.session)
    assert diagnosis.level == WARN
    assert diagnosis.message.startswith("TRACKING; the other localizer is ")
    assert diagnosis.message.endswith(" deg from where the camera says")
    assert len([line for line in b.lines("WARN") if "the other localizer is" in line]) == 1


def test_one_that_went_astray_is_back_in_seconds_if_asked(bench: Make, drive: Drive) -> None:
    parameters = {**BESIDE, "correct_other": True, "max_image_rate": 2.0}
    b = bench(streams.recorded(drive.part(0, 40)), **parameters)
    amcl = Amcl(b)
    b.until(5.5)
    amcl.moved(AWAY)
    b.until(7.9)
    assert len(told(b)) == 2
    assert 5.5 < amcl.taken[1] < 7.5
    assert not b.statuses()[-1].other_disagrees
    assert f"INFO {TOLD}" in b.lines("INFO")
    assert "INFO the other localizer agrees again" in b.lines("INFO")


def test_one_that_does_not_listen_is_not_flooded(bench: Make, drive: Drive) -> None:
    b = bench(streams.recorded(drive), correct_other=True, **SLOWLY)
    Amcl(b, answer_s=100.0, map_from_odom=AWAY)
    b.until(11.9)
    # when three images agree, and 5 s later
    assert [(time_ns - streams.START_NS) * 1e-9 for time_ns, _ in b.out.initial_poses] == pytest.approx(
        [1.7, 7.3], abs=0.9
    )
    assert b.statuses()[-1].other_disagrees


def test_one_that_is_off_by_what_maps_differ_by_agrees(bench: Make) -> None:
    b = bench(**BESIDE)
    amcl = Amcl(b)
    b.until(1.2)
    amcl.moved(make_pose(np.eye(3), np.array([0.15, 0.1, 0.0])))
    b.until(2.3)
    assert not any(status.other_disagrees for status in b.statuses())
    assert b.statuses()[-1].other_distance_m == pytest.approx(0.18, abs=0.12)


def test_one_that_falls_silent_says_nothing(bench: Make, drive: Drive) -> None:
    b = bench(streams.recorded(drive.part(0, 35)), **SLOWLY)
    amcl = Amcl(b)
    b.until(1.5)
    assert b.statuses()[-1].other_distance_m >= 0
    amcl.map_from_odom, amcl.answer_s = None, 100.0
    b.until(6.9)
    assert b.statuses()[-1].other_distance_m == -1


def test_a_localizer_alone_does_not_watch_nor_tell(bench: Make) -> None:
    b = bench(images=4)
    Amcl(b, map_from_odom=AWAY)
    b.until(1.0)
    assert told(b) == []
    assert b.transforms()
    assert all(status.other_distance_m == -1 for status in b.statuses())


# --- on the floor -----------------------------------------------------------------------------------------------------


def test_pose_and_transform_are_on_the_floor(bench: Make, drive: Drive) -> None:
    stream = streams.recorded(drive.part(0, 12))
    b = bench(stream, two_d_mode=True)
    answer = b.relocalize()
    b.until(2.5)
    assert len(b.poses()) == 12
    assert all(right(fix, stream) for fix in [*b.poses(), answer.result.fix])
    assert all(np.linalg.eigvalsh(fix.covariance).min() > 0 for fix in b.poses())
    assert b.transforms()
    for sent in b.transforms():
        np.testing.assert_allclose(sent.map_from_child, flattened(sent.map_from_child), atol=1e-12)


def test_a_claim_from_rviz_is_on_the_floor(bench: Make, drive: Drive) -> None:
    b = bench(images=3, two_d_mode=True)
    b.session.claim(claimed(flattened(drive.map_from_base[0])))
    b.until(0.3)
    assert b.told()[-1] == ("TRACKING", "initial pose confirmed")


@pytest.mark.parametrize("parameters", [{"two_d_mode": True}, BESIDE], ids=["two_d_mode", "initializer"])
def test_a_map_that_is_not_upright_is_refused(bench: Make, drive: Drive, parameters: dict[str, Any]) -> None:
    b = bench(tilted(streams.recorded(streams.standing(drive, 3, 6))), **parameters)
    answer = b.relocalize(timeout_s=1.5)
    b.until(1.6)
    said = r"the robot would be tilted by 4\d deg: on a floor .* z of the map must point up, and /tf must say how"
    assert b.state == "UNINITIALIZED"
    assert re.match(said, b.statuses()[-1].reason)
    assert b.poses() == b.transforms() == told(b) == []
    assert not answer.result.success
    assert re.match(said, answer.result.reason)


def test_a_map_that_is_not_upright_is_nothing_to_a_robot_in_space(bench: Make, drive: Drive) -> None:
    b = bench(tilted(streams.recorded(drive.part(0, 3))))
    b.until(0.7)
    assert b.state == "TRACKING"


def tilted(stream: Stream) -> Stream:
    """The robot's base is tilted against the map."""
    turn = make_pose(rotation_exp(np.deg2rad([40.0, 0.0, 0.0])), np.zeros(3))

    def mount(tf: Any) -> Any:
        stamp = streams.stamp_of(tf)
        return streams.transform_message(stamp, "base_link", CAMERA_FRAME, turn @ streams.BASE_FROM_CAMERA)

    return streams.changed(stream, streams.TF_STATIC, mount)
