from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from neumap.arrays import FloatArray
from neumap.errors import ConfigError, DataError
from neumap.geometry.cameras import make_camera, normalize, project
from neumap.geometry.se3 import invert_pose, transform_points
from neumap.io.tum import read_tum
from neumap.records import Camera
from neumap.virtual.drive import CLEARANCE, clearance, drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import expose, render
from neumap.virtual.scene import Room
from neumap.virtual.world import DEPTH_SCALE, blank_wall_view, write_tum

PINHOLE = make_camera(320, 240, [262.0, 0, 159.5, 0, 262.0, 119.5, 0, 0, 1])
LENSES = {
    "pinhole": PINHOLE,
    "plumb_bob": make_camera(
        320, 240, [262.0, 0, 155.0, 0, 264.0, 122.0, 0, 0, 1], "plumb_bob", [-0.28, 0.09, 0.001, -0.002, 0.0]
    ),
    "equidistant": make_camera(
        320, 240, [150.0, 0, 159.5, 0, 150.0, 119.5, 0, 0, 1], "equidistant", [0.02, -0.004, 0.001, 0.0]
    ),
}


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(3, detail=250.0)


@pytest.fixture(scope="module")
def poses(room: Room) -> FloatArray:
    return drive(room, 1, 60, "mapping")


def nearest_depth(room: Room, camera: Camera, pose: FloatArray, pixels: FloatArray) -> FloatArray:
    """The depth of each pixel by intersecting its ray with every rectangle in turn, in the map frame."""
    rays = np.column_stack([normalize(camera, pixels), np.ones(len(pixels))]) @ pose[:3, :3].T
    best = np.full(len(pixels), np.inf)
    for rectangle in room.rectangles:
        facing, (origin, *edges) = rays @ rectangle.normal, rectangle.edges
        depth = np.where(facing < 0, (origin - pose[:3, 3]) @ rectangle.normal / facing, np.inf)
        with np.errstate(invalid="ignore"):
            at = pose[:3, 3] + depth[:, None] * rays - origin
            u, v = (at @ edge / (edge @ edge) for edge in edges)
            hit = (depth > 0) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        best = np.where(hit & (depth < best), depth, best)
    return best


@pytest.mark.parametrize("lens", LENSES)
def test_depth_is_that_of_the_nearest_rectangle(room: Room, poses: FloatArray, lens: str) -> None:
    camera = LENSES[lens]
    rng = np.random.default_rng(0)
    for pose in poses[[4, 33]]:
        _, depth = render(room, camera, pose, supersample=1)
        assert depth.shape == (240, 320)
        assert depth.dtype == np.float32
        pixels = np.column_stack([rng.integers(0, 320, 400), rng.integers(0, 240, 400)]).astype(np.float64)
        expected = nearest_depth(room, camera, pose, pixels)
        got = depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        close = np.abs(got - expected) < 1e-4 * expected
        # a ray through an edge may fall on either side of it in single precision
        assert close.mean() >= 0.995
        assert np.all(got > 0)


def test_two_views_agree_through_the_depth(room: Room, poses: FloatArray) -> None:
    camera = make_camera(640, 480, [525.0, 0, 319.5, 0, 525.0, 239.5, 0, 0, 1])
    first_pose = poses[20]
    second_pose = first_pose.copy()
    turn = cv2.Rodrigues(np.array([0.02, -0.08, 0.03]))[0]
    second_pose[:3, :3] = first_pose[:3, :3] @ turn
    second_pose[:3, 3] += first_pose[:3, :3] @ np.array([0.15, -0.04, 0.05])
    (first, depth), (second, _) = (render(room, camera, p) for p in (first_pose, second_pose))
    sift = cv2.SIFT_create(1500, contrastThreshold=0.01, edgeThreshold=12)
    keypoints_a, descriptors_a = sift.detectAndCompute(first, None)
    keypoints_b, descriptors_b = sift.detectAndCompute(second, None)
    assert min(len(keypoints_a), len(keypoints_b)) >= 700
    pairs = [
        (a.queryIdx, a.trainIdx)
        for a, b in cv2.BFMatcher().knnMatch(descriptors_a, descriptors_b, k=2)
        if a.distance < 0.8 * b.distance
    ]
    assert len(pairs) > 200
    pixels_a = np.array([keypoints_a[a].pt for a, _ in pairs])
    pixels_b = np.array([keypoints_b[b].pt for _, b in pairs])
    z = depth[np.rint(pixels_a[:, 1]).astype(int), np.rint(pixels_a[:, 0]).astype(int)]
    points = np.column_stack([normalize(camera, pixels_a), np.ones(len(pixels_a))]) * z[:, None]
    seen = project(camera, transform_points(invert_pose(second_pose) @ first_pose, points))
    error = np.linalg.norm(seen - pixels_b, axis=1)
    assert np.median(error) < 0.5
    assert (error < 2).mean() > 0.8


def test_a_lens_bends_the_same_image(room: Room, poses: FloatArray) -> None:
    lens = LENSES["plumb_bob"]
    wide = make_camera(800, 600, [393.0, 0, 399.5, 0, 393.0, 299.5, 0, 0, 1])
    pinhole, _ = render(room, wide, poses[10], supersample=3)
    bent, _ = render(room, lens, poses[10], supersample=3)
    grid = np.stack(np.meshgrid(np.arange(320.0), np.arange(240.0)), axis=-1).reshape(-1, 2)
    rays = np.column_stack([normalize(lens, grid), np.ones(len(grid))])
    lookup = project(wide, rays).astype(np.float32).reshape(240, 320, 2)
    expected = cv2.remap(cv2.GaussianBlur(pinhole, (0, 0), 0.6), lookup, None, cv2.INTER_LINEAR)
    difference = np.abs(bent.astype(int) - expected)
    assert np.mean(difference) < 6
    assert np.percentile(difference, 50) <= 3


def test_what_the_lens_cannot_see_is_black(room: Room, poses: FloatArray) -> None:
    fisheye = make_camera(320, 240, [80.0, 0, 159.5, 0, 80.0, 119.5, 0, 0, 1], "equidistant")
    image, depth = render(room, fisheye, poses[0])
    assert depth[0, 0] == 0
    assert not image[0, 0].any()
    assert depth[120, 160] > 0


def test_textures_are_antialiased(room: Room, poses: FloatArray) -> None:
    for pose in poses[::20]:
        image, _ = render(room, PINHOLE, pose)
        reference, _ = render(room, PINHOLE, pose, supersample=6)
        assert np.abs(image.astype(int) - reference).mean() < 2.5


def test_views_are_rich_enough_to_localize_in(room: Room, poses: FloatArray) -> None:
    camera = make_camera(640, 480, [525.0, 0, 319.5, 0, 525.0, 239.5, 0, 0, 1])
    sift = cv2.SIFT_create(1500, contrastThreshold=0.01, edgeThreshold=12)
    counts = [len(sift.detect(render(room, camera, pose)[0], None)) for pose in poses[::8]]
    assert np.median(counts) >= 800


def test_the_same_seed_gives_the_same_room_and_another_seed_another_one() -> None:
    first, again, other = (make_room(seed, detail=60.0) for seed in (5, 5, 6))
    assert np.array_equal(first.atlas, again.atlas)
    assert np.array_equal(first.geometry, again.geometry)
    assert np.array_equal(drive(first, 2, 20, "query"), drive(again, 2, 20, "query"))
    assert first.geometry.shape != other.geometry.shape or not np.allclose(first.geometry, other.geometry)
    walls = [next(r.texture for r in made.rectangles if r.name == "wall 0").astype(int) for made in (first, other)]
    assert walls[0].shape != walls[1].shape or np.abs(walls[0] - walls[1]).mean() > 5


def test_a_room_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"3\.5 m"):
        make_room(0, (2.0, 5.0, 2.7))


def test_a_larger_room_is_furnished_too() -> None:
    large = make_room(0, (11.0, 9.0, 3.0), detail=60.0)
    assert max(large.atlas.shape) < 4000
    assert {"floor", "ceiling", "wall 0", "wall 3", "lamp"} <= {rectangle.name for rectangle in large.rectangles}
    assert len(drive(large, 0, 30, "query")) == 30


@pytest.mark.parametrize("seed", [1, 2])
def test_drives_are_smooth_and_clear_of_everything(room: Room, seed: int) -> None:
    mapping, query = drive(room, seed, 200, "mapping"), drive(room, seed, 50, "query")
    for path in (mapping, query):
        assert clearance(room, path[:, :2, 3]).min() >= CLEARANCE
        assert path[:, 2, 3].min() >= 0.5
        assert path[:, 2, 3].max() <= 1.6
        rotation = path[:, :3, :3]
        assert np.allclose(rotation @ np.swapaxes(rotation, 1, 2), np.eye(3), atol=1e-12)
        assert np.allclose(np.linalg.det(rotation), 1)
        # x of the optical frame is level within a few degrees, y points down
        assert np.abs(rotation[:, 2, 0]).max() < np.sin(np.deg2rad(10))
        assert rotation[:, 2, 1].max() < -0.9
        steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
        assert steps.max() < 0.25
        cosine = (np.einsum("nij,nij->n", rotation[1:], rotation[:-1]) - 1) / 2
        assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 16
    apart = np.linalg.norm(query[:, None, :3, 3] - mapping[None, :, :3, 3], axis=-1).min(axis=1)
    assert 0.2 < np.median(apart) < 1.0
    # the mapping drive looks every way
    yaw = np.arctan2(mapping[:, 1, 2], mapping[:, 0, 2])
    assert (np.histogram(yaw, 6, (-np.pi, np.pi))[0] > 0).all()


def test_the_blank_wall_fills_its_view_and_has_nothing_to_match(room: Room) -> None:
    for camera in (PINHOLE, LENSES["plumb_bob"]):
        pose = blank_wall_view(room, camera)
        image, depth = render(room, camera, pose)
        assert np.ptp(depth) < 1e-3
        assert image.std(axis=(0, 1)).max() < 4
        origin, right, down = room.blank_wall
        border = np.array([[0, 0], [319, 0], [0, 239], [319, 239]], dtype=np.float64)
        corners = np.column_stack([normalize(camera, border), np.ones(4)]) * depth[0, 0]
        offset = transform_points(pose, corners) - origin
        for edge in (right, down):
            assert ((offset @ edge > 0) & (offset @ edge < edge @ edge)).all()
        sift = cv2.SIFT_create(1500, contrastThreshold=0.01, edgeThreshold=12)
        assert len(sift.detect(image, None)) < 50


def test_the_sensor_adds_what_it_says() -> None:
    grey = np.full((200, 300), 128, dtype=np.uint8)
    rng = np.random.default_rng(0)
    assert np.array_equal(expose(grey, rng, noise_sigma=0), grey)
    assert expose(grey, rng, noise_sigma=3.0).std() == pytest.approx(3.0, rel=0.1)
    assert expose(grey, rng, gain=0.5, noise_sigma=0)[0, 0] == 64
    assert expose(grey, rng, gamma=2.0, noise_sigma=0)[0, 0] == 64
    dot = np.zeros((21, 21, 3), dtype=np.uint8)
    dot[10, 10] = 255
    moved = expose(dot, rng, noise_sigma=0, motion_px=(6.0, 0.0))
    assert (moved[10, 8:13] > 20).all()
    assert not moved[:9].any()
    assert abs(int(moved[..., 0].sum()) - 255) < 12


def test_a_tum_folder_holds_what_was_rendered(room: Room, poses: FloatArray, tmp_path: Path) -> None:
    camera = LENSES["plumb_bob"]
    done: list[tuple[int, int]] = []
    write_tum(
        tmp_path / "a", room, camera, poses[:3], seed=7, progress=lambda count, total: done.append((count, total))
    )
    assert done == [(1, 3), (2, 3), (3, 3)]
    source = read_tum(tmp_path / "a")
    assert source.notes == ()
    assert np.diff([frame.stamp_ns for frame in source.frames]).tolist() == [200_000_000] * 2
    for frame, pose in zip(source.frames, poses, strict=False):
        assert np.allclose(frame.camera.matrix, camera.matrix)
        assert np.allclose(frame.camera.distortion, camera.distortion)
        image, depth = render(room, camera, pose)
        assert np.abs(frame.read_image().astype(int) - cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)).mean() < 30
        assert frame.read_depth is not None
        assert np.abs(frame.read_depth() - depth).max() <= 0.6 / DEPTH_SCALE
        assert frame.map_from_camera is not None
        assert np.allclose(frame.map_from_camera, pose, atol=1e-8)
    info = yaml.safe_load((tmp_path / "a/camera_info.yaml").read_text())
    assert info["projection_matrix"]["cols"] == 4

    write_tum(tmp_path / "b", room, camera, poses[:3], with_depth=False, seed=7)
    names = ["camera_info.yaml", "groundtruth.txt", "rgb", "rgb.txt"]
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == names
    for path in (tmp_path / "a/rgb").iterdir():
        assert path.read_bytes() == (tmp_path / "b/rgb" / path.name).read_bytes()


def test_a_folder_that_cannot_be_written_is_reported(room: Room, poses: FloatArray, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="taken"):
        write_tum(tmp_path / "taken", room, PINHOLE, poses[:1])
