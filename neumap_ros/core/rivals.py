"""Another pose that explains the image about as well: the better one goes on, and how far the other one is off.

Two answers of the search are weighed by their evidence; an answer and what other samples of its guesses lead to, by the
landmarks that fit the poses.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neumap_ros.core import geometry
from neumap_ros.core.decoders import Hypotheses
from neumap_ros.core.evidence import count_evidence
from neumap_ros.core.refinement import Solution
from neumap_ros.core.view import View
from neumap_ros.records import FloatArray

# with less than so many times the inliers needed, another pose may be as good: small or flat things look alike from
# two sides. Samples of these seeds look for such a rival
RIVALRY, RIVAL_SEEDS = 10.0, (1, 2)
# so far from each other poses are two; a rival has more than this share of what speaks for the better one
RIVAL_M, RIVAL_RAD, RIVAL_SHARE = 0.15, 0.1, 0.8


def apart(one: FloatArray, other: FloatArray) -> bool:
    """Whether two poses ``camera_from_map`` are two."""
    error = geometry.pose_error(geometry.invert_pose(one), geometry.invert_pose(other))
    return bool(np.linalg.norm(error[:3]) > RIVAL_M or np.linalg.norm(error[3:]) > RIVAL_RAD)


def better_of(one: Solution, other: Solution) -> Solution:
    """The one with more evidence; where the other is elsewhere and has about as much, it is a rival."""
    worse, better = sorted((one, other), key=lambda solution: solution.evidence.inliers)
    alike = worse.evidence.inliers > RIVAL_SHARE * better.evidence.inliers
    if not alike or not apart(worse.camera_from_map, better.camera_from_map):
        return better
    return replace(better, rival_m=max(better.rival_m, _distance_m(worse, better)))


def may_rival(camera_from_map: FloatArray, solution: Solution, witness: Hypotheses, view: View) -> bool:
    """Whether a pose is elsewhere than the ``solution``, with evidence enough among the ``witness`` guesses that it is
    worth refining.
    """
    if not apart(camera_from_map, solution.camera_from_map):
        return False
    return count_evidence(camera_from_map, witness, view).inliers >= RIVAL_SHARE * solution.evidence.inliers


def weighed(solution: Solution, other: Solution) -> Solution:
    """The one that fits more landmarks; where both are elsewhere and fit about as many, they are rivals. ``other`` is
    what a pose that :func:`may_rival` was refined to, perhaps to the same pose: that changes nothing.
    """
    if not apart(other.camera_from_map, solution.camera_from_map):
        return solution
    worse, better = sorted((other, solution), key=lambda one: len(one.keypoint))
    alike = len(worse.keypoint) > RIVAL_SHARE * len(better.keypoint)
    return replace(better, rival_m=max(solution.rival_m, _distance_m(worse, better) if alike else 0.0))


def _distance_m(one: Solution, other: Solution) -> float:
    """How far apart the cameras are."""
    distance = geometry.invert_pose(one.camera_from_map) - geometry.invert_pose(other.camera_from_map)
    return float(np.linalg.norm(distance[:3, 3]))
