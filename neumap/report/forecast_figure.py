"""Draws a forecast of a place, and the results of a drive through it."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.io.files import PathLike
from neumap.maps.neural_map import NeuralMap
from neumap.report.drive_check import DriveCheck
from neumap.report.forecast import LIKELY, Forecast
from neumap.report.pictures import (
    COLOURS,
    draw_headings,
    draw_landmarks,
    draw_lost,
    extent_of,
    finish_above,
    picture,
    say,
)

# _ROSE: radius of a place's wedges, in cells. _ARC: number of points of a wedge's outer edge.
_ROSE, _ARC = 0.47, 4
# _MARGIN: height of titles, labels and legend around a map, inches.
_MARGIN = 1.8
# _WIDTH, _PANEL: of the picture and of a map in it, inches; _TALLEST, _LOWEST: the height of a map.
_WIDTH, _PANEL, _TALLEST, _LOWEST, _IMAGE_ROW, _TIMES_ROW = 14.0, 5.6, 8.0, 3.0, 3.1, 2.4
# _REASON: characters in a line of a reason.
_REASON = 46
# _WORST_ERROR: quantile of the errors at the end of the colour scale.
_WORST_ERROR = 0.95


def draw_forecast(path: PathLike, forecast: Forecast, neural_map: NeuralMap, title: str) -> None:
    """Draw from above, at each place, the probability of localization by heading, and the expected error.

    Raises as :func:`~neumap.report.pictures.picture` does.
    """
    with picture(path, _WIDTH, _MARGIN + _map_height(forecast)) as figure:
        figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
        likely, error = figure.subplots(1, 2, sharex=True, sharey=True)
        likely.set_title("how likely an image is localized, a wedge for each way of looking", fontsize=10)
        roses = _roses(likely, forecast)
        figure.colorbar(roses, ax=likely, label="probability of being localized", shrink=0.8)
        error.set_title("how far off the position is then (median over ways of looking)", fontsize=10)
        squares = _squares(error, forecast)
        figure.colorbar(squares, ax=error, label="expected error / cm", shrink=0.8, extend="max")
        for axes in (likely, error):
            _draw_map(axes, neural_map, _corners(forecast), COLOURS.bad)
            finish_above(axes, _corners(forecast))


def draw_drive(path: PathLike, check: DriveCheck, forecast: Forecast, neural_map: NeuralMap, title: str) -> None:
    """Draw where a drive was localized and where not, over the forecast, and images of its worst stretches.

    Raises as :func:`~neumap.report.pictures.picture` does.
    """
    rows = (len(check.worst) + 1) // 2
    height = max(_map_height(forecast) + 1.6, _TIMES_ROW + rows * _IMAGE_ROW)
    with picture(path, _WIDTH, 0.5 + height) as figure:
        figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
        grid = figure.add_gridspec(1 + rows, 4, height_ratios=(_TIMES_ROW, *rows * (_IMAGE_ROW,)))
        above = figure.add_subplot(grid[:, :2])
        shade = above.imshow(forecast.share, origin="lower", extent=_extent(forecast), cmap="viridis", alpha=0.35)
        shade.set_clim(0, 1)
        figure.colorbar(shade, ax=above, label="foreseen probability, mean of all headings", shrink=0.8)
        _draw_map(above, neural_map, _corners(forecast), COLOURS.faint)
        _draw_path(above, check, _corners(forecast))
        finish_above(above, _corners(forecast))
        _draw_times(figure.add_subplot(grid[0, 2:]), check)
        for number, stretch in enumerate(check.worst):
            axes = figure.add_subplot(grid[1 + number // 2, 2 + number % 2])
            with suppress(DataError):  # a lost image may be unreadable
                axes.imshow(stretch.frame.read_image(), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{number + 1}: lost for {stretch.extent}", fontsize=9, color=COLOURS.bad, parse_math=False)
            axes.set_xlabel(textwrap.fill(stretch.reason, _REASON), fontsize=8, parse_math=False)


def _map_height(forecast: Forecast) -> float:
    width, height = np.ptp(_corners(forecast), axis=0)
    return float(np.clip(_PANEL * height / width, _LOWEST, _TALLEST))


def _corners(forecast: Forecast) -> FloatArray:
    return extent_of(np.stack([forecast.origin, forecast.origin + forecast.size_m]))


def _extent(forecast: Forecast) -> tuple[float, float, float, float]:
    (left, low), (width, height) = forecast.origin, forecast.size_m
    return left, left + width, low, low + height


def _draw_map(axes: Any, neural_map: NeuralMap, corners: FloatArray, colour: str) -> None:
    """Draw landmarks in the background, and mapping cameras in a ``colour``."""
    cameras = neural_map.drift.poses
    draw_landmarks(axes, neural_map.landmarks.points(neural_map.grid))
    label = f"mapping cameras ({len(cameras)}) and where they look"
    draw_headings(axes, cameras, corners, colour, label, size=2.0)


def _roses(axes: Any, forecast: Forecast) -> Any:
    from matplotlib.collections import PolyCollection

    inside, radius = forecast.inside, _ROSE * forecast.cell_m
    half = np.pi / len(forecast.headings_rad)
    angles = forecast.headings_rad[:, None] + np.linspace(-half, half, _ARC)
    arcs = radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    wedges = np.concatenate([np.zeros((len(arcs), 1, 2)), arcs], axis=1)
    all_wedges = (forecast.middles()[inside][:, None, None] + wedges).reshape(-1, _ARC + 1, 2)
    roses = PolyCollection(list(all_wedges), array=forecast.probability[inside].ravel(), cmap="viridis", zorder=2)
    roses.set(clim=(0, 1), linewidth=0)
    axes.add_collection(roses)
    return roses


def _squares(axes: Any, forecast: Forecast) -> Any:
    """Draw the median expected error of each place, centimetres, over headings in which localization is likely."""
    errors = np.where(forecast.probability >= LIKELY, 100 * forecast.error_m, np.nan)
    known = np.isfinite(errors).any(axis=2)
    median = np.full(known.shape, np.nan)
    median[known] = np.nanmedian(errors[known], axis=1)
    least, most = np.quantile(median[known], [0, _WORST_ERROR]) if known.any() else (0, 1)
    return axes.imshow(
        median, origin="lower", extent=_extent(forecast), cmap="cividis_r", vmin=least, vmax=most, zorder=2, alpha=0.9
    )


def _draw_path(axes: Any, check: DriveCheck, corners: FloatArray) -> None:
    known = np.isfinite(check.places[:, 0, 0])
    found, lost = (check.places[known & which] for which in (check.localized, ~check.localized))
    axes.plot(*check.places[known, :2, 3].T, color=COLOURS.faint, lw=0.6, zorder=3)
    if len(found):
        draw_headings(axes, found, corners, COLOURS.good, f"localized ({len(found)}), and where it looks")
    draw_lost(axes, lost)
    if wrong := [step.second for step in check.disagreeing]:
        style = {"facecolors": "none", "edgecolors": COLOURS.wrong, "label": f"disagrees with odometry ({len(wrong)})"}
        axes.scatter(*check.places[wrong, :2, 3].T, s=70, zorder=8, **style)
    for number, stretch in enumerate(check.worst, start=1):
        at = check.places[stretch.middle, :2, 3]
        if np.isfinite(at).all():
            axes.annotate(
                str(number),
                at,
                xytext=(7, 7),
                textcoords="offset points",
                fontweight="bold",
                color=COLOURS.bad,
                zorder=9,
            )


def _draw_times(axes: Any, check: DriveCheck) -> None:
    """Draw the predicted probability over time, and which images were localized."""
    seconds, foreseen = check.seconds, check.foreseen
    if not np.isfinite(foreseen).any():
        say(axes, "nothing is foreseen: where the images were taken is not known")
    axes.plot(seconds, foreseen, ".-", color=COLOURS.faint, lw=0.8, markersize=4, label="foreseen probability")
    for found, colour, name in ((True, COLOURS.good, "localized"), (False, COLOURS.bad, "lost")):
        some = seconds[check.localized == found]
        axes.scatter(some, np.full(len(some), 1.08 if found else -0.08), marker="|", s=40, c=colour, label=name)
    axes.set(ylim=(-0.2, 1.2), xlabel="time in the drive / s", ylabel="probability", yticks=(0, 0.5, 1))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, fontsize=9, frameon=False)
