"""What is found out about a place from posed images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic_scene import make_keyframes, make_scene, ring

from neumap.errors import ConfigError, MappingError
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose
from neumap.mapping import survey as module
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import MIN_VIEWS, MIN_VIEWS_TRIANGULATED, survey, used_of
from neumap.progress import Progress
from neumap.records import Frame


@pytest.mark.parametrize(
    ("count", "step_m", "kept"), [(900, 0.0, 900), (2500, 0.01, 1000), (3000, 0.06, 1500), (2400, 0.2, 2400)]
)
def test_a_drive_is_thinned_by_how_far_it_went(count: int, step_m: float, kept: int) -> None:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = step_m * np.arange(count)
    camera = make_camera(4, 4, np.eye(3).ravel().tolist())
    frames = [
        Frame(f"{i}", i, camera, lambda: np.zeros((4, 4), np.uint8), map_from_camera=p) for i, p in enumerate(poses)
    ]
    used = used_of(frames)
    assert len(used) == kept
    assert (used[0], len({frame.stamp_ns for frame in used})) == (frames[0], kept)


def test_poses_far_from_the_origin_are_refused() -> None:
    """As those of UTM: places are counted in integers of a centimetre, and 32 bits do not reach so far."""
    camera = make_camera(4, 4, np.eye(3).ravel().tolist())
    utm = make_pose(np.eye(3), np.array([448_262.0, 5_411_932.0, 0.0]))
    frames = [Frame(f"{i}", i, camera, lambda: np.zeros((4, 4), np.uint8), map_from_camera=utm) for i in range(20)]
    said = (
        "the poses are 5412 km from the origin of their frame, where positions lose precision: choose an origin within"
    )
    with pytest.raises(ConfigError, match=said):
        survey(frames, MappingSettings())


@pytest.mark.parametrize(("step_m", "kept"), [(0.0, 500), (0.06, 700)])
def test_each_camera_of_a_drive_is_thinned(step_m: float, kept: int) -> None:
    """Of two that look both ways, as many images are used of each."""
    poses = np.tile(np.eye(4), (2800, 1, 1))
    poses[:, 0, 3] = step_m * (np.arange(len(poses)) // 2)
    poses[1::2, :2, :2] *= -1
    camera = make_camera(4, 4, np.eye(3).ravel().tolist())
    frames = [
        Frame(f"{i}", i // 2, camera, lambda: np.zeros((4, 4), np.uint8), map_from_camera=p, frame_id="fr"[i % 2])
        for i, p in enumerate(poses)
    ]
    used = used_of(frames)
    assert [sum(frame.frame_id == name for frame in used) for name in "fr"] == [kept, kept]
    assert [frame.stamp_ns for frame in used] == sorted(frame.stamp_ns for frame in used)


@pytest.mark.parametrize(
    ("images", "measured", "views"), [(8, True, MIN_VIEWS), (8, False, MIN_VIEWS_TRIANGULATED), (4, False, MIN_VIEWS)]
)
def test_points_whose_depth_was_not_measured_need_another_view(
    monkeypatch: pytest.MonkeyPatch, images: int, measured: bool, views: int
) -> None:
    keyframes, _ = make_keyframes(make_scene(np.random.default_rng(0), 100), ring(images), np.random.default_rng(0))
    asked = []

    def find_tracks(keyframes: Keyframes, progress: Progress, min_views: int) -> None:
        asked.append(min_views)
        raise MappingError("enough")

    monkeypatch.setattr(module, "extract", lambda *_: replace(keyframes, depth_measured=measured))
    monkeypatch.setattr(module, "with_triangulated_depth", lambda found, _: found)
    monkeypatch.setattr(module, "find_tracks", find_tracks)
    frames: list[Any] = [None] * images
    with pytest.raises(MappingError, match="enough"):
        survey(frames, MappingSettings())
    assert asked == [views]
