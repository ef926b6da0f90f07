"""Requests that wait for a pose, on images made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap.geometry.se3 import make_pose
from neumap.tracking.tracker import Fix, Track, TrackerSettings
from neumap_ros import simulator
from neumap_ros.simulator import rclpy
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.lifecycle import LifecycleNode

SECOND = 10**9
SETTINGS = TrackerSettings()
GOOD = np.diag([0.01**2] * 3 + [0.005**2] * 3)


def fix(seconds: float, x: float = 0.0, sure: bool = True, covariance: Any = GOOD) -> Fix:
    pose = make_pose(np.eye(3), np.array([x, 0.0, 0.0]))
    return Fix(round(seconds * SECOND), pose, covariance, np.eye(4), sure)


class Requests:
    """A Relocalization, with a node whose time passes when it is told to."""

    def __init__(self, module: ModuleType, executor: SingleThreadedExecutor, node: LifecycleNode) -> None:
        self._module, self._executor, self.node = module, executor, node
        self.waiting = module.Relocalization(node)

    def begin(self, prior: Fix | None = None, newer_than: int | None = None, timeout_s: float = 5.0) -> Any:
        return self.waiting.begin(prior, newer_than, timeout_s, "some-map")

    def see(self, seconds: float, found: Fix | None, reason: str = "", **more: Any) -> Any:
        seen = self._module.Seen(round(seconds * SECOND), found, reason, **more)
        return self.waiting.see(seen, "some-map", "map", round((seconds + 0.25) * SECOND), SETTINGS)

    def let_pass(self, seconds: float) -> None:
        self._executor.spin_once(timeout_sec=seconds)
        self._executor.spin_until_idle()


@pytest.fixture
def requests(relocalization: ModuleType) -> Iterator[Requests]:
    simulator.virtual_time.reset()
    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    node = LifecycleNode("node")
    executor.add_node(node)
    yield Requests(relocalization, executor, node)
    executor.shutdown()
    rclpy.try_shutdown()


def test_a_sure_image_answers(requests: Requests) -> None:
    future = requests.begin()
    assert requests.waiting.pending
    track = requests.see(7.5, fix(7.5, 2.0), evidence=77)
    assert isinstance(track, Track)
    assert track.believed
    assert not requests.waiting.pending
    answer = future.result()
    assert (answer.success, answer.reason, answer.inliers, answer.map_id) == (True, "", 77, "some-map")
    assert (answer.image_stamp.sec, answer.image_stamp.nanosec) == (7, SECOND // 2)
    assert answer.latency == pytest.approx(0.25)
    assert answer.pose.header.frame_id == "map"
    assert answer.pose.header.stamp == answer.image_stamp
    assert answer.pose.pose.pose.position.x == 2.0
    np.testing.assert_allclose(np.array(answer.pose.pose.covariance).reshape(6, 6), GOOD)


def test_images_from_before_the_request_do_not_count(requests: Requests) -> None:
    future = requests.begin(newer_than=3 * SECOND)
    assert requests.see(2.5, fix(2.5)) is None
    assert requests.see(3.0, fix(3.0)) is None
    assert not future.done()
    requests.see(3.1, fix(3.1))
    assert future.result().success


def test_unsure_images_must_agree_with_each_other(requests: Requests) -> None:
    future = requests.begin()
    assert requests.see(1.0, fix(1.0, 0.0, sure=False)) is None
    assert requests.see(1.2, fix(1.2, 4.0, sure=False)) is None
    assert not future.done()
    requests.see(1.4, fix(1.4, 4.01, sure=False))
    assert future.result().pose.pose.pose.position.x == pytest.approx(4.01, abs=0.01)


def test_without_an_image_it_gives_up_when_the_time_is_over(requests: Requests) -> None:
    future = requests.begin(timeout_s=2.0)
    requests.let_pass(1.9)
    assert not future.done()
    requests.let_pass(0.2)
    answer = future.result()
    assert (answer.success, answer.reason) == (False, "no image arrived within 2 s")
    assert (answer.image_stamp.sec, answer.image_stamp.nanosec) == (0, 0)
    assert answer.map_id == "some-map"
    assert not requests.waiting.pending
    assert list(requests.node.timers) == []


def test_it_gives_up_with_the_reason_of_the_last_image(requests: Requests) -> None:
    future = requests.begin(timeout_s=2.0)
    requests.see(1.0, None, "only 3 keypoints")
    requests.see(1.5, None, "only 4 keypoints")
    requests.let_pass(2.1)
    answer = future.result()
    assert answer.reason == "only 4 keypoints within 2 s"
    assert (answer.image_stamp.sec, answer.image_stamp.nanosec) == (1, SECOND // 2)


def test_a_prior_must_agree(requests: Requests) -> None:
    vague = np.diag([0.5**2] * 3 + [0.25**2] * 3)
    right = requests.begin(prior=fix(0.9, 0.3, covariance=vague))
    wrong = requests.begin(prior=fix(0.9, 9.0, covariance=vague), timeout_s=1.0)
    requests.see(1.0, fix(1.0))
    assert right.result().success
    assert not wrong.done()
    requests.let_pass(1.1)
    answer = wrong.result()
    assert not answer.success
    assert "the image says 9.00 m, 0 deg from the prior" in answer.reason


def test_a_pose_near_a_prior_counts_with_that_prior_only(requests: Requests) -> None:
    vague = np.diag([0.5**2] * 3 + [0.25**2] * 3)
    claiming = requests.begin(prior=fix(0.9, 6.3, covariance=vague))
    elsewhere = requests.begin(prior=fix(0.9, 0.0, covariance=vague))
    asking = requests.begin()
    requests.see(1.0, None, "two poses 6.00 m apart", near=fix(1.0, 6.0))
    assert claiming.result().success
    assert claiming.result().pose.pose.pose.position.x == 6.0
    requests.let_pass(5.1)
    for other in (elsewhere, asking):
        assert not other.result().success
        assert other.result().reason == "two poses 6.00 m apart within 5 s"


def test_the_prior_that_is_searched_near_is_the_first_that_waits(requests: Requests) -> None:
    assert requests.waiting.prior is None
    requests.begin(newer_than=0)
    first, second = fix(0.5, 1.0), fix(0.6, 2.0)
    requests.begin(prior=first)
    requests.begin(prior=second)
    assert requests.waiting.prior is first
    requests.see(1.0, None, "", near=fix(1.0, 1.0))
    assert requests.waiting.prior is second


def test_all_that_wait_are_answered_by_one_image(requests: Requests) -> None:
    futures = [requests.begin(), requests.begin(newer_than=SECOND // 2), requests.begin(newer_than=SECOND)]
    requests.see(1.0, fix(1.0))
    assert [future.done() for future in futures] == [True, True, False]
    requests.see(1.2, fix(1.2))
    assert futures[2].result().success
    assert list(requests.node.timers) == []


def test_abandoned_requests_are_answered(requests: Requests) -> None:
    futures = [requests.begin(), requests.begin()]
    requests.see(1.0, None, "too dark")
    requests.waiting.abandon("the localizer was deactivated", "another-map")
    for future in futures:
        answer = future.result()
        assert (answer.success, answer.reason) == (False, "the localizer was deactivated")
        assert (answer.map_id, answer.image_stamp.sec) == ("another-map", 1)
    assert not requests.waiting.pending
    assert list(requests.node.timers) == []


def test_alternatives_are_told_in_their_order(requests: Requests) -> None:
    future = requests.begin()
    requests.see(1.0, fix(1.0), evidence=50, others=((fix(1.0, 5.0), 9), (fix(1.0, -3.0), 8)))
    answer = future.result()
    assert [a.pose.position.x for a in answer.alternatives] == [5.0, -3.0]
    assert list(answer.alternative_inliers) == [9, 8]
    np.testing.assert_allclose(np.array(answer.alternatives[0].covariance).reshape(6, 6), GOOD)
