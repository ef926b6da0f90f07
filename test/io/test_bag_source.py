"""From bags to frames: the same images, and poses that geometry knows."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_bags import (
    COLOR,
    DEPTH,
    HEIGHT,
    INFO,
    MS,
    START,
    WIDTH,
    Bag,
    camera_info,
    check_poses,
    compressed,
    drive,
    image,
    picture,
    png,
)

from neumap.errors import ConfigError, DataError, UnreadableError
from neumap.io.bags.messages import typestore
from neumap.io.bags.reader import BagReader
from neumap.io.bags.source import open_bag
from neumap.io.bags.store import KEPT_BYTES, MessageStore, numbered
from neumap.io.bags.writer import BagWriter
from neumap.io.damage import Damage
from neumap.io.tum import read_tum
from neumap.records import Source

rosbag2 = pytest.importorskip("rosbags.rosbag2")
NONE, FILE, MESSAGE, STORAGE = (rosbag2.CompressionMode[name] for name in ("NONE", "FILE", "MESSAGE", "STORAGE"))
MCAP, SQLITE = rosbag2.StoragePlugin.MCAP, rosbag2.StoragePlugin.SQLITE3

Open = Callable[..., Source]


def check_images(source: Source) -> None:
    for frame in source.frames:
        assert np.array_equal(frame.read_image(), picture((frame.stamp_ns - START) // (100 * MS)))


@pytest.mark.parametrize(
    ("storage", "compression"),
    [(MCAP, NONE), (MCAP, STORAGE), (MCAP, MESSAGE), (MCAP, FILE), (SQLITE, NONE), (SQLITE, MESSAGE), (SQLITE, FILE)],
    ids=str,
)
@pytest.mark.parametrize("is_compressed", [False, True], ids=["Image", "CompressedImage"])
def test_images_depth_and_poses(tmp_path: Path, storage: Any, compression: Any, is_compressed: bool) -> None:
    path = drive(is_compressed=is_compressed, depth=True).write(tmp_path / "bag", storage, compression)
    source = open_bag(path, poses=True)
    assert [frame.stamp_ns for frame in source.frames] == [START + ms * MS for ms in range(0, 1000, 100)]
    assert source.notes == ()
    assert str(path) in source.description
    check_poses(source)
    check_images(source)
    for index, frame in enumerate(source.frames):
        assert frame.read_depth is not None
        assert np.allclose(frame.read_depth(), 1 + index / 1000)
    camera = source.frames[0].camera
    assert (camera.width, camera.height, camera.matrix[0, 0], camera.distortion[0]) == (WIDTH, HEIGHT, 30.0, 0.1)


def test_a_file_without_its_metadata(tmp_path: Path) -> None:
    for storage in (MCAP, SQLITE):
        folder = drive().write(tmp_path / storage.name, storage)
        (folder / "metadata.yaml").unlink()
        (file,) = folder.iterdir()
        for path in (file, folder):
            source = open_bag(path, poses=True)
            check_poses(source)
            check_images(source)


def test_a_file_without_an_index(tmp_path: Path) -> None:
    path = tmp_path / "fastwrite.mcap"
    path.write_bytes(without_index(drive(depth=True)))
    source = open_bag(path, poses=True)
    check_poses(source)
    check_images(source)
    check_images(source)


def without_index(bag: Bag) -> bytes:
    """MCAP as the recorder's preset "fastwrite" leaves it: no chunks, no summary."""
    from small_bags import STORE

    def record(op: int, *fields: bytes) -> bytes:
        content = b"".join(fields)
        return struct.pack("<BQ", op, len(content)) + content

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    out = [b"\x89MCAP0\r\n", record(1, text("ros2"), text("test"))]
    channels: dict[str, int] = {}
    for time_ns, topic, type_, message in sorted(bag.messages, key=lambda entry: entry[0]):
        if topic not in channels:
            channels[topic] = number = len(channels) + 1
            definition, _ = STORE.generate_msgdef(type_, ros_version=2)
            out.append(record(3, struct.pack("<H", number), text(type_), text("ros2msg"), text(definition)))
            out.append(record(4, struct.pack("<HH", number, number), text(topic), text("cdr"), struct.pack("<I", 0)))
        head = struct.pack("<HIQQ", channels[topic], 0, time_ns, time_ns)
        out.append(record(5, head, bytes(STORE.serialize_cdr(message, type_))))
    out += [record(15, bytes(4)), record(2, bytes(20)), b"\x89MCAP0\r\n"]
    return b"".join(out)


@pytest.mark.parametrize("kept_bytes", [0, 2000, KEPT_BYTES])
@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_any_order_and_several_threads(tmp_path: Path, storage: Any, kept_bytes: int) -> None:
    # a third of the messages come at one and the same time, and further apart than what is read through
    stamps = [*range(0, 3000, 100), *range(9000, 12000, 100)]
    small = drive(stamps, tf_ms=(), depth=True)
    small.messages = [(START if t < START + 1000 * MS else t, *rest) for t, *rest in small.messages]
    with BagReader(small.write(tmp_path / "bag", storage)) as bag:
        topics = [topic for topic in bag.topics if topic.name in (COLOR, DEPTH)]
        written = list(numbered(bag.messages(topics)))
        store = MessageStore(bag, topics, kept_bytes)
        order = np.random.default_rng(1).permutation(len(written))
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda i: store.read(written[i][0]) == written[i][1], order))


def test_queries_need_no_poses(opened: Open) -> None:
    bag = drive()
    bag.drop("/tf", "/tf_static", "/odom")
    source = opened(bag, poses=False)
    assert len(source.frames) == 10
    assert all(frame.map_from_camera is None for frame in source.frames)
    with pytest.raises(DataError, match="no topic holds poses in map"):
        opened(bag)


def test_without_depth(opened: Open) -> None:
    assert not opened(drive(depth=True), depth=False).has_depth
    assert not opened(drive()).has_depth


def test_images_are_sorted_by_their_own_stamps(opened: Open) -> None:
    bag = drive()
    late = [(t + (500 * MS if index % 2 else 0), *rest) for index, (t, *rest) in enumerate(bag.messages)]
    bag.messages = late
    source = opened(bag)
    assert len(source.frames) == 10
    check_images(source)
    check_poses(source)


def test_images_without_stamps_of_their_own(opened: Open) -> None:
    bag = drive()
    bag.replace(COLOR, lambda i, m: image(0, picture(i)) if i < 2 else m)
    bag.add(COLOR, image(START + 500 * MS, picture(99)), START + 510 * MS)
    source = opened(bag)
    assert [frame.stamp_ns for frame in source.frames] == [START + ms * MS for ms in range(200, 1000, 100)]
    assert source.left_out == ("2 of 11 images have no stamp: left out",)
    assert source.notes[0] == source.left_out[0]
    assert any("1 of 9 images have the stamp of another one" in note for note in source.notes)
    bag.replace(COLOR, lambda i, m: image(0, picture(i)))
    with pytest.raises(DataError, match=r"header.stamp is zero"):
        opened(bag)


def test_no_images(opened: Open) -> None:
    bag = drive(depth=True)
    bag.drop(COLOR)
    with pytest.raises(DataError, match=r"holds no images .*its topics are /camera/aligned_depth/image_raw \(sensor_m"):
        opened(bag)
    bag.messages = []
    with pytest.raises(DataError, match=r"holds no images .*it has no topics"):
        opened(bag)
    with pytest.raises(ConfigError, match=r"--image-topic: .* has no topic /x; it has no topics"):
        opened(bag, image_topic="/x")


def test_several_cameras(opened: Open) -> None:
    bag = drive()
    for ms in range(0, 1000, 100):
        bag.add("/debug_image", image(START + ms * MS, picture(3)))
        # a copy of the images is none of its own
        bag.add(f"{COLOR}/compressed", compressed(START + ms * MS, png(picture(3))))
    # without a calibration it is no camera
    check_images(opened(bag))
    bag.add("/camera_info", camera_info())
    with pytest.raises(ConfigError, match=f"several topics hold images: {COLOR}, /debug_image; .* --image-topic"):
        opened(bag)
    check_images(opened(bag, image_topic=COLOR))
    assert np.array_equal(opened(bag, image_topic="/debug_image").frames[0].read_image(), picture(3))


def test_depth_of_another_view_is_not_used(opened: Open) -> None:
    bag = drive(depth=True)
    for topic, depth in (
        ("/camera/depth/image_rect_raw", image(START, np.ones((HEIGHT, WIDTH), np.uint16), "16UC1", "depth_frame")),
        ("/camera/depth/small", image(START, np.ones((4, 4), np.float32), "32FC1")),
    ):
        bag.add(topic, depth)
    assert opened(bag).frames[3].read_depth is not None
    bag.drop(DEPTH)
    source = opened(bag)
    assert not source.has_depth
    assert "/camera/depth/image_rect_raw, /camera/depth/small is not registered" in source.notes[0]
    assert opened(bag, depth_topic="/camera/depth/image_rect_raw").has_depth
    small = opened(bag, depth_topic="/camera/depth/small").frames[0]
    assert small.read_depth is not None
    with pytest.raises(DataError, match=r"/camera/depth/small .* is 4x4, the images are 32x24"):
        small.read_depth()


def test_several_depths(opened: Open) -> None:
    bag = drive()
    metres = np.full((HEIGHT, WIDTH), 2.5, np.float32)
    millimetres = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    for ms in range(0, 1000, 100):
        bag.add("/a/depth", image(START + (ms + 15) * MS, metres, "32FC1"))
    assert np.allclose(read_depth(opened(bag)), 2.5)
    packed = compressed(START, bytes(12) + png(millimetres), "16UC1; compressedDepth png")
    bag.add("/b/depth/compressedDepth", packed)
    with pytest.raises(ConfigError, match=r"several topics hold depth: /a/depth, /b/depth/compressedDepth; .*--no-dep"):
        opened(bag)
    assert np.allclose(read_depth(opened(bag, depth_topic="/b/depth/compressedDepth")), 1.5)
    assert not opened(bag, depth=False).has_depth


def read_depth(source: Source) -> np.ndarray:
    read = source.frames[0].read_depth
    assert read is not None
    return read()


def test_depth_of_another_moment_is_not_used(opened: Open) -> None:
    bag = drive(depth=True)
    bag.replace(DEPTH, lambda i, m: None if i in (2, 5) else m)
    source = opened(bag)
    assert [i for i, frame in enumerate(source.frames) if frame.read_depth is None] == [2, 5]
    assert f"2 of 10 images have no depth on {DEPTH} within 20 ms" in source.notes


def test_a_damaged_image_is_named(opened: Open) -> None:
    bag = drive(is_compressed=True)
    topic = f"{COLOR}/compressed"
    bag.replace(topic, lambda i, m: compressed(START + 100 * i * MS, b"\xff\xd8 and no more") if i == 4 else m)
    source = opened(bag)
    source.frames[3].read_image()
    with pytest.raises(DataError, match=rf"the image on {topic} at 1700000000\.4\d* s of .*cannot be decoded"):
        source.frames[4].read_image()
    source.frames[5].read_image()
    bag.replace(topic, lambda i, m: compressed(START + 100 * i * MS, png(np.zeros((4, 4), np.uint8))) if i else m)
    with pytest.raises(DataError, match="is 4x4, the images are 32x24"):
        opened(bag).frames[1].read_image()
    bag.replace(topic, lambda i, m: compressed(START + 100 * i * MS, b""))
    with pytest.raises(DataError, match=f"the first image on {topic} of the bag .*cannot be decoded"):
        opened(bag)


def test_colours_become_grey(opened: Open) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    bag = drive()
    bag.replace(COLOR, lambda i, m: image(START + 100 * i * MS, pixels, "rgb8"))
    assert np.array_equal(opened(bag).frames[0].read_image(), cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


@pytest.mark.scenes
def test_a_recorded_scene_is_the_same_as_a_bag(scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("make_bags", scenes.parent / "tools" / "make_bags.py")
    assert spec is not None
    assert spec.loader is not None
    make_bags = module_from_spec(spec)
    spec.loader.exec_module(make_bags)
    import yaml

    sequence = scenes / "tum_fr1" / "mapping"
    calibration = yaml.safe_load((scenes / "tum_fr1" / "camera_info.yaml").read_text())
    make_bags.write_bag(sequence, calibration, tmp_path / "bag", True)
    bag, folder = open_bag(tmp_path / "bag", poses=True), read_tum(sequence)
    assert [frame.stamp_ns for frame in bag.frames] == [frame.stamp_ns for frame in folder.frames]
    for ours, theirs in zip(bag.frames, folder.frames, strict=True):
        assert ours.map_from_camera is not None
        assert theirs.map_from_camera is not None
        assert np.abs(ours.map_from_camera - theirs.map_from_camera).max() < 1e-6
        assert np.array_equal(ours.camera.matrix, theirs.camera.matrix)
        assert np.array_equal(ours.camera.distortion, theirs.camera.distortion)
    for ours, theirs in list(zip(bag.frames, folder.frames, strict=True))[::40]:
        assert np.array_equal(ours.read_image(), theirs.read_image())
        assert ours.read_depth is not None
        assert theirs.read_depth is not None
        # the bag's depth is in whole millimetres
        assert np.abs(ours.read_depth() - theirs.read_depth()).max() < 6e-4


def test_a_message_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    """The last of some topics is cut off, and the first image is none."""
    bag = drive(is_compressed=True, depth=True)
    cut = {topic: max(time for time, name, *_ in bag.messages if name == topic) for topic in (INFO, "/tf", DEPTH)}
    path, store = tmp_path / "bag", typestore()
    with BagWriter(path) as out:
        for time_ns, topic, type_, message in sorted(bag.messages, key=lambda entry: entry[0]):
            data = bytes(store.serialize_cdr(message, type_))
            if cut.get(topic) == time_ns:
                data = data[: len(data) // 2]
            out.write(topic, type_, time_ns, data)
    source = open_bag(path, poses=True)
    assert source.left_out == (
        "1 messages on /camera/aligned_depth/image_raw cannot be decoded, and are left out",
        "1 messages on /camera/color/camera_info cannot be decoded, and are left out",
        "2 messages on /tf cannot be decoded, and are left out",
    )
    assert set(source.left_out) <= set(source.notes)
    check_poses(source)
    assert len(source.frames) == 10
    assert source.frames[-1].read_depth is None


def test_the_first_image_may_be_damaged(opened: Open) -> None:
    bag = drive(is_compressed=True)

    def change(index: int, message: Any) -> Any:
        return compressed(START, b"no image") if index == 0 else message

    bag.replace(f"{COLOR}/compressed", change)
    damage = Damage(opened(bag))
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        damage.source.frames[0].read_image()
    np.testing.assert_array_equal(damage.source.frames[3].read_image(), picture(3))
    (note,) = damage.notes
    assert note.startswith("1 of 2 images cannot be read, and are left out: the image on /camera/color/image_raw/comp")
