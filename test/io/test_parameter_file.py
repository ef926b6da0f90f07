"""Parameter files, by the rules of ROS 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from neumap.errors import ConfigError
from neumap.io.parameter_file import read_parameters


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("key", ["/**", "/*", "neumap_localizer", "/neumap_localizer", "/**/neumap_localizer", "/**/*"])
def test_keys_that_are_for_the_node(tmp_path: Path, key: str) -> None:
    path = written(tmp_path, f"{key}:\n  ros__parameters: {{lost_after: 2.5, initial_pose: {{x: 1.0}}}}\n")
    assert read_parameters(path) == ({"lost_after": 2.5, "initial_pose.x": 1.0}, ())


@pytest.mark.parametrize("key", ["amcl", "/robot/neumap_localizer", "/*/neumap_localizer", "/*/*"])
def test_keys_that_are_for_others(tmp_path: Path, key: str) -> None:
    assert read_parameters(written(tmp_path, f"{key}:\n  ros__parameters: {{lost_after: 2.5}}\n")) == ({}, ())


def test_later_entries_win_and_unknown_names_are_told(tmp_path: Path) -> None:
    text = "/**:\n  ros__parameters: {lost_after: 2.5, use_sim_time: true, lost_afer: 1.0}\n"
    text += "neumap_localizer:\n  ros__parameters: {lost_after: 4.0}\n"
    assert read_parameters(written(tmp_path, text)) == ({"lost_after": 4.0}, ("lost_afer",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/**:\n  ros__parameters: {lost_after: 5}\n", "decimal point"),
        ("/**:\n  ros__parameters: {lost_after: -5.0}\n", "from 0.1 to 600"),
        ("/**:\n  ros__parameters: 5\n", "ros__parameters"),
        ("5\n", "name of a node"),
        (": : :\n", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_parameters(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_parameters(tmp_path / "none.yaml")
