"""Predicts from a map alone where a robot will be lost, at places on a grid and several headings each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import yaml
from scipy.spatial import cKDTree

from neumap.arrays import BoolArray, FloatArray
from neumap.errors import DataError
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import optical_axes
from neumap.localization.outlook import Outlook
from neumap.localization.span import BULK, Span
from neumap.maps.neural_map import NeuralMap
from neumap.progress import Progress
from neumap.records import Camera

# USUAL_FOV_DEG, USUAL_SIZE: horizontal field of view, and width and height in pixels, of the default camera.
USUAL_FOV_DEG, USUAL_SIZE = 65.0, (640, 480)
# HEADINGS: directions at each place. PLACES: approximate number of places. FINEST_M: smallest cell, metres; STEP_M: the
# size of a cell is a multiple of it, metres.
HEADINGS, PLACES, FINEST_M, STEP_M = 12, 600, 0.2, 0.05
# MOST_CELLS: largest number of cells of a grid with a given cell size.
MOST_CELLS = 100_000
# LIKELY: from this probability on, an image counts as localized.
LIKELY = 0.5
# STOREY_M: mapping cameras that differ more in height were on several floors, metres. UPRIGHT: the map's z is not up if
# the mean z component of the up vectors of mapping cameras is less.
STOREY_M, UPRIGHT = 1.5, 0.5
# FEWEST_CELLS: smallest region that is reported, cells.
FEWEST_CELLS = 4
# OCCUPIED, FREE: thresholds of map_server for the overlay: a cell is occupied above the first probability of being lost
# and free below the second.
OCCUPIED, FREE = 0.9, 0.1


def usual_camera() -> Camera:
    """Return the default camera."""
    width, height = USUAL_SIZE
    focal = width / 2 / np.tan(np.deg2rad(USUAL_FOV_DEG) / 2)
    return make_camera(width, height, [focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1])


@dataclass(frozen=True)
class Forecast:
    """A prediction on a grid of H x W places with cells of ``cell_m``; NaN for places outside of the mapped space.

    Row 0 and column 0 are at the ``origin`` (2,), the corner with the least x and y in the map. ``height_m`` (H, W) is
    that of the camera; its optical axis points ``pitch_rad`` up and in each of ``headings_rad`` (A,), counted from the
    map's x to its y. ``probability`` (H, W, A) is that of being localized, ``error_m`` (H, W, A) the expected position
    error then. ``notes`` are for the user.
    """

    origin: FloatArray
    cell_m: float
    height_m: FloatArray
    pitch_rad: float
    headings_rad: FloatArray
    probability: FloatArray
    error_m: FloatArray
    notes: tuple[str, ...] = ()

    @property
    def inside(self) -> BoolArray:
        """Return which places (H, W) are in the mapped space."""
        return np.isfinite(self.height_m)

    @cached_property
    def share(self) -> FloatArray:
        """Return the probability (H, W) of being localized, mean of all headings."""
        return np.asarray(self.probability.mean(axis=2))

    @property
    def size_m(self) -> FloatArray:
        """Return width and height (2,) of the grid, metres."""
        return self.cell_m * np.array(self.probability.shape[1::-1])

    def middles(self) -> FloatArray:
        """Return the centres (H, W, 2) of the cells, metres in the map."""
        rows, columns = self.probability.shape[:2]
        x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        return np.asarray(self.origin + self.cell_m * np.stack([x, y], axis=-1))


def foresee(
    neural_map: NeuralMap,
    camera: Camera,
    progress: Progress,
    cell_m: float | None = None,
    height_m: float | None = None,
) -> Forecast:
    """Predict localization in a map at places ``cell_m`` apart, at ``height_m`` in the map, by default at the height of
    the nearest mapping camera.

    Raises :class:`~neumap.errors.DataError` if the map has no viewpoints, or the grid too many cells.
    """
    outlook = Outlook(neural_map, camera)
    viewpoints, points = neural_map.drift.poses, neural_map.landmarks.points(neural_map.grid)
    eyes = viewpoints[:, :3, 3]
    low, high = np.quantile(points[:, :2], [1 - BULK, BULK], axis=0)
    low, high = np.minimum(low, eyes[:, :2].min(axis=0)), np.maximum(high, eyes[:, :2].max(axis=0))
    cell = cell_m or _cell_for(high - low)
    columns, rows = np.maximum(np.ceil((high - low) / cell).astype(int), 1)
    if rows * columns > MOST_CELLS:
        raise DataError(f"{rows} x {columns} cells of {cell:g} m are more than {MOST_CELLS}: give a larger --cell")
    # whole cells, centred
    origin = (low + high) / 2 - cell * np.array([columns, rows]) / 2
    pitch = float(np.arcsin(np.clip(np.median(viewpoints[:, 2, 2]), -1, 1)))
    headings = np.arange(HEADINGS) * 2 * np.pi / HEADINGS
    shape = (int(rows), int(columns), HEADINGS)
    heights = np.full(shape[:2], np.nan)
    probability, error_m = np.full(shape, np.nan), np.full(shape, np.nan)
    made = Forecast(origin, cell, heights, pitch, headings, probability, error_m, _notes(viewpoints, height_m))
    middles = made.middles()
    nearest = cKDTree(eyes[:, :2]).query(middles)[1]
    span, rotations = Span(eyes, points), optical_axes(headings, np.full(HEADINGS, pitch), np.zeros(HEADINGS))
    for row in range(rows):
        for column in range(columns):
            z = eyes[nearest[row, column], 2] if height_m is None else height_m
            position = np.array([*middles[row, column], z])
            if span.beyond_m(position) <= 0:
                heights[row, column] = z
                probability[row, column], error_m[row, column] = outlook(position, rotations)
        progress("foresee", row + 1, int(rows))
    return made


def _cell_for(size: FloatArray) -> float:
    """Return the size of a cell so that about PLACES cells fill a rectangle of ``size`` (2,), metres."""
    wanted = float(np.sqrt(np.prod(size) / PLACES))
    return max(FINEST_M, round(wanted / STEP_M) * STEP_M)


def _notes(viewpoints: FloatArray, height_m: float | None) -> tuple[str, ...]:
    notes = []
    z = viewpoints[:, 2, 3]
    low, high = np.quantile(z, [0.05, 0.95])
    if height_m is None and high - low > STOREY_M:
        notes.append(
            f"mapping cameras were {low:.1f} to {high:.1f} m high: places are at the height of the nearest one; "
            "--height gives that of one floor's"
        )
    if -viewpoints[:, 2, 1].mean() < UPRIGHT:
        notes.append("the map's z is not up, by how its mapping cameras were held: places are in its plane of x and y")
    return tuple(notes)


@dataclass(frozen=True)
class Blank:
    """A region where images are likely lost: its centre ``x``, ``y`` in the map, metres, its area, the mean probability
    of being ``localized`` there, and the heading in which that is least, degrees.
    """

    x: float
    y: float
    area_m2: float
    localized: float
    worst_heading_deg: float


def blanks(forecast: Forecast, most: int = 3) -> list[Blank]:
    """Return the regions where the mean probability over headings is below LIKELY, those of the largest loss first."""
    lost = forecast.inside & (np.nan_to_num(forecast.share, nan=1.0) < LIKELY)
    count, label = cv2.connectedComponents(lost.astype(np.uint8), connectivity=4)
    middles, found = forecast.middles(), []
    for number in range(1, count):
        cells = label == number
        if cells.sum() < FEWEST_CELLS:
            continue
        each = forecast.probability[cells]
        worst_deg = np.rad2deg(forecast.headings_rad[int(np.argmin(each.mean(axis=0)))])
        x, y = middles[cells].mean(axis=0).tolist()
        found.append(Blank(x, y, float(cells.sum()) * forecast.cell_m**2, float(each.mean()), float(worst_deg)))
    return sorted(found, key=lambda blank: -blank.area_m2 * (1 - blank.localized))[:most]


def as_dict(forecast: Forecast) -> dict[str, Any]:
    """Return a forecast for JSON: metres, degrees, probabilities from 0 to 1; null for places outside of the mapped
    space, and where next to nothing would be seen. Row 0 has the least y.
    """
    f = forecast
    asked = f.probability[f.inside]
    best, likely = asked.max(axis=1, initial=0.0), f.probability >= LIKELY

    def told(values: FloatArray, share: float | None = None) -> float | None:
        """Return the mean of values, or the quantile at ``share``; None if there are none."""
        if not len(values):
            return None
        return _number(values.mean() if share is None else np.quantile(values, share))

    return {
        "grid": {
            "origin": f.origin.tolist(),
            "cell_m": f.cell_m,
            "columns": f.probability.shape[1],
            "rows": f.probability.shape[0],
            "headings_deg": np.rad2deg(f.headings_rad).tolist(),
            "pitch_deg": float(np.rad2deg(f.pitch_rad)),
        },
        "foreseen": {
            "places": int(f.inside.sum()),
            "area_m2": float(f.inside.sum()) * f.cell_m**2,
            "localized": told(asked),
            "localized_best_heading": told(best),
            "localized_worst_heading": told(asked.min(axis=1, initial=1.0)),
            "lost_in_every_heading": told(best < LIKELY),
            "error_m": told(f.error_m[likely], 0.5),
            "error_m_worst_tenth": told(f.error_m[likely], 0.9),
        },
        "blanks": [asdict(blank) for blank in blanks(f)],
        "height_m": _numbers(f.height_m),
        "probability": _numbers(f.probability),
        "error_m": _numbers(f.error_m),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _numbers(values: FloatArray) -> list[Any]:
    return [_numbers(row) if row.ndim else _number(float(row)) for row in values]


def as_text(forecast: Forecast) -> Sequence[tuple[str, str]]:
    """Return a forecast as rows of a name and a text."""
    told = as_dict(forecast)
    f, g = told["foreseen"], told["grid"]
    if not f["places"]:
        return [("foreseen", "no place is inside of what was mapped: is --height right?")]
    rows = [
        (
            "places",
            f"{f['places']} of {g['cell_m']:g} m, {len(g['headings_deg'])} headings each, in {f['area_m2']:.0f} m2",
        ),
        (
            "localized",
            f"{f['localized']:.0%} expected, {f['localized_best_heading']:.0%} where one looks the best way and "
            f"{f['localized_worst_heading']:.0%} the worst; lost whatever way one looks in "
            f"{f['lost_in_every_heading']:.0%} of the places",
        ),
    ]
    if f["error_m"] is not None:
        off = (
            f"{100 * f['error_m']:.1f} cm expected (median), {100 * f['error_m_worst_tenth']:.1f} cm in the worst tenth"
        )
        rows.append(("error", off))
    blank_rows = (
        (
            "lost",
            f"{blank['area_m2']:.1f} m2 about ({blank['x']:.1f}, {blank['y']:.1f}) m: {blank['localized']:.0%} "
            f"localized, fewest looking {blank['worst_heading_deg']:.0f} deg; drive there and look that way to map it",
        )
        for blank in told["blanks"]
    )
    return [*rows, *blank_rows]


def overlay(forecast: Forecast, image_name: str) -> tuple[bytes, bytes]:
    """Return a PNG of the probability of being lost, and the YAML of map_server for it, which names it ``image_name``.

    The PNG is black where the camera is lost in all headings, white where in none, transparent outside of the map.
    """
    value = np.rint(255 * np.nan_to_num(forecast.share)).astype(np.uint8)
    alpha = np.where(forecast.inside, 255, 0).astype(np.uint8)
    # the first row of an image is on top, where y is greatest
    _, png = cv2.imencode(".png", np.dstack([value, value, value, alpha])[::-1])
    content = {
        "image": image_name,
        "mode": "scale",
        "resolution": forecast.cell_m,
        "origin": [*forecast.origin.tolist(), 0.0],
        "negate": 0,
        "occupied_thresh": OCCUPIED,
        "free_thresh": FREE,
    }
    return png.tobytes(), yaml.safe_dump(content, sort_keys=False).encode()
