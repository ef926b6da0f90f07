"""Draws a map from above, landmarks coloured by height."""

from __future__ import annotations

from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.io.files import PathLike
from neumap.maps.neural_map import NeuralMap
from neumap.report.map_summary import expected_text
from neumap.report.pictures import COLOURS, MOST_LANDMARKS, draw_headings, extent_of, finish_above, picture

# _BULK: percentiles of the landmarks' heights that the colours span.
_BULK = (2, 98)


def draw_map(path: PathLike, neural_map: NeuralMap) -> None:
    """Draw a map from above into a file. Raises as :func:`~neumap.report.pictures.picture` does."""
    width, height = np.ptp(_corners(neural_map), axis=0)
    # the aspect of the map, with room for the colour bar, titles and legend
    with picture(path, 9.0, float(np.clip(7.1 * height / width, 4.0, 9.0)) + 1.7) as figure:
        voxels = f"{len(neural_map.grid)} voxel{'s' * (len(neural_map.grid) != 1)} of {neural_map.grid.size_m:g} m"
        title = f"{len(neural_map.landmarks)} landmarks, {voxels}, {neural_map.mapping_images} images"
        figure.suptitle(title, fontweight="bold")
        axes = figure.add_subplot()
        axes.set_title(f"expected: {expected_text(neural_map.expected)}", fontsize=9, wrap=True, parse_math=False)
        draw_map_above(axes, neural_map)


def draw_map_above(axes: Any, neural_map: NeuralMap) -> None:
    """Draw a map from above on matplotlib ``axes``: landmarks coloured by height, the highest on top, the edges of
    voxels, and mapping cameras with their headings; in metres, with a legend and a colour bar.
    """
    points = neural_map.landmarks.points(neural_map.grid)
    some = points[:: max(1, len(points) // MOST_LANDMARKS)]
    some = some[np.argsort(some[:, 2])]
    low, high = np.percentile(points[:, 2], _BULK)
    dots = axes.scatter(*some.T[:2], c=some[:, 2], vmin=low, vmax=high, s=4, cmap="viridis", linewidths=0, zorder=2)
    axes.figure.colorbar(dots, ax=axes, label="height z / m", extend="both", shrink=0.8)
    draw_voxels(axes, neural_map)
    cameras, corners = neural_map.drift.poses, _corners(neural_map)
    label = f"mapping cameras ({len(cameras)}) and where they look"
    draw_headings(axes, cameras, corners, COLOURS.bad, label)
    finish_above(axes, corners)


def _corners(neural_map: NeuralMap) -> FloatArray:
    return extent_of(neural_map.drift.poses[:, :2, 3], bulk=neural_map.landmarks.points(neural_map.grid))


def draw_voxels(axes: Any, neural_map: NeuralMap) -> None:
    """Draw the edges of voxels from above."""
    grid = neural_map.grid
    square: FloatArray = grid.size_m * np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0], [np.nan, np.nan]])
    edges = (np.unique(grid.corners[:, :2], axis=0)[:, None] + square).reshape(-1, 2)
    axes.plot(*edges.T, color=COLOURS.faint, lw=0.8, ls=":", label=f"voxels of {grid.size_m:g} m", zorder=1)
