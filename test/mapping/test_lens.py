"""Which lens mapping images were taken through, where their calibration does not say whether they are rectified."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from neumap.geometry.cameras import make_camera, project
from neumap.geometry.intrinsics import RAW, RECTIFIED, UNDISTORTED
from neumap.io.camera_info import Told
from neumap.io.tum import read_tum
from neumap.localization.lens import ASSUMED
from neumap.mapping.keyframes import extract_keyframes
from neumap.mapping.lens import settled
from neumap.mapping.settings import MappingSettings
from neumap.records import Camera, Source
from neumap.virtual.drive import drive
from neumap.virtual.scene import Room
from neumap.virtual.world import SMALL, write_tum

K = SMALL.camera.matrix
# a mild lens, of which it takes most to tell: corners move by 3 %
MILD = make_camera(320, 240, K, "plumb_bob", [-0.05, 0.01, 0.0, 0.0, 0.0])
P = cv2.getOptimalNewCameraMatrix(K, MILD.distortion, (320, 240), 0.0)[0]
CAMERAS = {RAW: MILD, RECTIFIED: make_camera(320, 240, P), UNDISTORTED: SMALL.camera}
SETTINGS = MappingSettings()


@cache
def room() -> Room:
    return SMALL.room(0)


def taken(folder: Path, camera: Camera, depth: bool = True, told: Told | None = None) -> Source:
    """Images that a camera took, with the calibration of MILD beside them."""
    write_tum(folder, room(), camera, drive(room(), 0, SMALL.mapping_frames, "mapping")[:14])
    path = folder / "camera_info.yaml"
    info = yaml.safe_load(path.read_text())
    info["distortion_coefficients"] = {"rows": 1, "cols": 5, "data": MILD.distortion.tolist()}
    info["camera_matrix"]["data"] = K.ravel().tolist()
    info["projection_matrix"]["data"] = np.column_stack([P, np.zeros(3)]).ravel().tolist()
    path.write_text(yaml.safe_dump(info))
    return read_tum(folder, depth) if told is None else read_tum(folder, depth, told=told)


@pytest.mark.parametrize("origin", CAMERAS)
def test_the_poses_tell(tmp_path: Path, origin: str) -> None:
    camera = CAMERAS[origin]
    source = taken(tmp_path / "m", camera)
    for with_depth in (source, replace(source, frames=tuple(replace(f, read_depth=None) for f in source.frames))):
        found = settled(with_depth, SETTINGS)
        assert found.notes[0] == f"intrinsics: {origin}"
        for frame in found.frames:
            np.testing.assert_allclose(frame.camera.matrix, camera.matrix)
            np.testing.assert_allclose(frame.camera.distortion, camera.distortion)
            assert [lens.origin for lens in frame.lenses] == [origin]


def test_the_user_tells(tmp_path: Path) -> None:
    """Even what is wrong."""
    source = settled(taken(tmp_path / "m", MILD, told=Told(rectified=True)), SETTINGS)
    assert source.notes[0] == f"intrinsics: {RECTIFIED}"
    np.testing.assert_allclose(source.frames[0].camera.matrix, P)


def test_nothing_tells(tmp_path: Path) -> None:
    source = taken(tmp_path / "m", MILD)
    blank = np.full((240, 320), 90, np.uint8)
    source = replace(source, frames=tuple(replace(frame, read_image=lambda: blank) for frame in source.frames))
    found = settled(source, SETTINGS)
    assert found.notes[0] == f"intrinsics: {RAW} ({ASSUMED})"
    np.testing.assert_allclose(found.frames[0].camera.distortion, MILD.distortion)


def test_what_is_masked_is_not_mapped(tmp_path: Path) -> None:
    mask = np.ones((60, 80), dtype=bool)
    mask[40:] = False
    source = taken(tmp_path / "m", MILD, told=Told(mask=mask))
    frames = settled(source, SETTINGS).frames[:3]
    keyframes = extract_keyframes(frames, SETTINGS.features, use_depth=False)
    pixels = project(MILD, keyframes.rays3())
    assert len(pixels) > 300
    assert pixels[:, 1].max() < 159.6
