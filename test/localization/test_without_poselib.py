"""Where there is no PoseLib, as on ARM, OpenCV serves: the same poses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neumap.geometry.se3 import pose_error
from neumap.io.tum import read_tum
from neumap.localization import pnp
from neumap.localization.localizer import Localizer
from neumap.maps.map_file import load_map


def test_images_of_a_room(virtual_map: Path, virtual_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnp, "poselib", None)
    localizer = Localizer(load_map(virtual_map))
    frames = read_tum(virtual_world / "query", depth=False).frames
    for frame in frames:
        estimate = localizer.localize(frame.read_image(), frame.camera)
        assert estimate.localized
        assert frame.map_from_camera is not None
        assert estimate.map_from_camera is not None
        error = pose_error(estimate.map_from_camera, frame.map_from_camera)
        assert np.linalg.norm(error[:3]) < 0.02
        assert np.linalg.norm(error[3:]) < np.deg2rad(0.5)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)
    assert not localizer.localize(noise, frames[0].camera).localized


def test_it_is_not_needed() -> None:
    code = "import sys; sys.modules['poselib'] = None; import neumap; neumap.Localizer; print('imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "imported\n"
