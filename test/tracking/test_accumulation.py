"""Which images are put together, and where odometry says that they were taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.tracking.accumulation import MOST_VIEWS, Accumulation, Shown
from neumap.tracking.ports import RobotPose
from neumap.tracking.settings import Settings

SETTINGS = Settings()
BASE_FROM_CAMERA = se3.make_pose(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.45])
)


def shown(seconds: float, odom_from_base: FloatArray, query: Any = None) -> Shown:
    return Shown(round(seconds * 1e9), cast(Any, query), RobotPose(BASE_FROM_CAMERA, odom_from_base))


def base_at(x: float, yaw: float) -> FloatArray:
    return se3.make_pose(se3.rotation_exp(np.array([0.0, 0.0, yaw])), np.array([x, 0.0, 0.0]))


def kept_after(seconds: list[float], settings: Settings = SETTINGS) -> list[float]:
    recent = Accumulation()
    for each in seconds:
        recent = recent.followed_by(shown(each, np.eye(4)), settings)
    return [each.stamp_ns * 1e-9 for each in recent.kept]


def test_few_images_of_the_last_seconds_are_kept_and_evenly() -> None:
    for rate in (5, 30):
        kept = kept_after([i / rate for i in range(4 * rate + 1)])
        assert kept[0] == 4.0
        assert len(kept) <= MOST_VIEWS
        assert 1.2 < kept[0] - kept[-1] <= SETTINGS.accumulate_s
    assert kept_after([0.0, 1.0, 9.0]) == [9.0]
    assert kept_after([0.0, 1.0, 1.5]) == [1.5, 1.0, 0.0]


def test_of_each_camera_some_are_kept_the_nearest_first() -> None:
    recent = Accumulation()
    for i in range(20):
        for camera, late_s in (("front", 0.0), ("rear", 0.05)):
            taken = replace(shown(0.2 * i + late_s, np.eye(4)), camera=camera)
            recent = recent.followed_by(taken, SETTINGS)
    assert recent.cameras == ("rear", "front")
    counts = [sum(each.camera == camera for each in recent.kept) for camera in recent.cameras]
    assert counts == [3, 3]
    apart = [abs(recent.kept[0].stamp_ns - each.stamp_ns) * 1e-9 for each in recent.kept]
    assert apart == sorted(apart)
    assert 0.8 < apart[-1] <= SETTINGS.accumulate_s


def test_without_odometry_images_of_one_moment_are_kept() -> None:
    recent = Accumulation()
    for seconds, camera in ((0.0, "rear"), (0.5, "front"), (0.53, "rear")):
        stamped = Shown(round(seconds * 1e9), cast(Any, camera), RobotPose(BASE_FROM_CAMERA, None), camera)
        recent = recent.followed_by(stamped, SETTINGS)
    assert recent.cameras == ("rear", "front")
    _, front = recent.views(SETTINGS)
    assert np.array_equal(front.rig_from_camera, np.eye(4))
    # three standard deviations are as far as the robot can have come, and turned
    far_m, far_rad = 3 * np.sqrt(front.covariance.diagonal()[2]), 3 * np.sqrt(front.covariance.diagonal()[4])
    assert far_rad == pytest.approx(SETTINGS.max_turn_rate * 0.03)
    assert far_m >= SETTINGS.max_speed * 0.03 - 1e-9


def test_views_are_where_odometry_says_and_as_uncertain_as_it_is() -> None:
    recent = Accumulation()
    poses = [base_at(0.0, 0.0), base_at(0.5, 0.3), base_at(1.0, 0.6)]
    for i, pose in enumerate(poses):
        recent = recent.followed_by(shown(0.5 * i, pose, f"image {i}"), SETTINGS)
    newest, before, first = recent.views(SETTINGS)
    assert [view.query for view in (newest, before, first)] == ["image 2", "image 1", "image 0"]
    assert np.array_equal(newest.rig_from_camera, np.eye(4))
    assert not newest.covariance.any()
    for view, pose in ((before, poses[1]), (first, poses[0])):
        expected = se3.invert_pose(poses[2] @ BASE_FROM_CAMERA) @ pose @ BASE_FROM_CAMERA
        assert np.allclose(view.rig_from_camera, expected, atol=1e-12)
        assert np.linalg.eigvalsh(view.covariance).min() > 0
    assert np.trace(first.covariance) > np.trace(before.covariance)


def test_the_uncertainty_is_that_of_odometry_drawn_again_and_again() -> None:
    """Where the robot turned by an angle that is wrong, the camera ahead of its centre is elsewhere."""
    settings = replace(SETTINGS, odom_noise=0.02, odom_turn_noise=0.05, odom_drift=0.0, odom_turn_drift=0.0)
    recent = Accumulation().followed_by(shown(0.0, base_at(0.0, 0.0)), settings)
    view = recent.followed_by(shown(1.0, base_at(0.5, 0.4)), settings).views(settings)[1]
    rng, errors = np.random.default_rng(0), []
    now, earlier = base_at(0.5, 0.4), base_at(0.0, 0.0)
    for _ in range(4000):
        noise = rng.normal(size=6) * ([0.02] * 3 + [0.05] * 3)
        there = se3.invert_pose(now) @ earlier
        there = se3.make_pose(se3.rotation_exp(noise[3:]) @ there[:3, :3], there[:3, 3] + noise[:3])
        rig_from_camera = se3.invert_pose(BASE_FROM_CAMERA) @ there @ BASE_FROM_CAMERA
        errors.append(se3.pose_error(rig_from_camera, view.rig_from_camera))
    assert np.allclose(np.cov(np.array(errors).T), view.covariance, atol=2e-4)
