"""Of sensor_msgs_py.point_cloud2, what makes a cloud of a structured array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header


def create_cloud(header: Header, fields: Iterable[PointField], points: Any) -> PointCloud2:
    """Returns the message of points (N,), whose type must be that of the fields."""
    fields = list(fields)
    assert {field.datatype for field in fields} == {PointField.FLOAT32}
    about = {"names": [field.name for field in fields], "offsets": [field.offset for field in fields]}
    assert points.dtype == np.dtype(about | {"formats": ["f4"] * len(fields)})
    size = points.dtype.itemsize
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields, point_step=size)
    cloud.row_step = size * len(points)
    cloud.data.frombytes(points.tobytes())
    return cloud
