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

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
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
    for name in ("namespace", "map", "use_sim_time", "autostart", "params_file", "use_respawn", "image_transport"):
        assert f"'{name}'" in shown.stdout


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


def test_a_killed_node_comes_back_active(start: Start, client: Client, room_map: Path) -> None:
    launch = start(*LAUNCH, f"map:={room_map}", "use_respawn:=true")
    assert eventually(lambda: client.state() == "active"), launch.output
    os.kill(int(re.findall(r"started with pid \[(\d+)\]", launch.output)[0]), signal.SIGKILL)
    assert eventually(lambda: len(re.findall(r"started with pid", launch.output)) == 2, 30.0), launch.output
    assert eventually(lambda: client.state(2.0) == "active", 90.0), launch.output
