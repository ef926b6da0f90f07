"""Mapping images as arrays, and the depth of their keypoints."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic_scene import CAMERA, texture, turned

from neumap.arrays import Float32Array, ImageArray
from neumap.errors import MappingError
from neumap.features.sift import RootSift, SiftSettings
from neumap.geometry.cameras import make_camera
from neumap.mapping.keyframes import depth_at, extract_keyframes, field_of_view, ordered_map
from neumap.records import Frame

MIDDLE = np.array([[20.0, 15.0]], np.float32)


def wall(metres: float) -> Float32Array:
    return np.full((30, 40), metres, np.float32)


@given(st.floats(0.3, 20), st.floats(-3, 42), st.floats(-3, 33))
def test_depth_of_a_wall_is_its_distance_up_to_the_border(metres: float, x: float, y: float) -> None:
    assert depth_at(wall(metres), np.array([[x, y]], np.float32)) == pytest.approx(metres)


def test_depth_is_the_median_around_the_pixel() -> None:
    depth = wall(2.0) + np.linspace(0, 0.02, 40, dtype=np.float32)
    depth[14, 21] = 9.0
    assert depth_at(depth, MIDDLE)[0] == pytest.approx(depth[15, 20], abs=1e-3)


def test_depth_is_read_at_column_x_and_row_y() -> None:
    depth = np.add.outer(1e-3 * np.arange(30), 1e-4 * np.arange(40)).astype(np.float32) + 1
    pixels = np.array([[10, 5], [30, 25]], np.float32)
    np.testing.assert_allclose(depth_at(depth, pixels), [1.006, 1.028], atol=1e-5)


def test_depth_at_an_edge_is_unknown() -> None:
    depth = wall(1.0)
    depth[:, 20:] = 1.5
    pixels = np.array([[10, 15], [19, 15], [20, 15], [30, 15]], np.float32)
    np.testing.assert_allclose(depth_at(depth, pixels), [1.0, 0, 0, 1.5])


@pytest.mark.parametrize("unknown", [0.0, -1.0, np.nan, np.inf])
def test_depth_needs_half_of_the_window(unknown: float) -> None:
    depth = wall(3.0)
    window = depth[13:18, 18:23]
    window[:2], window[2, :2] = unknown, unknown
    assert depth_at(depth, MIDDLE)[0] == pytest.approx(3.0)
    window[2, 2] = unknown
    assert depth_at(depth, MIDDLE)[0] == 0


def test_depth_of_an_image_smaller_than_the_window_is_unknown() -> None:
    np.testing.assert_array_equal(depth_at(np.ones((4, 40), np.float32), np.zeros((3, 2), np.float32)), np.zeros(3))
    assert depth_at(wall(1.0), np.zeros((0, 2), np.float32)).shape == (0,)


def frame(
    number: int,
    image: ImageArray | None = None,
    depth: Float32Array | None = None,
    posed: bool = True,
) -> Frame:
    pose = turned(np.zeros(3), np.array([number, 0.0, 0.0])) if posed else None

    def read_image() -> ImageArray:
        return np.zeros((64, 64), np.uint8) if image is None else image

    def read_depth() -> Float32Array:
        assert depth is not None
        return depth

    return Frame(str(number), number, CAMERA, read_image, None if depth is None else read_depth, pose)


@pytest.mark.parametrize("workers", [1, 3])
def test_ordered_map_keeps_the_order_of_slow_and_fast(workers: int) -> None:
    def work(f: Frame) -> int:
        time.sleep(0.004 * (f.stamp_ns % 3))
        return f.stamp_ns

    assert list(ordered_map(work, [frame(i) for i in range(20)], workers)) == list(range(20))
    assert list(ordered_map(work, [], workers)) == []


def test_ordered_map_runs_only_a_little_ahead() -> None:
    started: list[int] = []
    results = ordered_map(lambda f: started.append(f.stamp_ns), [frame(i) for i in range(100)], 2)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 6
    del results


def test_ordered_map_passes_exceptions_on_and_stops() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(f: Frame) -> int:
        with lock:
            started.append(f.stamp_ns)
        if f.stamp_ns == 3:
            raise OSError("unreadable")
        return f.stamp_ns

    results = ordered_map(work, [frame(i) for i in range(100)], 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="unreadable"):
        next(results)
    assert len(started) < 15


@pytest.fixture(scope="module")
def images() -> list[ImageArray]:
    rng = np.random.default_rng(7)
    return [texture(rng, 120, 160) for _ in range(3)]


SETTINGS = SiftSettings(max_keypoints=200)


def test_keyframes_are_the_features_of_the_images_in_order(images: list[ImageArray]) -> None:
    blank = np.zeros((120, 160), np.uint8)
    frames = [
        frame(i, im, np.full(im.shape, 1.0 + i, np.float32)) for i, im in enumerate([images[0], blank, images[1]])
    ]
    told: list[int] = []
    keyframes = extract_keyframes(frames, SETTINGS, use_depth=True, progress=told.append)
    assert told == [1, 1, 1]
    assert len(keyframes) == 3
    extract = RootSift(SETTINGS)
    for i, image in enumerate([images[0], blank, images[1]]):
        features, here = extract.whole(image), keyframes.slice(i)
        assert here.stop - here.start == len(features)
        assert (keyframes.image[here] == i).all()
        np.testing.assert_allclose(keyframes.rays[here] * 500 + [319.5, 239.5], features.pixels, atol=1e-3)
        np.testing.assert_allclose(keyframes.depth[here], 1 + i)
        np.testing.assert_allclose(keyframes.size[here], features.size)
        np.testing.assert_allclose(keyframes.angle[here], features.angle)
        np.testing.assert_allclose(keyframes.descriptors[here], features.descriptors, atol=1e-3)
        np.testing.assert_allclose(keyframes.coarse[here], features.coarse, atol=1e-3)
        np.testing.assert_array_equal(keyframes.map_from_camera[i], frames[i].map_from_camera)
    assert keyframes.depth_measured
    assert keyframes.offsets[-1] == len(keyframes.image)
    np.testing.assert_array_equal(keyframes.rays3()[:, 2], 1)
    np.testing.assert_array_equal(keyframes.focal_px, 500)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_threads_than_torch_may_take(
    images: list[ImageArray], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neumap.mapping.keyframes.usable_cores", lambda: 2)
    used = set()

    def noted(each: Frame) -> Frame:
        def read() -> ImageArray:
            used.add(threading.get_ident())
            time.sleep(0.02)
            return each.read_image()

        return replace(each, read_image=read)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        extract_keyframes([noted(frame(i, images[i % 3])) for i in range(8)], SETTINGS, use_depth=False)
    finally:
        torch.set_num_threads(before)
    assert len(used) == threads


def test_depth_can_be_left_unread(images: list[ImageArray]) -> None:
    frames = [frame(i, im, np.ones(im.shape, np.float32)) for i, im in enumerate(images)]
    keyframes = extract_keyframes(frames, SETTINGS, use_depth=False)
    assert not keyframes.depth_measured
    assert not keyframes.depth.any()


def test_blank_images_are_no_map(images: list[ImageArray]) -> None:
    with pytest.raises(MappingError, match="blank"):
        extract_keyframes([frame(0), frame(1), frame(2, images[0])], SETTINGS, use_depth=True)


def fail_to_read() -> ImageArray:
    raise AssertionError("read")


def test_a_frame_without_a_pose_is_refused_before_any_is_read() -> None:
    unread = Frame("0", 0, CAMERA, fail_to_read, None, None)
    with pytest.raises(MappingError, match="pose"):
        extract_keyframes([unread], SETTINGS, use_depth=True)


@pytest.mark.parametrize(("model", "distortion"), [("plumb_bob", []), ("equidistant", [0.01, 0, 0, 0])])
def test_field_of_view_is_that_of_the_lens(model: str, distortion: list[float]) -> None:
    camera = make_camera(640, 480, [400, 0, 320, 0, 400, 240, 0, 0, 1], model, distortion)
    left, top, right, bottom = field_of_view(Frame("", 0, camera, fail_to_read))
    if model == "plumb_bob":
        np.testing.assert_allclose([left, top, right, bottom], [-0.8, -0.6, 0.8, 0.6])
    else:  # a fisheye sees further than a pinhole of the same focal length
        assert left < -0.9
        assert right > 0.9
        assert top < -0.65 < 0.65 < bottom
