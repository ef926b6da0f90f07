"""Cameras to train with: as those of phones and robots, and of a field of view that is all there."""

from __future__ import annotations

import numpy as np

from neumap.geometry.cameras import normalize
from neumap.virtual.lenses import random_lens

LENSES = [random_lens(np.random.default_rng(seed)) for seed in range(120)]


def test_there_are_usual_ones_phones_and_wide_ones() -> None:
    share = np.array([lens.matrix[0, 0] / lens.width for lens in LENSES])
    assert ((share >= 0.45) & (share <= 0.97)).all()
    assert (share < 0.6).sum() > 10
    assert ((share > 0.75) & (share < 0.85)).sum() > 20
    sizes = {(lens.width, lens.height) for lens in LENSES}
    assert sizes == {(640, 480), (848, 480), (540, 360), (1024, 683), (1024, 576)}
    bent = [lens for lens in LENSES if lens.distortion.any()]
    assert 60 < len(bent) < 120


def test_every_pixel_has_a_ray() -> None:
    for lens in LENSES:
        grid = np.meshgrid(np.linspace(0, lens.width - 1, 15), np.linspace(0, lens.height - 1, 11))
        rays = normalize(lens, np.stack(grid, axis=-1).reshape(-1, 2))
        assert np.isfinite(rays).all(axis=1).mean() > 0.99


def test_the_same_seed_is_the_same_lens() -> None:
    again = random_lens(np.random.default_rng(5))
    np.testing.assert_array_equal(again.matrix, LENSES[5].matrix)
    np.testing.assert_array_equal(again.distortion, LENSES[5].distortion)
