"""sensor_msgs_py.point_cloud2: PointCloud2 messages from and to arrays."""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured

from neumap_ros.simulator.messages import message_class

# by the constants of sensor_msgs/PointField
DATATYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.int8),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int16),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int32),
    6: np.dtype(np.uint32),
    7: np.dtype(np.float32),
    8: np.dtype(np.float64),
}
FLOAT32 = 7


def dtype_from_fields(fields: Iterable[Any], point_step: int | None = None) -> np.dtype[Any]:
    """The structured dtype of points with these PointFields; a field of count n becomes name_0 ... name_(n-1).

    Raises AssertionError for a count of 0 or a name that appears twice, KeyError for an unknown datatype.
    """
    names: list[str] = []
    formats: list[np.dtype[Any]] = []
    offsets: list[int] = []
    for index, field in enumerate(fields):
        datatype = DATATYPES[field.datatype]
        name = field.name or f"unnamed_field_{index}"
        _require(field.count > 0, "Can't process fields with count = 0.")
        for number in range(field.count):
            single = f"{name}_{number}" if field.count > 1 else name
            _require(single not in names, "Duplicate field names are not allowed!")
            names.append(single)
            formats.append(datatype)
            offsets.append(field.offset + number * datatype.itemsize)
    layout: Any = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        layout["itemsize"] = point_step
    dtype: np.dtype[Any] = np.dtype(layout)
    return dtype


def read_points(
    cloud: Any,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> npt.NDArray[Any]:
    """The points as a structured array, which shares the message's memory where nothing is left out.

    Raises AssertionError for what is no PointCloud2 or has no such field, TypeError if data is too short.
    """
    _require(
        isinstance(cloud, message_class("sensor_msgs/msg/PointCloud2")), "Cloud is not a sensor_msgs.msg.PointCloud2"
    )
    points: npt.NDArray[Any] = np.ndarray(
        (cloud.width * cloud.height,), dtype_from_fields(cloud.fields, cloud.point_step), buffer=cloud.data
    )
    if field_names is not None:
        _require(
            set(field_names) <= set(points.dtype.names or ()), "Requests field is not in the fields of the PointCloud!"
        )
        points = points[list(field_names)]
    if (sys.byteorder != "little") != bool(cloud.is_bigendian):
        points = points.byteswap(inplace=True)
    if skip_nans and not cloud.is_dense:
        kept = np.ones(len(points), dtype=bool)
        for name in points.dtype.names or ():
            kept &= ~np.isnan(points[name])
        points = points[kept]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: Any,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> npt.NDArray[Any]:
    """The points as a plain array, a column for each field. Raises AssertionError if the fields' types differ."""
    _require(
        all(
            field.datatype == cloud.fields[0].datatype
            for field in cloud.fields[1:]
            if field_names is None or field.name in field_names
        ),
        "All fields need to have the same datatype. Use `read_points()` otherwise.",
    )
    return structured_to_unstructured(read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud))


def read_points_list(
    cloud: Any,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
) -> list[Any]:
    """The points as a list of named tuples."""
    points = read_points(cloud, field_names, skip_nans, uvs)
    point = namedtuple("Point", points.dtype.names or ())  # type: ignore[misc]
    return [point._make(values) for values in points]


def create_cloud(header: Any, fields: Sequence[Any], points: Any, point_step: int | None = None) -> Any:
    """A PointCloud2 of points: a structured array, a plain array with a column for each field, or a list of tuples.

    Raises AssertionError where the array does not fit the fields.
    """
    dtype = dtype_from_fields(fields, point_step)
    if not isinstance(points, np.ndarray):
        points = np.array(list(map(tuple, points)), dtype)
    elif points.dtype.names is None:
        _require(
            all(field.datatype == fields[0].datatype for field in fields[1:]),
            "All fields need to have the same datatype. Pass a structured NumPy array with multiple dtypes otherwise.",
        )
        points = unstructured_to_structured(points, dtype)
    else:
        _require(points.dtype == dtype, "PointFields and structured NumPy array dtype do not match for all fields!")
    _require(points.ndim <= 2, "Too many dimensions for organized cloud!")
    # Width and height are exchanged in ROS 2, too.
    width = points.shape[0]
    cloud = message_class("sensor_msgs/msg/PointCloud2")(
        header=header,
        height=points.shape[1] if points.ndim == 2 else 1,
        width=width,
        is_dense=False,
        is_bigendian=sys.byteorder != "little",
        fields=fields,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * width,
    )
    cloud.data.frombytes(points.tobytes())
    return cloud


def create_cloud_xyz32(header: Any, points: Any) -> Any:
    """A PointCloud2 of (N, 3) coordinates in metres, as float32."""
    make = message_class("sensor_msgs/msg/PointField")
    fields = [make(name=name, offset=4 * index, datatype=FLOAT32, count=1) for index, name in enumerate("xyz")]
    return create_cloud(header, fields, points)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
