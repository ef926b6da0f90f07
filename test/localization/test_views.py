"""Several images with known relative poses are searched for together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from synthetic_scene import CAMERA, FOCAL_PX, Scene, features_of, make_latent_map, make_map, make_scene, ring, turned

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.features.extractor import Features
from neumap.geometry import cameras, se3
from neumap.localization import pnp
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query, View, pooled
from neumap.records import Camera, PoseEstimate

WIDE = cameras.make_camera(640, 480, [300, 0, 319.5, 0, 300, 239.5, 0, 0, 1])
FEW, MANY = 10, 120
# a step of a robot that drives and turns
STEP = turned(np.array([0.0, 0.12, 0.0]), np.array([0.05, 0.0, 0.08]))


@pytest.fixture(scope="module")
def room() -> Scene:
    return make_scene(np.random.default_rng(0), 6000)


@pytest.fixture(scope="module")
def elsewhere() -> Scene:
    return make_scene(np.random.default_rng(1), 6000)


@pytest.fixture(scope="module")
def localizer(room: Scene) -> Localizer:
    return Localizer(make_map(room))


class Robot:
    """Takes images of the room with few keypoints that show it, and others that do not."""

    def __init__(self, localizer: Localizer, room: Scene, elsewhere: Scene) -> None:
        self._localizer, self._room, self._elsewhere = localizer, room, elsewhere

    def sees(self, pose: FloatArray, seed: int, right: int = FEW, wrong: int = 60, camera: Camera = CAMERA) -> Query:
        rng = np.random.default_rng(seed)
        seen, seen_rays, _ = features_of(self._room, pose, rng, 0.5, 0.2, camera)
        other, other_rays, _ = features_of(self._elsewhere, pose, rng, 0.5, 0.2, camera)
        order = rng.permutation(right + wrong)

        def mixed(known: Any, unknown: Any) -> Any:
            return np.concatenate([known[:right], unknown[:wrong]])[order]

        features = Features(**{f.name: mixed(getattr(seen, f.name), getattr(other, f.name)) for f in fields(Features)})
        return self._localizer.query(features, mixed(seen_rays, other_rays), camera)


@pytest.fixture(scope="module")
def robot(localizer: Localizer, room: Scene, elsewhere: Scene) -> Robot:
    return Robot(localizer, room, elsewhere)


def drive(start: FloatArray, count: int) -> list[FloatArray]:
    """Where the camera is, the newest first, which is ``start``."""
    return [start @ np.linalg.matrix_power(STEP, i) for i in range(count)]


def views_of(poses: Sequence[FloatArray], queries: Sequence[Query]) -> list[View]:
    return [View(q, se3.invert_pose(poses[0]) @ pose) for pose, q in zip(poses, queries, strict=True)]


def error_of(estimate: PoseEstimate, truth: FloatArray) -> FloatArray:
    assert estimate.map_from_camera is not None, estimate.reason
    return se3.pose_error(estimate.map_from_camera, truth)


def nees(estimate: PoseEstimate, truth: FloatArray) -> float:
    error = error_of(estimate, truth)
    assert estimate.covariance is not None
    return float(error @ np.linalg.solve(estimate.covariance, error))


@pytest.mark.parametrize("count", [12, 40, 300])
@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_one_view_is_one_image(room: Scene, make: Any, count: int) -> None:
    localizer = Localizer(make(room))
    features, rays, _ = features_of(room, ring(7)[1], np.random.default_rng(2), 0.5, 0.2)
    query = localizer.query(features.select(np.arange(count)), rays[:count], CAMERA)
    one, same = localizer.locate(query), localizer.locate([View(query)])
    assert one.localized == (count > 12)
    for field in fields(PoseEstimate):
        if field.name != "times_ms":
            assert np.array_equal(getattr(one, field.name), getattr(same, field.name), equal_nan=False) or (
                getattr(one, field.name) != getattr(one, field.name)
            )


@pytest.mark.parametrize("start", range(4))
def test_none_suffices_alone_and_all_do_together(localizer: Localizer, robot: Robot, start: int) -> None:
    poses = drive(ring(4)[start], 4)
    queries = [robot.sees(pose, 10 * start + i) for i, pose in enumerate(poses)]
    assert not any(localizer.locate(query).localized for query in queries)
    estimate = localizer.locate(views_of(poses, queries))
    error = error_of(estimate, poses[0])
    assert np.linalg.norm(error[:3]) < 0.01
    assert np.linalg.norm(error[3:]) < np.deg2rad(0.5)
    # those to be drawn are of the first image alone
    assert 4 <= len(estimate.keypoints_px) <= FEW < estimate.inliers
    assert {tuple(pixel) for pixel in estimate.keypoints_px} <= {tuple(p) for p in queries[0].features.pixels}


def test_cameras_of_other_lenses_that_look_opposite_ways(localizer: Localizer, robot: Robot) -> None:
    front = ring(4)[0]
    back = front @ turned(np.array([0.0, np.pi, 0.0]), np.array([0.1, 0.0, -0.3]))
    queries = [robot.sees(front, 1, 14), robot.sees(back, 2, 14, camera=WIDE)]
    assert not any(localizer.locate(query).localized for query in queries)
    for turn in (1, -1):
        poses = [front, back][::turn]
        error = error_of(localizer.locate(views_of(poses, queries[::turn])), poses[0])
        assert np.linalg.norm(error[:3]) < 0.01


@pytest.mark.parametrize("first", [0, 1])
def test_a_camera_that_faces_a_blank_wall(localizer: Localizer, robot: Robot, first: int) -> None:
    """It says nothing for the pose that the other one shows, and nothing against it."""
    front = ring(4)[0]
    poses = [front, front @ turned(np.array([0.0, np.pi, 0.0]), np.array([0.1, 0.0, -0.3]))]
    queries = [robot.sees(poses[0], 1, 0, 20), robot.sees(poses[1], 2, MANY, 20)]
    views = views_of(poses[:: 1 - 2 * first], queries[:: 1 - 2 * first])
    error = error_of(localizer.locate(views), poses[first])
    assert np.linalg.norm(error[:3]) < 0.01


def test_where_all_images_are_taken_from_one_place(localizer: Localizer, robot: Robot) -> None:
    poses = [ring(4)[2] @ turned(np.array([0.0, 0.3 * i, 0.0]), np.zeros(3)) for i in range(4)]
    error = error_of(localizer.locate(views_of(poses, [robot.sees(p, i) for i, p in enumerate(poses)])), poses[0])
    assert np.linalg.norm(error[:3]) < 0.01


def test_the_transformer_helps_view_by_view(room: Scene, elsewhere: Scene) -> None:
    localizer = Localizer(make_latent_map(room))
    robot, poses = Robot(localizer, room, elsewhere), drive(ring(4)[1], 4)
    error = error_of(localizer.locate(views_of(poses, [robot.sees(p, i) for i, p in enumerate(poses)])), poses[0])
    assert np.linalg.norm(error[:3]) < 0.02


@pytest.mark.parametrize("right", [FEW, MANY])
@pytest.mark.parametrize("off", [(0.08, 0.0), (0.3, 0.0), (1.0, 0.0), (0.0, 0.1), (0.0, 0.5), (0.3, 3.0)])
@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_relative_pose_is_noticed(
    localizer: Localizer, robot: Robot, right: int, off: tuple[float, float], count: int
) -> None:
    """All but the first are elsewhere than is said, and it is said to be certain."""
    wrong = turned(np.array([0.0, off[1], 0.0]), np.array([off[0], 0.0, 0.0]))
    poses = drive(ring(4)[1], count)
    views = views_of(poses, [robot.sees(p, i, right) for i, p in enumerate(poses)])
    views = [views[0], *(replace(view, rig_from_camera=wrong @ view.rig_from_camera) for view in views[1:])]
    estimate = localizer.locate(views)
    assert not estimate.localized or np.linalg.norm(error_of(estimate, poses[0])[:3]) < 0.02


def test_what_relative_poses_are_uncertain_by_the_pose_is(localizer: Localizer, robot: Robot) -> None:
    """Unless the first view tells by itself."""
    poses = drive(ring(4)[0], 3)
    doubt = np.diag([0.1**2] * 3 + [0.05**2] * 3)

    def sigmas(right: int) -> tuple[float, float]:
        views = views_of(poses, [robot.sees(p, i, 60 if i else right) for i, p in enumerate(poses)])
        uncertain = [views[0], *(replace(view, covariance=doubt) for view in views[1:])]
        return localizer.locate(views).sigma_m, localizer.locate(uncertain).sigma_m

    certain, uncertain = sigmas(60)
    assert certain < uncertain < 0.01
    certain, uncertain = sigmas(3)
    assert certain < 0.01
    assert 0.02 < uncertain < 0.3


@pytest.mark.parametrize("start", range(4))
def test_views_that_are_displaced_are_found_where_they_are(localizer: Localizer, robot: Robot, start: int) -> None:
    """Odometry is off by centimetres, as it says: the pose is no less exact than the newest image's alone."""
    poses = drive(ring(4)[start], 4)
    rng, sigma = np.random.default_rng(start), np.array([0.015] * 3 + [0.005] * 3)
    queries = [robot.sees(pose, 20 + 4 * start + i, 60) for i, pose in enumerate(poses)]
    views, told, covariance = [View(queries[0])], np.eye(4), np.zeros((6, 6))
    for query in queries[1:]:
        noise = rng.normal(size=6) * sigma
        told, covariance = told @ STEP @ turned(noise[3:], noise[:3]), covariance + np.diag(sigma**2)
        views.append(View(query, told, covariance))
    alone, together = localizer.locate(queries[0]), localizer.locate(views)
    assert together.inliers > 2 * alone.inliers
    assert np.linalg.norm(error_of(together, poses[0])[:3]) < max(0.005, np.linalg.norm(error_of(alone, poses[0])[:3]))


@pytest.mark.parametrize("count", [1, 2, 6])
def test_foreign_views_are_refused(localizer: Localizer, robot: Robot, count: int) -> None:
    for start in ring(3):
        poses = drive(start, count)
        estimate = localizer.locate(views_of(poses, [robot.sees(p, i, 0, 200) for i, p in enumerate(poses)]))
        assert not estimate.localized
        assert estimate.evidence < 0.5 * localizer.needed()


def test_a_poster_seen_from_several_places_is_one_poster(localizer: Localizer, room: Scene, robot: Robot) -> None:
    """What is in few parts of the image does not come to be in many because there are more images of it."""
    poses = drive(ring(4)[0], 6)
    queries = []
    for i, pose in enumerate(poses):
        query = robot.sees(pose, i, 330, 0)
        away = se3.transform_points(se3.invert_pose(poses[0]) @ pose, np.c_[query.rays, np.ones(len(query))] * 2.0)
        mine = (np.abs(away[:, :2] / away[:, 2:] * FOCAL_PX - [60.0, 60.0]) < 55.0).all(axis=1) & (away[:, 2] > 0)
        queries.append(localizer.query(query.features.select(mine), query.rays[mine], CAMERA))
    found = localizer.solve(pooled(views_of(poses, queries))).found
    assert found is not None
    assert found.evidence.inliers >= localizer.needed()
    assert found.evidence.cells <= 6


def test_poses_of_pooled_views_are_as_uncertain_as_they_are_wrong(room: Scene, elsewhere: Scene) -> None:
    """Views are carried by odometry, whose errors add up on the way; the map has no errors, and says so."""
    exact = make_map(room)
    drift = replace(exact.drift, scale=1e-6 * exact.drift.scale)
    calibration = replace(exact.calibration, pixel_sigma=1.0, floor_share=0.0, floor_rad=0.0)
    localizer = Localizer(replace(exact, drift=drift, calibration=calibration))
    robot = Robot(localizer, room, elsewhere)
    rng, squared = np.random.default_rng(5), []
    step = np.diag([0.004**2] * 3 + [0.003**2] * 3)
    for window, start in enumerate(ring(100)):
        poses = drive(start, 4)
        views, told, covariance = [View(robot.sees(start, 4 * window, 12, 20))], np.eye(4), np.zeros((6, 6))
        for i, pose in enumerate(poses[1:], 1):
            noise = rng.normal(size=6) * np.sqrt(np.diag(step))
            told = told @ STEP @ turned(noise[3:], noise[:3])
            covariance = covariance + step
            views.append(View(robot.sees(pose, 4 * window + i, 12, 20), told, covariance))
        estimate = localizer.locate(views)
        if estimate.localized:
            squared.append(nees(estimate, start))
    assert len(squared) > 90
    assert 0.5 * 6 < np.mean(squared) < 2 * 6


def test_no_view_is_the_rig(localizer: Localizer, robot: Robot) -> None:
    """The pose is that of the rig, whether a camera is there or not, and so is its covariance."""
    with pytest.raises(DataError, match="there is no view"):
        localizer.locate([])
    rig = ring(4)[0]
    rig_from_front = turned(np.array([0.1, 0.2, 0.0]), np.array([0.2, 0.1, -0.3]))
    rig_from_left = turned(np.array([0.0, 1.2, 0.0]), np.array([-0.2, 0.0, 0.1]))
    views = [View(robot.sees(rig @ place, i, MANY), place) for i, place in enumerate((rig_from_front, rig_from_left))]
    doubt = np.diag([0.05**2] * 3 + [0.02**2] * 3)
    for some in (views, views[:1], views[1:]):
        estimate = localizer.locate(some)
        assert np.linalg.norm(error_of(estimate, rig)[:3]) < 0.01
        assert nees(estimate, rig) < 20
        uncertain = localizer.locate([replace(view, covariance=doubt) for view in some])
        assert uncertain.sigma_m == pytest.approx(np.sqrt(3 * 0.05**2), rel=0.3)


def test_without_poselib_one_view_is_localized_and_several_are_refused(
    localizer: Localizer, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pnp, "poselib", None)
    poses = drive(ring(4)[0], 2)
    views = views_of(poses, [robot.sees(p, i, MANY) for i, p in enumerate(poses)])
    assert localizer.locate(views[:1]).localized
    with pytest.raises(DataError, match="pip install poselib"):
        localizer.locate(views)
