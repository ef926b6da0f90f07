"""What a map alone tells of images that nobody took: of a room of which one half was mapped, looking west."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from point_maps import CAMERA, EAST, NORTH, WEST, half_mapped_room, looking, map_of_points

from neumap.errors import DataError
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.localization import pnp
from neumap.localization.outlook import Outlook
from neumap.localization.query import USUAL_FOCAL_PX
from neumap.maps.neural_map import NeuralMap


@pytest.fixture(scope="module")
def half_mapped() -> NeuralMap:
    return half_mapped_room()


@pytest.mark.parametrize(
    ("place", "yaw", "localized"),
    [
        ((3.0, 2.0, 1.2), WEST, True),
        ((2.8, 1.8, 1.1), WEST + 0.2, True),
        # where mapping cameras were, the other way
        ((3.0, 2.0, 1.2), EAST, False),
        # the half that nobody mapped, looking at nothing, and from too far
        ((6.5, 2.0, 1.2), EAST, False),
        ((6.5, 2.0, 1.2), NORTH, False),
        # a wall from its other side, at the same distance
        ((-3.0, 2.0, 1.2), EAST, False),
        # so near that one sees a few landmarks only, and those four times as large
        ((0.4, 2.0, 1.2), WEST, False),
    ],
)
def test_an_image_is_localized_where_it_shows_what_mapping_images_did(
    half_mapped: NeuralMap, place: tuple[float, ...], yaw: float, localized: bool
) -> None:
    (probability,), _ = Outlook(half_mapped, CAMERA)(np.array(place), looking(yaw))
    assert probability > 0.9 if localized else probability < 0.1


def test_what_is_nearer_hides_what_is_behind(half_mapped: NeuralMap) -> None:
    """A screen before the west wall, which mapping cameras could not see then; one between them asks."""
    rng = np.random.default_rng(1)
    screen = np.column_stack([np.full(6000, 1.5), rng.uniform(0, 4, 6000), rng.uniform(0, 2.4, 6000)])
    points = np.concatenate([half_mapped.landmarks.points(half_mapped.grid), screen])
    screened = map_of_points(points, half_mapped.drift.poses)
    place = np.array([1.4, 2.0, 1.2])
    assert Outlook(half_mapped, CAMERA)(place, looking(WEST)).probability > 0.8
    assert Outlook(screened, CAMERA)(place, looking(WEST)).probability < 0.2


def test_the_covariance_is_that_of_poses_found_with_such_errors(half_mapped: NeuralMap) -> None:
    outlook = Outlook(half_mapped, CAMERA)
    (viewpoint,) = half_mapped.drift.poses[:1]
    unit = outlook.features(viewpoint[:3, 3], viewpoint[None, :3, :3]).unit[0]
    truth = se3.invert_pose(viewpoint)
    seen = se3.transform_points(truth, half_mapped.landmarks.points(half_mapped.grid))
    rays = seen[:, :2] / seen[:, 2:]
    pixels = 500 * rays + [319.5, 239.5]
    shown = (seen[:, 2] > 0.1) & ((pixels > 0) & (pixels < [639, 479])).all(axis=1)
    points, rays = half_mapped.landmarks.points(half_mapped.grid)[shown], rays[shown]
    rng, noise_px, errors = np.random.default_rng(2), 0.3, []
    for _ in range(200):
        wrong = rays + rng.normal(0, noise_px / USUAL_FOCAL_PX, rays.shape)
        found = pnp.refine_pose(truth, wrong, points, USUAL_FOCAL_PX)
        errors.append(se3.invert_pose(found)[:3, 3] - viewpoint[:3, 3])
    rms_m = np.sqrt((np.array(errors) ** 2).sum(axis=1).mean())
    # the mapping camera's own view: all of these landmarks look as they did
    assert noise_px * np.sqrt(np.trace(unit[:3, :3])) == pytest.approx(rms_m, rel=0.15)


def test_errors_grow_where_less_is_seen(half_mapped: NeuralMap) -> None:
    places = ([2.5, 2.0, 1.2], [5.0, 2.0, 1.2])
    near, far = (Outlook(half_mapped, CAMERA)(np.array(place), looking(WEST)).error_m[0] for place in places)
    assert 0.0005 < near < far < 0.1


def test_a_wider_camera_sees_more_of_the_same_place(half_mapped: NeuralMap) -> None:
    wide = make_camera(640, 480, [250, 0, 319.5, 0, 250, 239.5, 0, 0, 1])
    place, aside = np.array([2.5, 2.0, 1.2]), looking(NORTH + 0.3)
    assert Outlook(half_mapped, wide)(place, aside).probability > Outlook(half_mapped, CAMERA)(place, aside).probability


def test_a_fisheye_lens_sees_to_its_rim_and_no_further(half_mapped: NeuralMap) -> None:
    """Its corners are further from the axis than the middles of its sides, which a rectangle cannot say."""
    fisheye = make_camera(640, 480, [300, 0, 319.5, 0, 300, 239.5, 0, 0, 1], "equidistant", [0, 0, 0, 0])
    spot = np.array([[0.0, 2.0, 1.2]])
    outlook = Outlook(map_of_points(spot, half_mapped.drift.poses), fisheye)
    rim, place = 319.5 / 300, np.array([3.0, 2.0, 1.2])
    within, beyond = (outlook.features(place, looking(WEST + rim + turn)).filled[0] for turn in (-0.02, 0.02))
    assert within > 0
    assert beyond == 0


def test_a_map_without_viewpoints_tells_nothing(half_mapped: NeuralMap) -> None:
    blind = replace(half_mapped, drift=replace(half_mapped.drift, poses=np.zeros((0, 4, 4))))
    with pytest.raises(DataError, match="holds no poses of its mapping cameras: nothing can be forecast"):
        Outlook(blind, CAMERA)
