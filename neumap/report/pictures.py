"""Figures drawn with matplotlib into a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, MissingDependencyError
from neumap.io.files import PathLike, write_atomically

FORMATS = ("png", "pdf", "svg", "jpg")


@contextmanager
def picture(path: PathLike, width: float, height: float) -> Iterator[Any]:
    """Give a matplotlib Figure of ``width`` x ``height`` inches to draw on; write it when the block ends.

    The suffix of ``path`` is the format. Raises :class:`~neumap.errors.ConfigError` for one other than .png, .pdf,
    .svg and .jpg, :class:`~neumap.errors.MissingDependencyError` without matplotlib and
    :class:`~neumap.errors.DataError` where the folder does not exist.
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise ConfigError(f"cannot draw to {path}: end its name in one of .{', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("drawing needs matplotlib: pip install 'neumap[plots]'") from None
    # no pyplot: it would choose a backend for the whole process
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    yield figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    write_atomically(path, buffer.getvalue())


def draw_pairs(axes: Any, starts: FloatArray, ends: FloatArray, **style: Any) -> None:
    """Draw lines from each of ``starts`` (N, 2) to its one of ``ends`` (N, 2)."""
    pairs = np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).reshape(-1, 2)
    axes.plot(pairs[:, 0], pairs[:, 1], **style)
