"""Voxels and anchors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from synthetic_scene import make_latent_map, make_map, make_scene

from neumap.arrays import FloatArray
from neumap.maps.neural_map import LandmarkCodes, VoxelGrid, encode_anchors, group_into_voxels


def decode(points: FloatArray, size_m: float) -> FloatArray:
    """Points through anchors and back, in their own order."""
    grid, voxel = group_into_voxels(points, size_m, 1)
    order = np.argsort(voxel, kind="stable")
    codes = LandmarkCodes(
        anchors=encode_anchors(points[order], voxel[order], grid),
        descriptors=np.zeros((len(points), 16), np.uint8),
        coarse=np.zeros((len(points), 8), np.uint8),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(voxel, minlength=len(grid)))]),
    )
    out = np.empty_like(points)
    out[order] = codes.points(grid)
    return out


@given(st.integers(0, 2**16), st.integers(1, 200), st.floats(0.5, 20), st.floats(-1000, 1000))
def test_anchors_are_exact_to_half_a_step(seed: int, count: int, size_m: float, shift: float) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3)) * [3, 5, 1] + shift
    np.testing.assert_allclose(decode(points, size_m), points, atol=0.5001 * size_m / 65535, rtol=0)


def test_a_room_fits_into_one_voxel_and_is_in_its_middle() -> None:
    points = np.random.default_rng(0).uniform([-30, 5, 0], [-24, 10, 2.7], (1000, 3))
    grid, voxel = group_into_voxels(points, 10.0, 20)
    assert len(grid) == 1
    assert (voxel == 0).all()
    np.testing.assert_allclose(grid.corners[0] + 5, (points.min(axis=0) + points.max(axis=0)) / 2, atol=0.2)


def test_a_hall_is_cut_into_several_voxels_that_hold_their_points() -> None:
    points = np.random.default_rng(1).uniform([0, 0, 0], [35, 18, 3], (5000, 3))
    grid, voxel = group_into_voxels(points, 10.0, 20)
    assert len(grid) == 4 * 2
    assert len(np.unique(grid.cells, axis=0)) == len(grid)
    for v, corner in enumerate(grid.corners):
        inside = points[voxel == v]
        assert len(inside) >= 20
        assert (inside >= corner).all()
        assert (inside < corner + 10).all()


def test_voxels_of_few_points_are_left_out() -> None:
    rng = np.random.default_rng(2)
    room, stray = rng.uniform(0, 5, (1000, 3)), rng.uniform(100, 101, (4, 3))
    grid, voxel = group_into_voxels(np.concatenate([stray, room]), 10.0, 20)
    assert len(grid) == 1
    np.testing.assert_array_equal(voxel, [-1] * 4 + [0] * 1000)


def test_a_map_of_few_points_keeps_its_fullest_voxel() -> None:
    points = np.array([[0.0, 0, 0], [1, 1, 1], [50, 0, 0]])
    grid, voxel = group_into_voxels(points, 10.0, 20)
    assert len(grid) >= 1
    assert (voxel >= 0).sum() >= 2


def test_bounds_are_those_of_the_landmarks() -> None:
    scene = make_scene(np.random.default_rng(3), 200)
    neural_map = make_map(scene, voxel_m=4.0)
    assert len(neural_map.grid) > 1
    assert len(neural_map.landmarks) == 200
    expected = np.stack([scene.points.min(axis=0), scene.points.max(axis=0)])
    np.testing.assert_allclose(neural_map.bounds, expected, atol=1e-4)


def test_the_decoder_follows_from_what_the_codes_are() -> None:
    scene = make_scene(np.random.default_rng(3), 50)
    assert make_map(scene).decoder == "descriptor"
    assert make_latent_map(scene).decoder == "latent"


def test_voxels_near_a_position_are_those_whose_box_comes_that_near() -> None:
    grid = VoxelGrid(np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [0, 2, 0]]), 10.0, np.array([-5.0, -5.0, -5.0]))
    assert grid.within(np.zeros(3), 0.0).tolist() == [0]
    assert grid.within(np.zeros(3), 5.1).tolist() == [0, 1]
    assert grid.within(np.array([20.0, 0.0, 0.0]), 5.0).tolist() == [1, 2]
    assert grid.within(np.array([20.0, 0.0, 30.0]), 5.0).tolist() == []
    corner = np.array([6.0, 16.0, 0.0])
    assert grid.within(corner, 1.4).tolist() == [3]
    assert 1 not in grid.within(np.array([4.0, 14.0, 0.0]), 9.0)


def test_which_voxel_holds_a_point() -> None:
    grid = VoxelGrid(np.array([[3, 0, 0], [0, 0, 0], [0, -2, 1]]), 10.0, np.array([-5.0, -5.0, -5.0]))
    inside = np.concatenate([grid.corners + 0.1, grid.corners + 9.9])
    assert grid.holding(inside).tolist() == [0, 1, 2, 0, 1, 2]
    outside = np.array([[10.0, 0, 0], [0, 0, 10.0], [1000.0, 0, 0], [-1000.0, 0, 0]])
    assert grid.holding(outside).tolist() == [-1] * 4
    assert grid.holding(np.zeros((0, 3))).tolist() == []


def test_a_sparse_hall_keeps_nearly_all_of_its_landmarks() -> None:
    """Of 1500 landmarks in a hall of 60 x 40 m hardly any voxel of 5 m holds twenty."""
    points = np.random.default_rng(0).uniform([0, 0, 0], [60, 40, 4], (1500, 3))
    grid, voxel = group_into_voxels(points, 5.0, 20)
    assert (voxel >= 0).mean() >= 0.95
    assert len(grid) > 80
