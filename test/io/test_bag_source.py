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
    BASE_FROM_MAST,
    COLOR,
    DEPTH,
    HEIGHT,
    INFO,
    MAST_FROM_CAMERA,
    MS,
    OPTICAL,
    START,
    WIDTH,
    Bag,
    camera_info,
    compressed,
    drive,
    image,
    map_from_camera,
    map_from_odom,
    odom_from_base,
    odometry,
    picture,
    png,
    pose_stamped,
    tf,
    transform,
)

from neumap.errors import CalibrationError, ConfigError, DataError
from neumap.geometry.se3 import invert_pose
from neumap.io.bags import store
from neumap.io.bags.source import open_bag
from neumap.io.bags.topics import BagOptions
from neumap.io.tum import read_tum
from neumap.records import Source

rosbag2 = pytest.importorskip("rosbags.rosbag2")
NONE, FILE, MESSAGE, STORAGE = (rosbag2.CompressionMode[name] for name in ("NONE", "FILE", "MESSAGE", "STORAGE"))
MCAP, SQLITE = rosbag2.StoragePlugin.MCAP, rosbag2.StoragePlugin.SQLITE3

Open = Callable[..., Source]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Writes a bag and opens it; keywords are options of the bag."""
    count = 0

    def run(bag: Bag, poses: bool = True, depth: bool = True, **options: str) -> Source:
        nonlocal count
        count += 1
        return open_bag(bag.write(tmp_path / f"bag{count}"), poses=poses, depth=depth, options=BagOptions(**options))

    return run


def check_poses(source: Source, truth: Callable[[float], np.ndarray] = map_from_camera) -> None:
    assert source.frames
    for frame in source.frames:
        assert frame.map_from_camera is not None
        assert np.allclose(frame.map_from_camera, truth((frame.stamp_ns - START) / 1e9), atol=1e-9)


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


@pytest.mark.parametrize("kept_bytes", [0, 2000, store.KEPT_BYTES])
@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_any_order_and_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: Any, kept_bytes: int
) -> None:
    monkeypatch.setattr(store, "KEPT_BYTES", kept_bytes)
    # a third of the messages come at one and the same time, and further apart than what is read through
    stamps = [*range(0, 3000, 100), *range(9000, 12000, 100)]
    bag = drive(stamps, tf_ms=(), depth=True)
    bag.messages = [(START if t < START + 1000 * MS else t, *rest) for t, *rest in bag.messages]
    source = open_bag(bag.write(tmp_path / "bag", storage), poses=False)
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(stamps)), 2))

    def read(index: int) -> bool:
        frame = source.frames[index]
        assert frame.read_depth is not None
        right = np.array_equal(frame.read_image(), picture(index))
        return right and bool(np.allclose(frame.read_depth(), 1 + index / 1000))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, order))


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
    assert any("2 of 11 images have no stamp" in note for note in source.notes)
    assert any("1 of 11 images have the stamp of another one" in note for note in source.notes)
    bag.replace(COLOR, lambda i, m: image(0, picture(i)))
    with pytest.raises(DataError, match=r"header.stamp is zero"):
        opened(bag)


# Poses


def test_images_without_transforms_are_left_out(opened: Open) -> None:
    moments = [*range(-45, 300, 50), *range(600, 1100, 50)]
    source = opened(drive(tf_ms=moments))
    assert [(frame.stamp_ns - START) // MS for frame in source.frames] == [0, 100, 200, 600, 700, 800, 900]
    check_poses(source)
    (note,) = source.notes
    assert "3 of 10 images have no pose, the link map -> odom of /tf has no two samples within 0.15 s" in note


def test_images_of_another_clock(opened: Open) -> None:
    with pytest.raises(DataError, match=r"no image has a pose .* link map -> odom .* images are from 1700000000\.0"):
        opened(drive(tf_ms=range(5000, 6000, 50)))
    with pytest.raises(DataError, match="only one of 10 images has a pose"):
        opened(drive(tf_ms=range(-45, 60, 50)))


def test_a_link_that_never_moves_has_no_gaps(opened: Open) -> None:
    bag = drive()
    bag.replace("/tf", lambda i, m: None if m.transforms[0].header.frame_id == "map" else m)
    for ms in (-1000, 3000):
        bag.add("/tf", tf(transform(START + ms * MS, "map", "odom", map_from_odom(7.0))))
    source = opened(bag)
    assert len(source.frames) == 10
    check_poses(source, lambda t: map_from_odom(7.0) @ odom_from_base(t) @ BASE_FROM_MAST @ MAST_FROM_CAMERA)


def test_the_map_below_its_parent(opened: Open) -> None:
    # the frames meet above both
    bag = drive()
    world_from_map = map_from_odom(3.0)
    bag.add("/tf_static", tf(transform(START, "world", "other", world_from_map)))
    bag.replace("/tf", lambda i, m: rename(m, "map", "world"))
    source = opened(bag, map_frame="other")
    check_poses(source, lambda t: invert_pose(world_from_map) @ map_from_camera(t))


def rename(message: Any, old: str, new: str) -> Any:
    for each in message.transforms:
        if each.header.frame_id == old:
            each.header.frame_id = new
    return message


def test_leading_slashes_of_old_recordings(opened: Open) -> None:
    bag = drive()
    bag.replace("/tf", lambda i, m: rename(m, "map", "/map"))
    bag.replace(COLOR, lambda i, m: image(START + 100 * i * MS, picture(i), frame=f"/{OPTICAL}"))
    check_poses(opened(bag))


def test_frames_that_are_not_connected(opened: Open) -> None:
    bag = drive()
    bag.drop("/tf_static", "/odom")
    with pytest.raises(DataError, match=f"does not connect map with {OPTICAL}: the frames are base_link, map, odom;"):
        opened(bag)
    with pytest.raises(DataError, match="does not connect moon with"):
        opened(bag, map_frame="moon")
    bag.drop("/tf")
    with pytest.raises(DataError, match=r"there are no transforms; .* its topics are /camera/color/camera_info"):
        opened(bag)


def test_the_cameras_frame_can_be_named(opened: Open) -> None:
    bag = drive()
    bag.replace(COLOR, lambda i, m: image(START + 100 * i * MS, picture(i), frame=""))
    with pytest.raises(DataError, match="give --camera-frame"):
        opened(bag)
    assert len(opened(bag, poses=False).frames) == 10
    check_poses(opened(bag, camera_frame=OPTICAL))


def test_a_frame_with_two_parents(opened: Open) -> None:
    bag = drive()
    bag.add("/tf", tf(transform(START, "vicon", "base_link", np.eye(4))))
    bag.drop("/odom")
    with pytest.raises(DataError, match=r"the frame base_link has several parents in /tf \(odom, vicon\)"):
        opened(bag)
    # parents of what does not matter do not matter
    bag = drive()
    for parent in ("a", "b"):
        bag.add("/tf", tf(transform(START, parent, "map", np.eye(4))))
    check_poses(opened(bag))


def test_frames_in_a_loop(opened: Open) -> None:
    bag = Bag()
    bag.messages = drive(tf_ms=()).messages
    bag.add("/tf", tf(transform(START, OPTICAL, "base_link", np.eye(4))))
    with pytest.raises(DataError, match="form a loop"):
        opened(bag)


def test_transforms_that_tf2_skips_are_left_out_and_counted(opened: Open) -> None:
    bag = drive()
    count = sum(name in ("/tf", "/tf_static") for _, name, _, _ in bag.messages)
    nan, zero = (transform(START + 155 * MS, "odom", "base_link", odom_from_base(0.155)) for _ in range(2))
    nan.transform.translation.y = float("nan")
    zero.transform.rotation.w = zero.transform.rotation.z = 0.0
    bag.replace("/tf", lambda i, m: tf(nan) if i == 9 else m)
    bag.add("/tf", tf(zero))
    bag.add("/tf", tf(transform(START, OPTICAL, OPTICAL, np.eye(4))))
    source = opened(bag)
    check_poses(source)
    assert len(source.frames) == 10
    (note,) = source.notes
    assert note.startswith(f"3 of {count + 2} transforms are left out, as tf2 does: ")
    for reason in ("TF_NAN_INPUT", "TF_DENORMALIZED_QUATERNION", "TF_SELF_TRANSFORM"):
        assert reason in note

    # a link of which nothing is left is none
    def broken(index: int, message: Any) -> Any:
        if message.transforms[0].header.frame_id == "map":
            message.transforms[0].transform.translation.x = float("nan")
        return message

    bag = drive()
    bag.drop("/odom")
    bag.replace("/tf", broken)
    with pytest.raises(
        DataError, match=r"does not connect map with .*: the frames are .*; 23 of 48 .*_NAN_INPUT.*odom"
    ):
        opened(bag)


def test_a_static_link_that_changes(opened: Open) -> None:
    bag = drive()
    bag.add("/tf_static", tf(transform(START, "base_link", "mast", BASE_FROM_MAST)), START + 600 * MS)
    check_poses(opened(bag))
    bag.add("/tf_static", tf(transform(START, "base_link", "mast", np.eye(4))), START + 700 * MS)
    with pytest.raises(DataError, match="base_link -> mast of /tf_static changes"):
        opened(bag)


def base_poses(bag: Bag, topic: str, frame: str = "map", child: np.ndarray | None = None) -> Bag:
    """Adds the poses of the base, or of a child of it, on a topic."""
    mounted = np.eye(4) if child is None else child
    for ms in range(-45, 1100, 50):
        pose = map_from_odom(ms / 1000) @ odom_from_base(ms / 1000) @ mounted
        bag.add(topic, pose_stamped(START + ms * MS, frame, pose))
    return bag


def test_a_topic_of_poses_in_the_map(opened: Open) -> None:
    bag = base_poses(drive(), "/tracker/pose")
    bag.drop("/tf")
    # where a robot is asked to go is not where it was
    base_poses(bag, "/goal_pose")
    source = opened(bag)
    # evenly turning and sliding seen from the base is not exactly that seen from the map
    for frame in source.frames:
        assert frame.map_from_camera is not None
        assert np.abs(frame.map_from_camera - map_from_camera((frame.stamp_ns - START) / 1e9)).max() < 1e-3
    assert source.notes == ("the poses are those of base_link on /tracker/pose",)


def test_several_topics_of_poses(opened: Open) -> None:
    bag = base_poses(base_poses(drive(), "/a/pose"), "/b/pose")
    bag.drop("/tf")
    with pytest.raises(ConfigError, match="several topics hold poses: /a/pose, /b/pose; choose one with --pose-topic"):
        opened(bag)
    assert len(opened(bag, pose_topic="/b/pose").frames) == 10
    with pytest.raises(ConfigError, match=r"--pose-topic: .* has no topic /c/pose; its topics are .*/b/pose \(geom"):
        opened(bag, pose_topic="/c/pose")
    with pytest.raises(ConfigError, match=f"--pose-topic: {INFO} is of type sensor_msgs/CameraInfo, expected nav_msgs"):
        opened(bag, pose_topic=INFO)
    with pytest.raises(ConfigError, match="in the frame map, not in world: give another --pose-topic or --map-frame"):
        opened(bag, pose_topic="/b/pose", map_frame="world")
    with pytest.raises(DataError, match="does not connect map"):
        opened(bag, pose_topic="/tf_static")


def test_whose_poses_a_topic_tells(opened: Open) -> None:
    camera = BASE_FROM_MAST @ MAST_FROM_CAMERA
    bag = base_poses(drive(), "/mocap/camera", frame="world", child=camera)
    bag.drop("/tf", "/tf_static", "/odom")
    with pytest.raises(DataError, match=f"on base_link, .* name another frame with --base-frame \\({OPTICAL} if"):
        opened(bag, pose_topic="/mocap/camera")
    source = opened(bag, pose_topic="/mocap/camera", base_frame=OPTICAL)
    assert len(source.frames) == 10
    frame = source.frames[3]
    assert frame.map_from_camera is not None
    assert np.abs(frame.map_from_camera - map_from_camera(0.3)).max() < 1e-3
    assert source.notes[1] == "their frame 'world' is taken for the map's"
    assert len(opened(bag, map_frame="world", base_frame=OPTICAL).notes) == 1


def test_odometry_is_the_last_resort(opened: Open) -> None:
    bag = drive()
    bag.replace("/tf", lambda i, m: None if m.transforms[0].header.frame_id == "map" else m)
    source = opened(bag)
    check_poses(source, lambda t: odom_from_base(t) @ BASE_FROM_MAST @ MAST_FROM_CAMERA)
    assert source.notes[-1] == "their frame 'odom' is taken for the map's: odometry drifts, and so will the map"
    # by its frame it can be asked for
    assert opened(bag, map_frame="odom").notes == ()
    bag.add("/odom", odometry(START, "odom", "base_footprint", np.eye(4)))
    with pytest.raises(DataError, match=r"/odom tells poses of several frames \(odom -> base_footprint, odom -> base_"):
        opened(bag)


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "values that are not finite"), (2.0, "of norm 2")])
def test_a_topic_with_poses_that_are_none(opened: Open, value: float, text: str) -> None:
    def broken(index: int, message: Any) -> Any:
        if index == 4:
            q = message.pose.pose.orientation
            q.x, q.y, q.z, q.w = 0.0, 0.0, 0.0, value
        return message

    bag = drive()
    bag.replace("/odom", broken)
    with pytest.raises(DataError, match=rf"/odom holds .*{text}.*, first at 1700000000\.155"):
        opened(bag, pose_topic="/odom")


def test_a_topic_with_gaps(opened: Open) -> None:
    bag = drive()
    bag.replace("/odom", lambda i, m: None if 8 < i < 16 else m)
    source = opened(bag, pose_topic="/odom")
    assert "4 of 10 images have no pose, /odom has no two messages within 0.15 s" in source.notes[-1]


# Calibration


def test_the_calibration_beside_the_images(opened: Open) -> None:
    bag = drive(is_compressed=True)
    other = camera_info(frame=OPTICAL, k=np.array([99.0, 0, 15.5, 0, 99.0, 11.5, 0, 0, 1]))
    bag.add("/other/camera_info", other)
    assert opened(bag).frames[0].camera.matrix[0, 0] == 30.0
    assert opened(bag, camera_info_topic="/other/camera_info").frames[0].camera.matrix[0, 0] == 99.0
    bag.replace(INFO, lambda i, m: None)
    assert opened(bag).frames[0].camera.matrix[0, 0] == 99.0
    bag.add("/third/camera_info", camera_info(frame="third"))
    assert opened(bag).frames[0].camera.matrix[0, 0] == 99.0
    bag.add("/fourth/camera_info", other)
    with pytest.raises(ConfigError, match=r"several topics hold calibrations: /fourth/.*, /other/.*--camera-info"):
        opened(bag)
    bag.drop("/other/camera_info", "/fourth/camera_info")
    assert any("their calibration on /third/camera_info is of 'third'" in note for note in opened(bag).notes)
    bag.drop("/third/camera_info")
    with pytest.raises(DataError, match=r"no sensor_msgs/CameraInfo for /camera/color/image_raw/compressed: its"):
        opened(bag)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": np.zeros(9)}, "not calibrated"),
        ({"k": np.full(9, np.nan)}, "not finite"),
        ({"distortion_model": "fov"}, "unknown lens model 'fov'"),
        ({"width": 64}, "another shape"),
        ({"width": 0}, "image size is 0x24"),
    ],
)
def test_calibrations_that_are_none(opened: Open, changes: dict[str, Any], text: str) -> None:
    bag = drive()
    bag.replace(INFO, lambda i, m: camera_info(START + 100 * i * MS, **changes))
    with pytest.raises(CalibrationError, match=f"the calibration of {COLOR}: .*{text}"):
        opened(bag)


def test_a_calibration_that_changes(opened: Open) -> None:
    bag = drive()
    zoomed = np.array([60.0, 0, 15.5, 0, 62.0, 11.5, 0, 0, 1])
    bag.replace(INFO, lambda i, m: camera_info(START + 100 * i * MS, **({"k": zoomed} if i == 7 else {})))
    with pytest.raises(CalibrationError, match=rf"on {INFO} changes at 1700000000\.7"):
        opened(bag)


def test_images_binned_or_cut(opened: Open) -> None:
    bag = drive()
    bag.replace(INFO, lambda i, m: camera_info(START, width=2 * WIDTH, height=2 * HEIGHT, binning_x=2, binning_y=2))
    source = opened(bag)
    assert source.frames[0].camera.matrix[0, 0] == 15.0
    assert any("scaled to fit" in note for note in source.notes)

    region = camera_info().roi.__class__(x_offset=10, y_offset=4, height=HEIGHT, width=WIDTH, do_rectify=False)
    bag.replace(INFO, lambda i, m: camera_info(START, width=100, height=60, roi=region))
    camera = opened(bag).frames[0].camera
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    assert camera.matrix.tolist() == [[30.0, 0, 5.5], [0, 31.0, 7.5], [0, 0, 1]]


def test_rectified_images_have_another_calibration(opened: Open) -> None:
    bag = drive()
    bag.messages = [(t, "/camera/color/image_rect" if n == COLOR else n, k, m) for t, n, k, m in bag.messages]
    camera = opened(bag).frames[0].camera
    assert camera.matrix.tolist() == [[28.0, 0, 15.0], [0, 29.0, 11.0], [0, 0, 1]]
    assert not camera.distortion.any()
    bag.replace(INFO, lambda i, m: camera_info(START, p=np.zeros(12)))
    with pytest.raises(CalibrationError, match="the calibration has no P"):
        opened(bag)


# Images and depth


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
    bag.replace(topic, lambda i, m: compressed(START, b"") if not i else m)
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
