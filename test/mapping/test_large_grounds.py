"""Courtyards and halls of tens of metres, mapped from few images without depth: found, and as certain as is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pycolmap")

from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.calibration import CHI2_90
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.virtual.curriculum import CHANGED, STEADY
from neumap.virtual.grounds import make_ground
from neumap.virtual.photos import take
from neumap.virtual.walk import Way, walk

CAMERA = make_camera(640, 427, [480, 0, 319.5, 0, 480, 213, 0, 0, 1])
QUERIES = 12


@pytest.mark.parametrize(
    ("size", "roofed", "images", "seed"), [((40.0, 32.0, 10.0), False, 18, 901), ((44.0, 30.0, 7.0), True, 20, 902)]
)
def test_a_large_place_without_depth(size: tuple[float, float, float], roofed: bool, images: int, seed: int) -> None:
    ground = make_ground(seed, size, roofed=roofed)
    there, asked = (walk(ground, seed, n, part, Way("across")) for n, part in ((images, "mapping"), (QUERIES, "query")))
    mapping = take(ground, CAMERA, there, name="mapping", light=STEADY, seed=seed)
    query = take(ground, CAMERA, asked, name="query", light=CHANGED, seed=seed)
    settings = replace(MappingSettings(), size_bytes=41_000)
    found = survey([replace(frame, read_depth=None) for frame in mapping], settings)
    localizer = Localizer(map_of(found, settings))
    errors, squared, sigmas = [], [], []
    for frame in query:
        estimate = localizer.localize(frame.read_image(), frame.camera)
        if estimate.map_from_camera is None or estimate.covariance is None or frame.map_from_camera is None:
            continue
        away = np.median(np.linalg.norm(estimate.points_map - frame.map_from_camera[:3, 3], axis=1))
        assert away > 10
        error = se3.pose_error(estimate.map_from_camera, frame.map_from_camera)
        errors.append(np.linalg.norm(error[:3]) / away)
        squared.append(error @ np.linalg.solve(estimate.covariance, error))
        sigmas.append(estimate.sigma_m / away)
    assert (np.array(errors) < 0.01).sum() >= 0.85 * QUERIES
    assert (np.array(squared) < CHI2_90).mean() >= 0.75
    # and not by claiming little
    assert np.median(sigmas) < 0.005
