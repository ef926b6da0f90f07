"""One picture that shows how localization in a map went: the paths from above, and what some images were placed by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray, ImageArray
from neumap.geometry import se3
from neumap.io.files import PathLike
from neumap.records import PoseEstimate
from neumap.report.pictures import draw_pairs, picture
from neumap.report.replay_report import WRONG_M

_MAPPING, _TRUTH, _ESTIMATE, _SPREAD, _WRONG = "#9a9a9a", "#1b7837", "#c51b1b", "#e08214", "#7b3294"
_MOST_IMAGES = 4
# _ELLIPSE_90: sqrt of the 90 % quantile of chi squared with two degrees of freedom
_ELLIPSE_90 = 2.1460
# _SMALLEST_ELLIPSE: an ellipse smaller than this share of the picture cannot be seen and is drawn larger
_SMALLEST_ELLIPSE = 0.012
_MAGNIFICATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_LANDMARKS = 6000
# _WIDTH, _MAP_WIDTH, _IMAGE_ROW: of the picture, inches.
_WIDTH, _MAP_WIDTH, _IMAGE_ROW = 12.0, 8.1, 2.65


@dataclass(frozen=True)
class Example:
    """An image, (H, W) grey or (H, W, 3) BGR uint8, what was answered, and the true map_from_camera (4, 4) or None
    where it shows nothing of the map.
    """

    image: ImageArray
    estimate: PoseEstimate
    truth: FloatArray | None = None

    @property
    def off_m(self) -> float:
        """How far off the answer is, metres; infinite where there ought to be none, zero where there is none."""
        if self.estimate.map_from_camera is None:
            return 0.0
        if self.truth is None:
            return float("inf")
        return float(np.linalg.norm(se3.pose_error(self.estimate.map_from_camera, self.truth)[:3]))

    @property
    def is_wrong(self) -> bool:
        return self.off_m > WRONG_M

    @property
    def is_missed(self) -> bool:
        return self.truth is not None and not self.estimate.localized


def draw_report(
    path: PathLike,
    *,
    mapping_poses: FloatArray,
    truth: FloatArray | None,
    estimates: Sequence[PoseEstimate],
    landmarks: npt.NDArray[np.floating],
    examples: Sequence[Example],
    title: str,
) -> None:
    """Draw the map and its use from above, and up to four of the examples with their inliers, into one image file.

    ``mapping_poses`` (N, 4, 4) and ``truth`` (M, 4, 4) are map_from_camera. ``truth`` belongs to the ``estimates``
    one by one where there are as many; otherwise it is drawn as a path only. ``landmarks`` (K, 3) in the map frame.

    Raises as :func:`~neumap.report.pictures.picture` does.
    """
    shown = choose(examples)
    poses = _poses_of(estimates)
    low, high = _extent(mapping_poses, poses if truth is None else truth, landmarks)
    extent = float((high - low).max())
    aspect = float((high[1] - low[1]) / (high[0] - low[0]))
    map_height = float(np.clip(_MAP_WIDTH * aspect, 3.5, 7.5))
    row = _IMAGE_ROW if shown else 0.0
    with picture(path, _WIDTH, 1.0 + map_height + row) as figure:
        figure.suptitle(title, fontsize=14, fontweight="bold", parse_math=False)
        columns = max(3, len(shown))
        grid = figure.add_gridspec(2 if shown else 1, columns, height_ratios=(map_height, row) if shown else None)
        axes = figure.add_subplot(grid[0, :])
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x in the map / m", ylabel="y in the map / m")
        some = landmarks[:: max(1, len(landmarks) // _MOST_LANDMARKS)]
        axes.scatter(some[:, 0], some[:, 1], s=2.5, c="#4a76a8", alpha=0.3, linewidths=0, label="landmarks", zorder=1)
        axes.plot(*mapping_poses[:, :2, 3].T, color=_MAPPING, lw=1.0, label="mapping drive", zorder=2)
        if truth is not None:
            _draw_truth(axes, truth, estimates)
        _draw_ellipses(axes, estimates, extent)
        _draw_estimates(axes, poses, len(estimates), extent)
        _draw_wrong(axes, [e.estimate for e in examples if e.is_wrong])
        _finish_map(axes)
        for column, example in enumerate(shown):
            _draw_example(figure.add_subplot(grid[1, column]), example)


def covariance_ellipse(covariance: FloatArray) -> tuple[float, float, float]:
    """Return width and height in metres and turn in degrees of the 90 % ellipse of x and y of a 6x6 covariance."""
    values, vectors = np.linalg.eigh(covariance[:2, :2])
    minor, major = 2 * _ELLIPSE_90 * np.sqrt(np.maximum(values, 0))
    return float(major), float(minor), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))


def _poses_of(estimates: Sequence[PoseEstimate]) -> FloatArray:
    return np.array([e.map_from_camera for e in estimates if e.localized], dtype=np.float64).reshape(-1, 4, 4)


def choose(examples: Sequence[Example]) -> list[Example]:
    """Choose at most four: failures first, of these wrong answers, the worst one first. Then one that was rightly
    refused, the last of them, and good ones, spread over all.
    """
    failed = sorted((e for e in examples if e.is_wrong or e.is_missed), key=lambda e: -e.off_m)
    refused = [e for e in examples if not e.estimate.localized and not e.is_missed][-1:]
    good = [e for e in examples if e.estimate.localized and not e.is_wrong]
    first = [*failed, *refused][:_MOST_IMAGES]
    picks = {round(k) for k in np.linspace(0, len(good) - 1, min(len(good), _MOST_IMAGES - len(first)))}
    return [*first, *(good[k] for k in sorted(picks))]


def _extent(
    mapping_poses: FloatArray, query_poses: FloatArray, landmarks: npt.NDArray[np.floating]
) -> tuple[FloatArray, FloatArray]:
    """Find the corners (2,), (2,) of the area to draw: all poses, and all but stray landmarks, with a margin."""
    points = [mapping_poses[:, :2, 3], query_poses[:, :2, 3]]
    if len(landmarks):
        points.append(np.percentile(landmarks[:, :2].astype(np.float64), (0.5, 99.5), axis=0))
    every = np.concatenate(points)
    if not len(every):
        return np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    low, high = every.min(axis=0), every.max(axis=0)
    margin = 0.06 * max(float((high - low).max()), 0.5)
    return low - margin, high + margin


def _draw_estimates(axes: Any, poses: FloatArray, asked: int, extent: float) -> None:
    """Draw a dot and a short line in the viewing direction for each pose (N, 4, 4)."""
    label = f"estimates ({len(poses)} of {asked} localized)"
    axes.scatter(*poses[:, :2, 3].T, s=11, c=_ESTIMATE, linewidths=0, label=label, zorder=6)
    heading = poses[:, :2, 2] / np.maximum(np.linalg.norm(poses[:, :2, 2], axis=1, keepdims=True), 1e-9)
    draw_pairs(axes, poses[:, :2, 3], poses[:, :2, 3] + 0.018 * extent * heading, color=_ESTIMATE, lw=1.0, zorder=6)


def _finish_map(axes: Any) -> None:
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    axes.grid(True, color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=9, frameon=False, borderaxespad=0, markerscale=1.6
    )
    # matplotlib before 3.7, as Ubuntu 22.04 and 24.04 have it, calls them otherwise
    for handle in getattr(legend, "legend_handles", None) or legend.legendHandles:
        handle.set_alpha(0.8)


def _draw_truth(axes: Any, truth: FloatArray, estimates: Sequence[PoseEstimate]) -> None:
    """Draw the true path; lines from it to each estimate and crosses where an image was lost, where these are known."""
    axes.plot(*truth[:, :2, 3].T, color=_TRUTH, lw=1.8, alpha=0.8, label="true path of the queries", zorder=3)
    if len(truth) != len(estimates):
        return
    was_found = np.array([estimate.localized for estimate in estimates], dtype=np.bool_)
    if was_found.any():
        true, found = truth[was_found, :3, 3], _poses_of(estimates)[:, :3, 3]
        median = float(np.median(np.linalg.norm(true - found, axis=1)))
        label = f"error (median {100 * median:.1f} cm)" if median < 1 else f"error (median {median:.2f} m)"
        draw_pairs(axes, true[:, :2], found[:, :2], color=_WRONG, lw=1.1, zorder=5, label=label)
    lost = truth[~was_found, :2, 3]
    if len(lost):
        axes.scatter(*lost.T, marker="x", s=26, c="black", linewidths=1.1, label=f"lost ({len(lost)})", zorder=7)


def _draw_ellipses(axes: Any, estimates: Sequence[PoseEstimate], extent: float) -> None:
    """Draw the 90 % ellipses of x and y, all magnified by one round factor where they are too small to see."""
    from matplotlib.patches import Ellipse

    shapes = [
        (e.map_from_camera[:2, 3], covariance_ellipse(e.covariance))
        for e in estimates
        if e.map_from_camera is not None and e.covariance is not None and np.isfinite(e.covariance).all()
    ]
    if not shapes:
        return
    typical = float(np.median([major for _, (major, _, _) in shapes]))
    wanted = _SMALLEST_ELLIPSE * extent / max(typical, 1e-9)
    factor = next((m for m in _MAGNIFICATIONS if m >= wanted), _MAGNIFICATIONS[-1])
    label = "90 % ellipse of x, y" + (f" (enlarged {factor}x)" if factor > 1 else "")
    style = {"color": _SPREAD, "alpha": 0.35, "linewidth": 0.8, "zorder": 4}
    for index, (centre, (major, minor, turn)) in enumerate(shapes):
        ellipse = Ellipse(
            tuple(centre), factor * major, factor * minor, angle=turn, label="_" if index else label, **style
        )
        axes.add_patch(ellipse)


def _draw_wrong(axes: Any, wrong: Sequence[PoseEstimate]) -> None:
    """Draw a large cross at each pose that is wrong, also where its image shows another place."""
    if wrong:
        x, y = _poses_of(wrong)[:, :2, 3].T
        axes.scatter(x, y, marker="X", s=70, c=_WRONG, label=f"wrong ({len(wrong)})", zorder=8)


def _draw_example(axes: Any, example: Example) -> None:
    image, estimate = example.image, example.estimate
    pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
    if not estimate.localized:
        # paler, so that it is told from the others at a glance
        pixels = cv2.addWeighted(pixels, 0.6, np.full_like(pixels, 255), 0.4, 0)
    axes.imshow(pixels, interpolation="antialiased")
    height, width = image.shape[:2]
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    colour = _WRONG if example.is_wrong else _ESTIMATE if example.is_missed else _TRUTH
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.2)
    if estimate.localized:
        points = estimate.keypoints_px
        axes.scatter(points[:, 0], points[:, 1], s=5, facecolors="none", edgecolors="#28e05a", linewidths=0.6)
        text = f"{estimate.inliers} inliers, {estimate.reprojection_error_px:.1f} px"
        if estimate.covariance is not None:
            # the standard deviation of the position, as the estimate itself states it
            text += f", σ {100 * float(np.sqrt(np.trace(estimate.covariance[:3, :3]))):.1f} cm"
        if example.is_wrong:
            text = ("WRONG: not in the map, " if example.truth is None else f"WRONG by {example.off_m:.2f} m, ") + text
    else:
        text = f"{'LOST' if example.is_missed else 'refused'}: {estimate.reason}"
    axes.set_title(text if len(text) <= 46 else text[:45] + "…", fontsize=9, color=colour, pad=4, parse_math=False)
