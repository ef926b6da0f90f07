"""Point clouds have the layout that sensor_msgs_py was seen to give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.sensor_msgs_py import point_cloud2 as pc2

XYZ = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
FLOAT32, UINT16, UINT32 = 7, 4, 6


def header() -> Any:
    return message_class("std_msgs/msg/Header")(frame_id="map")


def field(name: str, offset: int, datatype: int = FLOAT32, count: int = 1) -> Any:
    return message_class("sensor_msgs/msg/PointField")(name=name, offset=offset, datatype=datatype, count=count)


@pytest.mark.parametrize("points", [XYZ, np.array(XYZ), np.array(XYZ, np.float32), np.repeat(XYZ, 2, 1)[:, ::2]])
def test_xyz(points: Any) -> None:
    cloud = pc2.create_cloud_xyz32(header(), points)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 2, 12, 24)
    assert bytes(cloud.data).hex() == "0000803f0000004000004040000080400000a0400000c040"
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        ("x", 0, FLOAT32, 1),
        ("y", 4, FLOAT32, 1),
        ("z", 8, FLOAT32, 1),
    ]
    assert not cloud.is_dense
    assert pc2.read_points_numpy(cloud).tolist() == XYZ
    assert pc2.read_points_list(cloud)[1].y == 5.0


@pytest.mark.parametrize("points", [[], np.zeros((0, 3), np.float32)])
def test_no_points(points: Any) -> None:
    cloud = pc2.create_cloud_xyz32(header(), points)
    assert (cloud.height, cloud.width, cloud.row_step, len(cloud.data)) == (1, 0, 0, 0)
    assert len(pc2.read_points(cloud)) == 0
    assert len(pc2.read_points(message_class("sensor_msgs/msg/PointCloud2")())) == 0


def test_organised_clouds_have_width_and_height_exchanged() -> None:
    cloud = pc2.create_cloud_xyz32(header(), np.zeros((2, 5, 3), np.float32))
    assert (cloud.height, cloud.width, cloud.row_step, len(cloud.data)) == (5, 2, 24, 120)


def test_fields_of_several_types() -> None:
    fields = [field("x", 0), field("ring", 4, UINT16)]
    cloud = pc2.create_cloud(header(), fields, [(1.5, 3)], point_step=8)
    assert (cloud.point_step, len(cloud.data)) == (8, 8)
    assert pc2.read_points(cloud).tolist() == [(1.5, 3)]
    assert pc2.read_points_numpy(cloud, field_names=["x"]).tolist() == [[1.5]]
    with pytest.raises(AssertionError):
        pc2.read_points_numpy(cloud)
    with pytest.raises(AssertionError):
        pc2.create_cloud(header(), fields, np.zeros((2, 2), np.float32))


def test_structured_arrays() -> None:
    points = np.zeros(3, [("x", "<f4"), ("rgb", "<u4")])
    points["rgb"] = 0x010203
    cloud = pc2.create_cloud(header(), [field("x", 0), field("rgb", 4, UINT32)], points)
    assert bytes(cloud.data[4:8]) == b"\x03\x02\x01\x00"
    with pytest.raises(AssertionError):
        pc2.create_cloud(header(), [field("x", 0), field("y", 4)], points)


def test_several_values_in_a_field() -> None:
    cloud = pc2.create_cloud(header(), [field("x", 0), field("d", 4, count=3)], [(1.0, 2.0, 3.0, 4.0)])
    assert pc2.read_points(cloud).dtype.names == ("x", "d_0", "d_1", "d_2")


def test_bad_fields() -> None:
    for bad in ([field("x", 0), field("x", 4)], [field("x", 0, count=0)]):
        with pytest.raises(AssertionError):
            pc2.create_cloud(header(), bad, [(1.0, 2.0)])
    with pytest.raises(KeyError):
        pc2.create_cloud(header(), [field("x", 0, 99)], [(1.0,)])
    for points in (np.zeros((2, 4), np.float32), [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="length"):
            pc2.create_cloud_xyz32(header(), points)


def test_reading() -> None:
    cloud = pc2.create_cloud_xyz32(header(), [*XYZ, [np.nan, 0.0, 0.0]])
    assert len(pc2.read_points(cloud)) == 3
    assert len(pc2.read_points(cloud, skip_nans=True)) == 2
    cloud.is_dense = True
    assert len(pc2.read_points(cloud, skip_nans=True)) == 3
    assert pc2.read_points(cloud, ["z", "x"]).tolist()[0] == (3.0, 1.0)
    assert pc2.read_points(cloud, uvs=[1])["x"].tolist() == [4.0]
    with pytest.raises(AssertionError):
        pc2.read_points(cloud, ["nope"])
    with pytest.raises(AssertionError):
        pc2.read_points(b"x")
    cloud.data = cloud.data[:-1]
    with pytest.raises(TypeError):
        pc2.read_points(cloud)


def test_big_endian() -> None:
    cloud = pc2.create_cloud_xyz32(header(), XYZ)
    cloud.data = np.array(XYZ, ">f4").tobytes()
    cloud.is_bigendian = True
    assert pc2.read_points_numpy(cloud).tolist() == XYZ
