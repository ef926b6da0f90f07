from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neumap.cli.main import main
from neumap.io.trajectories import write_trajectory
from neumap.io.tum import read_tum
from neumap.records import Trajectory

ROOT = Path(__file__).resolve().parents[2]


def neumap(*args: str | Path, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "neumap.cli", "evaluate", *map(str, args)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Three of the four true poses, off by 1, 3 and 30 cm."""
    stamps = np.arange(4) * 100_000_000
    truth = np.tile(np.eye(4), (4, 1, 1))
    truth[:, 0, 3] = np.arange(4)
    estimate = truth[:3].copy()
    estimate[:, 2, 3] += [0.01, 0.03, 0.3]
    write_trajectory(tmp_path / "poses.txt", Trajectory(stamps[:3], estimate))
    write_trajectory(tmp_path / "groundtruth.txt", Trajectory(stamps, truth))
    (tmp_path / "rgb.txt").write_text("".join(f"{t / 10} {t}.png\n" for t in range(4)))
    return tmp_path / "poses.txt", tmp_path / "groundtruth.txt"


def test_text(files: tuple[Path, Path]) -> None:
    result = neumap(*files)
    assert (result.returncode, result.stderr) == (0, "")
    assert "median 3.00 cm" in result.stdout
    assert "--images or --queries" in result.stdout


def test_where_no_image_was_localized(files: tuple[Path, Path]) -> None:
    """The poses of 'neumap localize' are then an empty file."""
    files[0].write_text("")
    result = neumap(*files, "--images", files[1].with_name("rgb.txt"), "--plot", files[0].with_name("drawn.png"))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("localized    0 of 4 images (0.0%)\n")
    assert files[0].with_name("drawn.png").stat().st_size > 0


def test_rows_that_hold_no_pose(files: tuple[Path, Path]) -> None:
    truth = files[1]
    truth.write_text(truth.read_text() + "0.15 nan nan nan 0 0 0 1\n")
    told = f"1 of 5 lines of {truth} are left out, the first is line 6: a value is not finite"
    result = neumap(*files)
    assert (result.returncode, result.stderr) == (0, f"note: {told}\n")
    assert "median 3.00 cm" in result.stdout
    result = neumap(*files, "--strict")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"neumap: error: {told}: mend them, or leave out --strict\n"


def test_truth_of_a_folder(virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = virtual_world / "query"
    source = read_tum(query, poses=True, depth=False)
    poses = tmp_path / "poses.txt"
    found = source.frames[:9]
    estimates = np.array([frame.map_from_camera for frame in found])
    estimates[:, 1, 3] += 0.02
    write_trajectory(poses, Trajectory(np.array([frame.stamp_ns for frame in found]), estimates))
    told = []
    for arguments in ([query], [query / "groundtruth.txt", "--images", query / "rgb.txt"]):
        assert main(["evaluate", str(poses), *map(str, arguments)]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].startswith("localized    9 of 12 images (75.0%)\ntranslation  median 2.00 cm, mean 2.00")


@pytest.mark.parametrize("option", ["--images", "--queries"])
def test_json_of_all_queries(files: tuple[Path, Path], option: str) -> None:
    value = files[0].with_name("rgb.txt") if option == "--images" else "4"
    result = neumap(*files, "--json", option, value)
    assert (result.returncode, result.stderr) == (0, "")
    numbers = json.loads(result.stdout)
    assert numbers["localized"] == 0.75
    assert [recall["share"] for recall in numbers["recall"]] == [0.25, 0.5, 0.5, 0.75]


def test_plot(files: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = neumap(*files, "--plot", tmp_path / "errors.png")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "errors.png").stat().st_size > 1000


@pytest.mark.parametrize("queries", ["0", "-1", "many"])
def test_wrong_number_of_queries(files: tuple[Path, Path], queries: str) -> None:
    result = neumap(*files, f"--queries={queries}")
    assert result.returncode == 2
    assert "is not a number from 1" in result.stderr


def test_errors_are_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = neumap(tmp_path / "none.txt", files[1])
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("neumap: error: the trajectory ")
    assert result.stderr.count("\n") == 1


def test_output_that_cannot_be_written(files: tuple[Path, Path]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = neumap(*files, stdout=writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")
    full = Path("/dev/full")
    if full.exists():
        with full.open("w") as file:
            result = neumap(*files, stdout=file.fileno())
        assert result.returncode == 1
        assert result.stderr == "neumap: error: No space left on device\n"


def test_output_folder_without_permission(files: tuple[Path, Path], tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    pytest.importorskip("matplotlib")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    result = neumap(*files, "--plot", locked / "errors.png")
    assert result.returncode == 1
    assert "check its permissions" in result.stderr
    assert result.stderr.count("\n") == 1
