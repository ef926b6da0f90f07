"""A picture of a replay: where the robot was, what state the node was in, and how far off it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.io.files import PathLike
from neumap.io.trajectories import poses_at
from neumap.records import Trajectory
from neumap.report.pictures import picture
from neumap.report.replay_report import STATES, WRONG_M, ReplayLog, Report

COLOURS = {"UNINITIALIZED": "#bdbdbd", "TRACKING": "#1b7837", "DEGRADED": "#e08214", "LOST": "#c51b1b"}
GAP_NS = 1_000_000_000


def draw_replay(path: PathLike, log: ReplayLog, result: Report, truth: Trajectory | None) -> None:
    """Draw a replay. Raises as :func:`~neumap.report.pictures.picture` does."""
    with picture(path, 12.0, 6.0) as figure:
        grid = figure.add_gridspec(3, 2, width_ratios=(1.0, 1.2))
        _draw_above(figure.add_subplot(grid[:, 0]), log, result, truth)
        states = figure.add_subplot(grid[0, 1])
        _draw_states(states, log)
        metres, degrees = (figure.add_subplot(grid[row, 1], sharex=states) for row in (1, 2))
        _draw_errors(metres, degrees, log, result)


def _draw_above(axes: Any, log: ReplayLog, result: Report, truth: Trajectory | None) -> None:
    axes.set_title("the base from above, metres")
    if truth is not None:
        path = _with_gaps(truth.stamps_ns, truth.map_from_camera[:, :2, 3])
        axes.plot(path[:, 0], path[:, 1], color="#9a9a9a", label="truth")
    found = log.poses.map_from_camera
    axes.plot(found[:, 0, 3], found[:, 1, 3], ".", color=COLOURS["TRACKING"], markersize=4, label="published")
    if result.accuracy is not None:
        judged = result.accuracy.poses
        x, y = judged.estimate.map_from_camera[judged.translation_m > WRONG_M][:, :2, 3].T
        if len(x):
            axes.plot(x, y, "X", color=COLOURS["LOST"], markersize=8, label=f"wrong ({len(x)})", zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="best")


def _draw_states(axes: Any, log: ReplayLog) -> None:
    axes.set_title("state")
    ends = [line.time_ns for line in log.statuses[1:]] + [log.end_ns]
    for line, end in zip(log.statuses, ends, strict=True):
        left, right = _seconds(log, line.time_ns), _seconds(log, end)
        axes.axvspan(left, right, color=COLOURS[line.state], linewidth=0)
    axes.set_yticks([])
    for state in STATES:
        axes.plot([], [], color=COLOURS[state], linewidth=6, label=state)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncol=4, frameon=False)


def _draw_errors(metres: Any, degrees: Any, log: ReplayLog, result: Report) -> None:
    sigma_m = np.sqrt(np.trace(log.covariances[:, :3, :3], axis1=1, axis2=2))
    sigma_deg = np.rad2deg(np.sqrt(np.trace(log.covariances[:, 3:, 3:], axis1=1, axis2=2)))
    times = _seconds(log, log.poses.stamps_ns)
    t, cm, deg = _with_gaps(log.poses.stamps_ns, np.stack([times, 200 * sigma_m, 2 * sigma_deg], axis=1)).T
    metres.fill_between(t, 0, cm, color="#fdd0a2", label="two standard deviations")
    degrees.fill_between(t, 0, deg, color="#fdd0a2")
    if result.accuracy is not None:
        found = result.accuracy.poses
        known = poses_at(found.truth, log.poses.stamps_ns, tolerance_ns=0)[1]
        metres.plot(times[known], 100 * found.translation_m, ".", color=COLOURS["TRACKING"], label="error")
        degrees.plot(times[known], found.rotation_deg, ".", color=COLOURS["TRACKING"])
    metres.set(ylabel="cm")
    metres.legend(loc="upper right")
    degrees.set(xlabel="seconds of the recording", ylabel="degrees")


def _with_gaps(stamps_ns: IntArray, values: FloatArray) -> FloatArray:
    """Rows of ``values`` (N, K) with a row of NaN where their stamps (N,) are apart, so that no line is drawn there."""
    gaps = np.flatnonzero(np.diff(stamps_ns) > GAP_NS) + 1
    return np.insert(values, gaps, np.nan, axis=0)


def _seconds(log: ReplayLog, time_ns: Any) -> Any:
    return (np.asarray(time_ns, dtype=np.float64) - log.start_ns) * 1e-9
