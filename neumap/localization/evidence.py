"""What speaks for a pose, and what against it.

For it speak matches made without knowing it, at how many places of the map and of the image. Against it speak parts of
the image where the map has landmarks, with keypoints in the right places, and none of them is found again: an image of
another place that has one poster in common with the map. So does a camera that would be outside of all that was mapped.
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

# STRONG_CONFIDENCE: from which on a match is far better than its runner-up, which chance rarely makes. STRONG_SHARE:
# how many of the inliers that a pose needs must be such.
STRONG_CONFIDENCE, STRONG_SHARE = 0.3, 0.5
# CELL_COLUMNS, CELL_ROWS: what the image is cut into. MIN_CELLS: cells that must hold two inliers or more.
CELL_COLUMNS, CELL_ROWS, MIN_CELLS = 6, 4, 3
CELLS = CELL_COLUMNS * CELL_ROWS
# NARROW: how many times more inliers a pose needs where they are in so few cells: a pose from a single poster far away
# is anything but certain. WIDE: confirming cells from which on it does not, since no single poster fills these.
NARROW, WIDE = {MIN_CELLS: 2.5, MIN_CELLS + 1: 2.0}, 10
# OUTSIDE: a camera further outside of what the map spans than this share of how far it is from what it sees is where it
# can hardly be, and needs as many more as in the fewest cells. Right poses are up to 0.21 of it outside, in maps of ten
# images.
OUTSIDE = 0.25
# CHECK_RADIUS_PX: how far from where a pose projects it to a match agrees with the pose, in pixels times Query.scale.
CHECK_RADIUS_PX = 5.0
# EXPECTED: keypoints of a cell that are where a landmark should be, from which on the cell contradicts a pose unless
# landmarks are found again at FOUND_SHARE of them and at FEWEST_FOUND.
EXPECTED, FOUND_SHARE, FEWEST_FOUND = 8, 0.12, 2
# COMPARED_COLUMNS, COMPARED_ROWS: the finer parts that poses are compared by, as furniture and the wall behind it are
# often in one cell. COMPARED_EXPECTED: as EXPECTED, of such a part. COMPARED_FOUND: more found again in one part do not
# count.
COMPARED_COLUMNS, COMPARED_ROWS, COMPARED_EXPECTED, COMPARED_FOUND = 9, 6, 3, 4
# MIN_CONFIRMED: share of the image that must confirm a pose, however much speaks for it.
MIN_CONFIRMED = 0.4
# CHANCE: the power of the number of views that the inliers of a wrong pose grow with, about as measured of two and four
# foreign images.
CHANCE = 1 / 3
# FEWEST_OF_VIEW: matches of one of several views that speak for a pose, or against it where they are strong; chance
# rarely makes as many.
FEWEST_OF_VIEW = 3
# SAME_POINT_M: points that are the same when rounded to this, metres, are one landmark.
SAME_POINT_M = 0.01


@dataclass(frozen=True)
class Evidence:
    """How many different landmarks, matched without knowing the pose, agree with it: all of them, those matched
    confidently, and in how many parts of the image. Matches found by looking where a pose says are no evidence for it.

    Once somebody looked: how many parts of the image, about which the map has something to say, confirm the pose
    and how many contradict it, and whether the camera is far ``outside`` of what the map spans.

    Of several ``views`` parts of the image are parts of what they show together, and chance has as many times more
    matches to make inliers of. ``dissent``: the first of them, or half of them, may speak for another pose and, once
    somebody looked, do: they are elsewhere than is said.
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
        """The inliers, discounted by the share of the image that contradicts, and for chance as those of one view."""
        return self.inliers * self.confirmed / self.chance

    @property
    def chance(self) -> float:
        """How many times the inliers of one view chance makes."""
        return float(self.views**CHANCE)

    @property
    def confirmed(self) -> float:
        """Of the parts of the image about which the map has something to say, the share that confirms; 1 of none."""
        return self.confirming / self.heard if self.heard else 1.0

    @property
    def heard(self) -> int:
        """In how many parts of the image the map has something to say; 0 before anybody looked."""
        return self.confirming + self.contradicting

    @property
    def narrowness(self) -> float:
        """How many times more inliers it takes because they are in few parts of the image, or because the camera would
        be outside of what was mapped; 1 where it does not.
        """
        if self.outside:
            return NARROW[MIN_CELLS]
        return 1.0 if self.confirming >= WIDE else NARROW.get(self.cells, 1.0)

    def suffices(self, needed: int) -> bool:
        """Tell whether this is more than chance, where a weight of ``needed`` inliers is."""
        if self.cells < MIN_CELLS or self.weight < needed * self.narrowness:
            return False
        confirmed = not self.heard or (self.confirming >= MIN_CELLS and self.confirmed >= MIN_CONFIRMED)
        return confirmed and not self.dissent and self.strong >= STRONG_SHARE * needed * self.chance


NO_EVIDENCE = Evidence(inliers=0, strong=0, cells=0)


def agreeing(camera_from_map: FloatArray, matches: Matches, query: Query) -> BoolArray:
    """Tell which of the ``matches`` (M,) a pose projects to where their keypoints are."""
    error = errors_px(camera_from_map, query, matches.keypoint, matches.points)
    return np.asarray(error < query.scales[matches.keypoint] * CHECK_RADIUS_PX)


def count_evidence(camera_from_map: FloatArray, matches: Matches, query: Query) -> Evidence:
    """Count what of ``matches``, made without knowing the pose, agrees with it."""
    agree = agreeing(camera_from_map, matches, query)
    steps = np.rint(matches.points / SAME_POINT_M).astype(np.int64)
    # one number for each place: rows are slow to compare
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
    """Tell which views may be elsewhere than is said: too few of their ``matches`` ``agree`` (M,), and others are
    strong, which those of a blank wall are not.
    """

    def of_each(chosen: BoolArray) -> IntArray:
        return np.bincount(query.owner[matches.keypoint[chosen]], minlength=len(query.rig))

    strong = matches.confidence > STRONG_CONFIDENCE
    few = (of_each(agree) < FEWEST_OF_VIEW) & (of_each(strong & ~agree) >= FEWEST_OF_VIEW)
    return np.flatnonzero(few).tolist() if len(query.rig) > 1 else []


def are_many(views: Sequence[int], query: Query) -> bool:
    """Tell whether these are so many of a query's views that there is no pose: the first, or half of them."""
    return bool(views) and (0 in views or 2 * len(views) >= len(query.rig))


def count_cells(expected: IntArray, found: IntArray, query: Query) -> tuple[int, int]:
    """Count the cells of the image that confirm a pose and those that contradict it, where landmarks are expected at
    the keypoints ``expected`` (E,) and found again at the keypoints ``found`` (M,), which are different ones.
    """
    cells = len(query.rig) * CELLS
    due, seen = (np.bincount(cells_of(keypoint, query), minlength=cells) for keypoint in (expected, found))
    right = (seen >= FEWEST_FOUND) & (seen >= FOUND_SHARE * due)
    return int(right.sum()), int(((due >= EXPECTED) & ~right).sum())


def support(expected: IntArray, found: IntArray, query: Query) -> float:
    """Rate how much of the image a pose explains, to compare poses by, from what :func:`count_cells` are made of.

    Furniture that stands in two rooms fits both, and often better in the wrong one, which may have been mapped from
    nearer; the walls around it tell. So what counts is how many parts of the image confirm, by a few landmarks each
    however many are found, and the share of them that does.
    """
    cell = cells_of(np.concatenate([expected, found]), query, COMPARED_COLUMNS, COMPARED_ROWS)
    due, seen = (np.bincount(c, minlength=1 + cell.max(initial=0)) for c in np.split(cell, [len(expected)]))
    right = (seen > 0) & (seen >= FOUND_SHARE * due)
    heard = right | (due >= COMPARED_EXPECTED)
    return float(np.minimum(seen[right], COMPARED_FOUND).sum() * right.sum() / max(heard.sum(), 1))


def cells_of(keypoint: IntArray, query: Query, columns: int = CELL_COLUMNS, rows: int = CELL_ROWS) -> IntArray:
    """Tell in which cell of the image each keypoint (K,) is; of several views, in that of the first that shows it."""
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
    """Return the cells of an image that ``places`` (N, 2), counted from its corner, are in; outside, the nearest."""
    column = np.clip(places[:, 0] * columns // width, 0, columns - 1)
    row = np.clip(places[:, 1] * rows // height, 0, rows - 1)
    return np.asarray(row * columns + column, dtype=np.int64)
