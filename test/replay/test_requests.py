"""What the node answers to those who claim a pose, ask for one, or want another map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from bench import Bench, claimed
from streams import Drive, ns

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, pose_error
from neumap.mapping.merge import merge_maps
from neumap.maps.map_file import load_map, save_map
from neumap.replay.rig import Timed
from neumap.tracking.fix import Fix
from neumap.tracking.requests import PoseClaim

# where the robot of these streams stands
PLACE = 2
MOVED = np.array([0.0, 0.0, 20.0])


@pytest.fixture
def truth(drive: Drive) -> FloatArray:
    """Where the robot stands."""
    return np.asarray(drive.map_from_base[PLACE])


@pytest.fixture
def bench(virtual_map: Path, drive: Drive, truth: FloatArray) -> Iterator[Callable[..., Bench]]:
    """Makes an active session and a stream of a robot that stands; at the end each pose it published must be right.

    ``change`` makes another stream of that one. With ``start`` off the session is not active.
    """
    made: list[Bench] = []

    def make(
        images: int = 8, change: Callable[[Any], Any] = lambda stream: stream, start: bool = True, **parameters: Any
    ) -> Bench:
        stream = streams.recorded(streams.standing(drive, PLACE, images))
        path = parameters.pop("map", virtual_map)
        made.append(Bench(path, change(stream), **parameters))
        if start:
            made[-1].rig.start()
        return made[-1]

    yield make
    for b in made:
        assert all(right(fix, truth) for fix in b.poses()), "a wrong pose was published"
        assert not [line for line in b.lines("ERROR") if "map not loaded" not in line]


def right(fix: Fix, truth: FloatArray) -> bool:
    """Whether a fix is where the robot stands, perhaps in the map that was moved, and says how sure."""
    error = pose_error(fix.map_from_base, truth)
    error[:3] -= MOVED * round(error[2] / MOVED[2])
    assert np.array_equal(fix.covariance, fix.covariance.T)
    assert np.linalg.eigvalsh(fix.covariance).min() > 0
    return bool(np.linalg.norm(error[:3]) < 0.05 and np.linalg.norm(error[3:]) < 0.03)


def stamps(fixes: list[Fix]) -> list[int]:
    return [fix.stamp_ns for fix in fixes]


def at(truth: FloatArray, *offset: float) -> FloatArray:
    """The pose so many metres away."""
    return make_pose(truth[:3, :3], truth[:3, 3] + offset)


# --- initial poses ------------------------------------------------------------------------


def test_a_right_initial_pose_is_confirmed(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.session.claim(claimed(at(truth, 0.3, -0.2, 0.0)))
    assert b.told()[-1] == ("UNINITIALIZED", "the initial pose waits for an image that confirms it")
    assert b.poses() == []
    b.until(0.3)
    assert b.told()[-1] == ("TRACKING", "initial pose confirmed")
    b.until(0.5)
    assert b.told()[-1] == ("TRACKING", "")


def test_a_wrong_initial_pose_is_refused_with_the_distance(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    # with odometry there, time alone does not make it vaguer
    b.until(0.0)
    b.session.claim(claimed(at(truth, 3.0, 0.0, 0.0)))
    b.until(0.3)
    state, reason = b.told()[-1]
    assert (state, len(b.poses())) == ("TRACKING", 1)
    assert reason.startswith("initial pose refused: the image says 3.0")
    b.until(0.5)
    assert b.told()[-1] == ("TRACKING", "")


def test_a_wrong_initial_pose_does_no_harm_while_tracking(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.until(0.5)
    b.session.claim(claimed(at(truth, 0.0, 3.0, 0.0)))
    assert b.state == "TRACKING"
    b.until(1.0)
    assert {state for state, _ in b.told(0.5)} == {"TRACKING"}
    # the image of 0.4 s, which was in work when it came, says nothing of it
    said = ["the initial pose waits for an i", "initial pose refused: the image", ""]
    assert [reason[:31] for _, reason in b.told(0.51)] == said
    assert len(b.poses()) == len([status for status in b.statuses() if status.latency_s]) == 5


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "wrong frame": ({"frame_id": "odom"}, "in the frame 'odom': give it in 'map'"),
    "no frame": ({"frame_id": ""}, "in the frame '': give it in 'map'"),
    "nan": ({"xyz": (np.nan, 0.0, 0.0)}, "not finite"),
    "nan in the covariance": ({"covariance": [np.nan] * 36}, "not finite"),
    "no rotation": ({"quat_xyzw": (0.0, 0.0, 0.0, 0.0)}, "the quaternion's norm is 0 instead of 1"),
    "negative": ({"covariance": [-1.0] + [0.0] * 35}, "not positive definite"),
}


def refused_claim(truth: FloatArray, what: str) -> tuple[PoseClaim, str]:
    """A claim that cannot be, and what must be said of it."""
    fields, said = REFUSED[what]
    return replace(claimed(truth), **fields), said


@pytest.mark.parametrize("what", REFUSED)
def test_an_initial_pose_that_is_none_is_refused(bench: Callable[..., Bench], truth: FloatArray, what: str) -> None:
    claim, said = refused_claim(truth, what)
    b = bench(images=4)
    b.until(0.3)
    b.session.claim(claim)
    state, reason = b.told()[-1]
    assert state == "TRACKING"
    assert reason.startswith("initial pose refused: ")
    assert said in reason
    assert [line for line in b.lines("WARN") if "initial pose refused" in line and said in line]
    b.until(0.7)
    assert b.told()[-1] == ("TRACKING", "")
    # nothing of it stays
    assert not [reason for _, reason in b.told(0.31) if "initial pose" in reason]


def test_an_initial_pose_while_inactive_is_ignored(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench(start=False)
    b.session.claim(claimed(truth))
    assert b.statuses() == []
    assert [line for line in b.lines("WARN") if "initial pose ignored: the localizer is not active" in line]
    b.rig.start()
    b.until(0.3)
    assert b.told()[-1] == ("TRACKING", "")


def initial_pose_parameters(pose: FloatArray) -> dict[str, Any]:
    x, y, z = map(float, pose[:3, 3])
    yaw = float(np.arctan2(pose[1, 0], pose[0, 0]))
    numbers = {"initial_pose.x": x, "initial_pose.y": y, "initial_pose.z": z, "initial_pose.yaw": yaw}
    return {"set_initial_pose": True, **numbers}


def test_an_initial_pose_of_parameters(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench(**initial_pose_parameters(truth))
    b.until(0.3)
    assert b.told() == [
        ("UNINITIALIZED", "the initial pose waits for an image that confirms it"),
        ("TRACKING", "initial pose confirmed"),
    ]


def test_a_wrong_initial_pose_of_parameters(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench(**initial_pose_parameters(at(truth, 30.0, 0.0, 0.0)))
    b.until(0.3)
    state, reason = b.told()[-1]
    assert state == "TRACKING"
    assert reason.startswith("initial pose refused: the image says 30.0")


# --- relocalize -------------------------------------------------------------------------------


def covered(stream: Any) -> Any:
    return streams.covered(stream, -np.inf)


def test_relocalize_while_tracking(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.until(0.5)
    future = b.relocalize()
    b.until(1.0)
    answer = future.result
    assert (answer.success, answer.reason) == (True, "")
    assert right(answer.fix, truth)
    assert answer.image_ns == answer.fix.stamp_ns
    # the image of 0.4 s was taken into work before the call
    assert stamps([answer.fix]) == [ns(0.6)]
    # on the way for 0.03 s, in work for 0.1 s
    assert answer.latency_s == pytest.approx(0.13)
    assert answer.inliers > 20
    assert answer.map_id == b.session.map_id
    assert set(b.told(0.5)) == {("TRACKING", "")}
    assert set(stamps(b.poses())) >= {ns(0.4), ns(0.6), ns(0.8)}


def test_relocalize_while_lost(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench(images=40)
    b.until(0.5)
    b.skip(5.0)
    b.until(5.05)
    assert b.state == "LOST"
    future = b.relocalize()
    b.until(5.4)
    answer = future.result
    assert answer.success, answer.reason
    assert stamps([answer.fix]) == [ns(5.2)]
    assert right(answer.fix, truth)
    assert b.state == "TRACKING"


def test_relocalize_before_the_first_image(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    future = b.relocalize()
    b.until(0.3)
    assert future.result.success
    assert right(future.result.fix, truth)
    assert b.state == "TRACKING"


def test_relocalize_searches_though_images_come_faster_than_they_may(bench: Callable[..., Bench]) -> None:
    b = bench(images=10, max_image_rate=1.0)
    b.until(0.25)
    future = b.relocalize()
    b.until(0.6)
    assert stamps([future.result.fix]) == [ns(0.4)]


def test_relocalize_without_images_gives_up_in_time(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.until(0.5)
    b.skip(100.0)
    future = b.relocalize(timeout_s=2.5)
    b.until(2.99)
    assert not future.done
    b.until(3.01)
    answer = future.result
    assert (answer.success, answer.reason) == (False, "no image arrived within 2.5 s")
    assert answer.image_ns is None
    assert answer.map_id == b.session.map_id


def test_relocalize_takes_its_time_from_the_parameter(bench: Callable[..., Bench]) -> None:
    b = bench(relocalize_timeout=1.5)
    b.skip(100.0)
    b.until(0.0)
    future = b.relocalize()
    b.until(1.49)
    assert not future.done
    b.until(1.51)
    assert future.result.reason == "no image arrived within 1.5 s"


def test_relocalize_with_a_covered_camera_says_so(bench: Callable[..., Bench]) -> None:
    b = bench(change=covered)
    b.until(0.1)
    future = b.relocalize(timeout_s=1.0)
    b.until(1.2)
    answer = future.result
    assert not answer.success
    assert "blank, dark or blurred image within 1 s" in answer.reason
    assert answer.image_ns == ns(0.8)
    assert b.poses() == []


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf"), 601.0])
def test_relocalize_with_a_timeout_that_is_none(bench: Callable[..., Bench], timeout: float) -> None:
    b = bench()
    future = b.relocalize(timeout_s=timeout)
    b.until(0.0)
    answer = future.result
    assert not answer.success
    assert answer.reason == f"a timeout of {timeout:g} s: give 0 to 600"
    b.until(0.3)
    assert b.state == "TRACKING"


def test_relocalize_near_a_right_prior(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.until(0.1)
    future = b.relocalize(prior=claimed(at(truth, 0.4, 0.3, 0.0)))
    b.until(0.4)
    assert future.result.success, future.result.reason


def test_relocalize_near_a_wrong_prior_says_how_wrong(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.until(0.5)
    future = b.relocalize(prior=claimed(at(truth, 3.0, 0.0, 0.0)), timeout_s=0.6)
    b.until(1.2)
    answer = future.result
    assert not answer.success
    assert "the image says 3.0" in answer.reason
    assert "from the prior within 0.6 s" in answer.reason
    assert {state for state, _ in b.told(0.5)} == {"TRACKING"}


@pytest.mark.parametrize("what", REFUSED)
def test_relocalize_with_a_prior_that_is_none(bench: Callable[..., Bench], truth: FloatArray, what: str) -> None:
    claim, said = refused_claim(truth, what)
    b = bench()
    future = b.relocalize(claim)
    b.until(0.0)
    answer = future.result
    assert not answer.success
    assert answer.reason.startswith("prior refused: ")
    assert said in answer.reason


def test_two_calls_at_once_are_both_answered(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.until(0.5)
    futures = [b.relocalize(), b.relocalize()]
    b.until(0.8)
    for future in futures:
        assert future.result.success
        assert right(future.result.fix, truth)
        assert stamps([future.result.fix]) == [ns(0.6)]


def test_a_call_that_fails_does_not_hold_up_another(bench: Callable[..., Bench], truth: FloatArray) -> None:
    b = bench()
    b.until(0.1)
    wrong = b.relocalize(prior=claimed(at(truth, 3.0, 0.0, 0.0)), timeout_s=1.0)
    fine = b.relocalize()
    b.until(0.4)
    assert fine.result.success
    assert not wrong.done
    b.until(1.2)
    assert not wrong.result.success


def test_relocalize_while_inactive(bench: Callable[..., Bench]) -> None:
    b = bench(start=False)
    future = b.relocalize()
    b.until(0.0)
    assert (future.result.success, future.result.reason) == (False, "the localizer is not active")
    assert future.result.map_id == b.session.map_id


def test_a_call_is_answered_where_the_session_is_deactivated(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.until(0.5)
    future = b.relocalize(timeout_s=60.0)
    b.until(0.55)
    b.session.deactivate()
    answer = future.result
    assert (answer.success, answer.reason) == (False, "the localizer was deactivated")
    assert answer.map_id == b.session.map_id


def test_a_call_that_waits_when_time_jumps_back_is_answered(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.until(0.5)
    future = b.relocalize(timeout_s=60.0)
    b.rig.play([Timed(ns(-0.5), "tf", streams.message("tf2_msgs/msg/TFMessage"))], after_s=0)
    assert (future.result.success, future.result.reason) == (False, "time jumped back")
    assert b.told()[-1] == ("UNINITIALIZED", "time jumped back")


# --- starting over ---------------------------------------------------------------------------------


def test_reinitialize_starts_over_and_finds_again(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.until(0.55)
    b.reinitialize()
    b.until(0.56)
    assert b.told(0.549) == [("UNINITIALIZED", "global localization was asked for")]
    count = len(b.transforms())
    b.until(0.6)
    assert len(b.transforms()) == count, "the transform is published though nothing is known"
    b.until(0.8)
    assert b.told(0.55)[-1] == ("TRACKING", "")
    assert len(b.transforms()) > count


def test_reinitialize_while_an_image_is_in_work_forgets_it(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.until(0.65)
    b.reinitialize()
    b.until(0.79)
    # that of 0.6 s was in work
    assert stamps(b.poses())[-1] == ns(0.4)
    b.until(1.0)
    assert stamps(b.poses())[-1] == ns(0.8)


def test_reinitialize_while_inactive(bench: Callable[..., Bench]) -> None:
    b = bench(start=False)
    b.reinitialize()
    b.until(0.0)
    assert b.statuses() == []


# --- other maps --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def moved_map(virtual_map: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same map, 20 m higher."""
    path = tmp_path_factory.mktemp("moved") / "moved.neumap"
    there = load_map(virtual_map)
    poses = there.drift.poses.copy()
    poses[:, :3, 3] += MOVED
    grid = replace(there.grid, origin=there.grid.origin + MOVED)
    save_map(path, replace(there, grid=grid, drift=replace(there.drift, poses=poses)))
    return path


@pytest.fixture(scope="module")
def twins_map(virtual_map: Path, moved_map: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of two equal rooms, one above the other."""
    path = tmp_path_factory.mktemp("twins") / "twins.neumap"
    save_map(path, merge_maps(load_map(virtual_map), load_map(moved_map)))
    return path


def test_of_equal_rooms_none_is_guessed(bench: Callable[..., Bench], twins_map: Path) -> None:
    b = bench(map=twins_map)
    asked = b.relocalize(timeout_s=1.0)
    b.until(1.2)
    assert not asked.result.success
    assert b.state == "UNINITIALIZED"
    assert b.poses() == []


@pytest.mark.parametrize("floor", [0, 1])
def test_of_equal_rooms_a_prior_tells_which(
    bench: Callable[..., Bench], twins_map: Path, truth: FloatArray, floor: int
) -> None:
    b = bench(map=twins_map)
    there = make_pose(truth[:3, :3], truth[:3, 3] + floor * MOVED)
    asked = b.relocalize(prior=claimed(at(there, 0.4, -0.3, 0.0)))
    b.until(0.5)
    answer = asked.result
    assert answer.success, answer.reason
    assert answer.inliers > 20
    assert answer.fix.map_from_base[:3, 3] == pytest.approx(there[:3, 3], abs=0.05)
    assert b.state == "TRACKING"


@pytest.mark.parametrize("floor", [0, 1])
def test_of_equal_rooms_an_initial_pose_tells_which(
    bench: Callable[..., Bench], twins_map: Path, truth: FloatArray, floor: int
) -> None:
    b = bench(map=twins_map)
    b.until(0.5)
    assert b.state == "UNINITIALIZED"
    there = make_pose(truth[:3, :3], truth[:3, 3] + floor * MOVED)
    b.session.claim(claimed(at(there, -0.4, 0.3, 0.0)))
    b.until(1.2)
    assert ("TRACKING", "initial pose confirmed") in b.told(0.5)
    # and from then on odometry does
    assert b.told()[-1] == ("TRACKING", "")
    assert len(b.poses()) >= 3
    for pose in b.poses():
        assert pose.map_from_base[:3, 3] == pytest.approx(there[:3, 3], abs=0.05)


def test_an_initial_pose_where_neither_of_equal_rooms_is_waits(
    bench: Callable[..., Bench], twins_map: Path, truth: FloatArray
) -> None:
    b = bench(map=twins_map)
    b.session.claim(claimed(at(truth, 0.0, 0.0, 10.0)))
    b.until(1.0)
    assert b.state == "UNINITIALIZED"
    assert b.poses() == []


@pytest.mark.parametrize("how", ["claim", "relocalize"])
def test_tracking_in_one_of_equal_rooms_goes_on_though_nothing_is_found_where_somebody_says(
    bench: Callable[..., Bench], twins_map: Path, truth: FloatArray, how: str
) -> None:
    b = bench(images=40, map=twins_map)
    b.session.claim(claimed(truth))
    b.until(0.5)
    assert b.state == "TRACKING"
    nowhere = claimed(at(truth, 0.0, 0.0, 10.0))
    if how == "claim":
        b.session.claim(nowhere)
    asked = b.relocalize(nowhere if how == "relocalize" else None, timeout_s=4.0)
    b.until(6.0)
    assert not asked.result.success
    assert {state for state, _ in b.told(0.5)} == {"TRACKING"}
    refused = [reason for _, reason in b.told(0.5) if reason.startswith("initial pose refused: the image says 10.")]
    assert len(refused) == (how == "claim")


def test_an_initial_pose_in_the_other_of_equal_rooms_is_believed(
    bench: Callable[..., Bench], twins_map: Path, truth: FloatArray
) -> None:
    b = bench(images=12, map=twins_map)
    b.session.claim(claimed(truth))
    b.until(0.5)
    b.session.claim(claimed(make_pose(truth[:3, :3], truth[:3, 3] + MOVED)))
    b.until(1.2)
    assert {state for state, _ in b.told(0.5)} == {"TRACKING"}
    assert height(b.poses()[-1]) == pytest.approx(truth[2, 3] + MOVED[2], abs=0.05)


def height(pose: Fix) -> float:
    return float(pose.map_from_base[2, 3])


@pytest.mark.parametrize("call_s", [0.5, 0.65], ids=["between images", "while an image is in work"])
def test_another_map_while_images_stream(
    bench: Callable[..., Bench], moved_map: Path, truth: FloatArray, call_s: float
) -> None:
    b = bench(images=12)
    before = b.session.map_id
    b.until(call_s)
    future = b.load_map(moved_map)
    b.until(2.0)
    answer = future.result
    assert (answer.success, answer.reason) == (True, "")
    assert answer.map_id == load_map(moved_map).map_id != before
    when = future.at_s
    old, new = ([pose for pose in b.poses() if (height(pose) > 10) == is_new] for is_new in (False, True))
    assert len(old) >= 2
    assert len(new) >= 4
    assert all(time_ns > ns(when) for time_ns, _ in b.out.poses[len(old) :])
    assert all(height(pose) > 10 for pose in b.poses(when))
    assert all(transform.map_from_child[2, 3] > 10 for transform in b.transforms(when))
    assert {status.map_id for status in b.statuses(when)} == {answer.map_id}
    states = [state for state, _ in b.told(call_s)]
    assert states[-1] == "TRACKING"
    assert ("UNINITIALIZED", "a new map was loaded") in b.told(call_s)
    pose = new[-1].map_from_base
    assert pose[:3, 3] == pytest.approx(truth[:3, 3] + MOVED, abs=0.05)


def test_a_call_that_waits_while_the_map_changes_is_answered_from_the_new_one(
    bench: Callable[..., Bench], moved_map: Path
) -> None:
    b = bench(images=12)
    b.until(0.5)
    loaded = b.load_map(moved_map)
    asked = b.relocalize()
    b.until(2.0)
    assert loaded.result.success
    answer = asked.result
    assert answer.success
    assert answer.map_id == loaded.result.map_id
    assert height(answer.fix) > 10


def test_the_same_map_again(bench: Callable[..., Bench], virtual_map: Path) -> None:
    b = bench(images=8)
    b.until(0.5)
    future = b.load_map(virtual_map)
    b.until(1.5)
    assert future.result.success
    assert future.result.map_id == load_map(virtual_map).map_id
    assert b.told()[-1] == ("TRACKING", "")


@pytest.fixture(params=["missing", "folder", "none", "truncated", "altered", "of nobody"])
def bad_map(request: pytest.FixtureRequest, virtual_map: Path, tmp_path: Path) -> tuple[str, str]:
    """The path of a map that cannot be used, and a part of what must be said of it."""
    path = tmp_path / "bad.neumap"
    data = virtual_map.read_bytes()
    middle = len(data) // 2
    content = {"truncated": data[:-100], "altered": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]}
    if request.param in content:
        path.write_bytes(content[request.param])
    other = {"folder": str(tmp_path), "none": "", "of nobody": "~nobody_of_this_name/bad.neumap"}
    given = other.get(request.param, str(path))
    return given, given or "no map is given"


def test_a_bad_map_changes_nothing(bench: Callable[..., Bench], bad_map: tuple[str, str]) -> None:
    path, said = bad_map
    b = bench(images=6)
    map_id = b.session.map_id
    b.until(0.5)
    future = b.load_map(path)
    b.until(1.2)
    answer = future.result
    assert not answer.success
    assert said in answer.reason
    assert "\n" not in answer.reason
    assert answer.map_id == map_id
    (line,) = b.lines("ERROR")
    assert answer.reason in line
    # loading took the worker as long as an image
    assert {(state, reason) for state, reason in b.told(0.5)} == {("TRACKING", "")}
    assert len(stamps(b.poses(0.5))) >= 3
    assert {status.map_id for status in b.statuses()} == {map_id}


def test_a_bad_map_while_inactive_changes_nothing(bench: Callable[..., Bench], bad_map: tuple[str, str]) -> None:
    path, said = bad_map
    b = bench(start=False)
    map_id = b.session.map_id
    future = b.load_map(path)
    b.until(0.0)
    assert not future.result.success
    assert said in future.result.reason
    assert future.result.map_id == map_id
    b.rig.start()
    b.until(0.3)
    assert b.state == "TRACKING"


def test_another_map_while_inactive(bench: Callable[..., Bench], moved_map: Path) -> None:
    b = bench(start=False)
    future = b.load_map(moved_map)
    b.until(0.0)
    assert future.result.success
    b.rig.start()
    assert b.told() == [("UNINITIALIZED", "no image on 'image' yet")]
    b.until(0.3)
    assert b.state == "TRACKING"
    assert height(b.poses()[-1]) > 10


def test_two_maps_at_once(bench: Callable[..., Bench], moved_map: Path, virtual_map: Path) -> None:
    b = bench()
    b.until(0.5)
    first, second = b.load_map(moved_map), b.load_map(virtual_map)
    b.until(1.2)
    assert first.result.success
    assert (second.result.success, second.result.reason) == (False, "another map is being loaded")
    third = b.load_map(virtual_map)
    b.until(1.5)
    assert third.result.success


def test_deactivating_while_a_map_loads(bench: Callable[..., Bench], moved_map: Path) -> None:
    b = bench()
    map_id = b.session.map_id
    b.until(0.5)
    future = b.load_map(moved_map)
    b.until(0.55)
    assert not future.done
    b.session.deactivate()
    answer = future.result
    assert (answer.success, answer.reason) == (False, "the localizer was deactivated")
    assert answer.map_id == map_id
    b.rig.start()
    b.until(1.0)
    assert b.state == "TRACKING"
    again = b.load_map(moved_map)
    b.until(1.5)
    assert again.result.success
