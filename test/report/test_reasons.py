from __future__ import annotations

from neumap.report.reasons import count_reasons


def test_reasons_that_differ_in_numbers_are_one() -> None:
    reasons = [
        "only 12 inliers: 20 needed",
        "other: with: colons",
        "only 9 inliers: 20 needed",
        "only 10.5 inliers: 3 needed",
    ]
    assert count_reasons(reasons) == {"only 9 to 12 inliers: 3 to 20 needed": 3, "other: with: colons": 1}


def test_numbers_in_names_are_names() -> None:
    assert count_reasons(["frame cam1", "frame cam2", "v1.2 x"]) == {"frame cam1": 1, "frame cam2": 1, "v1.2 x": 1}
    assert count_reasons([]) == {}
