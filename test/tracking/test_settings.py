"""Each parameter is declared once, and refuses what it cannot be with a reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from neumap.tracking.cameras import of_camera, topic_of
from neumap.tracking.settings import SPECS, Settings, settings_from


def test_settings_follow_from_the_table() -> None:
    assert {spec.field for spec in SPECS.values()} == {field.name for field in dataclasses.fields(Settings)}
    assert settings_from({name: spec.default for name, spec in SPECS.items()}) == Settings()
    assert settings_from({"initial_pose.yaw": 1.5, "jump_images": 4}) == Settings(initial_pose_yaw=1.5, jump_images=4)


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_defaults_are_allowed_and_described(spec: Any) -> None:
    assert not spec.doubt(spec.default)
    assert spec.description
    if isinstance(spec.default, float) or (isinstance(spec.default, int) and not isinstance(spec.default, bool)):
        assert spec.low is not None
        assert spec.low <= spec.default <= spec.high


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tf_publish_rate", 0.0, "from 1 to 200"),
        ("initial_pose.x", 1_000_001.0, "from -1000000 to 1000000"),
        ("voxel_radius", float("nan"), "finite"),
        ("lost_after", 3, "decimal point"),
        ("jump_images", 1, "from 2 to 20"),
        ("tf_broadcast", 1, "bool"),
        ("image_transport", "theora", "raw, compressed"),
        ("base_frame_id", "", "must not be empty"),
        ("odom_frame_id", "/odom", "no leading slash"),
        ("map", None, "text"),
        ("camera_names", "front", "instead of a list, such as ['']"),
        ("camera_names", [], "instead of a list"),
        ("camera_names", [1], "text"),
        ("camera_names", ["front", "/rear"], "letters, digits, _"),
        ("image_time_offset", 0.05, "instead of a list, such as [0.0]"),
        ("image_time_offset", [0.0, 1], "decimal point"),
        ("image_time_offset", [0.0, 6.0], "from -5 to 5"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: Any, said: str) -> None:
    doubt = SPECS[name].doubt(value)
    assert name in doubt
    assert said in doubt


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"camera_names": ["front", "front"]}, "camera_names must be different"),
        ({"camera_names": ["front", ""]}, "each of several cameras must have one"),
        ({"image_time_offset": [0.0, 0.1]}, "image_time_offset has 2 numbers: give one, or one for each"),
        (
            {"camera_names": ["a", "b"], "camera_frame_id": "optical"},
            "camera_frame_id is one frame for several cameras",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], said: str) -> None:
    assert not any(SPECS[name].doubt(value) for name, value in values.items())
    assert said in settings_from(values).doubt


def test_several_cameras_of_a_pattern() -> None:
    values = {"camera_names": ["a", "robot/b"], "camera_frame_id": "{camera}_optical", "image_time_offset": [0.0, -0.1]}
    settings = settings_from(values)
    assert not settings.doubt
    assert settings.camera_names == ("a", "robot/b")
    assert of_camera(settings.camera_frame_id, "a") == "a_optical"
    assert [topic_of(name, "image") for name in ("", "robot/b")] == ["image", "robot/b/image"]


def test_no_odometry_and_no_camera_frame_may_be_empty() -> None:
    assert not SPECS["odom_frame_id"].doubt("")
    assert not SPECS["camera_frame_id"].doubt("")


def test_fixed_ones_are_refused_while_configured() -> None:
    assert "clean it up" in SPECS["map"].doubt("other.neumap", configured=True)
    assert not SPECS["lost_after"].doubt(2.0, configured=True)
