"""A picture of an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from neumap.io.files import PathLike
from neumap.report.evaluation import Evaluation
from neumap.report.pictures import draw_pairs, picture


def save_plot(evaluation: Evaluation, path: PathLike) -> None:
    """Draw the poses from above, coloured by their error, and the shares within any error.

    Raises as :func:`~neumap.report.pictures.picture` does.
    """
    with picture(path, 11.0, 5.0) as figure:
        above, shares = figure.subplots(1, 2)
        _draw_above(figure, above, evaluation)
        _draw_shares(shares, evaluation)


def _draw_above(figure: Any, axes: Any, evaluation: Evaluation) -> None:
    truth, estimate = (t.map_from_camera[:, :2, 3] for t in (evaluation.truth, evaluation.estimate))
    draw_pairs(axes, truth, estimate, color="0.85", linewidth=0.8, zorder=1)
    axes.plot(truth[:, 0], truth[:, 1], "o", color="0.65", markersize=4, label="truth", zorder=2)
    # one pose that is far off would make all others look alike
    centimetres = 100 * evaluation.translation_m
    top = max(float(np.percentile(centimetres, 90)), 1e-3)
    dots = axes.scatter(
        estimate[:, 0], estimate[:, 1], c=centimetres, vmin=0, vmax=top, s=12, label="estimate", zorder=3
    )
    figure.colorbar(dots, ax=axes, label="translation error [cm]", extend="max")
    axes.set(xlabel="map x [m]", ylabel="map y [m]", title="from above")
    # poses far off would shrink the place to a dot
    low, high = truth.min(axis=0), truth.max(axis=0)
    margin = 0.1 * max(float((high - low).max()), 0.5)
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.set_aspect("equal")
    axes.legend(loc="best")


def _draw_shares(axes: Any, evaluation: Evaluation) -> None:
    total = evaluation.queries or evaluation.poses
    share = 100 * np.arange(1, evaluation.poses + 1) / total
    centimetres = np.maximum(100 * np.sort(evaluation.translation_m), 1e-3)
    degrees = np.maximum(np.sort(evaluation.rotation_deg), 1e-3)
    axes.step(centimetres, share, where="post", label="translation [cm]")
    axes.step(degrees, share, where="post", label="rotation [deg]")
    axes.set(xscale="log", ylim=(0, 101), xlabel="error", title="share within an error")
    axes.set_ylabel("% of query images" if evaluation.queries else "% of estimated poses")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(loc="best")
