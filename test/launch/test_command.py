"""The command of the library, from the package that colcon built."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

if shutil.which("ros2") is None:
    pytest.skip("ROS 2 is not here", allow_module_level=True)

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

try:
    get_package_prefix("neumap_ros")
except PackageNotFoundError:
    pytest.skip("neumap_ros is not built and sourced", allow_module_level=True)


def test_ros2_run_runs_it(room_map: Path) -> None:
    command = ["ros2", "run", "neumap_ros", "neumap", "info", "--json", str(room_map)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"]
