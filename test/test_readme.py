"""What the README says to type is typed, as it is written, in a folder with recordings of the names it uses."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neumap.geometry.se3 import transform_points

README = Path(__file__).resolve().parents[1] / "README.md"
# what takes a robot, a screen or the network
ELSEWHERE = ("ros2 ", "make ", "pip ", "neumap view ")


def blocks(language: str) -> list[str]:
    """The blocks of a language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[str]:
    """The commands to a shell, with their continued lines and without comments."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [" ".join(shlex.split(line, comments=True)) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives as SLAM leaves them, and what else the README names."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("rosbags")
    from neumap.io.sources import open_source
    from neumap.virtual.drive import drive
    from neumap.virtual.recording import record_mapping
    from neumap.virtual.world import SMALL, write_tum

    folder, room = tmp_path_factory.mktemp("readme"), SMALL.room(0)
    for seed, (name, count) in enumerate((("drive", 60), ("second_drive", 20))):
        write_tum(folder / f"{name}_tum", room, SMALL.camera, drive(room, seed, 60, "mapping")[:count], seed=seed)
        record_mapping(folder / name, folder / f"{name}_tum", seed=seed)
    second = folder / "second_drive_tum"
    shutil.copy(second / "camera_info.yaml", folder)
    shutil.copy(second / open_source(second, poses=False).frames[3].name, folder / "image.jpg")
    return folder


def write_points(folder: Path) -> None:
    """Points in the map that odometry made, which begins where the drive did, and in the one that SLAM made."""
    from neumap.io.sources import open_source

    by_slam, by_odometry = (
        open_source(folder / "drive", poses=True, odometry=odometry).frames[0].map_from_camera
        for odometry in (False, True)
    )
    points = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [1, 1, 1]])
    moved = transform_points(by_slam @ np.linalg.inv(by_odometry), points)
    np.savetxt(folder / "clicked.txt", np.hstack([points, moved]))


@pytest.fixture(scope="module")
def told(folder: Path, neumap: Callable[..., subprocess.CompletedProcess[str]]) -> dict[str, str]:
    """What the commands of the README say, by their verbs."""
    told = {}
    for command in commands():
        if command.startswith(ELSEWHERE):
            continue
        _, verb, *arguments = command.split()
        if verb == "transform":
            write_points(folder)
        if verb == "merge":
            moved = neumap("transform", folder / "place.neumap", "--by=3,-2,0,0.7", "--out", folder / "other.neumap")
            assert moved.returncode == 0, moved.stderr
        result = neumap(verb, *arguments, cwd=folder)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        told[verb] = result.stdout
    return told


def test_what_is_typed(folder: Path, told: dict[str, str]) -> None:
    assert told.keys() == {"map", "check", "transform", "localize", "evaluate", "replay", "merge"}
    assert "localized    20 of 20 images" in told["evaluate"]
    (median_cm,) = re.findall(r"translation  median ([\d.]+) cm", told["evaluate"])
    assert float(median_cm) < 5
    assert "first fix    0." in told["replay"]
    assert (folder / "check" / "lost.yaml").is_file()


@pytest.mark.usefixtures("told")
def test_python_to_paste(folder: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pose = np.array(re.findall(r"-?\d+\.\d*(?:e-?\d+)?", done.stdout.partition("]]")[0]), dtype=float)
    assert pose.shape == (16,)
