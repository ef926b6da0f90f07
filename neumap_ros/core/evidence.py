"""What speaks for a pose: guesses made without knowing it, at how many places of the map and of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neumap_ros.core.decoders import Hypotheses
from neumap_ros.core.keyframes import BoolArray
from neumap_ros.core.pose import residuals_px
from neumap_ros.core.view import View
from neumap_ros.records import FloatArray

# of the inliers this share must be matches that are far better than their runner-up: chance rarely makes those
STRONG_CONFIDENCE, STRONG_SHARE = 0.3, 0.35
# so many cells of the image, cut into this many columns and rows, must hold two or more inliers: a pose from a single
# poster far away is anything but certain, however many inliers the poster has
CELL_COLUMNS, CELL_ROWS, MIN_CELLS = 6, 4, 3
# so far from where a pose projects it to, in pixels as of View.scale, a guess agrees with the pose
CHECK_RADIUS_PX = 5.0
# points that are the same when rounded to this are one landmark
SAME_POINT_M = 0.01


@dataclass(frozen=True)
class Evidence:
    """How many different landmarks, matched without knowing the pose, agree with it: all of them, those matched
    confidently, and in how many parts of the image. Matches found by looking where a pose says are no evidence for it.
    """

    inliers: int
    strong: int
    cells: int

    def suffices(self, needed: int) -> bool:
        """Whether this is more than chance, where ``needed`` inliers are."""
        return self.inliers >= needed and self.strong >= STRONG_SHARE * needed and self.cells >= MIN_CELLS


def agreeing(camera_from_map: FloatArray, guesses: Hypotheses, view: View) -> BoolArray:
    """Which of the guesses (M,) a pose projects to where their keypoints are."""
    error = residuals_px(camera_from_map, view.rays[guesses.keypoint], guesses.points, view.focal_px)
    return np.asarray(np.linalg.norm(error, axis=1) < view.scale * CHECK_RADIUS_PX)


def count_evidence(camera_from_map: FloatArray, guesses: Hypotheses, view: View) -> Evidence:
    """What of ``guesses``, made without knowing the pose, agrees with it."""
    agree = agreeing(camera_from_map, guesses, view)

    def different(chosen: BoolArray) -> int:
        places = np.unique(np.rint(guesses.points[chosen] / SAME_POINT_M).astype(np.int64), axis=0)
        return min(len(places), len(np.unique(guesses.keypoint[chosen])))

    pixels = view.features.pixels[guesses.keypoint[agree]]
    column = np.clip(pixels[:, 0] * CELL_COLUMNS // view.camera.width, 0, CELL_COLUMNS - 1)
    row = np.clip(pixels[:, 1] * CELL_ROWS // view.camera.height, 0, CELL_ROWS - 1)
    held = np.bincount((row * CELL_COLUMNS + column).astype(np.int64), minlength=1)
    return Evidence(
        inliers=different(agree),
        strong=different(agree & (guesses.confidence > STRONG_CONFIDENCE)),
        cells=int((held >= 2).sum()),
    )
