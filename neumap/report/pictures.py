"""Writes matplotlib figures to files; shared colours, plots from above and axes of errors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, MissingDependencyError
from neumap.io.files import PathLike, check_output, write_atomically
from neumap.report.replay_report import WRONG_M

FORMATS = ("png", "pdf", "svg", "jpg")
# MOST_LANDMARKS: largest number of dots; more cannot be distinguished.
MOST_LANDMARKS = 20_000
# _SLIMMEST: smallest ratio of the sides of a plot from above.
_SLIMMEST = 0.7
# _LEGEND: characters in a line of a legend. _LEGEND_BELOW: its distance below the plot, points.
_LEGEND, _LEGEND_BELOW = 38, 40
# _DECADES: an axis of errors that spans more decades is labelled at powers of ten only.
_DECADES = 2.2


@dataclass(frozen=True)
class Palette:
    """Colours that the colour-blind can distinguish; ``wrong`` is for poses far off, ``faint`` for the background."""

    good: str = "#0072b2"
    fair: str = "#f0b400"
    bad: str = "#d55e00"
    truth: str = "#000000"
    wrong: str = "#5e0a5e"
    faint: str = "#9a9a9a"
    landmark: str = "#7f95b2"


COLOURS = Palette()


def check_picture(path: PathLike) -> None:
    """Check, before the work that it shows, that a picture can be written.

    Raises :class:`~neumap.errors.ConfigError` for a suffix other than .png, .pdf, .svg and .jpg,
    :class:`~neumap.errors.MissingDependencyError` without matplotlib and :class:`~neumap.errors.DataError` if the file
    cannot be created.
    """
    if Path(path).suffix[1:].lower() not in FORMATS:
        raise ConfigError(f"cannot draw to {path}: end its name in one of .{', .'.join(FORMATS)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingDependencyError("drawing needs matplotlib: pip install 'neumap[plots]'") from None
    check_output(path)


@contextmanager
def picture(path: PathLike, width: float, height: float) -> Iterator[Any]:
    """Yield a matplotlib Figure of ``width`` x ``height`` inches; write it when the block ends.

    The suffix of ``path`` is the format. Raises as :func:`check_picture` does.
    """
    check_picture(path)
    # no pyplot: it would choose a backend for the whole process
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    yield figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format=Path(path).suffix[1:].lower())
    write_atomically(path, buffer.getvalue())


# --- from above --------------------------------------------------------------------------------


def extent_of(*points: npt.NDArray[np.floating], bulk: npt.NDArray[np.floating] | None = None) -> FloatArray:
    """Return the lowest and highest corner (2, 2) of a plot from above of all ``points`` (N, 2 or more) and of ``bulk``
    (K, 2 or more) without its outliers, with a margin, and no slimmer than ``_SLIMMEST``.
    """
    found = [np.asarray(each, dtype=np.float64)[:, :2] for each in points]
    if bulk is not None and len(bulk):
        found.append(np.percentile(bulk[:, :2].astype(np.float64), (0.5, 99.5), axis=0))
    every = np.concatenate([*found, np.zeros((0, 2))])
    every = every[np.isfinite(every).all(axis=1)]
    if not len(every):
        return np.array([[-1.0, -1.0], [1.0, 1.0]])
    low, high = every.min(axis=0), every.max(axis=0)
    longest = max(float((high - low).max()), 0.5)
    margin = np.maximum(0.06 * longest, (_SLIMMEST * longest - (high - low)) / 2)
    return np.stack([low - margin, high + margin])


def draw_pairs(axes: Any, starts: FloatArray, ends: FloatArray, **style: Any) -> None:
    """Draw a line from each of ``starts`` (N, 2) to that of ``ends`` (N, 2)."""
    pairs = np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).reshape(-1, 2)
    axes.plot(pairs[:, 0], pairs[:, 1], **style)


def draw_landmarks(axes: Any, landmarks: npt.NDArray[np.floating]) -> None:
    """Draw landmarks (K, 3), in the map frame, as faint dots from above."""
    some = landmarks[:: max(1, len(landmarks) // MOST_LANDMARKS)]
    style = {"s": 2.5, "c": COLOURS.landmark, "alpha": 0.35, "linewidths": 0, "zorder": 1}
    axes.scatter(some[:, 0], some[:, 1], label=f"landmarks ({len(landmarks)})", **style)


def draw_headings(
    axes: Any, poses: FloatArray, corners: FloatArray, colour: str, label: str, ahead: int = 2, size: float = 3.0
) -> None:
    """Draw a dot for each of ``poses`` (N, 4, 4) in the map and a line along its axis ``ahead``: 2 (z) for a camera,
    0 (x) for a robot. ``corners`` (2, 2) are those of the plot; the legend shows dot and line.
    """
    at = poses[:, :2, 3]
    draw_pairs(
        axes, at, at + 0.02 * np.ptp(corners, axis=0).max() * poses[:, :2, ahead], color=colour, lw=0.9, zorder=6
    )
    dots = {"marker": "o", "color": colour, "markeredgewidth": 0.0}
    axes.plot(*at.T, ls="", markersize=size, zorder=6, **dots)
    axes.plot([], [], lw=0.9, markersize=4, label=label, **dots)


def draw_wrong(axes: Any, poses: FloatArray, corners: FloatArray) -> None:
    """Draw a large cross at each of the wrong ``poses`` (N, 4, 4), clipped to the ``corners`` (2, 2) of the plot."""
    if len(poses):
        at = np.clip(poses[:, :2, 3], *corners)
        beyond = int((at != poses[:, :2, 3]).any(axis=1).sum())
        counted = f"{len(poses)}, {beyond} of them beyond the edge" if beyond else str(len(poses))
        label = f"wrong by more than {100 * WRONG_M:.0f} cm ({counted})"
        axes.scatter(*at.T, marker="X", s=60, c=COLOURS.wrong, label=label, clip_on=False, zorder=8)


def draw_lost(axes: Any, poses: FloatArray, label: str = "lost") -> None:
    """Draw a small cross at each of the ``poses`` (N, 4, 4), if any, of images without an estimate."""
    if len(poses):
        axes.scatter(*poses[:, :2, 3].T, marker="x", s=30, c=COLOURS.bad, label=f"{label} ({len(poses)})", zorder=7)


def finish_above(axes: Any, corners: FloatArray, anchor: str = "SW", **legend: Any) -> None:
    """Set up the axes of a plot from above: x and y in metres, of equal scale, between ``corners`` (2, 2), at the
    ``anchor`` of its space. Add a legend, below the plot unless the arguments ``legend`` of matplotlib place it.
    """
    from matplotlib.transforms import ScaledTranslation

    (left, bottom), (right, top) = corners
    axes.set(xlabel="x / m", ylabel="y / m", xlim=(left, right), ylim=(bottom, top))
    # the layout leaves room for labels and legend at this corner
    axes.set_aspect("equal", adjustable="box", anchor=anchor)
    axes.grid(True, color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    if not axes.get_legend_handles_labels()[0]:
        return
    # by points, as what is written at the axis is
    below = axes.transAxes + ScaledTranslation(0, -_LEGEND_BELOW / 72, axes.figure.dpi_scale_trans)
    placed = legend or {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": below, "ncol": 2}
    shown = axes.legend(fontsize=9, frameon=False, markerscale=1.6, borderaxespad=0, **placed)
    for text in shown.get_texts():
        text.set_text(fill(text.get_text(), _LEGEND))
    # named legendHandles before matplotlib 3.7, as in Ubuntu 22.04 and 24.04
    for handle in getattr(shown, "legend_handles", None) or shown.legendHandles:
        handle.set_alpha(0.9)


# --- axes ----------------------------------------------------------------------------------------


def make_logarithmic(axis: Any, values: FloatArray, least: float) -> None:
    """Make an ``axis`` logarithmic, with plain decimal labels, and fit it to ``values`` (N,), at least ``least``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.maximum(values[np.isfinite(values)], least)
    low = float(values.min()) / 1.3 if len(values) else least
    high = 1.3 * max(float(values.max(initial=0.0)), 8 * low)
    set_scale, set_limits = (getattr(axis.axes, f"set_{axis.axis_name}{what}") for what in ("scale", "lim"))
    set_scale("log")
    set_limits(low, high)
    steps = (1.0, 2.0, 5.0) if np.log10(high / low) < _DECADES else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def say(axes: Any, text: str) -> None:
    """Write a text, such as why a plot is empty, in its middle."""
    style = {"ha": "center", "va": "center", "color": COLOURS.bad, "parse_math": False, "zorder": 9}
    background = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axes.text(0.5, 0.5, fill(text, 46), transform=axes.transAxes, bbox=background, **style)
