"""What colcon installs: both packages, the command, and a node that says what it lacks and what lies beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from node_process import NodeProcess

Start = Callable[..., NodeProcess]
PREFIX = Path(get_package_prefix("neumap_ros"))


def output_of(*command: object) -> str:
    return subprocess.run(list(map(str, command)), cwd="/", capture_output=True, text=True, check=True).stdout


def test_the_command_is_where_ros2_run_looks() -> None:
    version = output_of(sys.executable, "-c", "import neumap; print(neumap.__version__)")
    assert output_of(PREFIX / "lib" / "neumap_ros" / "neumap", "--version") == f"neumap {version}"


def test_the_library_is_whole() -> None:
    code = """
import neumap, neumap.model.decoder
from neumap.interfaces import definition
print(neumap.__file__)
print(definition("neumap_ros/msg/LocalizationStatus"))
print(*sorted(path.name for path in __import__("pathlib").Path(neumap.__file__).parent.rglob("*.safetensors")))
"""
    said = output_of(sys.executable, "-c", code)
    assert said.startswith(str(PREFIX))
    assert "uint8 UNINITIALIZED=0" in said
    assert said.endswith("codebooks.safetensors decoder.safetensors\n")


def test_another_version_beside_it_is_named_in_the_log(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "site-packages" / "neumap"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text('__version__ = "0.0.1"\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(other.parent)]))
    node = start()
    assert node.client.until(lambda: f"0.0.1 in {other}" in node.output), node.output


def test_a_node_without_opencv_says_so_and_ends(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    node = start(up=False)
    assert node.exit_status() == 1
    lacking = "OpenCV is not here: pip install 'neumap[opencv]' or apt install python3-opencv"
    assert node.output == f"neumap_localizer cannot start: {lacking}\n"
