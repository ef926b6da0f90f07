"""A place of many voxels: an image is searched in few of them, and found all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic_scene import CAMERA, FOCAL_PX, PATCH_M, Scene, features_of, make_map, make_scene, ring

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.features.extractor import Features
from neumap.geometry import se3
from neumap.localization import large_place, verification
from neumap.localization.evidence import Evidence
from neumap.localization.large_place import MOST_TRIED, TRIED_FIRST, LargePlace, Try, batches
from neumap.localization.localizer import Localizer
from neumap.localization.matching import landmark_descriptors
from neumap.localization.query import EVERYWHERE, Near, Query, Scope
from neumap.localization.retrieval import MOST_VOXELS
from neumap.localization.search import PoseSearch
from neumap.localization.solver import Solver
from neumap.localization.verification import Hypothesis
from neumap.mapping.merge import merge_all
from neumap.maps.neural_map import VOXEL_M, NeuralMap
from neumap.model.decoder import shipped_decoder
from neumap.records import PoseEstimate

ROOMS = 9
APART_M = 3 * VOXEL_M
# what a patch's size and angle are from the middle of a room, on average
PATCH_PX = PATCH_M * FOCAL_PX / 2.9


def room(number: int) -> Scene:
    scene = make_scene(np.random.default_rng(number), 900)
    return replace(scene, points=scene.points + APART_M * np.array([number % 3, number // 3, 0.0]))


def latent_map(scene: Scene) -> NeuralMap:
    """The map of a scene for the frozen decoder."""
    frozen, count = shipped_decoder(), len(scene.points)
    neural_map = make_map(scene, VOXEL_M)
    descriptors, coarse = landmark_descriptors(neural_map)
    size, angle = np.full(count, PATCH_PX, np.float32), np.zeros(count, np.float32)
    latents = frozen.codebook.encode(frozen.embed(descriptors, coarse, size, angle), 8)
    codes = replace(neural_map.landmarks, descriptors=latents, coarse=latents[:, :0])
    return replace(neural_map, landmarks=codes, decoder_id=frozen.decoder_id)


@pytest.fixture(autouse=True)
def already_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of few landmarks count as large."""
    monkeypatch.setattr(large_place, "LARGE", 1000)


@pytest.fixture(scope="module")
def building() -> NeuralMap:
    return merge_all([latent_map(room(number)) for number in range(ROOMS)])


# features and their rays
View = tuple[Features, FloatArray]


def view_of(number: int, seed: int = 0) -> tuple[View, FloatArray]:
    """What a camera sees in the middle of a room, and its pose."""
    pose = ring(8, radius=0.2)[seed]
    pose[:3, 3] += APART_M * np.array([number % 3, number // 3, 0.0])
    features, rays, _ = features_of(room(number), pose, np.random.default_rng(seed), 0.3, 0.1)
    return (features, rays), pose


class Spy:
    """A search that notes which voxels are tried, each alone, and which are searched together."""

    def __init__(self, neural_map: NeuralMap, monkeypatch: pytest.MonkeyPatch) -> None:
        self.search = PoseSearch(neural_map)
        self.tried: list[IntArray] = []
        self.searched: list[IntArray | None] = []
        try_voxels, solve = LargePlace._tries, Solver.solve

        def note_tries(large: LargePlace, alike: Float32Array, voxels: IntArray, *rest: Any) -> list[Try]:
            self.tried.append(voxels)
            return try_voxels(large, alike, voxels, *rest)

        def note_search(solver: Solver, query: Query, scope: Scope, *rest: Any) -> Hypothesis | None:
            self.searched.append(scope.voxels)
            return solve(solver, query, scope, *rest)

        monkeypatch.setattr(LargePlace, "_tries", note_tries)
        monkeypatch.setattr(Solver, "solve", note_search)

    def __call__(self, view: View) -> Hypothesis | None:
        return self.search(Query(*view, CAMERA, *self.search.landmarks.embed(view[0])), EVERYWHERE)


def locate(localizer: Localizer, view: View, scope: Scope = EVERYWHERE) -> PoseEstimate:
    return localizer.locate(localizer.query(*view, CAMERA), scope)


@pytest.mark.parametrize("number", [0, 4, 8])
def test_a_room_of_many_is_found_in_few_voxels(
    building: NeuralMap, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(building.grid) > MOST_TRIED
    view, pose = view_of(number)
    spy = Spy(building, monkeypatch)
    solution = spy(view)
    assert solution is not None
    error = se3.pose_error(se3.invert_pose(solution.camera_from_map), pose)
    assert np.linalg.norm(error[:3]) < 0.02
    (tried,) = spy.tried
    assert len(tried) <= TRIED_FIRST
    assert not spy.searched


def test_where_a_pose_does_not_convince_more_is_tried_and_what_it_shows_searched(
    building: NeuralMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_place, "CONVINCING", 1.1)
    view, pose = view_of(4)
    spy = Spy(building, monkeypatch)
    solution = spy(view)
    assert solution is not None
    error = se3.pose_error(se3.invert_pose(solution.camera_from_map), pose)
    assert np.linalg.norm(error[:3]) < 0.02
    assert len(set(np.concatenate(spy.tried))) == MOST_TRIED
    (shown,) = spy.searched
    assert shown is not None
    assert set(shown) <= set(building.grid.within(pose[:3, 3], 4.0))


def test_voxels_with_few_votes_are_tried_only_where_others_do_not_do() -> None:
    ranked = np.arange(20, 0, -1)
    for votes, first in (([9.0] + 19 * [0.5], 1), ([9.0, 8.0, 1.0] + 17 * [0.8], 3), (20 * [3.0], 4), (20 * [0.0], 4)):
        one, other = batches(ranked, np.array(votes, np.float32))
        np.testing.assert_array_equal(one, ranked[:first])
        np.testing.assert_array_equal(other, ranked[first:MOST_TRIED])
    (one,) = batches(ranked[:1], np.array([2.0], np.float32))
    np.testing.assert_array_equal(one, ranked[:1])


def test_where_no_voxel_does_alone_the_likeliest_are_searched_together(
    building: NeuralMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = make_scene(np.random.default_rng(99), 900)
    features, rays, _ = features_of(foreign, ring(8, radius=0.2)[0], np.random.default_rng(0))
    spy = Spy(building, monkeypatch)
    spy((features, rays))
    assert len(spy.searched[-1]) == MOST_VOXELS  # type: ignore[arg-type]
    assert locate(Localizer(building), (features, rays)).map_from_camera is None


@pytest.mark.parametrize(("inliers", "found"), [(25, True), (17, False)])
def test_chosen_from_many_voxels_a_pose_needs_more_than_in_one(
    building: NeuralMap, monkeypatch: pytest.MonkeyPatch, inliers: int, found: bool
) -> None:
    view, pose = view_of(4)
    localizer = Localizer(building)
    count_evidence = large_place.count_evidence
    assert localizer.map.calibration.min_inliers < 17 < localizer.needed() < 25

    def count(*args: Any) -> Evidence:
        return replace(count_evidence(*args), inliers=inliers, strong=inliers)

    monkeypatch.setattr(verification, "count_evidence", count)
    chosen = locate(localizer, view)
    assert chosen.localized == found
    assert found or f"only {inliers} inliers" in chosen.reason
    assert locate(localizer, view, Scope(building.grid.within(pose[:3, 3], 1.0))).localized


def test_given_voxels_limit_the_search(building: NeuralMap) -> None:
    view, pose = view_of(4)
    near = building.grid.within(pose[:3, 3], 4.0)
    localizer = Localizer(building)
    assert locate(localizer, view, Scope(near)).localized
    far = np.setdiff1d(np.arange(len(building.grid)), building.grid.within(pose[:3, 3], 10.0))
    assert len(far) > MOST_VOXELS
    assert not locate(localizer, view, Scope(far)).localized
    assert not locate(localizer, view, Scope(far[:2])).localized


def test_all_voxels_where_none_are_to_be_chosen(building: NeuralMap) -> None:
    view, pose = view_of(7)
    chosen, whole = (locate(Localizer(building, choose_voxels=choose), view) for choose in (True, False))
    for estimate in (chosen, whole):
        assert estimate.map_from_camera is not None
        assert np.linalg.norm(estimate.map_from_camera[:3, 3] - pose[:3, 3]) < 0.02


def test_the_right_place_is_an_alternative_to_nothing(building: NeuralMap) -> None:
    view, pose = view_of(2)
    localizer = Localizer(building)
    found = localizer.alternatives(localizer.query(*view, CAMERA))
    assert np.linalg.norm(found[0].map_from_camera[:3, 3] - pose[:3, 3]) < 0.02


FURNISHED = 600


def furnished(number: int, walls: int) -> Scene:
    """A room with the furniture that all have, and so many patches on walls of its own."""
    furniture, own = room(0), make_scene(np.random.default_rng(50 + number), 900)
    at = APART_M * np.array([number % 3, number // 3, 0.0])
    return Scene(
        points=np.concatenate([furniture.points[:FURNISHED], own.points[:walls]]) + at,
        fine=np.concatenate([furniture.fine[:FURNISHED], own.fine[:walls]]),
        coarse=np.concatenate([furniture.coarse[:FURNISHED], own.coarse[:walls]]),
    )


@pytest.fixture(scope="module")
def twins() -> NeuralMap:
    """Rooms with the same furniture, of which room 4 is also mapped with all of its walls, and room 7 without any."""
    walls = dict.fromkeys(range(ROOMS), 150) | {4: 300, 7: 0}
    return merge_all([latent_map(furnished(number, count)) for number, count in walls.items()])


def seen_in(scene: Scene, number: int) -> tuple[View, FloatArray]:
    pose = ring(8, radius=0.2)[0]
    pose[:3, 3] += APART_M * np.array([number % 3, number // 3, 0.0])
    features, rays, _ = features_of(scene, pose, np.random.default_rng(0), 0.3, 0.1)
    return (features, rays), pose


def test_walls_tell_rooms_with_the_same_furniture_apart(twins: NeuralMap) -> None:
    view, pose = seen_in(furnished(4, 300), 4)
    estimate = locate(Localizer(twins), view)
    assert estimate.map_from_camera is not None, estimate.reason
    assert np.linalg.norm(estimate.map_from_camera[:3, 3] - pose[:3, 3]) < 0.02


def test_furniture_alone_is_in_no_room_rather_than_in_the_wrong_one(twins: NeuralMap) -> None:
    view, _ = seen_in(furnished(7, 0), 7)
    estimate = locate(Localizer(twins), view)
    assert estimate.map_from_camera is None
    assert "two poses" in estimate.reason


@pytest.mark.parametrize("number", [7, 8])
def test_of_rooms_that_look_alike_it_is_the_one_where_the_camera_is_said_to_be(twins: NeuralMap, number: int) -> None:
    """Though nobody was in room 8: that the image cannot say."""
    view, _ = seen_in(furnished(7, 0), 7)
    _, there = seen_in(furnished(number, 0), number)
    rooms = [seen_in(furnished(each, 0), each)[1][:3, 3] for each in (7, 8)]
    voxels = np.unique(np.concatenate([twins.grid.within(room, 0.4 * APART_M) for room in rooms]))
    assert len(voxels) > MOST_VOXELS
    assert not locate(Localizer(twins), view, Scope(voxels)).localized
    near = Near(there[:3, 3] + [0.5, 0.5, 0.0], 1.0)
    estimate = locate(Localizer(twins), view, Scope(voxels, near))
    assert estimate.map_from_camera is not None, estimate.reason
    assert np.linalg.norm(estimate.map_from_camera[:3, 3] - there[:3, 3]) < 0.02


def test_what_is_said_of_the_camera_does_not_make_a_pose(twins: NeuralMap) -> None:
    view, pose = seen_in(furnished(4, 300), 4)
    between = Near(pose[:3, 3] + [APART_M / 2, 0.0, 0.0], APART_M / 2 - 1.0)
    assert not locate(Localizer(twins), view, Scope(near=between)).localized
    foreign = make_scene(np.random.default_rng(99), 900)
    features, rays, _ = features_of(foreign, ring(8, radius=0.2)[0], np.random.default_rng(0))
    assert not locate(Localizer(twins), (features, rays), Scope(near=Near(pose[:3, 3], 2.0))).localized


def test_rooms_with_the_same_furniture_are_alternatives(twins: NeuralMap, monkeypatch: pytest.MonkeyPatch) -> None:
    # which of the equal rooms are among the few voxels that are tried is chance
    monkeypatch.setattr(large_place, "MOST_TRIED", len(twins.grid))
    view, pose = seen_in(furnished(4, 300), 4)
    localizer = Localizer(twins)
    others = localizer.alternatives(localizer.query(*view, CAMERA), [pose], most=2)
    assert len(others) == 2
    for other in others:
        moved = (other.map_from_camera[:3, 3] - pose[:3, 3]) / APART_M
        assert np.abs(moved - np.rint(moved)).max() < 0.01
        assert np.abs(moved).max() > 0.9


def test_a_map_without_latents_is_searched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    neural_map = merge_all([make_map(room(number)) for number in range(3)])
    assert len(neural_map.grid) > MOST_VOXELS
    spy = Spy(neural_map, monkeypatch)
    view, _ = view_of(1)
    assert spy(view) is not None
    assert spy.searched == [None]


def test_few_landmarks_are_searched_whole(building: NeuralMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_place, "LARGE", len(building.landmarks) + 1)
    spy = Spy(building, monkeypatch)
    view, _ = view_of(1)
    assert spy(view) is not None
    assert spy.searched == [None]
