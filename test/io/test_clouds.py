"""Clouds of points, as the node and replay write them."""

from __future__ import annotations

import numpy as np

from neumap.io.clouds import fields_of, inlier_cloud
from neumap.records import PoseEstimate, Status, lost


def test_inliers_have_their_place_in_the_map_and_in_the_image() -> None:
    pixels = np.array([[10.0, 20.0], [30.0, 40.5]], np.float32)
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]], np.float32)
    cloud = inlier_cloud(PoseEstimate(Status.LOCALIZED, "", np.eye(4), np.eye(6), 2, 0.5, pixels, points, {}))
    assert [(field["name"], field["offset"]) for field in fields_of(cloud)] == [
        *(("x", 0), ("y", 4), ("z", 8), ("u", 12), ("v", 16))
    ]
    assert all((field["datatype"], field["count"]) == (7, 1) for field in fields_of(cloud))
    rows = np.frombuffer(cloud.tobytes(), "<f4").reshape(2, 5)
    np.testing.assert_array_equal(rows, [[1, 2, 3, 10, 20], [4, 5, 6.5, 30, 40.5]])


def test_of_an_image_that_is_lost_there_are_none() -> None:
    cloud = inlier_cloud(lost("blank"))
    assert len(cloud) == 0
    assert [field["name"] for field in fields_of(cloud)] == ["x", "y", "z", "u", "v"]
