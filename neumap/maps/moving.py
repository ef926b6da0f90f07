"""Transform a map to another frame: move its content, and lay out its voxels along the new axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.geometry.se3 import transform_points
from neumap.maps.neural_map import ANCHOR_BITS, NeuralMap, lay_out

# FURTHEST_M: distance of landmarks from the origin at most, metres, since evidence counts places by packed integers.
FURTHEST_M = 10_000.0


def check_near_origin(points: FloatArray, what: str) -> None:
    """Raise :class:`~neumap.errors.ConfigError` that begins with ``what`` if points (N, 3) are too far from the
    origin, as those of UTM are, metres.
    """
    furthest_m = float(np.abs(points).max(initial=0.0))
    if furthest_m > FURTHEST_M:
        raise ConfigError(
            f"{what} {furthest_m / 1000:.0f} km from the origin of their frame, where positions lose precision: "
            f"choose an origin within {FURTHEST_M / 1000:g} km"
        )


def transformed(neural_map: NeuralMap, new_from_old: FloatArray, frame_id: str | None = None) -> NeuralMap:
    """Return the map transformed by the rigid ``new_from_old`` (4, 4), metres; ``frame_id`` names the new frame, by
    default as the old one.

    Quantities in camera frames (deviations, covariances) and the expected accuracy do not change. Anchors get
    ``ANCHOR_BITS``, since rounding the fewer bits of a small map again would move poses by millimetres. Raises
    :class:`~neumap.errors.ConfigError` for a map further than 10 km from the origin.
    """
    if np.array_equal(new_from_old, np.eye(4)):
        return replace(neural_map, frame_id=frame_id or neural_map.frame_id, map_id="")
    codes = neural_map.landmarks
    # the most useful of each voxel first, since the voxels change
    order = np.argsort(codes.rank, kind="stable")
    points = transform_points(new_from_old, codes.points(neural_map.grid))[order]
    check_near_origin(points, "the landmarks would be")
    # keep every landmark, even alone in its new voxel
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
