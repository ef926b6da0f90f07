"""Keypoints and descriptors, on made-up textures."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from synthetic_scene import texture

from neumap.arrays import ImageArray
from neumap.features.extractor import Features
from neumap.features.sift import SIZE, RootSift, SiftSettings, root_sift


@pytest.fixture(scope="module")
def image() -> ImageArray:
    return texture(np.random.default_rng(1), 240, 320)


@pytest.fixture(scope="module")
def features(image: ImageArray) -> Features:
    return RootSift(SiftSettings()).whole(image)


def test_shapes_and_types(features: Features) -> None:
    n = len(features)
    assert n > 100
    shapes = {
        "pixels": (n, 2),
        "size": (n,),
        "angle": (n,),
        "response": (n,),
        "descriptors": (n, SIZE),
        "coarse": (n, SIZE),
    }
    for name, shape in shapes.items():
        value = getattr(features, name)
        assert value.shape == shape
        assert value.dtype == np.float32
        assert np.isfinite(value).all()


def test_descriptors_are_of_unit_length_and_not_negative(features: Features) -> None:
    for descriptors in (features.descriptors, features.coarse):
        np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-5)
        assert (descriptors >= 0).all()


def test_pixels_are_in_the_image_and_angles_in_radians(features: Features) -> None:
    assert (features.pixels > -0.5).all()
    assert (features.pixels < [319.5, 239.5]).all()
    assert 3 < np.ptp(features.angle) <= 2 * np.pi


def test_strongest_first(features: Features) -> None:
    assert (np.diff(features.response) <= 0).all()


def test_a_quick_look_finds_what_is_large_and_a_longer_one_adds_what_is_small() -> None:
    image = texture(np.random.default_rng(5), 480, 640)
    extract = RootSift(SiftSettings(max_keypoints=3000))
    quick = extract.quick(image)
    whole = extract.whole(image, quick)
    assert len(whole) > 1.3 * len(quick)
    added = whole.select(np.arange(len(quick), len(whole)))
    assert np.median(added.size) < 0.7 * np.median(quick.size)
    # what is added was not found already
    off = np.linalg.norm(added.pixels[:, None] - quick.pixels, axis=2) / quick.size
    alike = added.descriptors @ quick.descriptors.T
    assert ((off < 0.2) & (alike > 0.9)).any(axis=1).mean() < 0.05


def test_a_small_image_has_one_look(image: ImageArray) -> None:
    extract = RootSift(SiftSettings())
    quick = extract.quick(image)
    assert extract.whole(image, quick) is quick


@pytest.mark.parametrize("shape", [(240, 320), (480, 640), (683, 1024), (361, 541), (3000, 4000)])
def test_keypoints_are_in_the_middle_of_what_they_show(shape: tuple[int, int]) -> None:
    """Of either look: a blob at a known place, as large as it takes to be found in both."""
    where = np.array([0.37 * shape[1], 0.61 * shape[0]])
    y, x = np.mgrid[: shape[0], : shape[1]]
    larger = max(1.0, shape[1] / 1024)
    blob = 200 * np.exp(-(((x - where[0]) ** 2 + (y - where[1]) ** 2) / (2 * (6.0 * larger) ** 2)))
    image = (20 + blob).astype(np.uint8)
    extract = RootSift(SiftSettings())
    quick = extract.quick(image)
    nothing = quick.select(np.zeros(0, np.int64))
    looks = [quick] if image.size < 80_000 else [quick, extract.whole(image, nothing)]
    for found in looks:
        assert np.linalg.norm(found.pixels - where, axis=1).min() < 0.1 * larger


def test_a_photograph_of_12_megapixels_takes_little_memory() -> None:
    """What it shows is of the same pixels, at a quarter of the time and an eighth of the memory."""
    code = (
        "import resource, sys; import numpy as np; from neumap.features.sift import RootSift, SiftSettings\n"
        "small = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)\n"
        "image = np.kron(small, np.ones((10, 10), np.uint8))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = RootSift(SiftSettings()).whole(image)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *found.pixels.max(axis=0))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True, timeout=120)
    kilobytes, right, bottom = map(float, done.stdout.split())
    assert kilobytes < 500_000
    assert right > 3900
    assert bottom > 2900


def test_keypoints_of_a_reduced_image_are_not_found_twice() -> None:
    image = cv2.resize(texture(np.random.default_rng(5), 480, 640), (2560, 1920), interpolation=cv2.INTER_CUBIC)
    extract = RootSift(SiftSettings(max_keypoints=3000))
    quick = extract.quick(image)
    whole = extract.whole(image, quick)
    added = whole.select(np.arange(len(quick), len(whole)))
    assert len(added) > 0.3 * len(quick)
    off = np.linalg.norm(added.pixels[:, None] - quick.pixels, axis=2) / quick.size
    assert ((off < 0.2) & (added.descriptors @ quick.descriptors.T > 0.9)).any(axis=1).mean() < 0.05


def test_fewer_keypoints_are_the_strongest_of_all(image: ImageArray, features: Features) -> None:
    few = RootSift(SiftSettings(max_keypoints=50)).whole(image)
    assert len(few) == 50
    np.testing.assert_array_equal(few.response, features.response[:50])


def test_same_image_same_features(image: ImageArray, features: Features) -> None:
    again = RootSift(SiftSettings()).whole(image)
    np.testing.assert_array_equal(again.pixels, features.pixels)
    np.testing.assert_array_equal(again.descriptors, features.descriptors)
    np.testing.assert_array_equal(again.coarse, features.coarse)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_blank_image_has_no_features(value: int) -> None:
    empty = RootSift(SiftSettings()).whole(np.full((120, 160), value, np.uint8))
    assert len(empty) == 0
    assert empty.pixels.shape == (0, 2)
    assert empty.size.shape == empty.angle.shape == empty.response.shape == (0,)
    assert empty.descriptors.shape == empty.coarse.shape == (0, SIZE)


def test_a_quarter_turn_of_the_image_turns_keypoints_and_keeps_descriptors(
    image: ImageArray, features: Features
) -> None:
    turned = RootSift(SiftSettings()).whole(np.ascontiguousarray(np.rot90(image)))
    similarity = features.descriptors @ turned.descriptors.T
    best, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = np.flatnonzero(back[best] == np.arange(len(features)))
    here, there = features.select(mutual), turned.select(best[mutual])
    expected = np.stack([here.pixels[:, 1], 319 - here.pixels[:, 0]], axis=1)
    right = np.linalg.norm(there.pixels - expected, axis=1) < 1.5
    assert right.mean() > 0.7
    assert len(mutual) > 0.7 * len(features)
    turn = (there.angle - here.angle)[right]
    np.testing.assert_allclose(np.median(np.exp(1j * turn)), np.exp(-0.5j * np.pi), atol=0.1)
    coarse = (here.coarse * there.coarse).sum(axis=1)[right]
    assert np.median(coarse) > 0.9


def test_the_coarse_descriptor_sees_what_the_fine_one_does_not() -> None:
    """Two images that differ only away from their middle."""
    rng = np.random.default_rng(4)
    first, other = texture(rng, 240, 240), texture(rng, 240, 240)
    y, x = np.mgrid[:240, :240] - 119.5
    second = np.where(np.hypot(x, y) < 40, first, other)
    a, b = RootSift(SiftSettings()).whole(first), RootSift(SiftSettings()).whole(second)
    distance = np.linalg.norm(a.pixels[:, None] - b.pixels, axis=2)
    distance += np.abs(a.size[:, None] - b.size) + np.abs(np.sin((a.angle[:, None] - b.angle) / 2))
    same = (distance.min(axis=1) < 0.1) & (np.linalg.norm(a.pixels - 119.5, axis=1) < 10) & (a.size < 4)
    twin = distance.argmin(axis=1)
    assert same.sum() >= 2
    assert (a.descriptors * b.descriptors[twin]).sum(axis=1)[same].min() > 0.98
    assert (a.coarse * b.coarse[twin]).sum(axis=1)[same].mean() < 0.95


def test_select_takes_indices_and_masks(features: Features) -> None:
    mask = np.arange(len(features)) % 7 == 3
    by_mask, by_index = features.select(mask), features.select(np.flatnonzero(mask))
    assert len(by_mask) == mask.sum()
    np.testing.assert_array_equal(by_mask.descriptors, by_index.descriptors)
    np.testing.assert_array_equal(by_mask.angle, features.angle[mask])


def test_root_sift_is_the_hellinger_kernel() -> None:
    sift = np.random.default_rng(2).integers(0, 200, (2, 128)).astype(np.float32)
    p, q = sift / sift.sum(axis=1, keepdims=True)
    a, b = root_sift(sift)
    assert a @ b == pytest.approx(np.sqrt(p * q).sum(), rel=1e-5)
    assert np.isfinite(root_sift(np.zeros((1, 128), np.float32))).all()
