"""Which keypoints are decoded, by what, and how often a pose is looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from synthetic_scene import CAMERA, Scene, features_of, make_latent_map, make_scene, ring

from neumap.arrays import FloatArray, IntArray
from neumap.features.extractor import Features
from neumap.geometry import se3
from neumap.localization.matching import LandmarkIndex, Matches, no_matches
from neumap.localization.pnp import RansacSettings
from neumap.localization.query import EVERYWHERE, Near, Query, Scope
from neumap.localization.solver import ATTENDED, FIRST_KEYPOINTS, Solver

POSE = ring(7)[1]
Answer = Callable[[Query, IntArray], Matches]


@pytest.fixture(scope="module")
def room() -> Scene:
    return make_scene(np.random.default_rng(0), 6000)


@pytest.fixture(scope="module")
def elsewhere() -> Scene:
    return make_scene(np.random.default_rng(1), 18000)


def image(
    landmarks: LandmarkIndex, known: Scene, early: int, late: int, unknown: Scene, count: int = FIRST_KEYPOINTS
) -> tuple[Query, FloatArray]:
    """What a camera sees: ``early`` points of the ``known`` scene, so many of the ``unknown`` one that there are
    ``count``, and ``late`` ones of the known one. With the points (N, 3), NaN where they are of the unknown one.
    """
    right, right_rays, found = features_of(known, POSE, np.random.default_rng(2), 0.3, 0.1)
    wrong, wrong_rays, _ = features_of(unknown, POSE, np.random.default_rng(3))
    assert len(right) >= early + late
    assert len(wrong) >= count - early

    def mixed(right: Any, wrong: Any) -> Any:
        return np.concatenate([right[:early], wrong[: count - early], right[early : early + late]])

    features = Features(**{f.name: mixed(getattr(right, f.name), getattr(wrong, f.name)) for f in fields(Features)})
    points = mixed(known.points[found], np.full((len(wrong), 3), np.nan))
    return query_of(landmarks, features, mixed(right_rays, wrong_rays)), points


def query_of(landmarks: LandmarkIndex, features: Features, rays: FloatArray) -> Query:
    return Query(features, rays, CAMERA, *landmarks.embed(features))


class Asked:
    """Stands for the transformer: notes what it is asked about."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[IntArray] = []
        self._answer = answer

    def match(self, query: Query, asked: IntArray, voxels: IntArray | None = None) -> Matches:
        self.asked.append(asked)
        return self._answer(query, asked)


def solver_with(room: Scene, transformer: Asked) -> tuple[Solver, list[RansacSettings]]:
    """A solver that asks ``transformer``, and with what settings it looks for poses."""
    solver, asked = Solver(make_latent_map(room)), []
    guess = solver.guess

    def noting(matches: Matches, query: Query, scope: Scope, settings: RansacSettings) -> Any:
        asked.append(settings)
        return guess(matches, query, scope, settings)

    solver.guess = noting  # type: ignore[method-assign]
    solver._transformer = transformer  # type: ignore[assignment]
    return solver, asked


def test_the_transformer_is_asked_about_the_keypoints_whose_nearest_landmarks_are_most_distinct(
    room: Scene, elsewhere: Scene
) -> None:
    transformer = Asked(lambda *_: no_matches())
    solver, _ = solver_with(room, transformer)
    query, _ = image(solver.landmarks, room, 0, 0, elsewhere, count=1700)
    solver.solve(query, EVERYWHERE)
    (asked,) = transformer.asked
    nearest = solver.landmarks.match(query, np.arange(len(query)))
    assert len(nearest) > ATTENDED
    assert np.array_equal(asked, nearest.keypoint[:ATTENDED])


def test_what_the_transformer_answers_is_of_the_keypoints_it_was_asked_about(room: Scene, elsewhere: Scene) -> None:
    """Nothing else is known of these: the map has landmarks at their points, but the nearest are others."""

    def answer(_: Query, asked: IntArray) -> Matches:
        known = asked[np.isfinite(points[asked, 0])][::-1]
        sure = np.full(len(known), 0.9, np.float32)
        return Matches(known, points[known], sure)

    solver, _ = solver_with(room, Asked(answer))
    query, points = image(solver.landmarks, elsewhere, 0, 400, elsewhere)
    poses: list[FloatArray] = []

    def note(camera_from_map: FloatArray, *_: Any) -> None:
        poses.append(camera_from_map)

    solver.refine = note  # type: ignore[method-assign, assignment]
    assert solver.solve(query, EVERYWHERE) is None
    assert np.linalg.norm(se3.pose_error(se3.invert_pose(poses[0]), POSE)) < 0.02


@pytest.mark.parametrize(
    ("early", "late", "again"),
    [(0, 0, True), (0, 400, True), (24, 0, True), (24, 400, True), (400, 0, False)],
)
def test_a_pose_is_looked_for_again_unless_the_first_keypoints_settle_it(
    room: Scene, elsewhere: Scene, early: int, late: int, again: bool
) -> None:
    solver, asked = solver_with(room, Asked(lambda *_: no_matches()))
    query, _ = image(solver.landmarks, room, early, late, elsewhere, count=600)
    found = solver.solve(query, EVERYWHERE)
    assert any(s.by_confidence and s.max_iterations == solver.ransac.max_iterations for s in asked) == again
    if early + late:
        assert found is not None
        assert np.linalg.norm(se3.pose_error(se3.invert_pose(found.camera_from_map), POSE)) < 0.02


def test_of_two_poses_in_one_image_it_is_that_where_the_camera_is_said_to_be(room: Scene) -> None:
    """Two thirds of it are seen from one place, a third as from another: as a mirror shows it, or a twin."""
    solver = Solver(make_latent_map(room))
    most, few = ring(7)[1], ring(7)[2]
    one, one_rays, _ = features_of(room, most, np.random.default_rng(2), 0.3, 0.1)
    other, other_rays, _ = features_of(room, few, np.random.default_rng(3), 0.3, 0.1)
    parts = {f.name: np.concatenate([getattr(one, f.name)[:300], getattr(other, f.name)[:150]]) for f in fields(one)}
    query = query_of(solver.landmarks, Features(**parts), np.concatenate([one_rays[:300], other_rays[:150]]))
    for near, pose in ((None, most), (Near(most[:3, 3], 0.2), most), (Near(few[:3, 3], 0.2), few)):
        found = solver.solve(query, Scope(near=near))
        assert found is not None
        assert np.linalg.norm(se3.pose_error(se3.invert_pose(found.camera_from_map), pose)) < 0.02
    assert solver.solve(query, Scope(near=Near(-most[:3, 3], 0.2))) is None
