"""Other places that an image might show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from synthetic_scene import CAMERA, Scene, features_of, make_latent_map, make_map, make_scene, ring

from neumap.arrays import FloatArray
from neumap.features.extractor import Features
from neumap.geometry import se3
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query, Scope
from neumap.maps.neural_map import NeuralMap

FAR = np.array([30.0, 0.0, 0.0])
POSE, OTHER_POSE = ring(7)[1], ring(7)[3]


def moved(pose: FloatArray) -> FloatArray:
    return se3.make_pose(pose[:3, :3], pose[:3, 3] + FAR)


@pytest.fixture(scope="module")
def room() -> Scene:
    return make_scene(np.random.default_rng(0), 1500)


def side_by_side(first: Scene, second: Scene) -> Scene:
    """Both, the second 30 m away."""
    return Scene(
        np.concatenate([first.points, second.points + FAR]),
        np.concatenate([first.fine, second.fine]),
        np.concatenate([first.coarse, second.coarse]),
    )


def twin_of(room: Scene, share: float) -> Scene:
    """A room that has a ``share`` of what is in the other, and something else instead of the rest."""
    rng = np.random.default_rng(7)
    other = make_scene(rng, len(room.points))
    same = rng.random(len(room.points))[:, None] < share
    return Scene(room.points, np.where(same, room.fine, other.fine), np.where(same, room.coarse, other.coarse))


@pytest.fixture(scope="module")
def other_room() -> Scene:
    return make_scene(np.random.default_rng(3), 1500)


@pytest.fixture(scope="module", params=[make_map, make_latent_map], ids=["descriptors", "latents"])
def two_rooms(request: pytest.FixtureRequest, room: Scene, other_room: Scene) -> Localizer:
    return Localizer(request.param(side_by_side(room, other_room)))


@pytest.fixture(scope="module")
def both(two_rooms: Localizer, room: Scene, other_room: Scene) -> Query:
    """A view of one room that is mixed with one of the other, through a glass door perhaps."""
    return two_rooms.query(*halves(view_of(room, POSE), view_of(other_room, OTHER_POSE)), CAMERA)


View = tuple[Features, FloatArray]


def view_of(scene: Scene, pose: FloatArray) -> View:
    """Features and rays."""
    return features_of(scene, pose, np.random.default_rng(1), 0.3, 0.1)[:2]


def halves(first: View, second: View) -> View:
    """Keypoints of one image, and half as many of another."""
    few = np.arange(len(second[0]) // 2)
    a, b = first[0], second[0].select(few)
    names = Features.__dataclass_fields__
    features = Features(**{name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in names})
    return features, np.concatenate([first[1], second[1][few]])


def apart(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(se3.pose_error(a, b)))


def test_the_other_place_is_an_alternative(two_rooms: Localizer, both: Query) -> None:
    estimate = two_rooms.locate(both)
    assert estimate.map_from_camera is not None, estimate.reason
    assert apart(estimate.map_from_camera, POSE) < 0.02
    (other,) = two_rooms.alternatives(both, [estimate.map_from_camera])
    assert apart(other.map_from_camera, moved(OTHER_POSE)) < 0.05
    assert 0 < other.evidence < estimate.evidence
    assert np.array_equal(other.covariance, other.covariance.T)
    assert np.linalg.eigvalsh(other.covariance).min() > 0


def test_without_a_known_pose_the_best_comes_first(two_rooms: Localizer, both: Query) -> None:
    first, second = two_rooms.alternatives(both)
    assert apart(first.map_from_camera, POSE) < 0.02
    assert apart(second.map_from_camera, moved(OTHER_POSE)) < 0.05
    assert first.evidence > second.evidence


def test_no_more_than_asked_for(two_rooms: Localizer, both: Query) -> None:
    assert len(two_rooms.alternatives(both, most=1)) == 1


def test_voxels_restrict_the_search(two_rooms: Localizer, both: Query) -> None:
    here = two_rooms.map.grid.within(POSE[:3, 3], 8.0)
    assert 0 < len(here) < len(two_rooms.map.grid)
    assert two_rooms.alternatives(both, [POSE], Scope(here)) == []


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_where_nothing_looks_alike_there_is_none(room: Scene, make: Callable[[Scene], NeuralMap]) -> None:
    alone = Localizer(make(room))
    query = alone.query(*view_of(room, POSE), CAMERA)
    estimate = alone.locate(query)
    assert estimate.map_from_camera is not None
    assert alone.alternatives(query, [estimate.map_from_camera]) == []


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_of_two_places_that_are_alike_what_differs_decides(room: Scene, make: Callable[[Scene], NeuralMap]) -> None:
    localizer = Localizer(make(side_by_side(room, twin_of(room, 0.7))))
    query = localizer.query(*view_of(room, POSE), CAMERA)
    estimate = localizer.locate(query)
    assert estimate.map_from_camera is not None, estimate.reason
    assert apart(estimate.map_from_camera, POSE) < 0.02
    for other in localizer.alternatives(query, [estimate.map_from_camera]):
        assert apart(other.map_from_camera, POSE) > 0.3


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_of_two_places_that_are_the_same_neither_is_believed(room: Scene, make: Callable[[Scene], NeuralMap]) -> None:
    localizer = Localizer(make(side_by_side(room, twin_of(room, 1.0))))
    estimate = localizer.locate(localizer.query(*view_of(room, POSE), CAMERA))
    assert not estimate.localized
    assert estimate.reason
