"""A map is told in another frame: all it holds is moved, and its voxels are laid out anew along the new axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.geometry.se3 import transform_points
from neumap.maps.neural_map import ANCHOR_BITS, NeuralMap, lay_out

# FURTHEST_M: from the origin, metres, that landmarks are told apart by the centimetre when evidence is counted.
FURTHEST_M = 10_000.0


def transformed(neural_map: NeuralMap, new_from_old: FloatArray, frame_id: str | None = None) -> NeuralMap:
    """Return the map in another frame: a rigid ``new_from_old`` (4, 4), metres, takes its points there; ``frame_id`` is
    that frame's name, by default the old one.

    What is told in camera frames (deviations, covariances) stays, and so does the expected accuracy. Anchors have all
    bits, since those of a small map, rounded once more, would move poses by millimetres. Raises
    :class:`~neumap.errors.ConfigError` where the map would be further than 10 km from the origin.
    """
    if np.array_equal(new_from_old, np.eye(4)):
        return replace(neural_map, frame_id=frame_id or neural_map.frame_id, map_id="")
    codes = neural_map.landmarks
    # the most useful of each voxel first, as voxels are cut anew
    order = np.argsort(codes.rank, kind="stable")
    points = transform_points(new_from_old, codes.points(neural_map.grid))[order]
    if np.abs(points).max() > FURTHEST_M:
        raise ConfigError(
            f"the map would be {np.abs(points).max() / 1000:.0f} km from the origin of its frame, where single numbers "
            f"are no longer exact: take an origin nearer to it, {FURTHEST_M / 1000:g} km at most"
        )
    # no landmark is lost, however empty its new voxel is
    grid, landmarks = lay_out(
        points, codes.descriptors[order], codes.coarse[order], ANCHOR_BITS, neural_map.grid.size_m, 1
    )
    return replace(
        neural_map,
        grid=grid,
        landmarks=landmarks,
        drift=replace(neural_map.drift, poses=new_from_old @ neural_map.drift.poses),
        frame_id=frame_id or neural_map.frame_id,
        map_id="",
    )
