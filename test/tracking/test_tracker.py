"""What is believed of a stream of poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.geometry.se3 import make_pose
from neumap.tracking.fix import CLAIM_GATE, Fix, claimed_near, difference, fix_of, moved_covariance, predict
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import State, Track, claim, see, settled, wait

SETTINGS = Settings()
GOOD = np.diag([0.01**2] * 3 + [0.005**2] * 3)


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def pose(x: float, y: float = 0.0, yaw: float = 0.0) -> FloatArray:
    return se3.make_pose(se3.rotation_exp(np.array([0, 0, yaw])), np.array([x, y, 0.0]))


def fix(seconds: float, x: float, odom_x: float | None = None, sure: bool = True) -> Fix:
    """A fix at x, where odometry says ``odom_x`` (x too, if not given)."""
    return Fix(ns(seconds), pose(x), GOOD, pose(x if odom_x is None else odom_x), sure)


def after(*fixes: Fix | None, start: Track | None = None) -> Track:
    """The track after images a fifth of a second apart; None is an image without a pose."""
    track = start or Track()
    seconds = 0.0 if track.image_ns is None else track.image_ns * 1e-9 + 0.2
    for given in fixes:
        stamp = ns(seconds) if given is None else given.stamp_ns
        track = see(track, stamp, given, "" if given else "nothing seen", SETTINGS)
        seconds = stamp * 1e-9 + 0.2
    return track


def test_one_sure_image_is_enough_to_begin_with() -> None:
    first = fix(0.0, 1.0)
    track = after(first)
    assert track.state is State.TRACKING
    assert track.fix is first
    assert track.current is not None


def test_two_unsure_images_must_agree_to_begin_with() -> None:
    one = after(fix(0.0, 1.0, sure=False))
    assert one.state is State.UNINITIALIZED
    assert one.current is None
    assert after(fix(0.2, 1.1, sure=False), start=one).state is State.TRACKING
    assert after(fix(0.2, 3.0, odom_x=1.1, sure=False), start=one).state is State.UNINITIALIZED


def test_following_odometry_goes_on_tracking() -> None:
    track = after(*(fix(0.2 * i, 0.1 * i) for i in range(20)))
    assert track.state is State.TRACKING
    assert track.fix is not None
    assert track.fix.map_from_base[0, 3] == pytest.approx(1.9)


def test_one_wrong_pose_is_not_believed() -> None:
    track = after(fix(0.0, 0.0), fix(0.2, 0.5, odom_x=0.02))
    assert track.state is State.DEGRADED
    assert "0.48 m" in track.reason
    assert track.fix is not None
    assert track.fix.map_from_base[0, 3] == 0
    again = after(fix(0.4, 0.04), start=track)
    assert again.state is State.TRACKING
    assert not again.candidates


def test_an_image_without_a_pose_says_nothing_while_another_camera_gives_some() -> None:
    def front(track: Track, seconds: float, given: Fix | None) -> Track:
        return see(track, ns(seconds), given, "nothing seen", SETTINGS, ("front",))

    def rear(track: Track, seconds: float) -> Track:
        return see(track, ns(seconds), None, "a wall", SETTINGS, ("rear",))

    track = rear(front(Track(), 0.0, fix(0.0, 0.0)), 0.1)
    assert (track.state, track.reason, track.believed) == (State.TRACKING, "", False)
    assert track.image_ns == ns(0.1)
    # its own image was the last to give one, or that of another camera is too long ago
    assert front(track, 0.2, None).state is State.DEGRADED
    assert rear(track, 1.1).reason == "a wall"
    # so do candidates stay
    one = rear(front(Track(), 0.0, fix(0.0, 1.0, sure=False)), 0.1)
    assert front(one, 0.2, fix(0.2, 1.1, sure=False)).state is State.TRACKING
    # however slow the computer is, each has its turn
    track = Track()
    for i in range(4):
        track = rear(front(track, 4.0 * i, fix(4.0 * i, 0.0)), 4.0 * i + 2.0)
        assert track.state is State.TRACKING
    assert rear(track, 16.0).state is State.LOST
    # a pose of both counts for both
    both = see(Track(), 0, fix(0.0, 0.0), "", SETTINGS, ("rear", "front"))
    assert front(both, 0.2, None).state is State.TRACKING
    assert rear(front(both, 0.2, None), 0.3).state is State.DEGRADED
    # one that contradicts does count
    assert front(rear(both, 0.1), 0.2, fix(0.2, 3.0, odom_x=0.0)).state is State.DEGRADED


def test_a_jump_is_believed_when_three_images_agree_on_it() -> None:
    begun = after(fix(0.0, 0.0))
    jumped = [fix(0.2 * i, 5 + 0.02 * i, odom_x=0.02 * i) for i in range(1, 4)]
    assert after(*jumped[:2], start=begun).state is State.DEGRADED
    track = after(*jumped, start=begun)
    assert track.state is State.TRACKING
    assert track.fix is jumped[-1]
    assert "jumped" in track.reason


def test_wrong_poses_that_disagree_among_themselves_are_never_believed() -> None:
    wrong = [fix(0.2 * i, x, odom_x=0.0) for i, x in enumerate([3.0, -2.0, 7.0, 1.5, -5.0, 4.0], start=1)]
    track = after(fix(0.0, 0.0), *wrong)
    assert track.state is State.DEGRADED
    assert track.fix is not None
    assert track.fix.stamp_ns == 0


def test_frozen_odometry_of_a_moving_camera_ends_lost() -> None:
    track = after(fix(0.0, 0.0))
    believed = 0
    for i in range(1, 20):
        before = track.fix
        track = after(fix(0.2 * i, 0.3 * i, odom_x=0.0, sure=False), start=track)
        believed += track.fix is not before
    assert believed == 0
    assert track.state is State.LOST


def test_images_without_a_pose_degrade_and_then_lose() -> None:
    track = after(fix(0.0, 0.0), None)
    assert track.state is State.DEGRADED
    assert track.reason == "nothing seen"
    assert track.current is not None
    track = after(*[None] * 16, start=track)
    assert track.state is State.LOST
    assert track.current is None
    found = fix(10.0, 4.0, odom_x=0.0)
    assert after(found, start=track).fix is found


def test_silence_degrades_and_then_loses() -> None:
    track = after(fix(0.0, 0.0))
    assert wait(track, ns(0.9), pose(0.0), SETTINGS) is track
    late = wait(track, ns(1.1), pose(0.0), SETTINGS)
    assert late.state is State.DEGRADED
    assert "no image" in late.reason
    assert wait(late, ns(3.1), pose(0.0), SETTINGS).state is State.LOST


def test_driving_far_without_images_loses_early() -> None:
    late = wait(after(fix(0.0, 0.0)), ns(1.1), pose(0.0), SETTINGS)
    assert wait(late, ns(1.2), pose(2.1), SETTINGS).state is State.LOST
    assert wait(late, ns(1.2), pose(1.9), SETTINGS).state is State.DEGRADED


def test_waiting_does_not_begin_anything() -> None:
    assert wait(Track(), ns(100), None, SETTINGS) == Track()


def test_an_initial_pose_is_confirmed_by_an_image_that_agrees() -> None:
    prior = replace(fix(0.0, 1.0), covariance=np.diag([0.25] * 3 + [0.07] * 3), sure=False)
    track = claim(Track(), prior)
    assert track.current is None
    seen = after(fix(0.2, 1.3, sure=False), start=track)
    assert seen.state is State.TRACKING
    assert seen.reason == "initial pose confirmed"
    assert seen.prior is None


def test_a_wrong_initial_pose_is_refused_and_the_image_counts() -> None:
    prior = replace(fix(0.0, 9.0, odom_x=1.0), covariance=np.diag([0.25] * 3 + [0.07] * 3))
    seen = after(fix(0.2, 1.0), start=claim(Track(), prior))
    assert seen.state is State.TRACKING
    assert "refused" in seen.reason
    tracking = claim(after(fix(0.0, 1.0)), prior)
    assert tracking.state is State.TRACKING
    still = after(fix(0.2, 1.0), start=tracking)
    assert still.state is State.TRACKING
    assert "8.00 m" in still.reason


def test_an_initial_pose_is_judged_by_images_that_were_searched_after_it_came() -> None:
    waiting = claim(after(fix(0.0, 0.0)), fix(0.1, 8.0), newer_than=ns(0.2))
    before = see(waiting, ns(0.2), fix(0.2, 0.0), "", SETTINGS)
    assert (before.state, before.reason, before.prior) == (State.TRACKING, waiting.reason, waiting.prior)
    confirmed = see(before, ns(0.3), fix(0.3, 8.0), "", SETTINGS)
    assert (confirmed.reason, confirmed.prior) == ("initial pose confirmed", None)


def test_an_initial_pose_may_confirm_a_jump() -> None:
    prior = replace(fix(0.2, 5.0, odom_x=0.0), covariance=np.diag([0.25] * 3 + [0.07] * 3))
    track = claim(after(fix(0.0, 0.0)), prior)
    seen = after(fix(0.4, 5.2, odom_x=0.0, sure=False), start=track)
    assert seen.state is State.TRACKING
    assert seen.fix is not None
    assert seen.fix.map_from_base[0, 3] == 5.2


def test_where_a_claim_says_that_the_camera_is() -> None:
    prior = Fix(ns(0.0), pose(1.0, 2.0, np.pi / 2), np.diag([0.5**2, 0.1**2, 0.0, 0.0, 0.0, 0.0]))
    near = claimed_near(prior, make_pose(np.eye(3), np.array([0.3, 0.0, 0.5])), 0.15)
    np.testing.assert_allclose(near.position, [1.0, 2.3, 0.5])
    assert near.radius_m == pytest.approx(np.sqrt(CLAIM_GATE * (0.5**2 + 0.15**2)))
    # a camera far from the base is where the claimed heading says
    turned = replace(prior, covariance=np.diag([0.0] * 5 + [0.1**2]))
    far = claimed_near(turned, make_pose(np.eye(3), np.array([10.0, 0.0, 0.0])), 0.3)
    assert far.radius_m == pytest.approx(np.sqrt(CLAIM_GATE * (1.0 + 0.3**2)))


def test_every_pose_that_confirms_a_claim_is_looked_for() -> None:
    rng = np.random.default_rng(0)
    prior = Fix(ns(0.0), pose(1.0, 2.0, 0.5), np.diag([0.5**2, 0.3**2, 0.01, 0.01, 0.01, 0.25**2]))
    base_from_camera = make_pose(np.eye(3), np.array([0.4, 0.2, 0.6]))
    near = claimed_near(prior, base_from_camera, 0.15)
    confirmed = 0
    for _ in range(2000):
        moved = prior.map_from_base.copy()
        moved[:3, 3] += rng.normal(size=3) * [1.5, 1.0, 0.3]
        moved[:3, :3] = se3.rotation_exp(np.array([0.0, 0.0, rng.normal() * 0.6])) @ moved[:3, :3]
        if difference(prior, Fix(ns(0.0), moved, GOOD), SETTINGS).confirms:
            confirmed += 1
            assert np.linalg.norm((moved @ base_from_camera)[:3, 3] - near.position) < near.radius_m
    assert confirmed > 500


def test_what_was_found_near_a_claim_counts_for_that_claim_only() -> None:
    prior = Fix(ns(0.0), pose(5.0), np.eye(6) * 0.25)
    anywhere, there, elsewhere = fix(0.0, 0.0), fix(0.0, 5.5), fix(0.0, 9.0)
    assert settled(prior, None, there, SETTINGS) is there
    assert settled(prior, None, elsewhere, SETTINGS) is None
    assert settled(None, None, there, SETTINGS) is None
    assert settled(prior, anywhere, there, SETTINGS) is anywhere
    assert settled(prior, None, None, SETTINGS) is None


def test_prediction_moves_with_odometry_and_grows_uncertain() -> None:
    start = Fix(0, pose(1.0, yaw=np.pi / 2), GOOD, pose(0.0))
    moved = predict(start, ns(1.0), pose(2.0), SETTINGS)
    np.testing.assert_allclose(moved.map_from_base[:3, 3], [1, 2, 0], atol=1e-12)
    assert moved.covariance[0, 0] > start.covariance[0, 0] + 0.2**2
    np.testing.assert_allclose(moved.covariance, moved.covariance.T)
    assert np.linalg.eigvalsh(moved.covariance).min() > 0


def test_without_odometry_the_robot_may_have_come_as_far_as_it_can_drive() -> None:
    start = Fix(0, pose(0.0), GOOD)
    assert difference(start, Fix(ns(0.5), pose(0.7), GOOD), SETTINGS).agrees
    assert not difference(start, Fix(ns(0.1), pose(1.5), GOOD), SETTINGS).agrees


def test_a_believed_pose_is_averaged_with_where_odometry_leads() -> None:
    alone, seen = fix(0.0, 0.0), fix(0.2, 0.12, odom_x=0.1)
    track = after(alone, seen)
    assert track.fix is not None
    assert 0.105 < track.fix.map_from_base[0, 3] < 0.12
    np.testing.assert_array_equal(track.fix.covariance, seen.covariance)
    assert track.believed
    assert not after(None, start=track).believed


def test_averaging_noisy_poses_is_better_than_each() -> None:
    rng = np.random.default_rng(1)
    errors = rng.normal(0, 0.01, 100)
    track, off = Track(), []
    for i, error in enumerate(errors):
        track = after(fix(0.2 * i, 0.05 * i + error, odom_x=0.05 * i), start=track)
        assert track.fix is not None
        off.append(track.fix.map_from_base[0, 3] - 0.05 * i)
    assert np.std(off) < 0.95 * np.std(errors)


def test_map_from_odom_takes_odometry_to_the_map() -> None:
    given = Fix(0, pose(3.0, 1.0, 0.4), GOOD, pose(-1.0, 2.0, 1.1))
    assert given.odom_from_base is not None
    np.testing.assert_allclose(given.map_from_odom @ given.odom_from_base, given.map_from_base, atol=1e-12)
    np.testing.assert_array_equal(replace(given, odom_from_base=None).map_from_odom, given.map_from_base)


def test_a_covariance_moves_as_samples_of_the_pose_do() -> None:
    rng = np.random.default_rng(0)
    root = 0.01 * rng.normal(size=(6, 6))
    covariance = root @ root.T
    offset = np.array([0.3, -0.5, 0.4])
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=200_000)
    turned = np.einsum("nij,j->ni", se3.rotation_exp(errors[:, 3:]), offset)
    sampled = np.cov(np.hstack([errors[:, :3] + turned - offset, errors[:, 3:]]).T)
    np.testing.assert_allclose(moved_covariance(covariance, offset), sampled, atol=3e-2 * np.abs(sampled).max())


def test_the_base_is_where_the_camera_says() -> None:
    base_from_camera = pose(0.2, 0.1, 0.5)
    truth = pose(4.0, -2.0, 2.0)
    made = fix_of(truth @ base_from_camera, GOOD, 7, base_from_camera, pose(1.0), True)
    np.testing.assert_allclose(made.map_from_base, truth, atol=1e-12)
