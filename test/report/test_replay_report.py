"""The numbers of a replay that is made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.records import Trajectory
from neumap.report.replay_report import ReplayLog, StatusLine, as_dict, as_text, report, status_lines

SECOND = 10**9
START = 1_700_000_000 * SECOND


def ns(seconds: float) -> int:
    return START + round(seconds * SECOND)


def pose(x: float, yaw: float = 0.0) -> FloatArray:
    return make_pose(rotation_exp(np.array([0.0, 0.0, yaw])), np.array([x, 0.0, 0.0]))


def status(
    seconds: float, state: str, reason: str = "", latency_s: float = 0.0, processed: int = 0, dropped: int = 0
) -> StatusLine:
    return StatusLine(ns(seconds), state, reason, latency_s, processed, dropped)


def transforms(*values: tuple[float, FloatArray]) -> tuple[np.ndarray, FloatArray]:
    return np.array([ns(t) for t, _ in values], dtype=np.int64), np.array([p for _, p in values]).reshape(-1, 4, 4)


STATUSES = (
    # what is said first holds from the beginning, and causes no image
    status(0.5, "UNINITIALIZED", "no image yet"),
    status(2.0, "UNINITIALIZED", "only 3 keypoints: blank", 0.1, 1, 0),
    status(3.0, "TRACKING", "", 0.2, 2, 1),
    status(4.0, "TRACKING", "", 0.3, 3, 2),
    status(7.0, "DEGRADED", "no image since 1 s", 0.0, 3, 2),
    status(8.0, "DEGRADED", "only 8 keypoints: blank", 0.9, 4, 2),
    status(8.5, "LOST", "other", 0.1, 5, 3),
    status(9.0, "TRACKING", "", 0.2, 6, 3),
)
# x of the published poses: the truth is x = t
POSES = ((2.8, 2.81), (3.7, 3.66), (8.8, 9.1))
LOG = ReplayLog(
    start_ns=ns(0),
    end_ns=ns(10),
    first_image_ns=ns(1.0),
    statuses=STATUSES,
    poses=Trajectory(np.array([ns(t) for t, _ in POSES]), np.array([pose(x) for _, x in POSES])),
    covariances=np.tile(np.diag([0.01**2, 0.02**2, 0.02**2, 0.1**2, 0.1**2, 0.1**2]), (3, 1, 1)),
    published_ns=np.array([ns(3.0), ns(4.0), ns(9.0)]),
    transform_ns=np.array([ns(3.0), ns(4.0), ns(9.0)]),
    map_from_odom=np.array([pose(0.0), pose(0.05), pose(0.5)]),
)
TIMES = np.arange(0, 10.01, 0.05)
TRUTH = Trajectory(np.array([ns(t) for t in TIMES]), np.array([pose(float(t)) for t in TIMES]))


def without_poses(log: ReplayLog) -> ReplayLog:
    none = np.zeros((0, 4, 4))
    return replace(
        log,
        poses=Trajectory(np.zeros(0, np.int64), none),
        covariances=np.zeros((0, 6, 6)),
        published_ns=np.zeros(0, np.int64),
        transform_ns=np.zeros(0, np.int64),
        map_from_odom=none,
    )


def test_counts_and_times() -> None:
    result = report(LOG)
    assert result.duration_s == 10.0
    assert (result.images_processed, result.images_dropped, result.poses) == (6, 3, 3)
    assert result.first_fix_s == pytest.approx(2.0)
    # the first image gave none
    assert result.first_fix_image == 2
    assert result.update_hz == pytest.approx(0.3)
    assert result.latency_s == (pytest.approx(0.2), pytest.approx(0.9))
    assert result.accuracy is None


def test_images_of_which_a_glance_was_enough() -> None:
    result = report(replace(LOG, searched=8, glances=6))
    assert result.glances == pytest.approx(0.75)
    assert "glances      75 % of the images were settled by one" in as_text(result).splitlines()
    assert report(LOG).glances is None


def test_cost_and_what_a_slower_machine_keeps_up_with() -> None:
    result = report(replace(LOG, costs_s=(0.1, 0.1, 0.25)))
    assert result.cost_s == pytest.approx(0.15)
    assert result.half_as_fast_hz == pytest.approx(1 / 0.3)
    (line,) = (line for line in as_text(result).splitlines() if line.startswith("cost "))
    assert line.endswith(
        "150 ms an image, as --inference-ms tells; a machine half as fast keeps up with 3.3 images a second"
    )
    idle = report(LOG)
    assert (idle.cost_s, idle.half_as_fast_hz) == (None, None)
    assert "half as fast" not in as_text(idle)


def test_shares_of_time() -> None:
    shares = report(LOG).state_shares
    assert shares == pytest.approx({"UNINITIALIZED": 0.3, "TRACKING": 0.5, "DEGRADED": 0.15, "LOST": 0.05})


def test_shares_where_states_lie_beyond_what_was_played() -> None:
    late = replace(LOG, statuses=(*STATUSES, status(12.0, "LOST")))
    assert report(late).state_shares == pytest.approx(report(LOG).state_shares)


def test_reasons_are_those_of_images_without_what_differs_from_image_to_image() -> None:
    assert report(LOG).reasons == {"only 3 to 8 keypoints: blank": 2, "other": 1}


def test_nothing_published() -> None:
    silent = replace(without_poses(LOG), statuses=(), first_image_ns=None)
    result = report(silent, TRUTH)
    assert (result.first_fix_s, result.first_fix_image, result.latency_s, result.accuracy) == (None, None, None, None)
    assert (result.poses, result.update_hz, result.jumps, result.images_processed) == (0, 0.0, 0, 0)
    assert sum(result.state_shares.values()) == 0
    assert "never" in as_text(result)
    assert status_lines(silent) == "\n"


def without_a_fix(*statuses: StatusLine, searched: int = 0) -> str:
    log = replace(without_poses(LOG), statuses=statuses, searched=searched)
    result = report(log)
    line = as_text(result).splitlines()[1]
    assert line == f"first fix    never: {result.why_not}"
    assert json.loads(json.dumps(as_dict(result)))["why_not"] == result.why_not
    return result.why_not


def test_why_there_was_no_fix() -> None:
    no_info = "no camera_info yet"
    images = [status(float(i), "UNINITIALIZED", no_info, 0.1) for i in range(3)]
    assert without_a_fix(*images) == f"{no_info} (3 of 3 images)"
    clock = "the images are stamped +90 s from this clock: is use_sim_time right?"
    assert without_a_fix(status(0, "UNINITIALIZED", "no image yet"), status(1, "UNINITIALIZED", clock)) == clock
    unusable = "camera_info cannot be used: the focal length is 0: calibrate the camera"
    assert without_a_fix(status(1, "UNINITIALIZED", unusable, 0.1)) == f"{unusable} (1 of 1 images)"
    few = [status(float(i), "UNINITIALIZED", f"only {i} matches", 0.1) for i in range(4, 7)]
    assert without_a_fix(*few, searched=3) == "only 4 to 6 matches (3 of 3 images); is it the right map?"
    late = status(1, "UNINITIALIZED", "no transform for the image: a: b", 0.1)
    assert without_a_fix(late, searched=1) == "no transform for the image: a: b (1 of 1 images)"
    assert report(LOG).why_not == ""


def test_notes_are_told() -> None:
    assert "note         3 transforms are left out" in as_text(
        report(replace(LOG, notes=("3 transforms are left out",)))
    )


def test_no_time_at_all() -> None:
    assert report(replace(LOG, end_ns=LOG.start_ns)).update_hz == 0.0


@pytest.mark.parametrize(
    ("moves", "jumps"),
    [
        (((0.0, 0.0), (0.29, 0.0), (0.58, 0.0)), 0),
        (((0.0, 0.0), (0.31, 0.0), (0.31, 0.0)), 1),
        (((0.0, 0.0), (0.0, 0.19), (0.0, 0.0)), 0),
        (((0.0, 0.0), (0.0, -0.21), (0.5, -0.21)), 2),
        (((0.0, 3.1), (0.0, -3.1)), 0),
    ],
)
def test_jumps(moves: tuple[tuple[float, float], ...], jumps: int) -> None:
    times, poses = transforms(*((float(i), pose(*move)) for i, move in enumerate(moves)))
    assert report(replace(LOG, transform_ns=times, map_from_odom=poses)).jumps == jumps


def test_accuracy_of_poses() -> None:
    accuracy = report(LOG, TRUTH).accuracy
    assert accuracy is not None
    np.testing.assert_allclose(accuracy.poses.translation_m, [0.01, 0.04, 0.3], atol=1e-9)
    assert accuracy.wrong == pytest.approx(1 / 3)
    # (1, 4, 30) standard deviations of 1 cm
    assert accuracy.mean_nees == pytest.approx((1 + 16 + 900) / 3)
    shares = {recall.metres: recall.share for recall in accuracy.poses.recall}
    assert shares[0.05] == pytest.approx(2 / 3)
    assert (accuracy.transform_m, accuracy.transform_deg) == (None, None)


def test_the_covariance_is_about_the_axes_of_the_map() -> None:
    """A pose turned by a quarter, wrong along the map's y, and sure of that only."""
    turned = make_pose(rotation_exp(np.array([0.0, 0.0, np.pi / 2])), np.array([0.0, 0.0, 0.0]))
    off = turned.copy()
    off[1, 3] = 0.1
    log = replace(
        LOG,
        poses=Trajectory(np.array([ns(1.0)]), off[None]),
        covariances=np.diag([1.0, 0.01, 1, 1, 1, 1])[None],
        published_ns=np.array([ns(1.1)]),
    )
    truth = Trajectory(np.array([ns(0.98), ns(1.02)]), np.array([turned, turned]))
    accuracy = report(log, truth).accuracy
    assert accuracy is not None
    assert accuracy.mean_nees == pytest.approx(1.0)


def test_accuracy_of_the_transform_with_odometry() -> None:
    """Odometry turns evenly and is right; the transform adds to it what is wrong."""
    wrong = [pose(0.01 * i, np.deg2rad(0.1) * i) for i in range(9)]
    # at the origin, where a turn about the map's origin moves nothing
    still = Trajectory(TRUTH.stamps_ns, np.array([pose(0.0, 0.02 * t) for t in TIMES]))
    log = replace(LOG, transform_ns=np.array([ns(t) for t in range(1, 10)]), map_from_odom=np.array(wrong))
    accuracy = report(log, still, still).accuracy
    assert accuracy is not None
    assert accuracy.transform_m == pytest.approx((0.04, 0.076))
    assert accuracy.transform_deg == pytest.approx((0.4, 0.76))
    # odometry that knows nothing of those times
    later = Trajectory(still.stamps_ns + 60 * SECOND, still.map_from_camera)
    accuracy = report(log, still, later).accuracy
    assert accuracy is not None
    assert accuracy.transform_m is None


def test_poses_whose_truth_is_not_known_do_not_count() -> None:
    early = Trajectory(TRUTH.stamps_ns[:80], TRUTH.map_from_camera[:80])
    accuracy = report(LOG, early).accuracy
    assert accuracy is not None
    assert accuracy.wrong == 0.0
    assert accuracy.mean_nees == pytest.approx((1 + 16) / 2)


def test_text_and_dictionary_say_the_same() -> None:
    result = report(LOG, TRUTH, TRUTH)
    text = as_text(result)
    for part in (
        "played       10.0 s: 6 images processed, 3 dropped",
        "first fix    2.00 s after the first image (image 2)",
        "published    3 poses, 0.3 Hz",
        "states       UNINITIALIZED 30.0%, TRACKING 50.0%, DEGRADED 15.0%, LOST 5.0%",
        "latency      median 200 ms, max 900 ms",
        "not tracking 2 images: only 3 to 8 keypoints: blank",
        "wrong        33.3% beyond 25 cm",
        "covariance   normalised error squared 305.7 on average",
        "map -> odom",
    ):
        assert part in text
    read = json.loads(json.dumps(as_dict(result)))
    assert read["accuracy"]["wrong"] == pytest.approx(1 / 3)
    assert read["state_shares"]["TRACKING"] == pytest.approx(0.5)
    assert read["first_fix_image"] == 2


def test_states_as_lines() -> None:
    lines = status_lines(LOG).splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "UNINITIALIZED no image yet",
        "UNINITIALIZED only 3 keypoints: blank",
        "TRACKING",
        "DEGRADED no image since 1 s",
        "DEGRADED only 8 keypoints: blank",
        "LOST other",
        "TRACKING",
    ]
    assert lines[0].startswith("1700000000.500000")
