"""What may be set, and what settings follow from it. The node's own answers are tested in test/replay."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from neumap.tracking.tracker import TrackerSettings
from neumap_ros.parameters import SPECS, TABLE, Settings, doubt, settings_from

DEFAULTS = {spec.name: spec.default for spec in TABLE}


def other(value: Any) -> Any:
    """Another value of the same type."""
    return not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else value + 1


def test_names_are_unique_and_defaults_can_be_set() -> None:
    assert len(SPECS) == len(TABLE)
    for spec in TABLE:
        assert doubt(spec, spec.default, configured=False) == ""
        assert spec.description
        if spec.low is not None and spec.high is not None:
            assert isinstance(spec.default, (int, float))
            assert spec.low <= spec.default <= spec.high
        else:
            assert not isinstance(spec.default, (int, float)) or isinstance(spec.default, bool)


def test_defaults_of_the_tracker_are_the_same() -> None:
    assert settings_from(DEFAULTS).tracker == TrackerSettings()


def changed(settings: Settings, default: Settings) -> dict[str, Any]:
    """Fields that differ, those of the tracker and the initial pose by themselves."""
    flat = []
    for each in (settings, default):
        values = {f.name: getattr(each, f.name) for f in fields(each)}
        values |= {f"tracker.{f.name}": getattr(each.tracker, f.name) for f in fields(each.tracker)}
        values |= {f"pose.{i}": v for i, v in enumerate(each.initial_xyz_yaw)}
        del values["tracker"], values["initial_xyz_yaw"]
        flat.append(values)
    return {name: value for name, value in flat[0].items() if value != flat[1][name]}


@pytest.mark.parametrize("name", SPECS)
def test_every_parameter_sets_one_thing(name: str) -> None:
    value = other(DEFAULTS[name])
    different = changed(settings_from(DEFAULTS | {name: value}), settings_from(DEFAULTS))
    (setting,) = different
    assert different[setting] == value
    # of one meaning: the same name, where it is not one of the initial pose
    if not name.startswith("initial_pose"):
        assert setting.removeprefix("tracker.").startswith(name)
    else:
        assert setting == f"pose.{['x', 'y', 'z', 'yaw'].index(name.rpartition('.')[2])}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("image_transport", "theora", "image_transport is 'theora' instead of one of raw, compressed"),
        ("base_frame_id", "", "base_frame_id must not be empty"),
        ("global_frame_id", "", "global_frame_id must not be empty"),
        ("base_frame_id", "/base_link", "no leading slash"),
        ("odom_frame_id", "/odom", "no leading slash"),
        ("camera_frame_id", "my camera", "no spaces"),
        ("global_frame_id", "the map", "no spaces"),
        ("tf_publish_rate", math.nan, "tf_publish_rate must be a finite number"),
        ("initial_pose.x", math.inf, "initial_pose.x must be a finite number"),
    ],
)
def test_what_cannot_be(name: str, value: Any, said: str) -> None:
    assert said in doubt(SPECS[name], value, configured=False)


@pytest.mark.parametrize(
    ("name", "value"), [("odom_frame_id", ""), ("camera_frame_id", ""), ("map", ""), ("base_frame_id", "robot1/base")]
)
def test_what_may_be(name: str, value: str) -> None:
    assert doubt(SPECS[name], value, configured=False) == ""


@pytest.mark.parametrize("spec", TABLE, ids=lambda spec: spec.name)
def test_fixed_ones_cannot_be_changed_while_configured(spec: Any) -> None:
    said = doubt(spec, spec.default, configured=True)
    assert bool(said) == spec.fixed
    assert not said or (spec.name in said and "configure it again" in said)
