"""Bags that are damaged, cut off, incomplete or none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_bags import COLOR, INFO, drive

from neumap.errors import DataError, MissingDependencyError
from neumap.io.bags.reader import BagReader, is_bag
from neumap.io.bags.source import open_bag

rosbag2 = pytest.importorskip("rosbags.rosbag2")
MCAP, SQLITE = rosbag2.StoragePlugin.MCAP, rosbag2.StoragePlugin.SQLITE3


def read_all(path: Path) -> int:
    frames = open_bag(path, poses=True).frames
    return sum(int(frame.read_image().sum()) for frame in frames)


@pytest.fixture(params=[MCAP, SQLITE], ids=lambda storage: storage.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return drive(is_compressed=True).write(tmp_path / "bag", request.param)


def storage_file(folder: Path) -> Path:
    (file,) = (path for path in folder.iterdir() if path.name != "metadata.yaml")
    return file


def test_topics_and_messages(folder: Path) -> None:
    with BagReader(folder) as bag:
        names = ["/camera/color/camera_info", f"{COLOR}/compressed", "/odom", "/tf", "/tf_static"]
        assert [topic.name for topic in bag.topics] == names
        assert [topic.count for topic in bag.topics] == [10, 10, 23, 46, 2]
        chosen = [topic for topic in bag.topics if topic.name in (INFO, "/odom")]
        messages = list(bag.messages(chosen))
        assert len(messages) == 33
        assert [message.time_ns for message in messages] == sorted(message.time_ns for message in messages)
        later = list(bag.messages(chosen, messages[20].time_ns))
        assert [message for message in messages if message.time_ns >= messages[20].time_ns] == later
        assert list(bag.messages([])) == []
        assert bag.decode(messages[0]).header.frame_id == "odom"
        assert bag.first(chosen[0]).width == 32


def test_what_is_a_bag(folder: Path, tmp_path: Path) -> None:
    assert is_bag(folder)
    assert is_bag(storage_file(folder))
    assert not is_bag(tmp_path)
    (folder / "metadata.yaml").unlink()
    assert is_bag(folder)


def test_the_handle_is_closed_with_the_last_frame(folder: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("open files cannot be counted here")

    def opened() -> int:
        return sum(os.path.realpath(handle).startswith(str(folder)) for handle in handles.iterdir())

    source = open_bag(folder, poses=False)
    before = opened()
    assert before > 0
    frame = source.frames[-1]
    del source
    frame.read_image()
    del frame
    # with Python 3.10, SQLite's library keeps a second handle, which it opened to look at the file
    assert opened() == before - 1


def test_cut_off_anywhere(folder: Path) -> None:
    file = storage_file(folder)
    whole = file.read_bytes()
    # of SQLite more than a page, for it fills the rest of the last one with zeros
    end = len(whole) - (1 if file.suffix == ".mcap" else 4097)
    for size in (0, 1, 8, 9, 40, 100, 1000, len(whole) // 2, end - 36, end):
        file.write_bytes(whole[:size])
        for path in (folder, file):
            with pytest.raises(DataError, match=f"the bag {path} .*") as caught:
                read_all(path)
            assert "\n" not in str(caught.value)


def test_damaged_anywhere(folder: Path) -> None:
    file = storage_file(folder)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = whole.copy()
        start = rng.integers(len(whole))
        damaged[start : start + rng.integers(1, 200)] ^= rng.integers(1, 256, dtype=np.uint8)
        file.write_bytes(damaged.tobytes())
        try:
            read_all(folder)
        except DataError as error:
            # CalibrationError among them: damaged numbers are numbers
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "damaged"),
        ("rosbag2_bagfile_information: {version: 5}", "metadata key is missing"),
        ("a: [", "YAML"),
        ("rosbag2_bagfile_information:\n  version: 99\n", "cannot be read: Rosbag2 version 99 not supported"),
    ],
)
def test_metadata_that_are_none(folder: Path, content: str, text: str) -> None:
    (folder / "metadata.yaml").write_text(content)
    with pytest.raises(DataError, match=text):
        read_all(folder)


def test_files_that_are_missing(folder: Path, tmp_path: Path) -> None:
    storage_file(folder).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="database files are missing"):
        read_all(folder)
    with pytest.raises(DataError, match="none does not exist"):
        read_all(tmp_path / "none")
    (folder / "metadata.yaml").unlink()
    for count in (0, 2):
        for index in range(count):
            (folder / f"{index}.mcap").touch()
        with pytest.raises(DataError, match=rf"has {count} storage files and no metadata.yaml: run `ros2 bag reindex"):
            read_all(folder)


def test_metadata_of_another_bag(folder: Path) -> None:
    # rosbags tells topics apart by their quality of service too
    path = folder / "metadata.yaml"
    path.write_text(path.read_text().replace("offered_qos_profiles: []", "offered_qos_profiles: [{depth: 3}]"))
    with pytest.raises(DataError, match=r"reindex|damaged"):
        read_all(folder)


def test_other_files_with_the_name_of_a_bag(tmp_path: Path) -> None:
    for name in ("a.mcap", "a.db3"):
        (tmp_path / name).write_text("hello, this is a text, not a bag, whatever its name says; and it is long enough")
        with pytest.raises(DataError, match=f"{name} is damaged or was cut off"):
            read_all(tmp_path / name)


def test_a_bag_that_changes_while_it_is_read(tmp_path: Path) -> None:
    folder = drive(is_compressed=True).write(tmp_path / "bag")
    source = open_bag(folder, poses=False)
    os.truncate(storage_file(folder), 200)
    with pytest.raises(DataError, match=r"damaged or was cut off|has changed"):
        source.frames[0].read_image()


def test_without_rosbags(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neumap\[bags\]'"):
        open_bag(folder, poses=False)


def test_nothing_is_left_of_unpacked_files(tmp_path: Path, neumap_process: Callable[..., None]) -> None:
    """A bag compressed as a file is unpacked to a temporary one."""
    folder = drive().write(tmp_path / "bag", SQLITE, rosbag2.CompressionMode.FILE)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    neumap_process(folder, temporary)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def neumap_process() -> Callable[..., None]:
    code = (
        "import sys\n"
        "from neumap.io.bags.source import open_bag\n"
        "source = open_bag(sys.argv[1], poses=True)\n"
        "source.frames[0].read_image()\n"
        "raise KeyboardInterrupt\n"
    )

    def run(folder: Path, temporary: Path) -> None:
        root = Path(__file__).resolve().parents[2]
        environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr

    return run
