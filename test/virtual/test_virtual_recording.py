from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.geometry.se3 import invert_pose, rotation_log
from neumap.io.bags.poses import read_track
from neumap.io.bags.reader import BagReader
from neumap.io.bags.source import open_bag
from neumap.io.bags.topics import BagOptions
from neumap.io.tum import read_tum
from neumap.virtual import recording
from neumap.virtual.drive import CLEARANCE, clearance, drive
from neumap.virtual.render import render
from neumap.virtual.scene import Room
from neumap.virtual.world import SMALL

SECONDS = 5.0


@pytest.fixture(scope="module")
def room() -> Room:
    return SMALL.room(0)


@pytest.fixture(scope="module")
def mapped(room: Room) -> FloatArray:
    return drive(room, 0, SMALL.mapping_frames, "mapping")


@pytest.fixture(scope="module")
def query(room: Room, mapped: FloatArray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, recording.Covered]:
    path = tmp_path_factory.mktemp("bags") / "query"
    return path, recording.record_query(path, room, SMALL.camera, mapped, SECONDS, seed=1)


def test_a_mapping_bag_holds_what_the_folder_does(virtual_world: Path, tmp_path: Path) -> None:
    folder, path = virtual_world / "mapping", tmp_path / "mapping"
    # a second one takes the place of the first
    for _ in range(2):
        recording.record_mapping(path, folder)
    expected, found = read_tum(folder), open_bag(path, poses=True)
    assert found.notes == ()
    assert [frame.stamp_ns for frame in found.frames] == [frame.stamp_ns for frame in expected.frames]
    for index in (0, 17, 59):
        a, b = expected.frames[index], found.frames[index]
        np.testing.assert_allclose(b.map_from_camera, a.map_from_camera, atol=1e-8)
        np.testing.assert_array_equal(b.camera.matrix, a.camera.matrix)
        np.testing.assert_array_equal(b.read_image(), a.read_image())
        assert a.read_depth is not None
        assert b.read_depth is not None
        np.testing.assert_allclose(b.read_depth(), a.read_depth(), atol=0.00051)


def test_a_folder_that_misses_depth_is_refused(virtual_world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mapping"
    folder.mkdir()
    for name in ("rgb.txt", "groundtruth.txt", "rgb", "depth", "camera_info.yaml"):
        (folder / name).symlink_to(virtual_world / "mapping" / name)
    lines = (virtual_world / "mapping" / "depth.txt").read_text().splitlines()
    (folder / "depth.txt").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="does not hold a depth image and a pose for every image"):
        recording.record_mapping(tmp_path / "bag", folder)
    assert not (tmp_path / "bag").exists()


def test_a_query_bag_knows_no_map(query: tuple[Path, recording.Covered]) -> None:
    with BagReader(query[0]) as bag:
        topics = {topic.name: topic for topic in bag.topics}
        assert {name: topic.count for name, topic in topics.items()} == {
            recording.IMAGE_TOPIC: 50,
            recording.INFO_TOPIC: 50,
            recording.ODOMETRY_TOPIC: 50,
            recording.TRUTH_TOPIC: 50,
            "/tf": 50,
            "/tf_static": 1,
        }
        frames = {
            (each.header.frame_id, each.child_frame_id)
            for message in bag.messages([topics["/tf"]])
            for each in bag.decode(message).transforms
        }
        assert frames == {("odom", "base_link")}
        truth = read_track(bag, topics[recording.TRUTH_TOPIC])
    assert truth.frame == "map"
    # the robot stands on the floor, give or take what the camera bobs
    assert np.abs(truth.trajectory.map_from_camera[:, 2, 3]).max() < 0.3
    assert np.abs(np.diff(truth.trajectory.stamps_ns) - 100_000_000).max() == 0


def test_the_truth_is_where_the_images_were_taken(query: tuple[Path, recording.Covered], room: Room) -> None:
    path, covered = query
    source = open_bag(path, poses=True, options=BagOptions(pose_topic=recording.TRUTH_TOPIC))
    black = [frame for frame in source.frames if covered.start_ns <= frame.stamp_ns < covered.end_ns]
    assert len(black) == 40
    assert all(frame.read_image().max() < 20 for frame in black)
    assert (source.frames[5].stamp_ns, source.frames[44].stamp_ns) == (black[0].stamp_ns, black[-1].stamp_ns)
    for index in (0, 4, 45, 49):
        frame = source.frames[index]
        assert frame.map_from_camera is not None
        rendered, _ = render(room, SMALL.camera, frame.map_from_camera)
        likeness = np.corrcoef(rendered.mean(axis=2).ravel(), frame.read_image().ravel())[0, 1]
        assert likeness > 0.97


def test_odometry_drifts_as_it_says() -> None:
    straight = np.tile(np.eye(4), (1001, 1, 1))
    straight[:, 0, 3] = np.linspace(0, 100, 1001)
    straight[:, 1, 3] = 2.0
    odometry = recording.drifting_odometry(straight, seed=5)
    np.testing.assert_array_equal(odometry[0], np.eye(4))
    steps = invert_pose(odometry[:-1]) @ odometry[1:]
    assert steps[:, 0, 3].sum() == pytest.approx(102, abs=0.2)
    turned = np.rad2deg(rotation_log(steps[:, :3, :3])).sum(axis=0)
    np.testing.assert_allclose(turned, [0, 0, 100], atol=3)
    np.testing.assert_array_equal(recording.drifting_odometry(straight, seed=5), odometry)
    assert not np.array_equal(recording.drifting_odometry(straight, seed=6), odometry)


@pytest.mark.parametrize("count", [50, 160, 1000])
def test_the_second_drive_is_near_the_first(mapped: FloatArray, room: Room, count: int) -> None:
    poses = recording.drive_again(mapped, count, seed=3)
    assert poses.shape == (count, 4, 4)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 0.09
    assert clearance(room, poses[:, :2, 3]).min() > CLEARANCE - 0.2
    way = np.concatenate([mapped[:-1] + t * np.diff(mapped, axis=0) for t in np.linspace(0, 1, 9)])[:, :3, 3]
    nearest = np.linalg.norm(poses[:, None, :3, 3] - way, axis=-1).min(axis=1)
    assert 0.14 < nearest.max() < 0.25
    turns = rotation_log(np.swapaxes(poses[:-1, :3, :3], 1, 2) @ poses[1:, :3, :3])
    assert np.rad2deg(np.linalg.norm(turns, axis=1)).max() < 10
