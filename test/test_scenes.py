"""The recorded scenes, as far as a test has time for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.mapping.build import build_map
from neumap.mapping.calibration import measure
from neumap.mapping.settings import MappingSettings
from neumap.maps.map_file import load_map, save_map

pytestmark = pytest.mark.scenes


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Localizer:
    """A quick map of every second image of the desk, as loaded from its file."""
    source = open_source(scenes / "tum_fr1" / "mapping", poses=True)
    path = tmp_path_factory.mktemp("desk") / "desk.neumap"
    save_map(path, build_map(source.frames[::2], MappingSettings(quick=True)))
    assert path.stat().st_size <= 100_000
    return Localizer(load_map(path))


def test_another_recording_is_localized(desk: Localizer, scenes: Path) -> None:
    frames = open_source(scenes / "tum_fr1" / "query", poses=True).frames[::4]
    estimates = [desk.localize(frame.read_image(), frame.camera) for frame in frames]
    result = measure(estimates, np.array([frame.map_from_camera for frame in frames], dtype=np.float64))
    assert result.within_5cm_5deg >= 0.85
    assert result.within_25cm_10deg >= 0.9


@pytest.mark.parametrize("scene", ["redkitchen", "hololens"])
def test_other_places_are_refused(desk: Localizer, scenes: Path, scene: str) -> None:
    for frame in open_source(scenes / scene / "query", poses=False).frames[::6]:
        estimate = desk.localize(frame.read_image(), frame.camera)
        assert not estimate.localized, frame.name
        assert estimate.reason
