"""Several cameras of a bag: which of their images are of one moment, and where the cameras were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_bags import (
    BASE_FROM_MAST,
    COLOR,
    MAST_FROM_CAMERA,
    MS,
    OPTICAL,
    START,
    Bag,
    camera_info,
    drive,
    image,
    map_from_camera,
    map_from_odom,
    odom_from_base,
    picture,
    tf,
    transform,
)

from neumap.errors import ConfigError, DataError
from neumap.geometry.se3 import invert_pose, make_pose, rotation_exp
from neumap.io.bags.mounts import moments_of
from neumap.io.bags.source import open_bag
from neumap.io.bags.topics import BagOptions
from neumap.io.stamps import format_stamp
from neumap.io.trajectories import write_trajectory
from neumap.localization.lens import of_each_camera
from neumap.records import Source, Trajectory

Open = Callable[..., Source]

REAR, REAR_OPTICAL = "/rear/image_raw", "rear_optical_frame"
BASE_FROM_REAR = make_pose(rotation_exp(np.array([0.0, 0.1, np.pi])), np.array([-0.3, 0.05, 0.2]))
REAR_FROM_CAMERA = make_pose(MAST_FROM_CAMERA[:3, :3], np.zeros(3))
FRONT_FROM_REAR = invert_pose(BASE_FROM_MAST @ MAST_FROM_CAMERA) @ BASE_FROM_REAR @ REAR_FROM_CAMERA
BOTH = (COLOR, REAR)


def two_cameras(rear_ms: tuple[int, ...] = tuple(range(0, 1000, 100)), frame: str = REAR_OPTICAL) -> Bag:
    """The drive of one camera, and what another one at the back saw."""
    bag = drive()
    bag.add("/tf_static", tf(transform(START, "base_link", REAR_OPTICAL, BASE_FROM_REAR @ REAR_FROM_CAMERA)))
    for index, ms in enumerate(rear_ms):
        bag.add(REAR, image(START + ms * MS, picture(50 + index), frame=frame))
        bag.add("/rear/camera_info", camera_info(START + ms * MS, frame, k=np.diag([40.0, 40.0, 1.0]).reshape(-1)))
    return bag


def test_images_of_one_moment(opened: Open) -> None:
    source = opened(two_cameras(), poses=False, image_topic=BOTH)
    assert source.description.endswith(f", {COLOR}, {REAR}")
    assert source.notes == ()
    assert len(source.moments) == 10
    for index, (front, rear) in enumerate(source.moments):
        assert (front.stamp_ns, rear.stamp_ns) == (START + 100 * MS * index,) * 2
        assert front.name == f"{COLOR} {format_stamp(front.stamp_ns)}"
        assert rear.name.startswith(f"{REAR} ")
        assert np.array_equal(front.read_image(), picture(index))
        assert np.array_equal(rear.read_image(), picture(50 + index))
        assert (front.camera.matrix[0, 0], rear.camera.matrix[0, 0]) == (30.0, 40.0)
        assert front.mount is not None
        assert rear.mount is not None
        np.testing.assert_allclose(front.mount.rig_from_camera, np.eye(4), atol=1e-9)
        np.testing.assert_allclose(rear.mount.rig_from_camera, FRONT_FROM_REAR, atol=1e-9)
        assert not rear.mount.covariance.any()


def test_the_first_topic_is_the_rig(opened: Open) -> None:
    source = opened(two_cameras(), poses=False, image_topic=BOTH[::-1])
    rear, front = source.moments[3]
    assert (rear.frame_id, front.frame_id) == (REAR_OPTICAL, OPTICAL)
    assert front.mount is not None
    np.testing.assert_allclose(front.mount.rig_from_camera, invert_pose(FRONT_FROM_REAR), atol=1e-9)


def test_one_topic_is_a_camera_alone(opened: Open) -> None:
    source = opened(two_cameras(), poses=False, image_topic=REAR)
    assert [frame.mount for frame in source.frames] == [None] * 10
    assert [len(moment) for moment in source.moments] == [1] * 10


def test_all_map(opened: Open) -> None:
    """Every camera's images have their poses, at their own stamps."""
    source = opened(two_cameras(tuple(range(13, 1000, 100))), image_topic=BOTH)
    assert len(source.frames) == 20
    for frame in source.frames:
        t = (frame.stamp_ns - START) / 1e9
        mounted = (
            BASE_FROM_REAR @ REAR_FROM_CAMERA if frame.frame_id == REAR_OPTICAL else BASE_FROM_MAST @ MAST_FROM_CAMERA
        )
        assert frame.map_from_camera is not None
        assert np.allclose(frame.map_from_camera, map_from_odom(t) @ odom_from_base(t) @ mounted, atol=1e-9)


def test_a_trajectory_is_of_the_first_camera(opened: Open, tmp_path: Path) -> None:
    stamps = START + 50 * MS * np.arange(20)
    poses = np.array([map_from_camera((stamp - START) / 1e9) for stamp in stamps])
    write_trajectory(tmp_path / "poses.txt", Trajectory(stamps, poses))
    source = opened(two_cameras(), image_topic=BOTH, trajectory=str(tmp_path / "poses.txt"))
    assert len(source.frames) == 20
    for frame in source.frames:
        mounted = FRONT_FROM_REAR if frame.frame_id == REAR_OPTICAL else np.eye(4)
        expected = map_from_camera((frame.stamp_ns - START) / 1e9) @ mounted
        np.testing.assert_allclose(frame.map_from_camera, expected, atol=1e-8)


def test_moments_that_have_poses_are_those_of_all_images(opened: Open) -> None:
    """What an image is a moment with does not hang on whose pose is known."""
    bag = two_cameras(tuple(range(15, 1000, 100)))
    bag.drop("/tf")
    for ms in range(30, 1100, 50):
        bag.add("/tf", tf(transform(START + ms * MS, "map", "odom", map_from_odom(ms / 1000))))
        bag.add("/tf", tf(transform(START + ms * MS, "odom", "base_link", odom_from_base(ms / 1000))))
    first, *moments = opened(bag, image_topic=BOTH).moments
    assert [(frame.frame_id, frame.stamp_ns, frame.moment_ns) for frame in first] == [
        (REAR_OPTICAL, START + 15 * MS, START)
    ]
    assert [len(moment) for moment in moments] == [2] * 9
    for moment in moments:
        for frame in moment:
            expected = map_from_camera((frame.stamp_ns - START) / 1e9)
            np.testing.assert_allclose(frame.map_from_rig, expected, atol=1e-9)


def test_images_that_were_not_taken_at_the_same_time(opened: Open) -> None:
    """The place of one that is 10 ms late is uncertain by half a centimetre; one 50 ms late is of another moment."""
    source = opened(two_cameras((10, 110, 250)), poses=False, image_topic=BOTH)
    assert [[(frame.stamp_ns - START) // MS for frame in moment] for moment in source.moments[:5]] == [
        [0, 10],
        [100, 110],
        [200],
        [250],
        [300],
    ]
    late, alone = source.moments[0][1], source.moments[3][0]
    assert late.moment_ns == START
    assert late.mount is not None
    np.testing.assert_allclose(np.sqrt(np.trace(late.mount.covariance[:3, :3])), 0.005)
    assert alone.moment_ns == alone.stamp_ns
    assert alone.mount is not None
    np.testing.assert_allclose(alone.mount.rig_from_camera, FRONT_FROM_REAR, atol=1e-9)
    assert not alone.mount.covariance.any()


def test_one_image_of_a_camera_is_of_a_moment() -> None:
    ms = 1_000_000
    front, rear, left = (np.array(stamps) * ms for stamps in ([0, 100], [-5, 3, 8, 60], [61, 104]))
    moments = moments_of([front, rear, left])
    assert [(each // ms).tolist() for each in moments] == [[0, 100], [-5, 0, 8, 60], [60, 100]]


def test_where_a_camera_is_not_known(opened: Open) -> None:
    bag = two_cameras()
    bag.replace("/tf_static", lambda index, message: None if index == 2 else message)
    with pytest.raises(
        DataError, match=f"where {REAR_OPTICAL} is on the robot is not known: /tf does not connect {OPTICAL}"
    ):
        opened(bag, poses=False, image_topic=BOTH)


@pytest.mark.parametrize("poses", [True, False])
def test_cameras_of_one_frame(opened: Open, poses: bool) -> None:
    bag = two_cameras(frame=OPTICAL)
    with pytest.raises(
        DataError, match=f"{COLOR} and {REAR} are of one frame, {OPTICAL}: give --camera-frame for each"
    ):
        opened(bag, poses=poses, image_topic=BOTH)
    source = opened(bag, poses=poses, image_topic=BOTH, camera_frame=(OPTICAL, REAR_OPTICAL))
    assert {frame.frame_id for frame in source.frames} == {OPTICAL, REAR_OPTICAL}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_topic": (COLOR, COLOR)}, "--image-topic names a topic twice"),
        (
            {"image_topic": BOTH, "camera_info_topic": "/rear/camera_info"},
            "--camera-info-topic is given 1 times, and there are 2",
        ),
        ({"camera_frame": ("a", "b")}, "--camera-frame is given 2 times, and there are 1 cameras"),
    ],
)
def test_options_that_are_not_of_each_camera(tmp_path: Path, options: dict[str, tuple[str, ...]], said: str) -> None:
    path = two_cameras().write(tmp_path / "bag")
    with pytest.raises(ConfigError, match=said):
        open_bag(path, poses=False, options=BagOptions(**options))


def test_what_is_told_of_each_camera(opened: Open) -> None:
    bag = two_cameras((0, 100, 200, 200))
    source = opened(bag, poses=False, image_topic=BOTH)
    assert source.notes == (f"{REAR}: 1 of 4 images have the stamp of another one: left out",)
    settled = of_each_camera(source, lambda each: Source("", each.frames[::-1], (f"{len(each.frames)} images",)))
    assert settled.notes == (f"{OPTICAL}: 10 images", f"{REAR_OPTICAL}: 3 images", *source.notes)
    assert [frame.frame_id for frame in settled.frames] == [frame.frame_id for frame in source.frames]
