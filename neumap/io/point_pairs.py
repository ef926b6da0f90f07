"""Fits the transform between a map and another frame to pairs of points clicked in both."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.geometry.se3 import fit_planar, fit_rigid, transform_points
from neumap.io.files import PathLike, parse_lines

COLUMNS = "x y X Y, or x y z X Y Z, metres: in the map, then in the other frame"
# FEWEST: pairs; two are too few to detect a wrong one. LEAST_SPREAD_M: standard deviation of the points along their
# second principal axis in space, their first on a plane, metres; less leaves the rotation open.
FEWEST, LEAST_SPREAD_M = 3, 0.3
# MISFIT_M: the largest residual of a pair, metres: clicks on an occupancy map are good to some cells of 5 cm.
MISFIT_M = 0.25


class FittedPoints(NamedTuple):
    """The transform ``new_from_old`` (4, 4) fitted to pairs of points, and their residuals (N,) in metres."""

    new_from_old: FloatArray
    residuals_m: FloatArray


def read_point_pairs(path: PathLike) -> FittedPoints:
    """Read one pair of points per line and fit the transform from the map to the other frame.

    Lines of four numbers give a fit on the plane, which keeps heights. Raises :class:`~neumap.errors.DataError` for
    lines that hold no pair, too few pairs, pairs that leave the rotation open, and pairs that do not fit.
    """
    rows = parse_lines(path, "the file of point pairs", COLUMNS, _parse)
    if len({len(row) for row in rows}) > 1:
        raise DataError(f"{path}: some lines have four numbers and others six: give all pairs alike ({COLUMNS})")
    if len(rows) < FEWEST:
        raise DataError(f"{path} has {len(rows)} pairs of points, {FEWEST} are needed at least: click more")
    old, new = np.split(np.array(rows), 2, axis=1)
    spreads = [np.linalg.svd(each - each.mean(axis=0), compute_uv=False) / math.sqrt(len(rows)) for each in (old, new)]
    # on a plane, points on one line are enough
    if min(spread[1 if len(spread) == 3 else 0] for spread in spreads) < LEAST_SPREAD_M:
        raise DataError(
            f"{path}: the points are too near to each other or, in space, on one line: click some that are metres apart"
        )
    fitted, residuals = _fit(old, new)
    if residuals.max() > MISFIT_M:
        scale = float(np.linalg.norm(spreads[1]) / np.linalg.norm(spreads[0]))
        why = (
            f"distances in the other frame are {scale:.2f} times those in the map, so that one of them is not in metres"
            if _fit(scale * old, new)[1].max() < MISFIT_M
            else f"click them again, each pair at one place, {COLUMNS}"
        )
        raise DataError(f"{path}: the pairs do not fit, they are off by {residuals_text(residuals)}: {why}")
    return FittedPoints(fitted, residuals)


def _fit(old: FloatArray, new: FloatArray) -> tuple[FloatArray, FloatArray]:
    fitted = fit_planar(old, new) if old.shape[1] == 2 else fit_rigid(old, new)
    return fitted, np.linalg.norm(transform_points(fitted, _in_space(old)) - _in_space(new), axis=1)


def residuals_text(residuals_m: FloatArray) -> str:
    """Format residuals (N,) in centimetres."""
    return f"{', '.join(f'{100 * each:.0f}' for each in residuals_m)} cm"


def _in_space(points: FloatArray) -> FloatArray:
    return np.pad(points, ((0, 0), (0, 3 - points.shape[1])))


def _parse(line: str) -> list[float]:
    fields = line.replace(",", " ").replace(";", " ").split()
    try:
        row = [float(field) for field in fields]
    except ValueError:
        raise ValueError(f"a column is not a number (expected {COLUMNS})") from None
    if len(row) not in (4, 6) or not all(map(math.isfinite, row)):
        raise ValueError(f"expected four or six numbers ({COLUMNS})")
    return row
