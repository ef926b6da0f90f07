"""What is foreseen of a place, and how a drive went, drawn as all pictures from above are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_maps import small_map

from neumap.geometry.se3 import make_pose
from neumap.records import Camera, Frame
from neumap.report import forecast_figure
from neumap.report.drive_check import DriveCheck, Step, Stretch
from neumap.report.forecast import Forecast
from neumap.report.forecast_figure import draw_drive, draw_forecast

figure = pytest.importorskip("matplotlib.figure")

SHAPE = (4, 8, 6)
FORECAST = Forecast(
    origin=np.zeros(2),
    cell_m=1.0,
    height_m=np.ones(SHAPE[:2]),
    pitch_rad=0.0,
    headings_rad=np.arange(6) * np.pi / 3,
    probability=np.linspace(0, 1, 192).reshape(SHAPE),
    error_m=np.full(SHAPE, 0.02),
)
MAP = "landmarks (400)", "mapping cameras (3) and where they look"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn, beside their files."""
    figures, picture = [], forecast_figure.picture

    @contextmanager
    def kept(*arguments: Any) -> Iterator[Any]:
        with picture(*arguments) as made:
            figures.append(made)
            yield made

    monkeypatch.setattr(forecast_figure, "picture", kept)
    return figures


def assert_above(axes: Any, *labels: str) -> None:
    """A plot from above, with these in its legend."""
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_aspect()) == ("x / m", "y / m", 1.0)
    assert sorted(text.get_text().replace("\n", " ") for text in axes.get_legend().get_texts()) == sorted(labels)
    # all of the grid
    assert axes.get_xlim()[0] < 0 < 8 < axes.get_xlim()[1]
    assert axes.get_ylim()[0] < 0 < 4 < axes.get_ylim()[1]


def test_a_forecast(tmp_path: Path, drawn: list[Any]) -> None:
    draw_forecast(tmp_path / "check.png", FORECAST, small_map(), "a room")
    likely, error, *_ = drawn[0].axes
    for axes in (likely, error):
        assert_above(axes, *MAP)
    assert (tmp_path / "check.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("shape", [(2, 10), (4, 8), (6, 7), (13, 15), (7, 6), (12, 3)])
def test_the_title_covers_nothing(tmp_path: Path, drawn: list[Any], shape: tuple[int, int]) -> None:
    cells, rng = np.ones((*shape, 6)), np.random.default_rng(0)
    forecast = replace(
        FORECAST, height_m=np.ones(shape), probability=cells, error_m=0.002 * rng.uniform(0.9, 1.3, cells.shape)
    )
    draw_forecast(tmp_path / "check.png", forecast, small_map(), "a room")
    bottom = drawn[0]._suptitle.get_window_extent().y0
    for axes in drawn[0].axes[:2]:
        assert axes.title.get_window_extent().y1 <= bottom


def test_a_drive_that_is_lost_says_so(tmp_path: Path, drawn: list[Any]) -> None:
    frame = Frame("3", 3, Camera(40, 30, np.eye(3)), lambda: np.zeros((30, 40), np.uint8))
    check = DriveCheck(
        localized=np.zeros(3, np.bool_),
        seconds=np.arange(3.0),
        places=np.full((3, 4, 4), np.nan),
        foreseen=np.full(3, np.nan),
        steps=(),
        stretches=(Stretch(0, 2, 2.0, np.nan, "blank", frame),),
        has_odometry=False,
        frames=(frame,) * 3,
    )
    draw_drive(tmp_path / "drive.png", check, FORECAST, small_map(), "a drive")
    assert_above(drawn[0].axes[0], *MAP)
    said = [text.get_text().replace("\n", " ") for axes in drawn[0].axes for text in (*axes.texts, axes.xaxis.label)]
    assert "nothing is foreseen: where the images were taken is not known" in said
    assert "blank" in said


def test_a_drive(tmp_path: Path, drawn: list[Any]) -> None:
    places = np.array([make_pose(np.eye(3), np.array([1.0 + i, 2.0, 1.0])) for i in range(6)])
    frame = Frame("3", 3, Camera(40, 30, np.eye(3)), lambda: np.zeros((30, 40), np.uint8))
    check = DriveCheck(
        localized=np.array([True, True, True, False, False, True]),
        seconds=np.arange(6.0),
        places=places,
        foreseen=np.full(6, 0.5),
        steps=(Step(0, 1, 1.0, 0.0, 0.0), Step(1, 2, 1.0, 2.0, 0.0)),
        stretches=(Stretch(3, 4, 1.0, 2.0, "blank", frame),),
        has_odometry=True,
        frames=(frame,) * 6,
    )
    draw_drive(tmp_path / "drive.png", check, FORECAST, small_map(), "a drive")
    above = drawn[0].axes[0]
    assert_above(above, *MAP, "localized (4), and where it looks", "lost (2)", "disagrees with odometry (1)")
    [crosses] = [each for each in above.collections if each.get_label() == "lost (2)"]
    np.testing.assert_allclose(crosses.get_offsets(), places[3:5, :2, 3])
