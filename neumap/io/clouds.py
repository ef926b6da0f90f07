"""Points of a map as the fields of a sensor_msgs/PointCloud2, for the node and for replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.maps.neural_map import NeuralMap
from neumap.records import PoseEstimate

# Cloud: structured array (N,) of float32 fields.
Cloud = npt.NDArray[np.void]
# _FLOAT32: sensor_msgs/PointField.FLOAT32.
_FLOAT32 = 7


def landmark_cloud(neural_map: NeuralMap) -> Cloud:
    """Return the landmarks of a map: x, y, z in metres in the map frame."""
    return _cloud(x_y_z=neural_map.landmarks.points(neural_map.grid))


def inlier_cloud(estimate: PoseEstimate) -> Cloud:
    """Return the inlier landmarks of an image: x, y, z in metres in the map frame, and u, v in pixels."""
    return _cloud(x_y_z=estimate.points_map, u_v=estimate.keypoints_px)


def fields_of(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the contents of a sensor_msgs/PointField for each field of a cloud."""
    offsets: Mapping[str, Any] = cloud.dtype.fields or {}
    return [
        {"name": name, "offset": offset, "datatype": _FLOAT32, "count": 1} for name, (_, offset, *_) in offsets.items()
    ]


def _cloud(**columns: npt.NDArray[np.floating]) -> Cloud:
    """Make a cloud of arrays (N, K), each given under the names of its K columns joined by ``_``."""
    names = [name for together in columns for name in together.split("_")]
    rows = np.concatenate(list(columns.values()), axis=1, dtype=np.float32)
    return rows.view([(name, "<f4") for name in names])[:, 0]
