"""When an image is looked at once, and when twice."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_scene import CAMERA, Scene, features_of, make_map, make_scene, ring

from neumap.arrays import ImageArray
from neumap.features.extractor import Features
from neumap.geometry import se3
from neumap.localization.localizer import Localizer
from neumap.localization.query import Near, Scope

POSE = ring(1)[0]
GRAY = np.zeros((CAMERA.height, CAMERA.width), np.uint8)


class TwoLooks:
    """An extractor that sees what it is told, and counts its whole looks."""

    def __init__(self, features: Features, quick: int, glance: int = 0) -> None:
        self._features = features
        self._quick = quick
        self._glance = glance
        self.glances = self.quick_looks = self.whole_looks = 0

    def glance(self, gray: ImageArray) -> Features | None:
        self.glances += 1
        return self._features.select(np.arange(self._glance)) if self._glance else None

    def quick(self, gray: ImageArray) -> Features:
        self.quick_looks += 1
        return self._features.select(np.arange(self._quick))

    def whole(self, gray: ImageArray, quick: Features | None = None) -> Features:
        self.whole_looks += 1
        return self._features


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(np.random.default_rng(0), 4000)


def looking(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, quick: int, noise_px: float = 0.0, glance: int = 0
) -> tuple[Localizer, TwoLooks]:
    features, _, _ = features_of(scene, POSE, np.random.default_rng(1), noise_px, 0.1)
    assert len(features) > 200
    localizer, looks = Localizer(make_map(scene)), TwoLooks(features, quick, glance)
    monkeypatch.setattr(localizer, "_extract", looks)
    return localizer, looks


def test_a_quick_look_that_settles_the_image_is_the_only_one(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    localizer, looks = looking(monkeypatch, scene, 150)
    estimate = localizer.localize(GRAY, CAMERA)
    assert estimate.localized
    assert looks.whole_looks == 0
    assert len(estimate.keypoints_px) <= 150


def test_what_it_does_not_settle_is_looked_at_whole(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    for quick in (0, 12, 25):
        localizer, looks = looking(monkeypatch, scene, quick)
        estimate = localizer.localize(GRAY, CAMERA)
        assert estimate.map_from_camera is not None
        assert np.linalg.norm(se3.pose_error(estimate.map_from_camera, POSE)) < 1e-2
        assert looks.whole_looks == 1
        assert estimate.inliers > 40


def test_a_pose_that_is_not_exact_is_looked_at_whole(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """So few keypoints, and so noisy, leave a pose uncertain by more than a quick look may."""
    localizer, looks = looking(monkeypatch, scene, 60, noise_px=5.0)
    localizer.localize(GRAY, CAMERA)
    assert looks.whole_looks == 1


def test_the_whole_look_is_taken_once_however_often_an_image_is_searched_for(
    monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    localizer, looks = looking(monkeypatch, scene, 20)
    query = localizer.look(GRAY, CAMERA)
    assert localizer.locate(query).localized
    assert localizer.locate(query, Scope(near=Near(POSE[:3, 3], 0.5))).localized
    assert not localizer.locate(query, Scope(near=Near(POSE[:3, 3] + 5.0, 0.1))).localized
    localizer.alternatives(query)
    assert looks.whole_looks == 1


@pytest.mark.parametrize(("glance", "glances", "quick_looks"), [(120, 1, 0), (25, 1, 1), (0, 1, 1)])
def test_a_glance_that_does_not_settle_the_image_is_followed_by_longer_looks(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, glance: int, glances: int, quick_looks: int
) -> None:
    localizer, looks = looking(monkeypatch, scene, 150, glance=glance)
    (query,) = localizer.looks(GRAY, [CAMERA], glance=True)
    estimate = localizer.locate(query)
    assert estimate.map_from_camera is not None
    assert np.linalg.norm(se3.pose_error(estimate.map_from_camera, POSE)) < 1e-2
    assert (looks.glances, looks.quick_looks, looks.whole_looks) == (glances, quick_looks, 0)
    assert query.whole.longer is None
    assert looks.quick_looks == looks.whole_looks == 1


def test_nobody_glances_at_an_image_from_anywhere(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    localizer, looks = looking(monkeypatch, scene, 150, glance=120)
    assert localizer.localize(GRAY, CAMERA).localized
    assert (looks.glances, looks.quick_looks) == (0, 1)
