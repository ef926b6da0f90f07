"""A map drawn from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_maps import small_map

from neumap.errors import ConfigError, DataError
from neumap.report.map_figure import draw_map, draw_map_above
from neumap.report.pictures import check_picture

figure = pytest.importorskip("matplotlib.figure")


def test_landmarks_are_drawn_where_they_are_by_their_height() -> None:
    neural_map = small_map()
    axes = figure.Figure().add_subplot()
    draw_map_above(axes, neural_map)
    points = neural_map.landmarks.points(neural_map.grid)
    points = points[np.argsort(points[:, 2])]
    [dots] = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), points[:, :2])
    np.testing.assert_allclose(dots.get_array(), points[:, 2])
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert "mapping cameras (3) and where they look" in drawn
    edges = drawn["voxels of 5 m"]
    assert len(edges) == 6 * len(np.unique(neural_map.grid.corners[:, :2], axis=0))
    # where they look: a line of each camera along y
    headings = next(xy for xy in drawn.values() if len(xy) == 9).reshape(3, 3, 2)
    ahead = headings[:, 1] - headings[:, 0]
    assert (ahead[:, 1] > 0.1).all()
    np.testing.assert_allclose(ahead[:, 0], 0, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_map_is_drawn_with_and_without_cameras(tmp_path: Path) -> None:
    for number in (3, 0):
        draw_map(tmp_path / "map.png", small_map(number))
        assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_drawn_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"end its name in one of \.png, \.pdf, \.svg, \.jpg$"):
        check_picture(tmp_path / "map.txt")
    with pytest.raises(DataError, match="create it first"):
        check_picture(tmp_path / "nowhere" / "map.png")
