"""Of sensor_msgs_py.point_cloud2, what makes a cloud of points."""

from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header


def create_cloud_xyz32(header: Header, points: Any) -> PointCloud2:
    """Returns the message of points (N, 3) in metres."""
    points = np.asarray(points, dtype=np.float32).reshape(-1, 3)
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")]
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields, point_step=12)
    cloud.row_step = 12 * len(points)
    cloud.data.frombytes(points.tobytes())
    return cloud
