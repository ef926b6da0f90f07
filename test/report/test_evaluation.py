from __future__ import annotations

import builtins
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from neumap.errors import ConfigError, DataError, MissingDependencyError
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.records import Trajectory
from neumap.report.evaluation import as_dict, as_text, count_queries, evaluate, lost_poses
from neumap.report.evaluation_figure import draw_evaluation

SECOND = 1_000_000_000


def line(stamps_s: list[float]) -> Trajectory:
    """Moves along x at 1 m/s, turning about z at 0.1 rad/s."""
    t = np.array(stamps_s)
    rotation = rotation_exp(np.stack([0 * t, 0 * t, 0.1 * t], axis=1))
    return Trajectory(np.round(t * SECOND).astype(np.int64), make_pose(rotation, np.stack([t, 0 * t, 0 * t], axis=1)))


def moved(trajectory: Trajectory, metres: list[float], degrees: list[float]) -> Trajectory:
    poses = trajectory.map_from_camera.copy()
    poses[:, 1, 3] += metres
    poses[:, :3, :3] = poses[:, :3, :3] @ rotation_exp(np.radians(degrees)[:, None] * np.array([1.0, 0.0, 0.0]))
    return Trajectory(trajectory.stamps_ns, poses)


TRUTH = line([0.0, 0.1, 0.2, 0.3, 0.4])
STAMPS = [0.05, 0.1, 0.15, 0.35]
ESTIMATE = moved(line(STAMPS), [0.01, 0.04, 0.2, 1.0], [0.5, 1.0, 3.0, 20.0])


def test_errors_are_as_made() -> None:
    result = evaluate(ESTIMATE, TRUTH)
    np.testing.assert_allclose(result.translation_m, [0.01, 0.04, 0.2, 1.0])
    np.testing.assert_allclose(result.rotation_deg, [0.5, 1.0, 3.0, 20.0])
    assert result.translation.median == pytest.approx(0.12)
    assert result.translation.mean == pytest.approx(0.3125)
    assert result.translation.max == pytest.approx(1.0)
    assert result.translation.rmse == pytest.approx(math.sqrt((0.01**2 + 0.04**2 + 0.2**2 + 1) / 4))
    assert result.rotation.median == pytest.approx(2.0)
    assert [recall.share for recall in result.recall] == [0.25, 0.5, 0.75, 0.75]
    assert (result.poses, result.queries, result.localized, result.without_truth) == (4, None, None, 0)


def test_recall_is_of_all_queries() -> None:
    result = evaluate(ESTIMATE, TRUTH, queries=8)
    assert [recall.share for recall in result.recall] == [0.125, 0.25, 0.375, 0.375]
    assert result.localized == 0.5
    with pytest.raises(ConfigError, match="3 query images cannot have 4"):
        evaluate(ESTIMATE, TRUTH, queries=3)


def test_poses_without_truth_are_left_out() -> None:
    estimate = moved(line([*STAMPS, 5.0]), [0.0] * 5, [0.0] * 5)
    result = evaluate(estimate, TRUTH)
    assert (result.poses, result.without_truth) == (4, 1)
    assert result.translation.max == pytest.approx(0, abs=1e-9)
    assert "1 more estimated pose(s)" in as_text(result)


def test_no_overlap() -> None:
    with pytest.raises(DataError, match=r"none of the 2 estimated poses .* from 7\.0+ s to 8\.0+ s, the truth from 0"):
        evaluate(line([7.0, 8.0]), TRUTH)
    with pytest.raises(DataError, match="no estimated poses, and it is not known of how many images"):
        evaluate(line([]), TRUTH)
    with pytest.raises(DataError, match="no true poses"):
        evaluate(line([]), line([]), queries=3)


def test_no_estimate_at_all() -> None:
    result = evaluate(line([]), TRUTH, queries=8)
    assert (result.poses, result.localized, {recall.share for recall in result.recall}) == (0, 0.0, {0.0})
    told = as_dict(result)
    assert told["translation_m"] is told["rotation_deg"] is None
    assert as_text(result).splitlines()[:2] == [
        "localized    0 of 8 images (0.0%)",
        "within       2 cm, 2 deg     0.0%",
    ]


def test_count_queries() -> None:
    stamps = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 9.0])
    ns = np.round(stamps * SECOND).astype(np.int64)
    assert count_queries(ns, ESTIMATE, TRUTH) == 6
    with pytest.raises(DataError, match="1 of the 4 estimated poses are not of the listed images"):
        count_queries(ns[1:], ESTIMATE, TRUTH)


def test_what_is_lost_is_where_the_truth_says() -> None:
    ns = np.round(np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 9.0]) * SECOND).astype(np.int64)
    lost = lost_poses(ns, ESTIMATE, TRUTH)
    np.testing.assert_allclose(lost[:, 0, 3], [0.2, 0.25])
    np.testing.assert_allclose(lost_poses(ns, line([]), TRUTH)[:, 0, 3], [0.05, 0.1, 0.15, 0.2, 0.25, 0.35])


def test_reports() -> None:
    alone, of_queries = evaluate(ESTIMATE, TRUTH), evaluate(ESTIMATE, TRUTH, queries=8)
    assert "of the estimated poses" in as_text(alone)
    text = as_text(of_queries)
    assert "4 of 8 images (50.0%)" in text
    assert "median 12.00 cm" in text
    assert "5 cm, 5 deg" in text
    assert "of the estimated poses" not in text
    numbers = json.loads(json.dumps(as_dict(of_queries), allow_nan=False))
    assert numbers["recall"][1] == {"metres": 0.05, "degrees": 5.0, "share": 0.25}
    assert numbers["recall_of"] == "queries"
    assert numbers["translation_m"]["median"] == pytest.approx(0.12)
    assert as_dict(alone)["recall_of"] == "estimated poses"


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_evaluation(tmp_path / "errors.png", evaluate(ESTIMATE, TRUTH, 8))
    image = cv2.imread(str(tmp_path / "errors.png"))
    assert image.shape[0] > 400
    assert image.std() > 5
    # a single perfect pose has no extent and no error
    draw_evaluation(tmp_path / "one.svg", evaluate(line([0.1]), TRUTH))
    with pytest.raises(ConfigError, match=r"cannot draw to .*errors\.doc: end its name in one of \.png, \.pdf"):
        draw_evaluation(tmp_path / "errors.doc", evaluate(ESTIMATE, TRUTH))
    with pytest.raises(DataError, match="does not exist"):
        draw_evaluation(tmp_path / "none" / "errors.png", evaluate(ESTIMATE, TRUTH))


def block(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    original = builtins.__import__

    def blocked(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate(ESTIMATE, TRUTH)
    block(monkeypatch, "matplotlib")
    with pytest.raises(MissingDependencyError, match=r"pip install 'neumap\[plots\]'"):
        draw_evaluation(tmp_path / "a.png", result)
