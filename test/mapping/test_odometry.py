"""Drives whose poses drift, made straight by their images: virtual rooms, whose true poses are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.io.tum import read_tum
from neumap.localization.localizer import Localizer
from neumap.mapping import steps
from neumap.mapping.build import map_of
from neumap.mapping.odometry import Straightened, straighten, survey_drive
from neumap.mapping.settings import MappingSettings
from neumap.records import Frame
from neumap.report.map_summary import drive_texts
from neumap.virtual import photos
from neumap.virtual.curriculum import STEADY
from neumap.virtual.drive import drive
from neumap.virtual.layout import make_room
from neumap.virtual.recording import drifting_odometry, wandering_odometry


def poses_of(frames: Sequence[Frame]) -> FloatArray:
    return np.array([frame.map_from_camera for frame in frames], dtype=np.float64)


def with_poses(frames: Sequence[Frame], poses: FloatArray) -> list[Frame]:
    return [replace(frame, map_from_camera=pose) for frame, pose in zip(frames, poses, strict=True)]


def off_m(found: FloatArray, truth: FloatArray) -> FloatArray:
    """How far positions are from true ones once the first poses are laid upon each other."""
    laid = truth[0] @ se3.invert_pose(found[0]) @ found
    return np.asarray(np.linalg.norm(laid[:, :3, 3] - truth[:, :3, 3], axis=1))


@pytest.fixture(scope="module")
def recorded(virtual_world: Path) -> tuple[Frame, ...]:
    return read_tum(virtual_world / "mapping").frames


@pytest.fixture(scope="module")
def straight(recorded: tuple[Frame, ...]) -> tuple[FloatArray, Straightened]:
    """What the wheels of a cheap robot told of the drive, and that made straight."""
    told = drifting_odometry(poses_of(recorded), seed=1)
    told = poses_of(recorded)[0] @ told
    return told, straighten(with_poses(recorded, told), MappingSettings())


def test_drift_is_taken_out(recorded: tuple[Frame, ...], straight: tuple[FloatArray, Straightened]) -> None:
    told, made = straight
    truth, found = poses_of(recorded), poses_of(made.frames)
    assert np.median(off_m(told, truth)) > 0.1
    assert np.median(off_m(found, truth)) < 0.01
    assert off_m(found, truth).max() < 0.03
    # upright, metric, and begun where the drive did
    assert np.rad2deg(np.arccos((found[:, 2, :3] * truth[:, 2, :3]).sum(axis=1).min())) < 1.0
    assert np.linalg.norm(found[0, :3, 3] - told[0, :3, 3]) < 0.01
    assert (made.keyframes.map_from_camera == found).all()
    assert np.allclose(made.moved_m, np.linalg.norm(found[:, :3, 3] - told[:, :3, 3], axis=1))


def test_loops_are_right_and_told(recorded: tuple[Frame, ...], straight: tuple[FloatArray, Straightened]) -> None:
    _, made = straight
    truth = poses_of(recorded)
    assert len(made.loops) >= 6
    first, second = made.loops.T
    # from much earlier images, that look at the same
    assert (second - first).min() > 24
    assert np.linalg.norm(truth[first, :3, 3] - truth[second, :3, 3], axis=1).max() < 4.0
    line, within = drive_texts(made)
    assert "within the map" in within
    taken = f"{made.moved_m[-1]:.2f} m at the end of the drive, {np.median(made.moved_m):.2f} m (median)"
    assert line == f"{len(made.loops)} loops, by {len(set(second))} images; drift taken out: {taken}"


def test_the_map_of_it(
    recorded: tuple[Frame, ...], straight: tuple[FloatArray, Straightened], virtual_world: Path
) -> None:
    _, made = straight
    place = survey_drive(made)
    assert len(place.keyframes) + len(place.aside) == len(recorded)
    localizer = Localizer(map_of(place, MappingSettings(quick=True)))
    to_truth = poses_of(recorded)[0] @ se3.invert_pose(poses_of(made.frames)[0])
    query = read_tum(virtual_world / "query").frames
    found = [localizer.localize(frame.read_image(), frame.camera).map_from_camera for frame in query]
    off = [
        np.linalg.norm((to_truth @ pose)[:3, 3] - frame.map_from_camera[:3, 3])
        for pose, frame in zip(found, query, strict=True)
        if pose is not None and frame.map_from_camera is not None
    ]
    assert len(off) >= len(query) - 1
    assert np.median(off) < 0.02


def test_without_depth(recorded: tuple[Frame, ...]) -> None:
    truth = poses_of(recorded)
    told = wandering_odometry(truth, 2)
    made = straighten(with_poses(recorded, told), MappingSettings(use_depth=False))
    assert np.median(off_m(poses_of(made.frames), truth)) < min(0.05, 0.7 * np.median(off_m(told, truth)))


def test_what_no_loop_ties_down_is_to_be_driven_again(recorded: tuple[Frame, ...]) -> None:
    # the lens is covered for most of a drive that never comes back
    truth = poses_of(recorded)
    black = np.zeros((240, 320), np.uint8)
    frames = [
        replace(frame, read_image=frame.read_image if i < 14 or i >= 34 else lambda: black)
        for i, frame in enumerate(recorded[:40])
    ]
    made = straighten(with_poses(frames, wandering_odometry(truth[:40], 3)), MappingSettings())
    assert len(made.loops) == 0
    assert len(made.loose) == 1
    first_s, last_s = ((stamp - frames[0].stamp_ns) / 1e9 for stamp in made.loose[0])
    assert 14 * 0.2 < first_s < 34 * 0.2
    assert last_s == pytest.approx(39 * 0.2)
    head, line, _ = drive_texts(made)
    assert head.startswith("0 loops, ")
    assert line == (
        f"drive again what was driven {first_s:.0f} to {last_s:.0f} s after the start, and come back to where that "
        "began: no loop tells how far odometry drifted there"
    )


def test_twins_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    # two rooms with the same furniture, driven through in the same way, one after the other, and odometry that may have
    # drifted by the distance between them
    monkeypatch.setattr(steps, "SHARE", 0.5)
    monkeypatch.setattr(steps, "TURN_RAD", 0.2)
    camera = make_camera(320, 240, [215, 0, 159.5, 0, 215, 119.5, 0, 0, 1])
    frames: list[Frame] = []
    for twin in (0, 1):
        room = make_room(5, (4.2, 3.8, 2.5), detail=220.0, decoration_seed=twin)
        poses = drive(room, 5, 60, "mapping")[: 24 if twin == 0 else 20]
        offset = (4.5 * twin, 0.0, 0.0)
        frames += photos.take(room, camera, poses, name="twin", light=STEADY, seed=twin, offset=offset)
    frames = [replace(frame, stamp_ns=i * 400_000_000) for i, frame in enumerate(frames)]
    truth = poses_of(frames)
    made = straighten(with_poses(frames, wandering_odometry(truth, 4)), MappingSettings())
    assert not any(first < 24 <= second for first, second in made.loops)


def test_images_of_several_cameras_are_refused(recorded: tuple[Frame, ...]) -> None:
    both = [replace(frame, frame_id=name) for frame in recorded[:4] for name in ("front", "rear")]
    told = "straight by the images of one camera, and these are of 2: give one --image-topic"
    with pytest.raises(ConfigError, match=told):
        straighten(both, MappingSettings())
