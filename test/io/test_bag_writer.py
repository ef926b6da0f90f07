from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bags import MS, OPTICAL, START, STORE, camera_info, tf, transform

from neumap.errors import DataError
from neumap.io.bags.reader import BagReader
from neumap.io.bags.writer import BagWriter

rosbag2 = pytest.importorskip("rosbags.rosbag2")
INFO_TYPE, TF_TYPE = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
STATIC = tf(transform(START, "base_link", OPTICAL, np.eye(4)))


def fill(bag: BagWriter) -> None:
    bag.write("/tf_static", TF_TYPE, START, STATIC, latched=True)
    for index in range(3):
        message: Any = camera_info(START + index * MS)
        # bytes are as good as objects
        bag.write("/info", INFO_TYPE, START + index * MS, STORE.serialize_cdr(message, INFO_TYPE) if index else message)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with BagWriter(path) as bag:
        fill(bag)
        assert not path.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out"]
    assert sorted(file.name for file in path.iterdir()) == ["metadata.yaml", "out.mcap"]
    with BagReader(path) as read:
        assert [(topic.name, topic.count) for topic in read.topics] == [("/info", 3), ("/tf_static", 1)]
        messages = list(read.messages(read.topics))
        assert [message.time_ns for message in messages] == [START, START, START + MS, START + 2 * MS]
        stamps = [read.decode(m).header.stamp.nanosec for m in messages if m.topic.name == "/info"]
        assert stamps == [0, MS, 2 * MS]
    # the file alone will do
    with BagReader(path / "out.mcap") as read:
        assert [topic.count for topic in read.topics] == [3, 1]


def test_late_subscribers_get_what_is_latched(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "out") as bag:
        fill(bag)
    with rosbag2.Reader(tmp_path / "out") as reader:
        qos = {connection.topic: connection.ext.offered_qos_profiles for connection in reader.connections}
    assert qos["/info"] == []
    (profile,) = qos["/tf_static"]
    assert (profile.durability.name, profile.reliability.name, profile.depth) == ("TRANSIENT_LOCAL", "RELIABLE", 1)


def test_the_same_messages_give_the_same_bag(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with BagWriter(tmp_path / name / "out") as bag:
            fill(bag)
        contents.append([file.read_bytes() for file in sorted((tmp_path / name / "out").iterdir())])
    assert contents[0] == contents[1]


def interrupted(path: Path, error: type[BaseException]) -> None:
    with BagWriter(path, overwrite=True) as bag:
        fill(bag)
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_half_written_remains(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        interrupted(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    def write_on_a_full_disk() -> None:
        with BagWriter(tmp_path / "out") as bag:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
            fill(bag)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_on_a_full_disk()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with BagWriter(path) as bag:
        fill(bag)
    before = (path / "out.mcap").read_bytes()
    with pytest.raises(DataError, match="out exists already"):
        BagWriter(path)
    with pytest.raises(RuntimeError):
        interrupted(path, RuntimeError)
    assert (path / "out.mcap").read_bytes() == before
    with BagWriter(path, overwrite=True) as bag:
        bag.write("/info", INFO_TYPE, START, camera_info())
    with BagReader(path) as read:
        assert [topic.name for topic in read.topics] == ["/info"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_what_is_no_bag_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="out exists already"):
        BagWriter(path, overwrite=True)
    with pytest.raises(DataError, match="exists already"):
        BagWriter(path / "thesis.txt", overwrite=True)
    with pytest.raises(DataError, match=r"the folder .*missing does not exist"):
        BagWriter(tmp_path / "missing" / "out")


def test_a_bag_called_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with BagWriter(tmp_path / "replaced", overwrite=True) as bag:
            fill(bag)
    assert sorted(file.name for file in (tmp_path / "replaced").iterdir()) == ["metadata.yaml", "replaced.mcap"]


def test_an_empty_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "out"):
        pass
    with BagReader(tmp_path / "out") as read:
        assert read.topics == ()
