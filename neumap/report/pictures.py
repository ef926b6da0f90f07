"""Figures drawn with matplotlib into a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, MissingDependencyError
from neumap.io.files import PathLike, check_output, write_atomically

FORMATS = ("png", "pdf", "svg", "jpg")


@dataclass(frozen=True)
class _Palette:
    """Colours that all can tell apart who see colours otherwise, too (Okabe and Ito 2008): what is ``good``, is to be
    watched for (``fair``), is ``bad``; what is ``true``, and what stands out on landmarks (``strong``) or hardly does.
    """

    good: str = "#0072b2"
    fair: str = "#f0b400"
    bad: str = "#d55e00"
    true: str = "#000000"
    strong: str = "#cc3377"
    faint: str = "#9a9a9a"
    landmark: str = "#7f95b2"


COLOURS = _Palette()


def check_picture(path: PathLike) -> None:
    """Raise, before the work that it shows, what would keep a picture from being written.

    Raises :class:`~neumap.errors.ConfigError` for a suffix other than .png, .pdf, .svg and .jpg,
    :class:`~neumap.errors.MissingDependencyError` without matplotlib and :class:`~neumap.errors.DataError` where a file
    cannot be made.
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
    """Give a matplotlib Figure of ``width`` x ``height`` inches to draw on; write it when the block ends.

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


def draw_pairs(axes: Any, starts: FloatArray, ends: FloatArray, **style: Any) -> None:
    """Draw lines from each of ``starts`` (N, 2) to its one of ``ends`` (N, 2)."""
    pairs = np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).reshape(-1, 2)
    axes.plot(pairs[:, 0], pairs[:, 1], **style)


def draw_headings(axes: Any, poses: FloatArray, length_m: float, colour: str, label: str, **style: Any) -> None:
    """Draw a dot for each map_from_camera (N, 4, 4), and a line of at most ``length_m`` metres to where it looks."""
    at, ahead = poses[:, :2, 3], poses[:, :2, 3] + length_m * poses[:, :2, 2]
    draw_pairs(axes, at, ahead, color=colour, lw=0.9, zorder=6)
    marked = {"markersize": style.pop("s") ** 0.5, "markeredgewidth": 0.0}
    # in the legend the dot and the line are one
    axes.plot([], [], marker=".", color=colour, lw=0.9, label=label, markersize=8, markeredgewidth=0.0)
    axes.plot(*at.T, "o", color=colour, zorder=6, **marked)


def extent_of(*points: npt.NDArray[np.floating], bulk: npt.NDArray[np.floating] | None = None) -> FloatArray:
    """Return the corners (2, 2), lowest and highest, of a plot from above: of all ``points`` (N, 2 or more), and of
    ``bulk`` (K, 2 or more) but for what is astray, with a margin.
    """
    found = [np.asarray(each, dtype=np.float64)[:, :2] for each in points]
    if bulk is not None and len(bulk):
        found.append(np.percentile(bulk[:, :2].astype(np.float64), (0.5, 99.5), axis=0))
    every = np.concatenate([*found, np.zeros((0, 2))])
    every = every[np.isfinite(every).all(axis=1)]
    if not len(every):
        return np.array([[-1.0, -1.0], [1.0, 1.0]])
    low, high = every.min(axis=0), every.max(axis=0)
    margin = 0.06 * max(float((high - low).max()), 0.5)
    return np.stack([low - margin, high + margin])


def finish_above(axes: Any, corners: FloatArray) -> None:
    """Make a plot one of x and y in metres that shows all between ``corners`` (2, 2), with its legend below."""
    (left, bottom), (right, top) = corners
    axes.set(xlabel="x / m", ylabel="y / m", xlim=(left, right), ylim=(bottom, top))
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(True, color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, fontsize=9, frameon=False)
    # matplotlib before 3.7, as Ubuntu 22.04 and 24.04 have it, calls them otherwise
    for handle in getattr(legend, "legend_handles", None) or legend.legendHandles:
        handle.set_alpha(0.9)
