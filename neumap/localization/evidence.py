"""Evidence for and against a pose.

Evidence for a pose: matches that were made without knowing it, in several places of the map and of the image. Evidence
against it: parts of the image where landmarks project onto keypoints but none of them matches, as in an image of
another place that shares one poster with the map; and a camera outside of the mapped space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.localization.matching import Matches
from neumap.localization.query import Query
from neumap.localization.rig import errors_px

# STRONG_CONFIDENCE: a match with more confidence is strong; chance rarely makes one. STRONG_SHARE: strong inliers that
# a pose needs, as a share of all the inliers that it needs.
STRONG_CONFIDENCE, STRONG_SHARE = 0.3, 0.5
# CELL_COLUMNS, CELL_ROWS: grid of cells of an image. MIN_CELLS: cells that must hold two inliers or more.
CELL_COLUMNS, CELL_ROWS, MIN_CELLS = 6, 4, 3
CELLS = CELL_COLUMNS * CELL_ROWS
# NARROW: factor on the inliers needed, by the number of cells that hold them: the pose from a single distant poster is
# uncertain. WIDE: with this many confirming cells the factor is 1, since no single poster fills them.
NARROW, WIDE = {MIN_CELLS: 2.5, MIN_CELLS + 1: 2.0}, 10
# OUTSIDE: distance of the camera from the mapped space, as a share of its median distance to the landmarks it sees,
# above which a pose needs as many inliers as with the fewest cells. Right poses reach 0.21, in maps of ten images.
OUTSIDE = 0.25
# CHECK_RADIUS_PX: reprojection error of an inlier at most, pixels times Query.scale.
CHECK_RADIUS_PX = 5.0
# EXPECTED: a cell with this many keypoints at projected landmarks contradicts the pose unless at least FOUND_SHARE of
# them, and at least FEWEST_FOUND, match.
EXPECTED, FOUND_SHARE, FEWEST_FOUND = 8, 0.12, 2
# COMPARED_COLUMNS, COMPARED_ROWS: finer grid that poses are compared on, since furniture and the wall behind it often
# share a cell. COMPARED_EXPECTED: as EXPECTED, for these cells. COMPARED_FOUND: matches that count in one of them.
COMPARED_COLUMNS, COMPARED_ROWS, COMPARED_EXPECTED, COMPARED_FOUND = 9, 6, 3, 4
# MIN_CONFIRMED: share of the image that must confirm a pose, however many inliers it has.
MIN_CONFIRMED = 0.4
# CHANCE: the inliers of a wrong pose grow with this power of the number of views, as measured on two and four foreign
# images.
CHANCE = 1 / 3
# FEWEST_OF_VIEW: matches with which one of several views supports a pose or, if they are strong, contradicts it; chance
# rarely makes that many.
FEWEST_OF_VIEW = 3
# SAME_POINT_M: points that are equal when rounded to this are one landmark, metres.
SAME_POINT_M = 0.01


@dataclass(frozen=True)
class Evidence:
    """The evidence for and against one pose.

    ``inliers`` and ``strong`` count the different landmarks that agree with the pose and were matched without knowing
    it, all of them and those matched confidently; ``cells`` counts the cells of the image that hold inliers. Matches
    found around the projections of a pose are no evidence for it.

    The refinement adds the numbers of cells ``confirming`` and ``contradicting`` the pose, and whether the camera is
    far ``outside`` of the mapped space.

    With several ``views`` the cells cover all directions that they show, and chance makes more inliers. ``dissent``:
    the first view, or half of the views, contradict the pose, so their poses on the rig are wrong. Before the
    refinement this is a suspicion; it then checks that these views support another pose.
    """

    inliers: int
    strong: int
    cells: int
    confirming: int = 0
    contradicting: int = 0
    outside: bool = False
    views: int = 1
    dissent: bool = False

    @property
    def weight(self) -> float:
        """The inliers times the confirmed share of the image, as if of one view."""
        return self.inliers * self.confirmed / self.chance

    @property
    def chance(self) -> float:
        """The factor by which chance makes more inliers than with one view."""
        return float(self.views**CHANCE)

    @property
    def confirmed(self) -> float:
        """The share of the ``heard`` cells that confirm the pose; 1 if there is none."""
        return self.confirming / self.heard if self.heard else 1.0

    @property
    def heard(self) -> int:
        """The number of cells that confirm or contradict the pose; 0 before the refinement."""
        return self.confirming + self.contradicting

    @property
    def narrowness(self) -> float:
        """The factor on the inliers needed for inliers in few cells, or for a camera outside of the mapped space."""
        if self.outside:
            return NARROW[MIN_CELLS]
        return 1.0 if self.confirming >= WIDE else NARROW.get(self.cells, 1.0)

    def suffices(self, needed: int) -> bool:
        """Return whether the evidence exceeds chance, given the weight ``needed`` by a pose."""
        if self.cells < MIN_CELLS or self.weight < needed * self.narrowness:
            return False
        confirmed = not self.heard or (self.confirming >= MIN_CELLS and self.confirmed >= MIN_CONFIRMED)
        return confirmed and not self.dissent and self.strong >= STRONG_SHARE * needed * self.chance


NO_EVIDENCE = Evidence(inliers=0, strong=0, cells=0)


def agreeing(camera_from_map: FloatArray, matches: Matches, query: Query) -> BoolArray:
    """Return which of the ``matches`` (M,) are inliers of a pose."""
    error = errors_px(camera_from_map, query, matches.keypoint, matches.points)
    return np.asarray(error < query.scales[matches.keypoint] * CHECK_RADIUS_PX)


def count_evidence(camera_from_map: FloatArray, matches: Matches, query: Query) -> Evidence:
    """Count the evidence for a pose in ``matches`` that were made without knowing it."""
    agree = agreeing(camera_from_map, matches, query)
    steps = np.rint(matches.points / SAME_POINT_M).astype(np.int64)
    # one integer per place, since np.unique is slow on rows
    places = (steps[:, 0] << 42) + (steps[:, 1] << 21) + steps[:, 2]

    def different(chosen: BoolArray) -> int:
        return min(len(np.unique(places[chosen])), len(np.unique(matches.keypoint[chosen])))

    held = np.bincount(cells_of(matches.keypoint[agree], query), minlength=1)
    return Evidence(
        inliers=different(agree),
        strong=different(agree & (matches.confidence > STRONG_CONFIDENCE)),
        cells=int((held >= 2).sum()),
        views=len(query.rig),
        dissent=are_many(dissenting(agree, matches, query), query),
    )


def dissenting(agree: BoolArray, matches: Matches, query: Query) -> list[int]:
    """Return the views whose pose on the rig may be wrong: few of their ``matches`` ``agree`` (M,), and several strong
    ones do not. A view of a blank wall has no strong matches.
    """

    def of_each(chosen: BoolArray) -> IntArray:
        return np.bincount(query.owner[matches.keypoint[chosen]], minlength=len(query.rig))

    strong = matches.confidence > STRONG_CONFIDENCE
    few = (of_each(agree) < FEWEST_OF_VIEW) & (of_each(strong & ~agree) >= FEWEST_OF_VIEW)
    return np.flatnonzero(few).tolist() if len(query.rig) > 1 else []


def are_many(views: Sequence[int], query: Query) -> bool:
    """Return whether ``views`` include the first of the query's views, or are half of them or more."""
    return bool(views) and (0 in views or 2 * len(views) >= len(query.rig))


def count_cells(expected: IntArray, found: IntArray, query: Query) -> tuple[int, int]:
    """Return the numbers of cells that confirm and contradict a pose.

    Landmarks project onto the keypoints ``expected`` (E,) and match the keypoints ``found`` (M,), each without
    duplicates.
    """
    cells = len(query.rig) * CELLS
    due, seen = (np.bincount(cells_of(keypoint, query), minlength=cells) for keypoint in (expected, found))
    right = (seen >= FEWEST_FOUND) & (seen >= FOUND_SHARE * due)
    return int(right.sum()), int(((due >= EXPECTED) & ~right).sum())


def support(expected: IntArray, found: IntArray, query: Query) -> float:
    """Return a score of how much of the image a pose explains, to compare poses; arguments as in :func:`count_cells`.

    The same furniture in two rooms fits both, often better in the wrong room if that was mapped from nearer; only the
    walls around it differ. So the score counts confirming cells, with at most ``COMPARED_FOUND`` landmarks each, times
    the share of the cells that confirm.
    """
    cell = cells_of(np.concatenate([expected, found]), query, COMPARED_COLUMNS, COMPARED_ROWS)
    due, seen = (np.bincount(c, minlength=1 + cell.max(initial=0)) for c in np.split(cell, [len(expected)]))
    right = (seen > 0) & (seen >= FOUND_SHARE * due)
    heard = right | (due >= COMPARED_EXPECTED)
    return float(np.minimum(seen[right], COMPARED_FOUND).sum() * right.sum() / max(heard.sum(), 1))


def cells_of(keypoint: IntArray, query: Query, columns: int = CELL_COLUMNS, rows: int = CELL_ROWS) -> IntArray:
    """Return the cell of each keypoint (K,), in the first view that shows its direction."""
    first, pixels = (each[keypoint] for each in query.shown)
    cell = np.zeros(len(keypoint), dtype=np.int64)
    for i, view in enumerate(query.rig):
        camera, here = view.query.camera, first == i
        cell[here] = i * columns * rows + cells_at(pixels[here], camera.width, camera.height, columns, rows)
    return cell


def cells_at(
    places: npt.NDArray[np.floating[Any]],
    width: float,
    height: float,
    columns: int = CELL_COLUMNS,
    rows: int = CELL_ROWS,
) -> IntArray:
    """Return the cells (N,) of ``places`` (N, 2) relative to the image's corner; the nearest cell if outside."""
    column = np.clip(places[:, 0] * columns // width, 0, columns - 1)
    row = np.clip(places[:, 1] * rows // height, 0, rows - 1)
    return np.asarray(row * columns + column, dtype=np.int64)
