"""Where the camera was, by what a bag tells: poses that geometry knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bags import (
    BASE_FROM_MAST,
    COLOR,
    INFO,
    MAST_FROM_CAMERA,
    MS,
    OPTICAL,
    START,
    Bag,
    T,
    check_poses,
    drive,
    header,
    image,
    map_from_camera,
    map_from_odom,
    odom_from_base,
    odometry,
    picture,
    pose_stamped,
    tf,
    transform,
)

from neumap.errors import ConfigError, DataError
from neumap.geometry.se3 import invert_pose, make_pose, pose_error
from neumap.io.bags.transforms import RecordedTransforms
from neumap.io.trajectories import write_trajectory
from neumap.records import Source, Trajectory

Open = Callable[..., Source]


def test_images_without_transforms_are_left_out(opened: Open) -> None:
    moments = [*range(-45, 300, 50), *range(600, 1100, 50)]
    source = opened(drive(tf_ms=moments))
    assert [(frame.stamp_ns - START) // MS for frame in source.frames] == [0, 100, 200, 600, 700, 800, 900]
    check_poses(source)
    (note,) = source.notes
    assert "3 of 10 images have no pose, the link odom -> base_link of /tf has no two samples within 0.15 s" in note


def test_images_of_another_clock(opened: Open) -> None:
    with pytest.raises(DataError, match=r"no image has a pose .* link map -> odom .* images are from 1700000000\.0"):
        opened(drive(tf_ms=range(5000, 6000, 50)))
    with pytest.raises(DataError, match="only one of the 10 images has a pose"):
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
    assert source.left_out == (note,)
    assert note.startswith(f"3 of {count + 2} transforms are left out, as tf2 does: ")
    for reason in ("TF_NAN_INPUT", "TF_DENORMALIZED_QUATERNION", "TF_SELF_TRANSFORM"):
        assert reason in note

    # a link of which nothing is left is none
    def broken(index: int, message: Any) -> Any:
        message.transforms[0].transform.translation.x = float("nan")
        return message

    bag = drive()
    bag.drop("/odom")
    bag.replace("/tf", broken)
    with pytest.raises(DataError, match=r"does not connect map with .*: the frames are .*; 46 of 48 .*_NAN_INPUT"):
        opened(bag)


def test_poses_of_a_frame_at_all_stamps() -> None:
    recorded = RecordedTransforms()
    recorded.add([transform(START, "base_link", OPTICAL, BASE_FROM_MAST)], is_static=True)
    for ms in (200, 0, 100, 900):
        recorded.add([transform(START + ms * MS, "odom", "base_link", odom_from_base(ms / 1000))], is_static=False)
    recorded.add([transform(START + ms * MS, "map", "odom", np.eye(4)) for ms in (150, 500)], is_static=False)
    stamps = recorded.stamps_ns
    assert [(stamp - START) // MS for stamp in stamps] == [0, 100, 150, 200, 500, 900]
    found = recorded.lookup("odom", OPTICAL, stamps)
    assert found.known.tolist() == [True, True, True, True, False, True]
    for stamp, pose in zip(stamps[found.known], found.poses[found.known], strict=True):
        assert np.allclose(pose, odom_from_base((stamp - START) / 1e9) @ BASE_FROM_MAST)


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
    check_poses(source, in_odom)
    told = "the poses are those of odometry ({}), which drifts"
    assert source.drifts
    assert source.notes == (told.format("base_link on /odom, in 'odom'"),)
    # a frame that is named is the map's
    named = opened(bag, map_frame="odom")
    assert (named.notes, named.drifts) == ((), False)
    # of two topics none is chosen where /tf tells
    bag.add("/wheels", odometry(START, "odom", "base_link", np.eye(4)))
    bag.add("/wheels", odometry(START + 50 * MS, "odom", "base_link", np.eye(4)))
    for topics in ((), ("/wheels", "/odom")):
        bag.drop(*topics)
        source = opened(bag)
        check_poses(source, in_odom)
        assert source.drifts
        assert source.notes == (told.format("/tf, of the camera in 'odom'"),)


def in_odom(t: float) -> Any:
    return odom_from_base(t) @ BASE_FROM_MAST @ MAST_FROM_CAMERA


def test_odometry_that_is_asked_for(opened: Open) -> None:
    bag = drive()
    assert not opened(bag).drifts
    source = opened(bag, odometry=True)
    assert source.drifts
    check_poses(source, in_odom)
    bag.replace("/tf", lambda i, m: rename(m, "odom", "wheels"))
    bag.replace("/tf", lambda i, m: rename_child(m, "odom", "wheels"))
    bag.drop("/odom")
    source = opened(bag, odometry=True, map_frame="wheels")
    assert source.drifts
    check_poses(source, in_odom)
    with pytest.raises(DataError, match=r"does not tell where the camera was: odometry is asked for"):
        opened(bag, odometry=True)


def rename_child(message: Any, old: str, new: str) -> Any:
    for each in message.transforms:
        if each.child_frame_id == old:
            each.child_frame_id = new
    return message


def test_a_topic_of_odometry_for_two(opened: Open) -> None:
    bag = drive()
    bag.replace("/tf", lambda i, m: None if m.transforms[0].header.frame_id == "map" else m)
    bag.add("/odom", odometry(START, "odom", "base_footprint", np.eye(4)))
    with pytest.raises(DataError, match=r"/odom holds poses of several frames \(odom -> base_footprint, odom -> base_"):
        opened(bag)


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "a value is not finite"), (2.0, "norm is 2 instead of 1")])
def test_a_topic_with_poses_that_are_none(opened: Open, value: float, text: str) -> None:
    def broken(index: int, message: Any) -> Any:
        if index == 4:
            q = message.pose.pose.orientation
            q.x, q.y, q.z, q.w = 0.0, 0.0, 0.0, value
        return message

    bag = drive()
    bag.replace("/odom", broken)
    source = opened(bag, pose_topic="/odom")
    check_poses(source, lambda t: odom_from_base(t) @ BASE_FROM_MAST @ MAST_FROM_CAMERA)
    assert len(source.frames) == 10
    (left_out,) = source.left_out
    assert re.match(rf"1 of 23 poses on /odom are left out, the first is at 1700000000\.155\d* s: .*{text}", left_out)
    assert left_out in source.notes
    bag.replace("/odom", lambda i, m: broken(4, m) if i < 12 else m)
    with pytest.raises(DataError, match=r"12 of 23 poses on /odom hold no pose, the first is at 1699999999\.955"):
        opened(bag, pose_topic="/odom")


def test_a_topic_with_gaps(opened: Open) -> None:
    bag = drive()
    bag.replace("/odom", lambda i, m: None if 8 < i < 16 else m)
    source = opened(bag, pose_topic="/odom")
    assert "4 of 10 images have no pose, /odom has no two poses within 0.15 s" in source.notes[-1]


def path_of(stamp_ns: int, stamps_ns: Sequence[int], off: float = 0.0) -> Any:
    """A path of the robot in the map up to some moments, as SLAM draws it, ``off`` metres aside."""
    aside = make_pose(np.eye(3), np.array([off, 0.0, 0.0]))
    poses = [pose_stamped(ns, "", aside @ base_at((ns - START) / 1e9)) for ns in stamps_ns]
    return T["nav_msgs/msg/Path"](header=header(stamp_ns, "map"), poses=poses)


def base_at(t: float) -> np.ndarray:
    return np.asarray(map_from_odom(t) @ odom_from_base(t))


def test_the_path_that_slam_draws(opened: Open) -> None:
    bag = drive()
    moments = [START + ms * MS for ms in range(0, 1000, 100)]
    # the last one is corrected
    for i, now in enumerate(moments, 1):
        bag.add("/slam/path", path_of(now, moments[:i], off=0.0 if now == moments[-1] else 0.5))
    source = opened(bag, pose_topic="/slam/path", base_frame="base_link")
    assert len(source.frames) == 10
    check_poses(source)
    assert source.notes == ("the poses are those of base_link on /slam/path",)
    # not without being asked for: planners draw such as well
    bag.drop("/tf", "/odom")
    with pytest.raises(DataError, match=r"/slam/path \(nav_msgs/Path, 10\)"):
        opened(bag)


def test_the_path_of_a_planner_was_never_driven(opened: Open) -> None:
    for stamps in ([0] * 8, [START] * 8):
        bag = drive()
        bag.add("/plan", path_of(START, stamps))
        with pytest.raises(DataError, match="the poses on /plan have no stamps of their own, as what a planner draws"):
            opened(bag, pose_topic="/plan")


def write_poses(path: Path, at: Callable[[float], np.ndarray], ms: Sequence[int]) -> str:
    stamps = np.array([START + each * MS for each in ms])
    write_trajectory(path, Trajectory(stamps, np.array([at(each / 1000) for each in ms])))
    return str(path)


def test_a_trajectory_beside_a_bag(opened: Open, tmp_path: Path) -> None:
    def shifted(t: float) -> np.ndarray:
        return np.asarray(make_pose(np.eye(3), np.array([5.0, 0.0, 0.0])) @ map_from_camera(t))

    # of the camera, and /tf does not count
    source = opened(drive(), trajectory=write_poses(tmp_path / "camera.txt", shifted, range(0, 1000, 50)))
    assert len(source.frames) == 10
    for frame in source.frames:
        assert frame.map_from_camera is not None
        np.testing.assert_allclose(frame.map_from_camera, shifted((frame.stamp_ns - START) / 1e9), atol=1e-8)
    assert source.notes == (f"the poses are those of {OPTICAL} in {tmp_path / 'camera.txt'}",)
    # of the base, interpolated, with a gap
    moments = [*range(-40, 270, 40), *range(600, 1100, 40)]
    base = write_poses(tmp_path / "base.txt", base_at, moments)
    source = opened(drive(), trajectory=base, base_frame="base_link")
    assert [(frame.stamp_ns - START) // MS for frame in source.frames] == [0, 100, 200, 600, 700, 800, 900]
    for frame in source.frames:
        assert frame.map_from_camera is not None
        off = pose_error(frame.map_from_camera, map_from_camera((frame.stamp_ns - START) / 1e9))
        assert np.linalg.norm(off) < 1e-3
    assert "3 of 10 images have no pose, base.txt has no two poses within 0.15 s" in source.notes[-1]


def test_a_trajectory_that_tells_nothing(opened: Open, tmp_path: Path) -> None:
    late = write_poses(tmp_path / "late.txt", base_at, range(5000, 6000, 50))
    with pytest.raises(DataError, match=r"no image has a pose .*late\.txt has no two poses within 0\.15 s"):
        opened(drive(), trajectory=late)
    with pytest.raises(DataError, match=r"where the camera is on imu, whose poses late\.txt tells, is not known"):
        opened(drive(), trajectory=late, base_frame="imu")
    with pytest.raises(ConfigError, match="--trajectory and --pose-topic both give the poses"):
        opened(drive(), trajectory=late, pose_topic="/odom")
