"""The launch file, as `ros2 launch` runs it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

if shutil.which("ros2") is None:
    pytest.skip("ROS 2 is not here", allow_module_level=True)

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from localizer_client import Client, Process, eventually

try:
    get_package_prefix("neumap_ros")
except PackageNotFoundError:
    pytest.skip("neumap_ros is not built and sourced", allow_module_level=True)

LAUNCH = ("ros2", "launch", "neumap_ros", "localize.launch.py")
CONFIGURE, CLEANUP = 1, 2

Start = Callable[..., Process]


def test_it_shows_its_arguments() -> None:
    shown = subprocess.run([*LAUNCH, "--show-args"], capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stderr
    for name in (
        "namespace",
        "map",
        "use_sim_time",
        "autostart",
        "params_file",
        "use_respawn",
        "camera_names",
        "image_transport",
        "mode",
    ):
        assert f"'{name}'" in shown.stdout


def test_several_cameras(start: Start, client: Client, room_map: Path) -> None:
    topics = ("image:=/a/image_raw,/b/image_raw", "camera_info:=/a/camera_info,/b/camera_info")
    launch = start(*LAUNCH, f"map:={room_map}", "camera_names:=front,rear", *topics)
    assert eventually(lambda: client.state() == "active"), launch.output
    heard = {"/a/image_raw", "/b/image_raw", "/a/camera_info", "/b/camera_info"}
    assert eventually(lambda: heard <= client.topics().keys()), client.topics()


def test_a_failed_start_leaves_a_node_that_can_be_tried_again(start: Start, client: Client) -> None:
    launch = start(*LAUNCH)
    assert client.state() == "unconfigured"
    # launch says so when the transition has failed
    assert eventually(lambda: "Failed to make transition" in launch.output), launch.output
    assert client.state() == "unconfigured"
    assert client.change(CONFIGURE) is False
    assert launch.alive
    launch.interrupt()
    assert "Traceback" not in launch.output
    assert "failed to terminate" not in launch.output


def test_it_activates_once_and_then_leaves_transitions_to_the_user(
    start: Start, client: Client, room_map: Path
) -> None:
    launch = start(*LAUNCH, f"map:={room_map}")
    assert eventually(lambda: client.state() == "active"), launch.output
    assert client.change(4) is True  # deactivate
    assert client.change(CLEANUP) is True
    assert client.change(CONFIGURE) is True
    assert not eventually(lambda: client.state() != "inactive", 3.0), launch.output
    launch.interrupt()
    assert "Traceback" not in launch.output
    assert "failed to terminate" not in launch.output


def test_without_autostart_it_waits(start: Start, client: Client) -> None:
    launch = start(*LAUNCH, "autostart:=false")
    assert client.state() == "unconfigured"
    assert not eventually(lambda: client.state() != "unconfigured" or not launch.alive, 3.0), launch.output


@pytest.fixture
def cannot_start(tmp_path: Path) -> str:
    """The argument that names a parameter file with which the node dies at start."""
    path = tmp_path / "wrong.yaml"
    path.write_text("/**:\n  ros__parameters:\n    max_speed: fast\n")
    return f"params_file:={path}"


@pytest.mark.parametrize("autostart", ["true", "false"])
def test_it_ends_where_the_node_dies_at_start(start: Start, cannot_start: str, autostart: str) -> None:
    launch = start(*LAUNCH, cannot_start, f"autostart:={autostart}")
    assert eventually(lambda: not launch.alive), launch.output
    assert launch.interrupt() == 1, launch.output
    assert "cannot start" in launch.output


def test_it_goes_on_where_the_node_dies_at_start_and_respawns(start: Start, cannot_start: str) -> None:
    launch = start(*LAUNCH, cannot_start, "use_respawn:=true")
    assert eventually(lambda: len(re.findall(r"started with pid", launch.output)) == 3), launch.output
    assert launch.alive


def test_a_node_that_dies_later_ends_nothing_else(start: Start, client: Client, room_map: Path, tmp_path: Path) -> None:
    larger = tmp_path / "larger.launch.py"
    larger.write_text(f"""
from launch import LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
def generate_launch_description():
    ours = PythonLaunchDescriptionSource({get_package_share_directory("neumap_ros")!r} + "/launch/localize.launch.py")
    return LaunchDescription([
        ExecuteProcess(cmd=["sleep", "600"]),
        IncludeLaunchDescription(ours, launch_arguments=[("map", {str(room_map)!r})]),
    ])
""")
    launch = start("ros2", "launch", larger)
    assert eventually(lambda: client.state() == "active"), launch.output
    os.kill(int(re.findall(r"localizer-\d+\]: process started with pid \[(\d+)\]", launch.output)[0]), signal.SIGKILL)
    assert eventually(lambda: "process has died" in launch.output), launch.output
    assert not eventually(lambda: not launch.alive, 3.0), launch.output


def test_a_killed_node_comes_back_active(start: Start, client: Client, room_map: Path) -> None:
    launch = start(*LAUNCH, f"map:={room_map}", "use_respawn:=true")
    assert eventually(lambda: client.state() == "active"), launch.output
    os.kill(int(re.findall(r"started with pid \[(\d+)\]", launch.output)[0]), signal.SIGKILL)
    assert eventually(lambda: len(re.findall(r"started with pid", launch.output)) == 2, 30.0), launch.output
    assert eventually(lambda: client.state(2.0) == "active", 90.0), launch.output
