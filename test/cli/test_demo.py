from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from neumap.cli.demo import covered_text
from neumap.cli.main import main
from neumap.virtual.recording import Covered

S = 1_000_000_000


def is_picture(path: Path) -> bool:
    picture = cv2.imread(str(path))
    return picture is not None and bool(picture.std() > 10)


def test_the_small_demo(tmp_path: Path, neumap: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    for extra in ("matplotlib", "rosbags"):
        pytest.importorskip(extra)
    out = tmp_path / "out" / "demo"
    result = neumap("demo", "--size", "small", "--seed", 2, "--out", out)
    assert result.returncode == 0, result.stderr
    assert "localized    12 of 12 images" in result.stdout
    assert "refused      7 of 7 images" in result.stdout
    for name in ("demo.neumap", "poses.txt", "mapping/rgb.txt", "query/groundtruth.txt", "negatives/noise.png"):
        assert (out / name).is_file(), name
    for name in ("mapping_bag/mapping_bag.mcap", "query_bag/query_bag.mcap", "replay/replay/replay.mcap"):
        assert (out / name).is_file(), name
    assert is_picture(out / "demo.png")
    assert is_picture(out / "replay" / "replay.png")

    report = json.loads((out / "replay" / "report.json").read_text())
    assert report["first_fix_image"] == 1
    assert report["jumps"] == 0
    assert report["accuracy"]["wrong"] == 0
    # 16 s, of which the lens is covered for 4 s; 3 s of that pass before the node gives up
    shares = report["state_shares"]
    assert shares["TRACKING"] > 0.7
    assert shares["LOST"] > 0.04
    assert shares["DEGRADED"] > 0.12
    replayed = result.stdout.partition("replayed through the ROS node")[2]
    for label in ("played", "first fix", "published", "states", "translation", "rotation", "wrong", "covariance"):
        assert f"\n{label} " in replayed, label
    assert "\nmap -> odom  median" in replayed
    covered = next(line for line in replayed.splitlines() if line.startswith("covered"))
    assert "DEGRADED after 0." in covered
    assert "LOST after" in covered
    assert "TRACKING again 0." in covered


STATES = """
100.0 UNINITIALIZED no image yet
100.5 TRACKING
101.0 DEGRADED a person in front
101.2 TRACKING
110.2 DEGRADED only 0 keypoints: blank
113.1 LOST only 0 keypoints: blank
114.1 TRACKING
120.0 LOST no image since 1 s
""".strip()


@pytest.mark.parametrize(
    ("start_s", "text"),
    [
        (110, "the lens, for 4 s: DEGRADED after 0.2 s, LOST after 3.1 s, TRACKING again 0.1 s after it was free"),
        (102, "the lens, for 4 s: never DEGRADED, never LOST, TRACKING again 8.1 s after it was free"),
        (114, "the lens, for 4 s: never DEGRADED, never LOST, not TRACKING again"),
    ],
)
def test_what_is_said_of_the_covered_lens(start_s: int, text: str) -> None:
    assert covered_text(STATES, Covered(start_s * S, (start_s + 4) * S)) == text


def test_a_file_is_no_place_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert main(["demo", "--out", str(taken)]) == 1
    assert capsys.readouterr().err == f"neumap: error: {taken} is not a folder: give another one to write to\n"
    assert taken.read_text() == "mine"


def test_what_is_missing_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("neumap.installation.find_spec", lambda name: None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert "neumap[plots,bags]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
