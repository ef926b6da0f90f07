"""Parameters: what is declared, what is refused, what a change does, and parameter files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from ament_index_python.packages import get_package_share_directory
from conftest import World
from node_process import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, NodeProcess
from player import SECOND, Player, nanoseconds
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, ListParameters, SetParametersAtomically
from rclpy.parameter import Parameter

Start = Callable[..., NodeProcess]

TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}
LISTS = {str: ParameterType.PARAMETER_STRING_ARRAY, float: ParameterType.PARAMETER_DOUBLE_ARRAY}
BAD = {
    "base_frame_id": ["", "/base_link", "my base"],
    "global_frame_id": ["", "/map", "the map"],
    "odom_frame_id": ["/odom", "an odom"],
    "camera_frame_id": ["/camera", "a camera"],
    "image_transport": ["theora", ""],
}


def other(spec: Any) -> Any:
    """Return another value that a parameter may have."""
    if spec.choices:
        return next(choice for choice in spec.choices if choice != spec.default)
    if isinstance(spec.default, tuple):
        return ["front", "rear"] if spec.default == ("",) else [0.5]
    if isinstance(spec.default, bool):
        return not spec.default
    if isinstance(spec.default, str):
        return f"{spec.default}x"
    return type(spec.default)(spec.low + (spec.high - spec.low) / 4)


def as_ros(value: Any) -> Any:
    """Return a default as it is set and read."""
    return list(value) if isinstance(value, tuple) else value


def kind(value: Any) -> Any:
    """Return the type of a value, or that of what a list holds."""
    return [type(each) for each in value[:1]] if isinstance(value, list | tuple) else type(value)


def beyond(spec: Any) -> list[Any]:
    """Return values a little and far out of a range; to rclpy alone, a millionth beyond its end is within."""
    if isinstance(spec.default, int):
        return [int(spec.low) - 1, int(spec.high) + 1]
    little = [limit + sign * max(4e-7 * abs(limit), 1e-9) for limit, sign in ((spec.low, -1), (spec.high, 1))]
    return [*little, -2 * spec.high - 1, 2 * spec.high + 1, math.nan, math.inf]


def ranged(table: Any) -> list[Any]:
    """Return numbers that have a range."""
    return [spec for spec in table if spec.high is not None and not isinstance(spec.default, tuple)]


def free(table: Any) -> list[Any]:
    """Return those that can be changed at any time."""
    return [spec for spec in table if not spec.fixed]


def test_all_are_declared_and_described(node: NodeProcess, table: Any) -> None:
    names = [spec.name for spec in table]
    assert {*names, "use_sim_time"} <= set(node.call(ListParameters, "list_parameters").result.names)
    described = node.call(DescribeParameters, "describe_parameters", names=names).descriptors
    for spec, descriptor in zip(table, described, strict=True):
        assert spec.description in descriptor.description
        is_list = isinstance(spec.default, tuple)
        expected = LISTS[type(spec.default[0])] if is_list else TYPES[type(spec.default)]
        assert descriptor.type == expected, spec.name
        assert not descriptor.dynamic_typing
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        limits = [] if spec.high is None or is_list else [(float(spec.low), float(spec.high))]
        assert [(float(each.from_value), float(each.to_value)) for each in ranges] == limits


def test_defaults(start: Start, table: Any) -> None:
    """Of the node itself and, to begin with, of the installed file, with whose values it is started here."""
    defaults = {spec.name: as_ros(spec.default) for spec in table}
    installed = Path(get_package_share_directory("neumap_ros"), "config", "localize.yaml")
    by_itself, by_file = start(up=False), start("--params-file", str(installed), up=False)
    for node in (by_itself, by_file):
        assert node.is_up(), node.output
        assert node.get(*defaults) == defaults


def test_the_ends_of_a_range_are_within(node: NodeProcess, table: Any) -> None:
    for end in ("low", "high"):
        values = {spec.name: type(spec.default)(getattr(spec, end)) for spec in ranged(table)}
        assert node.set(values) == {}
        assert node.get(*values) == values


@pytest.mark.parametrize("state", ["unconfigured", "active"])
def test_out_of_range_is_refused(node: NodeProcess, table: Any, state: str) -> None:
    if state == "active":
        node.activate()
    before = node.get(*(spec.name for spec in table))
    for spec in ranged(table):
        for value in beyond(spec):
            assert spec.name in node.set({spec.name: value}).get(spec.name, ""), (spec.name, value)
    assert node.get(*before) == before


def test_what_makes_no_sense_is_refused(node: NodeProcess) -> None:
    for name, values in BAD.items():
        for value in values:
            assert name in node.set({name: value}).get(name, ""), (name, value)


def test_another_type_is_refused(node: NodeProcess, table: Any) -> None:
    for spec in table:
        for value in (True, 1, 1.0, "one", [1.0]):
            if kind(value) != kind(spec.default):
                assert list(node.set({spec.name: value})) == [spec.name], (spec.name, value)


def test_what_is_read_when_configured_is_fixed_until_cleanup(node: NodeProcess, table: Any) -> None:
    fixed = {spec.name: other(spec) for spec in table if spec.fixed}
    for transitions in ((CONFIGURE,), (ACTIVATE,), (DEACTIVATE,)):
        assert all(map(node.change, transitions))
        for name, value in fixed.items():
            refused = node.set({name: value})
            assert list(refused) == [name]
            assert name in refused[name]
            assert "configure it again" in refused[name]
    assert node.change(CLEANUP)
    assert node.set(fixed) == {}
    assert node.get(*fixed) == fixed


def test_all_or_none(node: NodeProcess) -> None:
    values = {"max_image_rate": 2.0, "jump_images": 1}
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    answer = node.call(SetParametersAtomically, "set_parameters_atomically", parameters=parameters).result
    assert not answer.successful
    assert "jump_images" in answer.reason
    assert node.get("max_image_rate") == {"max_image_rate": 5.0}
    assert node.set(values).keys() == {"jump_images"}
    assert node.get(*values) == {"max_image_rate": 2.0, "jump_images": 3}


def test_all_others_can_be_changed_while_active(tracking: Player, node: NodeProcess, table: Any) -> None:
    values = {spec.name: other(spec) for spec in free(table)}
    with tracking.running():
        for name, value in values.items():
            assert node.set({name: value}) == {}, name
        assert node.get(*values) == values
        assert node.set({spec.name: as_ros(spec.default) for spec in free(table)}) == {}
    tracking.step_to(max(tracking.now_s, 2.4) + 0.4)
    assert node.belief == "TRACKING", node.told
    assert "[ERROR]" not in node.output


# --- what they do ------------------------------------------------------------------------


def of_the_map(node: NodeProcess) -> list[Any]:
    """Return the transforms that it has published."""
    return [each for message in node.transforms for each in message.transforms if each.header.frame_id == "map"]


def test_tf_publish_rate(tracking: Player, node: NodeProcess) -> None:
    counts = []
    assert node.set({"image_timeout": 60.0, "lost_after": 60.0}) == {}
    tracking.seek(20)  # without images, whose fixes would be published at once
    for rate in (4.0, 20.0):
        assert node.set({"tf_publish_rate": rate}) == {}
        node.forget()
        begin = tracking.now_s
        with tracking.running():
            assert tracking.client.until(lambda begin=begin: tracking.now_s > begin + 2)
        counts.append(len(of_the_map(node)))
    assert 4 < counts[0] < 12 < 24 < counts[1] < 44


def test_transform_tolerance(tracking: Player, node: NodeProcess) -> None:
    for tolerance in (0.0, 1.5):
        assert node.set({"transform_tolerance": tolerance}) == {}
        node.forget()
        tracking.step_to(tracking.now_s + 0.4)
        tracking.client.wait(0.2)
        ahead = (nanoseconds(of_the_map(node)[-1].header.stamp) - tracking.now_ns) / SECOND
        assert ahead == pytest.approx(tolerance, abs=0.21)


def test_tf_broadcast(tracking: Player, node: NodeProcess) -> None:
    assert node.set({"tf_broadcast": False}) == {}
    tracking.client.wait(0.2)
    node.forget()
    tracking.step_to(1.8)
    assert node.poses
    assert of_the_map(node) == []
    assert node.set({"tf_broadcast": True}) == {}
    tracking.step_to(2.4)
    assert of_the_map(node)


def test_max_image_rate(tracking: Player, node: NodeProcess) -> None:
    assert node.set({"max_image_rate": 1.0}) == {}
    begin = node.statuses[-1].images_processed
    with tracking.running():
        assert tracking.client.until(lambda: tracking.now_s > 2.9)
    processed = node.statuses[-1].images_processed - begin
    assert 1 <= processed <= 3, "of about nine images"


def test_image_timeout_and_lost_after(tracking: Player, node: NodeProcess) -> None:
    assert node.set({"image_timeout": 0.5, "lost_after": 0.8}) == {}
    node.forget()
    tracking.seek(20)
    with tracking.running():
        assert tracking.client.until(lambda: node.belief == "LOST")
    assert ("LOST", "no image since 0.5 s") in node.told


def test_set_initial_pose(node: NodeProcess, player: Player) -> None:
    claim = player.recording.claim(player.ns(0)).pose.pose
    yaw = 2 * math.atan2(claim.orientation.z, claim.orientation.w)
    values = {axis: getattr(claim.position, axis) + (50.0 if axis == "x" else 0.0) for axis in "xyz"} | {"yaw": yaw}
    assert node.set({f"initial_pose.{name}": value for name, value in values.items()}) == {}
    assert node.set({"set_initial_pose": True}) == {}
    player.seek(0)
    node.activate()
    player.step_to(2.0)
    assert any("initial pose" in reason for _, reason in node.told), node.told


# --- files -------------------------------------------------------------------------------


def written(path: Path, values: dict[str, Any]) -> tuple[str, str]:
    """Write a parameter file; return the arguments that name it."""
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return ("--params-file", str(path))


def test_a_file_with_all_of_them(start: Start, table: Any, world: World, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), np.full((3, 4), 255, np.uint8))
    values = {spec.name: other(spec) for spec in table} | {"map": str(world.map), "mask": str(mask)}
    # of several cameras each has its own
    values["camera_frame_id"] = "{camera}_optical_frame"
    node = start(*written(tmp_path / "params.yaml", values))
    assert node.get(*values) == values
    node.activate()


def test_it_says_what_it_cannot_start_with(start: Start, tmp_path: Path) -> None:
    bad = {
        "voxel_radius": written(tmp_path / "type.yaml", {"voxel_radius": "far"}),
        "image_timeout": written(tmp_path / "integer.yaml", {"image_timeout": 5}),
        "tf_publish_rate": written(tmp_path / "range.yaml", {"tf_publish_rate": 1000.0}),
        "nowhere.yaml": ("--params-file", str(tmp_path / "nowhere.yaml")),
    }
    started = {about: start(*arguments, up=False) for about, arguments in bad.items()}
    for about, node in started.items():
        assert node.exit_status() == 1
        *before, last = node.output.strip().splitlines()
        assert about in last
        # rcl may have had something to say before
        assert len(before) <= 1, node.output


def test_it_says_what_it_cannot_be_configured_with(start: Start, world: World, tmp_path: Path) -> None:
    """A text may be any, to rclpy: it is looked at when the localizer is configured."""
    values = {"map": str(world.map), "global_frame_id": "/map"}
    node = start(*written(tmp_path / "params.yaml", values))
    assert not node.change(CONFIGURE)
    assert node.client.until(lambda: "global_frame_id" in node.output)
