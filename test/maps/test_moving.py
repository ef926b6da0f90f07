"""A map in another frame answers with the same poses, told in that frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_scene import CAMERA, features_of, make_latent_map, make_map, make_scene, ring

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.geometry import se3
from neumap.localization.localizer import Localizer
from neumap.maps.drift import DriftField, fit_drift
from neumap.maps.moving import transformed
from neumap.maps.neural_map import VOXEL_M, NeuralMap

MOVE = se3.make_pose(se3.rotation_exp(np.array([0.4, -0.3, 2.0])), np.array([12.3, -7.7, 1.9]))
POSES = ring(6)


def drifting() -> DriftField:
    """A field whose deviations differ from viewpoint to viewpoint."""
    adjusted = ring(12)
    given = adjusted.copy()
    given[:, :3, 3] += 0.03 * np.random.default_rng(3).normal(size=(12, 3))
    return fit_drift(adjusted, given)


@pytest.mark.parametrize("make", [make_map, make_latent_map])
@pytest.mark.parametrize("voxel_m", [VOXEL_M, 10.0])
def test_poses_move_with_the_map(make: object, voxel_m: float) -> None:
    scene = make_scene(np.random.default_rng(0), 1500)
    neural_map = replace(make(scene, voxel_m=voxel_m), drift=drifting())  # type: ignore[operator]
    moved = transformed(neural_map, MOVE, "hall")
    assert moved.frame_id == "hall"
    assert len(moved.landmarks) == len(neural_map.landmarks)
    for pose in POSES:
        features, rays, _ = features_of(scene, pose, np.random.default_rng(1), 0.5, 0.1)
        before, after = (one.locate(one.query(features, rays, CAMERA)) for one in map(Localizer, (neural_map, moved)))
        assert before.map_from_camera is not None
        assert after.map_from_camera is not None
        assert after.covariance is not None
        off = se3.pose_error(after.map_from_camera, MOVE @ before.map_from_camera)
        assert np.linalg.norm(off[:3]) < 1e-3
        assert np.rad2deg(np.linalg.norm(off[3:])) < 0.03
        assert after.evidence == pytest.approx(before.evidence, rel=0.02)
        turned = np.kron(np.eye(2), MOVE[:3, :3])
        expected = turned @ before.covariance @ turned.T
        np.testing.assert_allclose(after.covariance, expected, rtol=0.05, atol=0.05 * np.abs(expected).max())


def test_each_landmark_moves_and_keeps_its_code() -> None:
    neural_map = make_map(make_scene(np.random.default_rng(2), 600), voxel_m=VOXEL_M)
    there = transformed(neural_map, MOVE)

    def rows(one: NeuralMap, by: FloatArray) -> FloatArray:
        points = se3.transform_points(by, one.landmarks.points(one.grid))
        order = np.lexsort(one.landmarks.descriptors.T)
        return np.asarray(points[order])

    np.testing.assert_allclose(rows(there, np.eye(4)), rows(neural_map, MOVE), atol=VOXEL_M / 65535)
    back = transformed(there, se3.invert_pose(MOVE))
    np.testing.assert_allclose(rows(back, np.eye(4)), rows(neural_map, np.eye(4)), atol=2 * VOXEL_M / 65535)


def test_another_name_alone_changes_nothing_else() -> None:
    neural_map = make_map(make_scene(np.random.default_rng(2), 100))
    renamed = transformed(neural_map, np.eye(4), "cellar")
    assert renamed.frame_id == "cellar"
    assert renamed.landmarks is neural_map.landmarks
    assert transformed(neural_map, MOVE).frame_id == neural_map.frame_id


def test_a_map_stays_where_numbers_are_exact() -> None:
    neural_map = make_map(make_scene(np.random.default_rng(2), 100))
    with pytest.raises(ConfigError, match="the landmarks would be 5310 km from the origin"):
        transformed(neural_map, se3.make_pose(np.eye(3), np.array([0.0, 5.31e6, 0.0])))
