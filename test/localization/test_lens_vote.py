"""Which lens images were taken through: decided late rather than wrongly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neumap.localization.lens import MOST_VOTES, VOTES, Vote
from neumap.records import PoseEstimate, Status


def estimate(fit: float, inliers: int = 100) -> PoseEstimate:
    """An estimate that fits so well, as of :func:`neumap.localization.lens.fit`."""
    error_px = math.sqrt(inliers / fit - 0.09)
    pose = np.eye(4)
    return PoseEstimate(
        status=Status.LOCALIZED,
        reason="",
        map_from_camera=pose,
        covariance=np.eye(6),
        inliers=inliers,
        reprojection_error_px=error_px,
        keypoints_px=np.zeros((inliers, 2), np.float32),
        points_map=np.zeros((inliers, 3), np.float32),
        times_ms={},
        evidence=inliers,
    )


def decided(ratios: list[float]) -> tuple[str, int]:
    """What is decided, after how many images, of how much better each fits through K than through P."""
    vote = Vote()
    for count, ratio in enumerate(ratios, 1):
        vote = vote.counted({"K": estimate(30.0 * ratio), "P": estimate(30.0)})
        if vote.decided:
            return vote.decided, count
    return "", len(ratios)


def test_images_that_tell_little_do_not_decide() -> None:
    """Blurred images of a lens with little distortion in the middle, as recorded; later ones are clearer."""
    first = [1.11, 0.70, 1.00, 1.10, 1.07, 1.03, 0.98, 1.05, 0.87, 0.97, 1.13, 1.26, 0.94, 1.00]
    assert decided(first) == ("", len(first))
    assert decided(first + [1.27] * 30)[0] == "K"


def test_images_that_tell_clearly_decide_soon() -> None:
    assert decided([3.0] * 9) == ("K", VOTES)
    assert decided([0.3] * 9) == ("P", VOTES)


@pytest.mark.parametrize(("log_ratio", "right"), [(0.24, "K"), (-0.24, "P")])
def test_it_is_hardly_ever_wrong(log_ratio: float, right: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        answer, count = decided(list(np.exp(rng.normal(log_ratio, 0.13, MOST_VOTES))))
        assert answer == right
        assert count <= MOST_VOTES


def test_where_no_image_tells_it_is_decided_in_the_end() -> None:
    assert decided([1.0] * (2 * MOST_VOTES))[1] == MOST_VOTES
