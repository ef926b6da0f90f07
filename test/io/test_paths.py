"""Paths are names of files and nothing else: not URIs, patterns or comments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_bags import drive
from synthetic_scene import make_map, make_scene

from neumap.io.bags.writer import BagWriter
from neumap.io.sources import open_source
from neumap.maps.map_file import load_map, save_map

rosbag2 = pytest.importorskip("rosbags.rosbag2")
MCAP, SQLITE = rosbag2.StoragePlugin.MCAP, rosbag2.StoragePlugin.SQLITE3

ODD = ["a%20b", "50%", "a#b", "a?b=c&d", "a b", "[ab]*", "a;'b", "über", "#1"]


@pytest.fixture(params=ODD)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with an odd name, beside one whose name that is once it is unescaped."""
    (tmp_path / "a b").mkdir()
    folder = tmp_path / request.param
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("storage", "compression"), [(SQLITE, "NONE"), (SQLITE, "FILE"), (SQLITE, "MESSAGE"), (MCAP, "NONE")]
)
def test_bags(folder: Path, storage: object, compression: str, tmp_path: Path) -> None:
    mode = rosbag2.CompressionMode[compression]
    # with another recording where the unescaped name leads
    drive([0, 100]).write(tmp_path / "other", SQLITE).rename(tmp_path / "a b" / "bag")
    # rosbags cannot write where this package reads
    bag = drive().write(tmp_path / "bag", storage, mode)
    if folder.name != "a b":
        bag = bag.rename(folder / "bag")
    files = [] if compression != "NONE" else [file for file in bag.iterdir() if file.suffix != ".yaml"]
    for path in (bag, *files):
        source = open_source(path, poses=True)
        assert len(source.frames) == 10
        assert source.frames[0].read_image().shape == (24, 32)


def test_a_bag_file_with_an_odd_name(tmp_path: Path) -> None:
    bag = drive().write(tmp_path / "bag", SQLITE)
    for name in ODD:
        file = (bag / "bag.db3").rename(tmp_path / f"{name}.db3")
        assert len(open_source(file, poses=True).frames) == 10
        file.rename(bag / "bag.db3")


def test_a_bag_is_written(folder: Path) -> None:
    with BagWriter(folder / "out") as out:
        for time_ns, topic, type_, message in drive().messages:
            out.write(topic, type_, time_ns, message)
    assert len(open_source(folder / "out", poses=True).frames) == 10


def test_maps(folder: Path) -> None:
    saved = save_map(folder / "m.neumap", make_map(make_scene(np.random.default_rng(0), 100)))
    assert [path.name for path in folder.iterdir()] == ["m.neumap"]
    assert load_map(folder / "m.neumap").map_id == saved.map_id


def test_folders_and_images(folder: Path, make_tum: Callable[..., Path]) -> None:
    tum = make_tum(name=f"{folder.name}/mapping")
    source = open_source(tum, poses=True)
    assert source.frames[0].read_depth is not None
    assert np.unique(source.frames[0].read_depth()).tolist() == [2.0]
    images = sorted((tum / "rgb").iterdir())
    for number, image in enumerate(images):
        image.rename(image.with_name(f"{number}{folder.name}.png"))
    plain = open_source(tum / "rgb", poses=False)
    assert [frame.name for frame in plain.frames] == [f"{number}{folder.name}.png" for number in range(len(images))]
    assert plain.frames[0].read_image().shape == (24, 32)
