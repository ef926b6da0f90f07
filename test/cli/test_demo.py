from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from neumap_ros.cli.main import main


def test_the_small_demo(tmp_path: Path, neumap: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    pytest.importorskip("evo")
    pytest.importorskip("matplotlib")
    out = tmp_path / "out" / "demo"
    result = neumap("demo", "--size", "small", "--seed", 2, "--out", out)
    assert result.returncode == 0, result.stderr
    assert "localized    12 of 12 images" in result.stdout
    assert "refused      7 of 7 images" in result.stdout
    for name in ("demo.neumap", "poses.txt", "mapping/rgb.txt", "query/groundtruth.txt", "negatives/noise.png"):
        assert (out / name).is_file(), name
    picture = cv2.imread(str(out / "demo.png"))
    assert picture is not None
    assert picture.std() > 10


def test_a_file_is_no_place_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert main(["demo", "--out", str(taken)]) == 1
    assert capsys.readouterr().err == f"neumap: error: {taken} is not a folder: give another one to write to\n"
    assert taken.read_text() == "mine"


def test_what_is_missing_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert "neumap_ros[evaluate,plots]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
