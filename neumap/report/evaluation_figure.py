"""Draws an evaluation: where poses are right, wrong and missing, and the distribution of the errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.io.files import PathLike
from neumap.report.evaluation import Evaluation
from neumap.report.pictures import (
    COLOURS,
    draw_headings,
    draw_lost,
    draw_pairs,
    draw_wrong,
    extent_of,
    finish_above,
    make_logarithmic,
    picture,
    say,
)
from neumap.report.replay_report import WRONG_M


def draw_evaluation(path: PathLike, evaluation: Evaluation, lost: FloatArray | None = None) -> None:
    """Draw the poses from above, and the cumulative distributions of position and rotation errors.

    ``lost`` (L, 4, 4) are known true poses of images without an estimate. Raises as
    :func:`~neumap.report.pictures.picture` does.
    """
    e = evaluation
    asked = f"{e.poses} poses" if e.queries is None else f"{e.poses} of {e.queries} images localized"
    within = ", ".join(f"{r.share:.0%} within {100 * r.metres:.0f} cm, {r.degrees:.0f} deg" for r in e.recall[1:3])
    medians = f": median {100 * e.translation.median:.2g} cm, {e.rotation.median:.2g} deg; {within}" if e.poses else ""
    with picture(path, 12.0, 6.5) as figure:
        figure.suptitle(f"{asked}{medians}", fontweight="bold")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1.0))
        _draw_above(figure.add_subplot(grid[:, 0]), e, np.zeros((0, 4, 4)) if lost is None else lost)
        for row, (errors, what, unit, least) in enumerate(
            ((100 * e.translation_m, "position", "cm", 0.01), (e.rotation_deg, "rotation", "degrees", 0.001))
        ):
            axes = figure.add_subplot(grid[row, 1])
            _draw_shares(axes, errors, e, least)
            axes.set_xlabel(f"error in {what} / {unit}")


def _draw_above(axes: Any, evaluation: Evaluation, lost: FloatArray) -> None:
    true, found = evaluation.truth.map_from_camera, evaluation.estimate.map_from_camera
    # without the estimates: one far off would shrink the place to a dot
    corners = extent_of(true[:, :2, 3], lost[:, :2, 3])
    draw_lost(axes, lost)
    if not evaluation.poses:
        if not len(lost):
            say(axes, "no image was localized, and where they were taken is not known")
        finish_above(axes, corners)
        return
    draw_headings(axes, true, corners, COLOURS.faint, "truth, and where it looks", size=4.0)
    draw_pairs(axes, true[:, :2, 3], found[:, :2, 3], color=COLOURS.faint, lw=0.8, zorder=2)
    centimetres = 100 * evaluation.translation_m
    # the colours end at a quantile: one far off would make all others look alike. The worst are drawn on top.
    top, order = max(float(np.percentile(centimetres, 90)), 0.1), np.argsort(centimetres)
    style = {"vmin": 0, "vmax": top, "s": 14, "cmap": "viridis", "linewidths": 0, "zorder": 7}
    dots = axes.scatter(*found[order, :2, 3].T, c=centimetres[order], label="estimates", **style)
    axes.figure.colorbar(dots, ax=axes, label="error in position / cm", extend="max", shrink=0.8)
    draw_wrong(axes, found[evaluation.translation_m > WRONG_M], corners)
    finish_above(axes, corners)


def _draw_shares(axes: Any, errors: FloatArray, evaluation: Evaluation, least: float) -> None:
    total = evaluation.queries or evaluation.poses
    make_logarithmic(axes.xaxis, errors, least)
    # from zero, and on to the right end of the axis
    ends = axes.get_xlim()
    within = np.concatenate([[ends[0]], np.maximum(np.sort(errors), least), [ends[1]]])
    share = 100 * np.append(np.arange(evaluation.poses + 1), evaluation.poses) / total
    axes.step(within, share, where="post", color=COLOURS.good)
    axes.set(ylim=(0, 102), ylabel=f"of {'query images' if evaluation.queries else 'estimated poses'} / %")
    axes.grid(True, which="major", color="#e4e4e4", lw=0.6)
    if not evaluation.poses:
        say(axes, "no image was localized: neumap localize --report FILE writes why")
