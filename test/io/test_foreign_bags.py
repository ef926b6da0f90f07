"""Recordings that ROS 2 did not write as it does: of ROS 1, of other formats, and compressed without metadata."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from small_bags import STORE, Bag, check_poses, drive, picture

from neumap.errors import DataError
from neumap.io.bags.reader import BagReader
from neumap.io.bags.source import open_bag
from neumap.io.sources import open_source

rosbag1 = pytest.importorskip("rosbags.rosbag1")
rosbag2 = pytest.importorskip("rosbags.rosbag2")
typesys = pytest.importorskip("rosbags.typesys")

ROS1 = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)
for name in ("tf/msg/tfMessage", "tf2_msgs/msg/TFMessage"):
    ROS1.register(typesys.get_types_from_msg("geometry_msgs/TransformStamped[] transforms", name))
OTHER = "robot_msgs/msg/Battery"
ROS1.register(typesys.get_types_from_msg("float32 volts", OTHER))


def write_ros1(bag: Bag, path: Path, compression: str = "") -> Path:
    """Writes a bag as ROS 1 does, with the old name of /tf's type and a topic that ROS 2 does not know."""
    writer = rosbag1.Writer(path)
    if compression:
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression])
    with writer as out:
        connections = {}
        out.write(out.add_connection("/battery", OTHER, typestore=ROS1), bag.messages[0][0], struct.pack("<f", 12.0))
        for time_ns, topic, type_, message in sorted(bag.messages, key=lambda entry: entry[0]):
            if topic not in connections:
                old = "tf/msg/tfMessage" if topic == "/tf" else type_
                connections[topic] = out.add_connection(topic, old, typestore=ROS1)
            content = STORE.cdr_to_ros1(STORE.serialize_cdr(message, type_), type_)
            out.write(connections[topic], time_ns, content)
    return path


@pytest.mark.parametrize("compression", ["", "BZ2", "LZ4"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_bag_of_ros_1(tmp_path: Path, is_compressed: bool, compression: str) -> None:
    path = write_ros1(drive(depth=True, is_compressed=is_compressed), tmp_path / "old.bag", compression)
    for given in (path, tmp_path):
        source = open_source(given, poses=True)
        assert len(source.frames) == 10
        check_poses(source)
        np.testing.assert_array_equal(source.frames[3].read_image(), picture(3))
        assert source.frames[3].read_depth is not None
        np.testing.assert_allclose(source.frames[3].read_depth(), 1.003, atol=1e-6)
        np.testing.assert_allclose(source.frames[0].camera.matrix[0], [30, 0, 15.5])


def test_topics_of_a_bag_of_ros_1(tmp_path: Path) -> None:
    with BagReader(write_ros1(drive(), tmp_path / "old.bag")) as bag:
        types = {topic.name: topic.type for topic in bag.topics}
        assert types["/tf"] == "tf2_msgs/msg/TFMessage"
        assert types["/battery"] == f"{OTHER} of ROS 1"
        assert len(list(bag.messages(bag.topics))) == sum(topic.count for topic in bag.topics)


def test_a_bag_of_ros_1_that_was_cut_off(tmp_path: Path) -> None:
    path = write_ros1(drive(), tmp_path / "old.bag")
    whole = path.read_bytes()
    for size in (0, 5, 100, 5000, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"old.bag is damaged or was cut off: .* \(try `rosbag reindex`\)"):
            open_bag(path, poses=True)


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def mcap(profile: str, encoding: str) -> bytes:
    """An MCAP file without messages."""
    magic = b"\x89MCAP0\r\n"
    start = magic + record(1, string(profile) + string("a library"))
    channel = struct.pack("<HH", 1, 1) + string("/tf") + string(encoding) + string("")
    summary = record(4, channel) if encoding else b""
    return start + summary + record(2, struct.pack("<QQI", len(start) if summary else 0, 0, 0)) + magic


ROS1_MCAP = "is an MCAP file of ROS 1: give the .bag that it was made of, or convert that with `rosbags-convert`"


@pytest.mark.parametrize(
    ("profile", "encoding", "said"),
    [
        ("ros1", "ros1", ROS1_MCAP),
        ("ros1", "", ROS1_MCAP),
        ("", "ros1", ROS1_MCAP),
        ("", "protobuf", "whose messages are not ROS 2's but protobuf: record with `ros2 bag record`"),
        ("px4", "json", "whose messages are not ROS 2's but json: record with `ros2 bag record`"),
        ("", "", "whose messages are not ROS 2's but nothing known: record with `ros2 bag record`"),
    ],
)
def test_mcap_of_others(tmp_path: Path, profile: str, encoding: str, said: str) -> None:
    path = tmp_path / "other.mcap"
    path.write_bytes(mcap(profile, encoding))
    for given in (path, tmp_path):
        with pytest.raises(DataError) as refused:
            open_bag(given, poses=True)
        assert str(refused.value).startswith(str(path))
        assert str(refused.value).endswith(said)
        assert "damaged" not in str(refused.value)


def test_compressed_messages_without_metadata(tmp_path: Path) -> None:
    folder = drive().write(tmp_path / "bag", rosbag2.StoragePlugin.SQLITE3, rosbag2.CompressionMode.MESSAGE)
    (folder / "metadata.yaml").unlink()
    source = open_source(folder, poses=True)
    check_poses(source)
    np.testing.assert_array_equal(source.frames[3].read_image(), picture(3))


@pytest.mark.parametrize("name", ["bag.db3.zstd", "bag.db3"])
def test_a_compressed_file_without_metadata(tmp_path: Path, name: str) -> None:
    folder = drive().write(tmp_path / "bag", rosbag2.StoragePlugin.SQLITE3, rosbag2.CompressionMode.FILE)
    (folder / "metadata.yaml").unlink()
    (folder / "bag.db3.zstd").rename(folder / name)
    for given in (folder, folder / name):
        with pytest.raises(DataError) as refused:
            open_source(given, poses=True)
        assert str(refused.value) == (
            f"{folder / name} is a compressed file of a bag: give the folder with its metadata.yaml, or unpack it with "
            "`zstd -d`"
        )
