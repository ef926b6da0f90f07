"""A robot in a courtyard sees what is further away than anything in a room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.geometry.cameras import make_camera
from neumap.localization.localizer import Localizer
from neumap.localization.query import Near
from neumap.mapping.build import build_map
from neumap.mapping.settings import MappingSettings
from neumap.maps.map_file import load_map
from neumap.maps.neural_map import LEAST_SIGHT_M
from neumap.records import Frame, Intrinsics
from neumap.tracking.inspection import Finding, OpenMap, Shot, Where, inspect, voxels_near
from neumap.virtual import photos
from neumap.virtual.curriculum import CHANGED, STEADY
from neumap.virtual.grounds import make_ground
from neumap.virtual.walk import Way, walk

SIZE = (44.0, 40.0, 8.0)
CAMERA = make_camera(480, 360, [390, 0, 239.5, 0, 390, 179.5, 0, 0, 1])


@pytest.fixture(scope="module")
def courtyard() -> tuple[OpenMap, list[Frame]]:
    """A map of photographs across a courtyard, and images of others who look across it."""
    ground = make_ground(3, SIZE, roofed=False, pixels=6e6)
    there, asked = (walk(ground, 3, count, kind, Way("across")) for count, kind in ((20, "mapping"), (3, "query")))
    frames = photos.take(ground, CAMERA, there, name="mapping", light=STEADY, seed=3)
    neural_map = build_map(frames, MappingSettings(size_bytes=60_000))
    queries = photos.take(ground, CAMERA, asked, name="query", light=CHANGED, seed=3)
    return OpenMap(Path("courtyard.neumap"), Localizer(neural_map)), queries


def found(opened: OpenMap, frame: Frame, where: Where) -> Finding:
    lenses = (Intrinsics(frame.camera, "K of camera_info"),)
    return inspect(opened, Shot(frame.stamp_ns, "camera", frame.read_image, lambda size: lenses), where)


def position(frame: Frame) -> FloatArray:
    assert frame.map_from_camera is not None
    return frame.map_from_camera[:3, 3]


def test_where_it_is_tracked_it_is_found(courtyard: tuple[OpenMap, list[Frame]]) -> None:
    opened, queries = courtyard
    assert 30 < opened.map.sight_m < 45
    for frame in queries:
        where = Where(tracked=Near(position(frame), 8.0))
        # the fronts that it looks at are further away
        assert len(opened.map.grid.within(position(frame), 8.0)) < len(opened.map.grid)
        estimate = found(opened, frame, where).estimate
        assert estimate.map_from_camera is not None, estimate.reason
        seen = np.linalg.norm(estimate.points_map - position(frame), axis=1)
        assert np.linalg.norm(estimate.map_from_camera[:3, 3] - position(frame)) < 0.01 * np.median(seen)


def test_a_pose_that_is_known_is_no_alternative(courtyard: tuple[OpenMap, list[Frame]]) -> None:
    """However far off it is in metres."""
    opened, (frame, *_) = courtyard
    localizer = opened.localizer
    estimate = found(opened, frame, Where()).estimate
    assert estimate.map_from_camera is not None
    assert estimate.covariance is not None
    # a calibration by which poses are uncertain by metres
    unsure = replace(opened.map.calibration, pixel_sigma=150.0, inflation=4.0)
    vague = Localizer(replace(opened.map, calibration=unsure))
    aside = estimate.map_from_camera.copy()
    aside[:3, 3] += 1.0 * aside[:3, 0]
    query = localizer.look(frame.read_image(), frame.camera)
    assert [other.map_from_camera[0, 3] for other in localizer.alternatives(query, [aside])] == pytest.approx(
        [estimate.map_from_camera[0, 3]], abs=0.3
    )
    assert vague.alternatives(query, [aside]) == []


def test_in_a_room_little_changes(virtual_map: Path) -> None:
    room = load_map(virtual_map)
    assert room.sight_m == LEAST_SIGHT_M
    beyond = room.bounds[1] + np.array([7.0, 0.0, 0.0])
    assert voxels_near(room, Near(beyond, 1.0)) is None
    nowhere = voxels_near(room, Near(beyond + np.array([5.0, 0.0, 0.0]), 1.0))
    assert nowhere is not None
    assert len(nowhere) == 0
