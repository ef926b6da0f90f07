"""Which of two poses is believed, and when neither is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neumap.geometry import se3
from neumap.localization.evidence import Evidence
from neumap.localization.rivals import RIVAL_SHARE, better_of
from neumap.localization.verification import Hypothesis


def at(x: float, support: float, inliers: int = 50) -> Hypothesis:
    """A pose at x metres that so much speaks for."""
    return Hypothesis(
        camera_from_map=se3.invert_pose(se3.make_pose(np.eye(3), np.array([x, 0.0, 0.0]))),
        information=np.eye(6),
        evidence=Evidence(inliers, inliers, 10),
        keypoint=np.arange(inliers),
        points=np.zeros((inliers, 3)),
        error_px=np.zeros(inliers),
        support=support,
    )


def both_ways(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    better, same = better_of(one, other), better_of(other, one)
    assert better.camera_from_map is same.camera_from_map
    assert better.rival_m == same.rival_m
    return better


def test_what_explains_more_of_the_image_is_better_though_fewer_landmarks_fit() -> None:
    right, twin = at(0.0, 60.0, inliers=60), at(12.0, 40.0, inliers=110)
    better = both_ways(right, twin)
    assert better.camera_from_map is right.camera_from_map
    assert better.rival_m == 0


def test_what_explains_about_as_much_elsewhere_is_a_rival() -> None:
    assert both_ways(at(0.0, 100.0), at(3.0, 100 * RIVAL_SHARE - 1)).rival_m == 0
    rivals = both_ways(at(0.0, 100.0), at(3.0, 100 * RIVAL_SHARE + 1))
    assert rivals.rival_m == pytest.approx(3.0)
    assert rivals.support == 100


def test_two_poses_that_are_uncertain_by_more_than_they_differ_are_one() -> None:
    """As of what is far away. What they are sure of tells them apart, though they are no further from each other."""
    one, other = at(0.0, 100.0, inliers=60), at(0.4, 95.0)
    assert both_ways(one, other).rival_m == 0
    sure = [replace(each, information=100 * np.eye(6)) for each in (one, other)]
    assert both_ways(*sure).rival_m == pytest.approx(0.4)


def test_of_the_same_pose_the_one_with_more_guesses_goes_on() -> None:
    few, many = at(0.0, 110.0, inliers=20), at(0.01, 100.0, inliers=60)
    better = both_ways(few, many)
    assert better.evidence.inliers == 60
    assert better.rival_m == 0


def test_a_rival_stays_one_for_the_same_pose() -> None:
    doubtful = better_of(at(0.0, 100.0), at(3.0, 90.0))
    assert doubtful.rival_m == pytest.approx(3.0)
    assert better_of(doubtful, at(0.01, 100.0, inliers=70)).rival_m == pytest.approx(3.0)


def test_a_rival_that_is_beaten_at_last_is_none() -> None:
    doubtful = better_of(at(0.0, 100.0), at(3.0, 90.0))
    found = better_of(doubtful, at(0.01, 200.0, inliers=70))
    assert found.rival_m == 0
    assert found.rival_support == 0


def test_what_beats_two_rivals_has_none() -> None:
    doubtful = better_of(at(0.0, 100.0), at(3.0, 95.0))
    best = both_ways(doubtful, at(-5.0, 300.0))
    assert best.rival_m == 0
    assert better_of(doubtful, at(-5.0, 90.0)).rival_m > 0


def test_one_or_none() -> None:
    one = at(0.0, 100.0)
    assert better_of(one, None) is one
    assert better_of(None, one) is one
    assert better_of(None, None) is None
    assert better_of(one, replace(one)).rival_m == 0
