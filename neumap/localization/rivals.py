"""Another pose that explains the image about as well: the better one goes on, and how far the other one is off."""

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

# RIVALRY: with less than so many times the inliers needed another pose may be as good: small or flat things look alike
# from two sides, and may stand in two places.
RIVALRY = 16.0
# RIVAL_M, RIVAL_RAD: how far from each other poses are two. RIVAL_SHARE: a rival has more than this share of what
# speaks for the better pose.
RIVAL_M, RIVAL_RAD, RIVAL_SHARE = 0.15, 0.1, 0.85
# ONE_POSE: poses whose difference, squared in units of what both are uncertain by, is less than this are one, however
# far apart: 99 % of chi-square with 6 degrees of freedom, twice, since reprojection errors tell half of the variance.
# What is far away is seen from 0.2 m beside as well.
ONE_POSE = 33.6


def apart(one: FloatArray, other: FloatArray) -> bool:
    """Tell whether two poses ``camera_from_map`` are two."""
    error = se3.pose_error(se3.invert_pose(one), se3.invert_pose(other))
    return bool(np.linalg.norm(error[:3]) > RIVAL_M or np.linalg.norm(error[3:]) > RIVAL_RAD)


def are_two(one: Hypothesis, other: Hypothesis) -> bool:
    """Tell whether two refined poses are two: apart, and by more than they are uncertain."""
    if not apart(one.camera_from_map, other.camera_from_map):
        return False
    poses = (se3.invert_pose(each.camera_from_map)[None] for each in (one, other))
    return not may_be_one(deviations_between(*poses)[0], one.covariance + other.covariance)


def may_be_one(difference: FloatArray, covariance: FloatArray) -> bool:
    """Tell whether poses may be one whose ``difference`` (6,) has such a ``covariance`` (6, 6)."""
    return bool(difference @ np.linalg.solve(covariance, difference) < ONE_POSE)


def may_rival(camera_from_map: FloatArray, found: Hypothesis, matches: Matches, query: Query) -> bool:
    """Tell whether a pose is elsewhere than the one ``found``, and enough ``matches`` agree to refine it."""
    if not apart(camera_from_map, found.camera_from_map):
        return False
    return count_evidence(camera_from_map, matches, query).inliers >= RIVAL_SHARE * found.evidence.weight


@overload
def better_of(one: Hypothesis, other: Hypothesis | None) -> Hypothesis: ...
@overload
def better_of(one: Hypothesis | None, other: Hypothesis | None) -> Hypothesis | None: ...
def better_of(one: Hypothesis | None, other: Hypothesis | None) -> Hypothesis | None:
    """Return the one with more support; where they are elsewhere and have about as much, they are rivals. Of the same
    pose the one that more matches agree with, with the rivals of both that are rivals still. None where neither is
    there.
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
    """Tell how far apart the cameras are."""
    distance = se3.invert_pose(one.camera_from_map) - se3.invert_pose(other.camera_from_map)
    return float(np.linalg.norm(distance[:3, 3]))
