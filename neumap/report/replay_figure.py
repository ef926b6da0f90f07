"""Draws a replay: the poses of the robot, the states of the node, and the errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray, IntArray
from neumap.io.files import PathLike
from neumap.io.trajectories import poses_at
from neumap.records import Trajectory
from neumap.report.pictures import (
    COLOURS,
    draw_headings,
    draw_landmarks,
    draw_lost,
    draw_wrong,
    extent_of,
    finish_above,
    make_logarithmic,
    picture,
    say,
)
from neumap.report.replay_report import WRONG_M, ReplayLog, Report

STATE_COLOURS = {
    "UNINITIALIZED": "#cccccc",
    "TRACKING": COLOURS.good,
    "DEGRADED": COLOURS.fair,
    "LOST": COLOURS.bad,
}
# GAP_NS: no line is drawn between poses further apart, nanoseconds.
GAP_NS = 1_000_000_000
# LEAST_CM, LEAST_DEG: smaller errors are drawn at these values.
LEAST_CM, LEAST_DEG = 0.01, 0.001


def draw_replay(
    path: PathLike,
    log: ReplayLog,
    result: Report,
    truth: Trajectory | None,
    landmarks: npt.NDArray[np.floating],
) -> None:
    """Draw a replay over the ``landmarks`` (K, 3) of its map.

    Raises as :func:`~neumap.report.pictures.picture` does.
    """
    with picture(path, 13.0, 7.0) as figure:
        figure.suptitle(_numbers(result), fontweight="bold")
        grid = figure.add_gridspec(3, 2, width_ratios=(1.1, 1.0), height_ratios=(0.45, 1, 1))
        _draw_above(figure.add_subplot(grid[:, 0]), log, result, truth, landmarks)
        states = figure.add_subplot(grid[0, 1])
        _draw_states(states, log)
        metres, degrees = (figure.add_subplot(grid[row, 1], sharex=states) for row in (1, 2))
        _draw_errors(metres, degrees, log, result)


def _numbers(result: Report) -> str:
    text = f"{result.duration_s:.1f} s, {result.images_processed} images, {result.poses} poses published"
    if result.accuracy is None:
        return text
    found = result.accuracy.poses
    medians = f"median {100 * found.translation.median:.2g} cm, {found.rotation.median:.2g} deg"
    return f"{text}: {medians}, {result.accuracy.wrong:.1%} wrong"


def _draw_above(
    axes: Any, log: ReplayLog, result: Report, truth: Trajectory | None, landmarks: npt.NDArray[np.floating]
) -> None:
    found, paths = log.poses.map_from_camera, [log.poses.map_from_camera[:, :2, 3]]
    draw_landmarks(axes, landmarks)
    if truth is not None and len(truth):
        path = _with_gaps(truth.stamps_ns, truth.map_from_camera[:, :2, 3])
        axes.plot(*path.T, color=COLOURS.truth, lw=1.2, label="truth", zorder=3)
        paths.append(truth.map_from_camera[:, :2, 3])
        known = poses_at(truth, _without_fix_ns(log))
        draw_lost(axes, known[0][known[1]], "no fix")
    corners = extent_of(*paths, bulk=landmarks)
    if len(found):
        label = f"published ({len(found)}), and where the base heads"
        draw_headings(axes, found, corners, COLOURS.good, label, ahead=0)
    if result.accuracy is not None:
        judged = result.accuracy.poses
        draw_wrong(axes, judged.estimate.map_from_camera[judged.translation_m > WRONG_M], corners)
    finish_above(axes, corners)


def _without_fix_ns(log: ReplayLog) -> IntArray:
    """Return the stamps (N,) of the images that gave no fix."""
    stamps = [line.time_ns - round(1e9 * line.latency_s) for line in log.statuses if line.is_lost_image]
    return np.array(stamps, dtype=np.int64)


def _draw_states(axes: Any, log: ReplayLog) -> None:
    # after the end the node reports that no more images arrive
    lines = [line for line in log.statuses if line.time_ns <= log.end_ns]
    ends = [line.time_ns for line in lines[1:]] + [log.end_ns]
    for line, end in zip(lines, ends, strict=True):
        left, right = _seconds(log, line.time_ns), _seconds(log, end)
        axes.axvspan(left, right, color=STATE_COLOURS[line.state], linewidth=0)
    missed = _seconds(log, _without_fix_ns(log))
    axes.plot(missed, np.full(len(missed), 0.12), "|", color="black", markersize=9, label=f"no fix ({len(missed)})")
    axes.set(yticks=[], ylim=(0, 1), xlim=(0, max(_seconds(log, log.end_ns), 1e-3)), ylabel="state")
    axes.tick_params(labelbottom=False)
    for state, colour in STATE_COLOURS.items():
        axes.plot([], [], color=colour, linewidth=6, label=state)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=5, frameon=False, fontsize=8, columnspacing=1.2)


def _draw_errors(metres: Any, degrees: Any, log: ReplayLog, result: Report) -> None:
    sigma_m = np.sqrt(np.trace(log.covariances[:, :3, :3], axis1=1, axis2=2))
    sigma_deg = np.rad2deg(np.sqrt(np.trace(log.covariances[:, 3:, 3:], axis1=1, axis2=2)))
    times = _seconds(log, log.poses.stamps_ns)
    found = None if result.accuracy is None else result.accuracy.poses
    for axes, doubled, errors, unit, least in (
        (metres, 200 * sigma_m, None if found is None else 100 * found.translation_m, "position / cm", LEAST_CM),
        (degrees, 2 * sigma_deg, None if found is None else found.rotation_deg, "rotation / degrees", LEAST_DEG),
    ):
        make_logarithmic(axes.yaxis, np.concatenate([doubled, [] if errors is None else errors]), least)
        t, band = _with_gaps(log.poses.stamps_ns, np.stack([times, doubled], axis=1)).T
        bottom = axes.get_ylim()[0]
        axes.fill_between(t, bottom, band, color="#f6dfa3", label="two standard deviations", linewidth=0)
        if found is not None and errors is not None:
            known = poses_at(found.truth, log.poses.stamps_ns, tolerance_ns=0)[1]
            axes.plot(times[known], np.maximum(errors, least), ".", color=COLOURS.good, label="error")
        axes.set_ylabel(unit)
        axes.grid(True, which="major", color="#e4e4e4", lw=0.6)
        axes.set_axisbelow(True)
    if not len(times):
        say(metres, f"nothing was localized: {result.why_not or 'no image came'}")
        say(degrees, "no pose was published")
    else:
        metres.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2, fontsize=8, frameon=False)
        if found is None:
            metres.set_title("no truth is known", loc="right", fontsize=8)
    metres.tick_params(labelbottom=False)
    degrees.set_xlabel("time of the recording / s")


def _with_gaps(stamps_ns: IntArray, values: FloatArray) -> FloatArray:
    """Insert a row of NaN into ``values`` (N, K) at each gap of their stamps (N,), so that no line crosses it."""
    gaps = np.flatnonzero(np.diff(stamps_ns) > GAP_NS) + 1
    return np.insert(values, gaps, np.nan, axis=0)


def _seconds(log: ReplayLog, time_ns: Any) -> Any:
    return (np.asarray(time_ns, dtype=np.float64) - log.start_ns) * 1e-9
