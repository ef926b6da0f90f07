"""What makes an image hard: it does what it says, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from neumap.virtual.hardships import Cover, Hardship, random_hardship

SHAPE = (120, 160)
IMAGE = np.random.default_rng(0).integers(60, 200, SHAPE).astype(np.uint8)
COVERS: tuple[Cover, ...] = ("black", "person", "hand")


def test_nothing_hard_leaves_the_image_as_it_is() -> None:
    np.testing.assert_array_equal(Hardship().spoil(IMAGE), IMAGE)
    assert not Hardship().covered(SHAPE).any()
    # what moves does so when it is exposed
    np.testing.assert_array_equal(Hardship(motion_px=(9.0, 0.0)).spoil(IMAGE), IMAGE)


def test_out_of_focus_there_are_fewer_details() -> None:
    contrast = [Hardship(defocus_px=radius).spoil(IMAGE).std() for radius in (0.0, 1.5, 4.0)]
    assert contrast[0] > 2 * contrast[1] > 3 * contrast[2]


def test_other_light_is_smooth() -> None:
    grey = np.full(SHAPE, 90, np.uint8)
    lit = np.array([Hardship(relit=0.6, seed=seed).spoil(grey).astype(float) for seed in range(12)])
    assert (lit.std(axis=(1, 2)) > 5).all()
    # all but what is at the edge of a shadow
    assert np.median(np.abs(np.diff(lit, axis=2))) <= 2


@pytest.mark.parametrize("cover", COVERS)
def test_a_part_is_covered_and_the_rest_is_seen(cover: Cover) -> None:
    shares = []
    for seed in range(12):
        hard = Hardship(cover=cover, seed=seed)
        covered, image = hard.covered(SHAPE), hard.spoil(IMAGE)
        shares.append(covered.mean())
        np.testing.assert_array_equal(image, hard.spoil(IMAGE))
        assert image[covered].std() < IMAGE.std()
        same = image == IMAGE
        assert same[~covered].mean() > 0.7
        if cover == "black":
            assert np.median(image[covered]) == 0
    assert 0.08 < min(shares) < max(shares) < 0.8
    assert 0.2 < float(np.mean(shares)) < 0.6


def test_of_many_each_has_something_and_all_occur() -> None:
    rng = np.random.default_rng(3)
    drawn = [random_hardship(rng) for _ in range(200)]
    moved = np.array([np.hypot(*hard.motion_px) for hard in drawn])
    assert moved.max() <= 12.0 < 1.1 * moved.max()
    of_kind = np.array(
        [[m > 0, h.defocus_px > 0, h.relit > 0, h.cover != "none"] for m, h in zip(moved, drawn, strict=True)]
    )
    assert (of_kind.sum(axis=1) >= 1).all()
    assert 20 < (of_kind.sum(axis=1) == 2).sum() < 90
    assert (of_kind.sum(axis=0) > 20).all()
    assert {hard.cover for hard in drawn} == {"none", *COVERS}
