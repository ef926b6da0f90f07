"""Other places that an image might show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from synthetic_scene import CAMERA, Scene, features_of, make_latent_map, make_map, make_scene, ring

from neumap.arrays import FloatArray
from neumap.features.sift import Features
from neumap.geometry import se3
from neumap.localization.localizer import Localizer
from neumap.localization.query import View
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
def both(room: Scene, other_room: Scene) -> View:
    """A view of one room that is mixed with one of the other, through a glass door perhaps."""
    return halves(view_of(room, POSE), view_of(other_room, OTHER_POSE))


def view_of(scene: Scene, pose: FloatArray) -> View:
    features, rays, _ = features_of(scene, pose, np.random.default_rng(1), 0.3, 0.1)
    return View(features, rays, CAMERA)


def halves(first: View, second: View) -> View:
    """Keypoints of one image, and half as many of another."""
    few = np.arange(len(second.features) // 2)
    a, b = first.features, second.features.select(few)
    names = Features.__dataclass_fields__
    features = Features(**{name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in names})
    return View(features, np.concatenate([first.rays, second.rays[few]]), CAMERA)


def apart(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(se3.pose_error(a, b)))


def test_the_other_place_is_an_alternative(two_rooms: Localizer, both: View) -> None:
    estimate = two_rooms.localize_view(both)
    assert estimate.map_from_camera is not None, estimate.reason
    assert apart(estimate.map_from_camera, POSE) < 0.02
    (other,) = two_rooms.alternatives(both, [estimate.map_from_camera])
    assert other.localized
    assert other.map_from_camera is not None
    assert apart(other.map_from_camera, moved(OTHER_POSE)) < 0.05
    assert 0 < other.evidence < estimate.evidence
    assert other.covariance is not None
    assert np.array_equal(other.covariance, other.covariance.T)
    assert np.linalg.eigvalsh(other.covariance).min() > 0


def test_without_a_known_pose_the_best_comes_first(two_rooms: Localizer, both: View) -> None:
    first, second = two_rooms.alternatives(both)
    assert first.map_from_camera is not None
    assert second.map_from_camera is not None
    assert apart(first.map_from_camera, POSE) < 0.02
    assert apart(second.map_from_camera, moved(OTHER_POSE)) < 0.05
    assert first.evidence > second.evidence


def test_no_more_than_asked_for(two_rooms: Localizer, both: View) -> None:
    assert len(two_rooms.alternatives(both, most=1)) == 1


def test_voxels_restrict_the_search(room: Scene, other_room: Scene, both: View) -> None:
    localizer = Localizer(make_map(side_by_side(room, other_room), voxel_m=10.0))
    here = localizer.map.grid.within(POSE[:3, 3], 8.0)
    assert 0 < len(here) < len(localizer.map.grid)
    assert localizer.alternatives(both, [POSE], here) == []


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_where_nothing_looks_alike_there_is_none(room: Scene, make: Callable[[Scene], NeuralMap]) -> None:
    alone = Localizer(make(room))
    view = view_of(room, POSE)
    estimate = alone.localize_view(view)
    assert estimate.map_from_camera is not None
    assert alone.alternatives(view, [estimate.map_from_camera]) == []


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_of_two_places_that_are_alike_what_differs_decides(room: Scene, make: Callable[[Scene], NeuralMap]) -> None:
    localizer = Localizer(make(side_by_side(room, twin_of(room, 0.7))))
    view = view_of(room, POSE)
    estimate = localizer.localize_view(view)
    assert estimate.map_from_camera is not None, estimate.reason
    assert apart(estimate.map_from_camera, POSE) < 0.02
    for other in localizer.alternatives(view, [estimate.map_from_camera]):
        assert other.map_from_camera is not None
        assert apart(other.map_from_camera, POSE) > 0.3


@pytest.mark.parametrize("make", [make_map, make_latent_map])
def test_of_two_places_that_are_the_same_neither_is_believed(room: Scene, make: Callable[[Scene], NeuralMap]) -> None:
    localizer = Localizer(make(side_by_side(room, twin_of(room, 1.0))))
    estimate = localizer.localize_view(view_of(room, POSE))
    assert not estimate.localized
    assert estimate.reason
