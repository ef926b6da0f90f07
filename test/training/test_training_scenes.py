"""Which landmark a keypoint shows, in a virtual room where the poses and depths are true."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from neumap.arrays import FloatArray
from neumap.errors import MappingError
from neumap.features import default_settings
from neumap.geometry.cameras import make_camera, project
from neumap.geometry.se3 import invert_pose, make_pose, transform_points
from neumap.records import Frame
from neumap.training.scenes import (
    NOTHING,
    REACH_M,
    SAME_M,
    SAME_RAD,
    UNKNOWN,
    TrainingScene,
    _label_by_point,
    load_scene,
    make_training_scene,
    save_scene,
)
from neumap.virtual.curriculum import record_drive
from neumap.virtual.layout import make_room

CAMERA = make_camera(320, 240, [262.0, 0, 159.5, 0, 262.0, 119.5, 0, 0, 1])
MAPPED, QUERIES = 9, 3


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Of a drive that goes on slowly; first those to map, then what lies between some of them."""
    room = make_room(3, (4.5, 4.0, 2.6), detail=220.0)
    drive = record_drive(room, CAMERA, seed=1, count=150, kind="mapping")
    return [*drive[: 2 * MAPPED : 2], *drive[1 : 1 + 4 * QUERIES : 4]]


@pytest.fixture(scope="module")
def scene(frames: list[Frame]) -> TrainingScene:
    return make_training_scene(frames[:MAPPED], frames[MAPPED:], default_settings())


def pose_of(frame: Frame) -> FloatArray:
    assert frame.map_from_camera is not None
    return frame.map_from_camera


def test_a_scene_is_of_one_piece(scene: TrainingScene) -> None:
    count, landmarks = len(scene.image), len(scene.points)
    assert count > 1000
    assert landmarks > 100
    for name, shape, dtype in (
        ("descriptors", (count, 128), np.float16),
        ("coarse", (count, 128), np.float16),
        ("size", (count,), np.float32),
        ("angle", (count,), np.float32),
        ("rays", (count, 2), np.float32),
        ("quick", (count,), np.bool_),
        ("image", (count,), np.int32),
        ("landmark", (count,), np.int32),
        ("points", (landmarks, 3), np.float32),
        ("mapped", (MAPPED + QUERIES,), np.bool_),
    ):
        value = getattr(scene, name)
        assert (value.shape, value.dtype) == (shape, dtype), name
        assert np.isfinite(value.astype(np.float64)).all(), name
    assert (np.diff(scene.image) >= 0).all()
    assert np.unique(scene.image).tolist() == list(range(MAPPED + QUERIES))
    assert scene.mapped.tolist() == [True] * MAPPED + [False] * QUERIES
    assert scene.landmark.min() >= UNKNOWN
    assert scene.landmark.max() < landmarks


@pytest.mark.parametrize("mapped", [True, False])
def test_keypoints_are_where_their_landmarks_are(scene: TrainingScene, frames: list[Frame], mapped: bool) -> None:
    of_kind = (scene.landmark >= 0) & (scene.mapped[scene.image] == mapped)
    assert of_kind.sum() > 100 * (MAPPED if mapped else QUERIES)
    for i in np.unique(scene.image[of_kind]):
        row = of_kind & (scene.image == i)
        seen = transform_points(invert_pose(pose_of(frames[i])), scene.points[scene.landmark[row]].astype(np.float64))
        assert (seen[:, 2] > 0).all()
        off_px = 262.0 * np.linalg.norm(seen[:, :2] / seen[:, 2:] - scene.rays[row], axis=1)
        assert np.median(off_px) < 1.0
        # what is near shows SAME_M as more pixels
        off_m = off_px / 262.0 * seen[:, 2]
        assert ((off_px < 6.0) | (off_m < SAME_M)).mean() > 0.99


def test_landmarks_are_seen_from_several_mapped_images(scene: TrainingScene) -> None:
    row = (scene.landmark >= 0) & scene.mapped[scene.image]
    pairs = np.unique(np.stack([scene.landmark[row], scene.image[row]], axis=1), axis=0)
    views = np.bincount(pairs[:, 0], minlength=len(scene.points))
    assert (views >= 3).mean() > 0.95


def test_keypoints_of_one_landmark_look_alike(scene: TrainingScene) -> None:
    row = np.flatnonzero(scene.landmark >= 0)
    order = row[np.argsort(scene.landmark[row], kind="stable")]
    same = scene.landmark[order[:-1]] == scene.landmark[order[1:]]
    descriptors = scene.descriptors.astype(np.float32)
    alike = np.einsum("ij,ij->i", descriptors[order[:-1]], descriptors[order[1:]])
    assert np.median(alike[same]) > np.quantile(alike[~same], 0.9)


def test_what_shows_nothing_is_far_from_every_landmark(scene: TrainingScene, frames: list[Frame]) -> None:
    landmarks = cKDTree(scene.points)
    nothing = scene.landmark == NOTHING
    assert nothing.sum() > 100
    for i in (0, MAPPED):
        row = nothing & (scene.image == i)
        pixels = project(CAMERA, np.column_stack([scene.rays[row], np.ones(row.sum())]))
        at = np.clip(np.rint(pixels).astype(int), 0, [319, 239])
        read_depth = frames[i].read_depth
        assert read_depth is not None
        z = read_depth()[at[:, 1], at[:, 0]].astype(np.float64)
        rays = np.column_stack([scene.rays[row], np.ones(row.sum())])
        distance, _ = landmarks.query(transform_points(pose_of(frames[i]), rays * z[:, None]))
        # depths of keypoints are medians of their surroundings
        assert (distance > 0.9 * REACH_M).mean() > 0.97


def test_a_point_is_a_landmark_or_nothing_or_unknown() -> None:
    landmarks = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.04, 0, 0]])
    between = (SAME_M + REACH_M) / 2
    points = np.array(
        [
            [0, 0, 0.9 * SAME_M],
            [0, 0, between],
            [0, 0, 1.1 * REACH_M],
            [1.015, 0, 0],
            [1.03, 0, 0],
            [1.0, 0, 0],
            [50.0, 0, 0],
        ]
    )
    depth = np.array([1.0, 1, 1, 1, 1, 0, 1])
    assert _label_by_point(points, depth, landmarks).tolist() == [0, UNKNOWN, NOTHING, 1, 2, UNKNOWN, NOTHING]
    assert _label_by_point(points[:0], depth[:0], landmarks).tolist() == []
    assert _label_by_point(points[5:6], depth[5:6], landmarks).tolist() == [UNKNOWN]


def test_what_is_far_is_told_by_pixels() -> None:
    landmarks, far = np.array([[0.0, 0, 40.0]]), np.full(3, 40.0)
    off = np.array([0.9 * SAME_RAD, 1.5 * SAME_RAD, 1.1 * SAME_RAD * REACH_M / SAME_M]) * 40.0
    points = landmarks + off[:, None] * [1.0, 0, 0]
    assert off[0] > REACH_M
    assert _label_by_point(points, far, landmarks).tolist() == [0, UNKNOWN, NOTHING]


def test_landmarks_are_made_of_depth_within_reach(scene: TrainingScene, frames: list[Frame]) -> None:
    near = make_training_scene(frames[:MAPPED], frames[MAPPED:], default_settings(), depth_reach_m=2.5)
    assert 0 < len(near.points) < len(scene.points)
    # of landmarks out of reach nothing is shown, though how far keypoints are is known
    assert (near.landmark == NOTHING).sum() > (scene.landmark == NOTHING).sum()
    seen = [transform_points(invert_pose(pose_of(frame)), near.points.astype(np.float64)) for frame in frames[:MAPPED]]
    nearest = np.array(seen)[..., 2].min(axis=0)
    assert nearest.max() < 2.6


def test_without_depth_landmarks_are_triangulated_and_keypoints_told_by_true_depth(
    scene: TrainingScene, frames: list[Frame]
) -> None:
    blind = make_training_scene(frames[:MAPPED], frames[MAPPED:], default_settings(), depth_reach_m=0.0)
    assert len(blind.points) > 100
    assert not np.isin(blind.points, scene.points).all(axis=1).any()
    assert (blind.landmark == NOTHING).sum() > 100
    for mapped in (True, False):
        row = (blind.landmark >= 0) & (blind.mapped[blind.image] == mapped)
        assert row.sum() > 50 * (MAPPED if mapped else QUERIES)
        off_px = []
        for i in np.unique(blind.image[row]):
            of_image = row & (blind.image == i)
            points = blind.points[blind.landmark[of_image]].astype(np.float64)
            seen = transform_points(invert_pose(pose_of(frames[i])), points)
            off_px.append(262.0 * np.linalg.norm(seen[:, :2] / seen[:, 2:] - blind.rays[of_image], axis=1))
        assert np.median(np.concatenate(off_px)) < 1.5
        assert (np.concatenate(off_px) < 10.0).mean() > 0.9


def test_queries_make_no_landmarks(scene: TrainingScene, frames: list[Frame]) -> None:
    progress: list[str] = []
    alone = make_training_scene(frames[:MAPPED], (), default_settings(), lambda stage, *_: progress.append(stage))
    np.testing.assert_array_equal(alone.points, scene.points)
    assert alone.mapped.all()
    count = len(alone.image)
    np.testing.assert_array_equal(alone.landmark, scene.landmark[:count])
    np.testing.assert_array_equal(alone.rays, scene.rays[:count])
    assert scene.mapped[scene.image[:count]].all()
    assert "features" in progress
    assert "queries" not in progress


def test_images_of_a_blank_wall_are_refused(frames: list[Frame]) -> None:
    blank = [
        Frame(
            name=str(i),
            stamp_ns=i,
            camera=CAMERA,
            read_image=lambda: np.full((240, 320), 120, np.uint8),
            read_depth=lambda: np.full((240, 320), 2.0, np.float32),
            map_from_camera=make_pose(np.eye(3), np.array([0.1 * i, 0, 0])),
        )
        for i in range(3)
    ]
    with pytest.raises(MappingError):
        make_training_scene(blank, frames[:1], default_settings())


def test_a_scene_comes_back_as_it_was(scene: TrainingScene, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    save_scene(path, scene)
    loaded = load_scene(str(path))
    for f in fields(TrainingScene):
        value = getattr(loaded, f.name)
        assert value.dtype == getattr(scene, f.name).dtype
        np.testing.assert_array_equal(value, getattr(scene, f.name))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_scene_that_cannot_be_written_leaves_the_old_one(
    scene: TrainingScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full(tensors: object, to: Path) -> None:
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neumap.training.scenes.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_scene(path, scene)
    assert path.read_bytes() == b"old"
