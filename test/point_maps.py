"""Maps without images: landmarks at given points, mapped from given viewpoints, and the west half of a room so."""

from __future__ import annotations

import numpy as np

from neumap.arrays import FloatArray
from neumap.features import default_settings
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.maps.drift import DriftField
from neumap.maps.neural_map import LandmarkCodes, NeuralMap, encode_anchors, group_into_voxels

CAMERA = make_camera(640, 480, [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1])
WEST, EAST, NORTH = np.pi, 0.0, np.pi / 2


def looking(*yaw: float) -> FloatArray:
    """Rotations (N, 3, 3) of level cameras."""
    return se3.optical_axes(np.array(yaw), np.zeros(len(yaw)), np.zeros(len(yaw)))


def walls(rng: np.random.Generator, width: float) -> FloatArray:
    """Landmarks on the walls of the west of a room of 8 x 4 x 2.4 m, whose west wall is at x = 0."""
    along = rng.uniform(0, 1, (3, 600, 2))
    west = np.column_stack([np.zeros(600), 4 * along[0, :, 0], 2.4 * along[0, :, 1]])
    south, north = (
        np.column_stack([width * a[:, 0], np.full(600, y), 2.4 * a[:, 1]])
        for a, y in zip(along[1:], (0.0, 4.0), strict=True)
    )
    return np.concatenate([west, south, north])


def map_of_points(points: FloatArray, viewpoints: FloatArray) -> NeuralMap:
    """A map that holds landmarks at points (L, 3), mapped from viewpoints (S, 4, 4)."""
    grid, voxel = group_into_voxels(points, 5.0, 1)
    order = np.argsort(voxel, kind="stable")
    nothing = np.zeros((len(points), 6), np.uint8)
    anchors = encode_anchors(points[order], voxel[order], grid)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(voxel, minlength=len(grid)))])
    drift = DriftField(viewpoints, np.zeros((len(viewpoints), 6)), np.full(6, 1e-4), 0.4, 0.4, 0.1)
    return NeuralMap(default_settings(), grid, LandmarkCodes(anchors, nothing, nothing[:, :0], offsets), drift)


def half_mapped_room() -> NeuralMap:
    """A room of 8 x 4 m, of which the west was mapped by cameras that looked west."""
    places = np.stack(np.meshgrid([2.5, 3.0, 3.5], [1.5, 2.0, 2.5], [1.2]), axis=-1).reshape(-1, 3)
    viewpoints = se3.make_pose(np.repeat(looking(WEST), len(places), axis=0), places)
    return map_of_points(walls(np.random.default_rng(0), 4.0), viewpoints)
