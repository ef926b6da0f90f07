from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, DataError, MissingDependencyError
from neumap.records import PoseEstimate, Status
from neumap.report.figures import Example, choose, covariance_ellipse, draw_report


def draw(path: Path, **changes: Any) -> None:
    """Draws a short drive, of which nothing else is known but for the ``changes``."""
    nothing = {"truth": None, "estimates": [], "landmarks": np.zeros((0, 3)), "examples": [], "title": ""}
    draw_report(path, **({"mapping_poses": circle(3, 1.0)} | nothing | changes))


def circle(count: int, radius: float) -> FloatArray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    angle = np.linspace(0, 6, count)
    poses[:, 0, 3], poses[:, 1, 3] = radius * np.cos(angle), radius * np.sin(angle)
    poses[:, :3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    return poses


def found(pose: FloatArray, sigma: float) -> PoseEstimate:
    pixels = np.random.default_rng(0).uniform(0, 120, (40, 2)).astype(np.float32)
    points = np.zeros((40, 3), dtype=np.float32)
    return PoseEstimate(Status.LOCALIZED, "", pose, sigma**2 * np.eye(6), 40, 0.8, pixels, points, {})


def lost() -> PoseEstimate:
    nothing = np.zeros((0, 2), dtype=np.float32), np.zeros((0, 3), dtype=np.float32)
    return PoseEstimate(Status.LOST, "too few inliers", None, None, 3, float("nan"), *nothing, {})


@pytest.mark.parametrize("with_truth", [True, False])
@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 3)])
def test_a_report_is_drawn(tmp_path: Path, with_truth: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    truth = circle(12, 2.0)
    estimates = [lost() if k == 5 else found(pose, 0.004) for k, pose in enumerate(truth)]
    image = rng.integers(0, 255, shape, dtype=np.uint8)
    path = tmp_path / "report.png"
    draw(
        path,
        mapping_poses=circle(50, 2.4),
        truth=truth if with_truth else None,
        estimates=estimates,
        landmarks=rng.normal(0, 2, (20000, 3)),
        examples=[Example(image, e, pose if with_truth else None) for e, pose in zip(estimates, truth, strict=True)],
        title="A circle",
    )
    drawn = cv2.imread(str(path))
    assert drawn is not None
    assert drawn.shape[1] == 1320
    assert drawn.std() > 10


@pytest.mark.filterwarnings("error")
def test_a_report_of_next_to_nothing_is_drawn(tmp_path: Path) -> None:
    for name, estimates in (("empty.png", []), ("lost.png", [lost()])):
        examples = [Example(np.zeros((12, 16), dtype=np.uint8), estimate) for estimate in estimates]
        draw(tmp_path / name, mapping_poses=np.zeros((0, 4, 4)), estimates=estimates, examples=examples)
        assert (tmp_path / name).stat().st_size > 0


def test_failures_are_shown_first() -> None:
    image = np.zeros((12, 16), dtype=np.uint8)
    near, far = circle(10, 2.0), circle(10, 2.5)
    good = [Example(image, found(pose, 0.01), pose) for pose in near]
    refused = [Example(image, lost()) for _ in range(3)]
    missed, beside = Example(image, lost(), near[0]), Example(image, found(far[1], 0.01), near[1])
    foreign = Example(image, found(near[2], 0.01))

    def chosen(*given: Example) -> list[Example]:
        picked = choose([*good, *given])
        assert len(picked) == 4
        return picked

    def same(picked: list[Example], *expected: Example) -> bool:
        return [id(each) for each in picked] == [id(each) for each in expected]

    assert same(chosen(*refused), refused[2], good[0], good[4], good[9])
    # what shows another place is the worst, and what was missed fails too
    assert same(chosen(missed, beside, *refused, foreign), foreign, beside, missed, refused[2])
    assert same(chosen(missed, *refused), missed, refused[2], good[0], good[9])
    assert choose([]) == []


def test_the_ellipse_holds_ninety_percent() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    covariance = a @ a.T
    major, minor, turn = covariance_ellipse(covariance)
    assert major >= minor > 0
    points = rng.multivariate_normal(np.zeros(6), covariance, 20000)[:, :2]
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    along, across = points @ np.array([c, s]), points @ np.array([-s, c])
    inside = (2 * along / major) ** 2 + (2 * across / minor) ** 2 < 1
    assert inside.mean() == pytest.approx(0.9, abs=0.01)


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"neumap\[plots\]"):
        draw(tmp_path / "x.png")


@pytest.mark.parametrize(("name", "error"), [("nowhere/x.png", DataError), ("x.txt", ConfigError)])
def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        draw(tmp_path / name)
