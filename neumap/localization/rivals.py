"""Rivals: other poses that explain the image about as well. The better pose is kept, with the distance of its rival."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.localization.evidence import count_evidence
from neumap.localization.matching import Matches
from neumap.localization.query import Query
from neumap.localization.verification import Hypothesis
from neumap.maps.drift import deviations_between

# RIVALRY: a pose with fewer inliers than this times those needed may have a rival: small or flat things look alike from
# two sides, and may stand in two places.
RIVALRY = 16.0
# RIVAL_M, RIVAL_RAD: poses further apart than one of these are different. RIVAL_SHARE: a rival has more than this share
# of the evidence for the better pose.
RIVAL_M, RIVAL_RAD, RIVAL_SHARE = 0.15, 0.1, 0.85
# ONE_POSE: squared Mahalanobis distance below which two poses are one, however far apart: the 99 % quantile of
# chi-square with 6 degrees of freedom, doubled, since reprojection errors account for half of the variance. Distant
# things look the same from 0.2 m aside.
ONE_POSE = 33.6


def apart(one: FloatArray, other: FloatArray) -> bool:
    """Return whether two poses ``camera_from_map`` (4, 4) are further apart than ``RIVAL_M`` or ``RIVAL_RAD``."""
    error = se3.pose_error(se3.invert_pose(one), se3.invert_pose(other))
    return bool(np.linalg.norm(error[:3]) > RIVAL_M or np.linalg.norm(error[3:]) > RIVAL_RAD)


def are_two(one: Hypothesis, other: Hypothesis) -> bool:
    """Return whether two refined poses differ: they are apart, and by more than their uncertainty."""
    if not apart(one.camera_from_map, other.camera_from_map):
        return False
    poses = (se3.invert_pose(each.camera_from_map)[None] for each in (one, other))
    return not may_be_one(deviations_between(*poses)[0], one.covariance + other.covariance)


def may_be_one(difference: FloatArray, covariance: FloatArray) -> bool:
    """Return whether poses may be the same, by their ``difference`` (6,) and its ``covariance`` (6, 6)."""
    return bool(difference @ np.linalg.solve(covariance, difference) < ONE_POSE)


def may_rival(camera_from_map: FloatArray, found: Hypothesis, matches: Matches, query: Query) -> bool:
    """Return whether a pose is apart from the one ``found``, and has enough inliers among ``matches`` to refine it."""
    if not apart(camera_from_map, found.camera_from_map):
        return False
    return count_evidence(camera_from_map, matches, query).inliers >= RIVAL_SHARE * found.evidence.weight


@overload
def better_of(one: Hypothesis, other: Hypothesis | None) -> Hypothesis: ...
@overload
def better_of(one: Hypothesis | None, other: Hypothesis | None) -> Hypothesis | None: ...
def better_of(one: Hypothesis | None, other: Hypothesis | None) -> Hypothesis | None:
    """Return the better of two poses with the distance of its strongest rival, if any; None if both are None.

    Of different poses the one with more support is better, and the other is its rival if it has about as much. Of the
    same pose the one with more inliers is better, and the rivals of both remain if they still are.
    """
    if one is None or other is None:
        return one or other
    if are_two(one, other):
        worse, better = sorted((other, one), key=lambda each: each.support)
        rivals = [(worse.support, _distance_m(worse, better)), (better.rival_support, better.rival_m)]
    else:
        better = max(one, other, key=lambda each: each.evidence.inliers)
        rivals = [(each.rival_support, each.rival_m) for each in (one, other)]
    support, distance_m = max(rivals)
    if support <= RIVAL_SHARE * better.support:
        support = distance_m = 0.0
    return replace(better, rival_support=support, rival_m=distance_m)


def _distance_m(one: Hypothesis, other: Hypothesis) -> float:
    """Return the distance between the cameras."""
    distance = se3.invert_pose(one.camera_from_map) - se3.invert_pose(other.camera_from_map)
    return float(np.linalg.norm(distance[:3, 3]))
