"""The node's lifecycle, parameters and services, asked for over real ROS 2."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# The simulator of this package imitates rclpy, but not this.
if importlib.util.find_spec("ament_index_python") is None:
    pytest.skip("ROS 2 is not here", allow_module_level=True)

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from lifecycle_msgs.msg import Transition
from localizer_client import NODE, Client, Process, eventually

from neumap_ros.parameters import TABLE

try:
    LOCALIZER = Path(get_package_prefix("neumap_ros")) / "lib" / "neumap_ros" / "localizer"
except PackageNotFoundError:
    pytest.skip("neumap_ros is not built and sourced", allow_module_level=True)

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE

Start = Callable[..., Process]


@pytest.fixture
def node(start: Start, client: Client) -> Process:
    """A fresh node without a map."""
    process = start(LOCALIZER)
    assert eventually(lambda: not process.alive or client.state(1.0) == "unconfigured"), process.output
    assert process.alive, process.output
    return process


def activate(node: Process, client: Client, path: Path) -> None:
    client.set("map", str(path))
    assert client.change(CONFIGURE) is True, node.output
    assert client.change(ACTIVATE) is True, node.output


def test_without_a_map_it_cannot_be_configured_but_tried_again(node: Process, client: Client) -> None:
    for _ in range(2):
        assert client.change(CONFIGURE) is False
        assert client.state() == "unconfigured"
    assert "map" in node.output
    assert node.alive


def test_a_bad_map_can_be_replaced_by_a_good_one(node: Process, client: Client, room_map: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.neumap"
    bad.write_bytes(room_map.read_bytes()[:-1000])
    assert client.set("map", str(bad)) == (True, "")
    assert client.change(CONFIGURE) is False
    assert str(bad) in node.output
    assert client.set("map", str(room_map)) == (True, "")
    assert client.change(CONFIGURE) is True
    assert client.state() == "inactive"


def test_all_transitions_twice_then_ctrl_c(node: Process, client: Client, room_map: Path) -> None:
    client.set("map", str(room_map))
    for _ in range(2):
        for transition, state in (
            (CONFIGURE, "inactive"),
            (ACTIVATE, "active"),
            (DEACTIVATE, "inactive"),
            (ACTIVATE, "active"),
            (DEACTIVATE, "inactive"),
            (CLEANUP, "unconfigured"),
        ):
            assert client.change(transition) is True, node.output
            assert client.state() == state
    assert client.change(CONFIGURE) is True
    assert client.change(ACTIVATE) is True
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output


def test_sigterm_ends_an_idle_node(node: Process) -> None:
    """As from systemd or docker. What it exits with is rclpy's affair."""
    node.interrupt(signal.SIGTERM)
    assert "Traceback" not in node.output


@pytest.mark.parametrize(
    ("before", "shutdown"),
    [
        ((), Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
        ((CONFIGURE,), Transition.TRANSITION_INACTIVE_SHUTDOWN),
        ((CONFIGURE, ACTIVATE), Transition.TRANSITION_ACTIVE_SHUTDOWN),
    ],
    ids=["unconfigured", "inactive", "active"],
)
def test_shutdown(node: Process, client: Client, room_map: Path, before: tuple[int, ...], shutdown: int) -> None:
    client.set("map", str(room_map))
    assert all(client.change(transition) for transition in before), node.output
    assert client.change(shutdown) is True
    assert client.state() == "finalized"
    assert node.interrupt() == 0, node.output


def test_an_impossible_transition_does_no_harm(node: Process, client: Client) -> None:
    assert not client.change(ACTIVATE, patience_s=3.0)
    assert client.state() == "unconfigured"
    assert node.alive, node.output


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (("-p", "voxel_radius:=far"), "voxel_radius"),
        (("-p", "tf_publish_rate:=1000.0"), "tf_publish_rate"),
        (("--params-file", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
    ids=["type", "range", "file"],
)
def test_it_says_what_it_cannot_start_with(start: Start, arguments: tuple[str, ...], about: str) -> None:
    process = start(LOCALIZER, "--ros-args", *arguments)
    assert eventually(lambda: not process.alive), process.output
    assert process.interrupt() == 1
    *before, last = process.output.strip().splitlines()
    assert about in last
    # rcl may have had something to say before
    assert len(before) <= 1, process.output


def test_every_parameter_is_described(node: Process, client: Client) -> None:
    from rcl_interfaces.srv import DescribeParameters, ListParameters

    listed = client.call(ListParameters, f"{NODE}/list_parameters", ListParameters.Request())
    names = [spec.name for spec in TABLE]
    assert set(names) <= set(listed.result.names)
    request = DescribeParameters.Request(names=names)
    described = client.call(DescribeParameters, f"{NODE}/describe_parameters", request)
    for spec, descriptor in zip(TABLE, described.descriptors, strict=True):
        assert spec.description in descriptor.description
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(float(r.from_value), float(r.to_value)) for r in ranges] == (
            [] if spec.low is None or isinstance(spec.default, tuple) else [(float(spec.low), float(spec.high))]
        )


def test_values_out_of_range_or_of_another_type_are_refused(node: Process, client: Client) -> None:
    for spec in TABLE:
        if spec.high is None or isinstance(spec.default, tuple):
            continue
        done, reason = client.set(spec.name, type(spec.default)(2 * spec.high + 1))
        assert not done, spec.name
        assert reason
    assert not client.set("max_image_rate", "fast")[0]
    assert client.set("max_image_rate", 2.5) == (True, "")


def test_what_is_read_when_configured_is_fixed_until_cleanup(node: Process, client: Client, room_map: Path) -> None:
    client.set("map", str(room_map))
    assert client.change(CONFIGURE) is True, node.output
    done, reason = client.set("base_frame_id", "base_footprint")
    assert not done
    assert "base_frame_id" in reason
    assert client.set("max_image_rate", 2.5) == (True, "")
    assert client.change(CLEANUP) is True
    assert client.set("base_frame_id", "base_footprint") == (True, "")


def test_topics_and_services(node: Process, client: Client, room_map: Path) -> None:
    activate(node, client, room_map)
    services = {
        f"{NODE}/relocalize": "neumap_ros/srv/Relocalize",
        f"{NODE}/load_map": "neumap_ros/srv/LoadMap",
        "/reinitialize_global_localization": "std_srvs/srv/Empty",
    }
    topics = {
        "/image": "sensor_msgs/msg/Image",
        "/camera_info": "sensor_msgs/msg/CameraInfo",
        "/initialpose": "geometry_msgs/msg/PoseWithCovarianceStamped",
        "/pose": "geometry_msgs/msg/PoseWithCovarianceStamped",
        f"{NODE}/status": "neumap_ros/msg/LocalizationStatus",
        f"{NODE}/inliers": "sensor_msgs/msg/PointCloud2",
        f"{NODE}/debug_image": "sensor_msgs/msg/Image",
        f"{NODE}/voxels": "visualization_msgs/msg/MarkerArray",
        f"{NODE}/landmarks": "sensor_msgs/msg/PointCloud2",
    }
    for found, wanted in ((client.services, services), (client.topics, topics)):
        assert eventually(lambda found=found, wanted=wanted: wanted.keys() <= found().keys(), 20.0), found()
        assert {name: found()[name] for name in wanted} == {name: [kind] for name, kind in wanted.items()}


def test_without_images_relocalize_says_why(node: Process, client: Client, room_map: Path) -> None:
    from neumap_ros.srv import Relocalize

    activate(node, client, room_map)
    answer = client.call(Relocalize, f"{NODE}/relocalize", Relocalize.Request(timeout=1.0), 20.0)
    assert answer is not None
    assert not answer.success
    assert answer.reason
    assert answer.map_id


def test_a_map_can_be_loaded_while_active(node: Process, client: Client, room_map: Path, tmp_path: Path) -> None:
    from neumap_ros.srv import LoadMap

    activate(node, client, room_map)

    def load(path: Path) -> LoadMap.Response:
        return client.call(LoadMap, f"{NODE}/load_map", LoadMap.Request(map_path=str(path)))

    missing = load(tmp_path / "missing.neumap")
    assert not missing.success
    assert missing.reason
    again = load(room_map)
    assert again.success, again.reason
    assert again.map_id == missing.map_id != ""
    assert client.state() == "active"
