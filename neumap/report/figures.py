"""Draws how localization in a map went: the paths from above, and example images with their inliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray, ImageArray
from neumap.geometry import se3
from neumap.io.files import PathLike
from neumap.records import PoseEstimate
from neumap.report.pictures import (
    COLOURS,
    draw_headings,
    draw_landmarks,
    draw_lost,
    draw_pairs,
    draw_wrong,
    extent_of,
    finish_above,
    picture,
    say,
)
from neumap.report.replay_report import WRONG_M

_MOST_IMAGES = 4
# _ELLIPSE_90: sqrt of the 90 % quantile of chi squared with two degrees of freedom.
_ELLIPSE_90 = 2.1460
# _SMALLEST_ELLIPSE: ellipses smaller than this share of the plot are enlarged, to be visible.
_SMALLEST_ELLIPSE = 0.012
_MAGNIFICATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# _WIDTH, _MAP_WIDTH, _IMAGE_ROW: widths of picture and map, height of the images, inches. _LINE: characters in a line
# above an image.
_WIDTH, _MAP_WIDTH, _IMAGE_ROW, _LINE = 12.0, 8.1, 2.85, 44


@dataclass(frozen=True)
class Example:
    """An image, (H, W) grey or (H, W, 3) BGR uint8, its estimate, and the true map_from_camera (4, 4), or None if it
    shows nothing of the map.
    """

    image: ImageArray
    estimate: PoseEstimate
    truth: FloatArray | None = None

    @property
    def off_m(self) -> float:
        """Return the error in metres; infinite for a pose of an image outside of the map, zero without a pose."""
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
    """Draw the map and the estimates from above, and up to four of the examples with their inliers.

    ``mapping_poses`` (N, 4, 4) and ``truth`` (M, 4, 4) are map_from_camera. If there are M ``estimates``, ``truth`` is
    compared with them one by one; else it is drawn as a path only. ``landmarks`` (K, 3) are in the map frame.

    Raises as :func:`~neumap.report.pictures.picture` does.
    """
    shown = choose(examples)
    poses = _poses_of(estimates)
    corners = extent_of(mapping_poses[:, :2, 3], (poses if truth is None else truth)[:, :2, 3], bulk=landmarks)
    width, height = np.ptp(corners, axis=0)
    map_height = float(np.clip(_MAP_WIDTH * height / width, 3.5, 7.5))
    rows = [map_height, _IMAGE_ROW] if shown else [map_height]
    with picture(path, _WIDTH, 1.0 + sum(rows)) as figure:
        figure.suptitle(title, fontsize=14, fontweight="bold", parse_math=False)
        above, *below = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
        axes = above.add_subplot()
        draw_landmarks(axes, landmarks)
        axes.plot(*mapping_poses[:, :2, 3].T, color=COLOURS.faint, lw=1.0, label="mapping drive", zorder=2)
        if truth is not None:
            _draw_truth(axes, truth, estimates)
        _draw_ellipses(axes, estimates, float(max(width, height)))
        label = f"estimates ({len(poses)} of {len(estimates)} localized), and where they look"
        draw_headings(axes, poses, corners, COLOURS.good, label)
        draw_wrong(axes, _poses_of([e.estimate for e in examples if e.is_wrong]), corners)
        if not len(poses):
            say(axes, "no image was localized" if estimates else "no image was asked for")
        finish_above(axes, corners, "NW", loc="upper left", bbox_to_anchor=(1.02, 1.0), ncol=1)
        for column, example in enumerate(shown):
            _draw_example(below[0].add_subplot(1, max(3, len(shown)), column + 1), example)


def covariance_ellipse(covariance: FloatArray) -> tuple[float, float, float]:
    """Return major and minor axis in metres and angle in degrees of the 90 % ellipse of x, y of a 6x6 covariance."""
    values, vectors = np.linalg.eigh(covariance[:2, :2])
    minor, major = 2 * _ELLIPSE_90 * np.sqrt(np.maximum(values, 0))
    return float(major), float(minor), float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))


def _poses_of(estimates: Sequence[PoseEstimate]) -> FloatArray:
    return np.array([e.map_from_camera for e in estimates if e.localized], dtype=np.float64).reshape(-1, 4, 4)


def choose(examples: Sequence[Example]) -> list[Example]:
    """Choose at most four: failures, the largest errors first; then the last rightly refused image, and good ones,
    evenly spaced.
    """
    failed = sorted((e for e in examples if e.is_wrong or e.is_missed), key=lambda e: -e.off_m)
    refused = [e for e in examples if not e.estimate.localized and not e.is_missed][-1:]
    good = [e for e in examples if e.estimate.localized and not e.is_wrong]
    first = [*failed, *refused][:_MOST_IMAGES]
    picks = {round(k) for k in np.linspace(0, len(good) - 1, min(len(good), _MOST_IMAGES - len(first)))}
    return [*first, *(good[k] for k in sorted(picks))]


def _draw_truth(axes: Any, truth: FloatArray, estimates: Sequence[PoseEstimate]) -> None:
    """Draw the true path and, if it has a pose per estimate, lines to the estimates and crosses for lost images."""
    axes.plot(*truth[:, :2, 3].T, color=COLOURS.truth, lw=1.2, label="true path of the queries", zorder=3)
    if len(truth) != len(estimates):
        return
    was_found = np.array([estimate.localized for estimate in estimates], dtype=np.bool_)
    if was_found.any():
        true, found = truth[was_found, :3, 3], _poses_of(estimates)[:, :3, 3]
        median = float(np.median(np.linalg.norm(true - found, axis=1)))
        label = f"error (median {100 * median:.1f} cm)" if median < 1 else f"error (median {median:.2f} m)"
        draw_pairs(axes, true[:, :2], found[:, :2], color=COLOURS.wrong, lw=1.1, zorder=5, label=label)
    draw_lost(axes, truth[~was_found])


def _draw_ellipses(axes: Any, estimates: Sequence[PoseEstimate], extent: float) -> None:
    """Draw the 90 % ellipses of x and y, enlarged by one round factor if they are too small to see."""
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
    style = {"color": COLOURS.fair, "alpha": 0.4, "linewidth": 0.8, "zorder": 4}
    for index, (centre, (major, minor, turn)) in enumerate(shapes):
        ellipse = Ellipse(
            tuple(centre), factor * major, factor * minor, angle=turn, label="_" if index else label, **style
        )
        axes.add_patch(ellipse)


def _draw_example(axes: Any, example: Example) -> None:
    image, estimate = example.image, example.estimate
    pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.ndim == 3 else cv2.COLOR_GRAY2RGB)
    if not estimate.localized:
        # paler than the localized ones
        pixels = cv2.addWeighted(pixels, 0.6, np.full_like(pixels, 255), 0.4, 0)
    axes.imshow(pixels, interpolation="antialiased")
    height, width = image.shape[:2]
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    colour = COLOURS.wrong if example.is_wrong else COLOURS.bad if example.is_missed else COLOURS.good
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.2)
    if estimate.localized:
        points = estimate.keypoints_px
        axes.scatter(points[:, 0], points[:, 1], s=5, facecolors="none", edgecolors="#28e05a", linewidths=0.6)
        text = f"{estimate.inliers} inliers, {estimate.reprojection_error_px:.1f} px"
        if estimate.covariance is not None:
            # the standard deviation of the position, as the estimate itself states it
            text += f", σ\u00a0{100 * float(np.sqrt(np.trace(estimate.covariance[:3, :3]))):.1f}\u00a0cm"
        if example.is_wrong:
            text = ("WRONG: not in the map, " if example.truth is None else f"WRONG by {example.off_m:.2f} m, ") + text
    else:
        text = f"{'LOST' if example.is_missed else 'refused'}: {estimate.reason}"
    axes.set_title(fill(text, _LINE), fontsize=9, color=colour, pad=4, parse_math=False)
