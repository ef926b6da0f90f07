from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from neumap.cli.demo import SHIPPED, covered_text
from neumap.cli.main import main
from neumap.virtual.recording import Covered

S = 1_000_000_000


def is_picture(path: Path) -> bool:
    picture = cv2.imread(str(path))
    return picture is not None and bool(picture.std() > 10)


@pytest.fixture(autouse=True)
def _extras() -> None:
    for extra in ("matplotlib", "rosbags"):
        pytest.importorskip(extra)


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return found


def check_output(out: Path, stdout: str) -> None:
    """What every demo writes and says."""
    for name in ("poses.txt", "replay/replay/replay.mcap"):
        assert (out / name).is_file(), name
    assert is_picture(out / "demo.png")
    assert is_picture(out / "replay" / "replay.png")
    assert "localized    10 of 10 images" in stdout
    assert "refused      6 of 6 images" in stdout
    replayed = stdout.partition("replayed to the localizer")[2]
    for label in ("played", "first fix", "published", "states", "translation", "rotation", "wrong", "covariance"):
        assert f"\n{label} " in replayed, label
    assert "\nmap -> odom  median" in replayed
    covered = next(line for line in replayed.splitlines() if line.startswith("covered"))
    assert "DEGRADED after 0." in covered
    assert "LOST after" in covered
    assert "TRACKING again 0." in covered


def test_the_demo_that_ships(tmp_path: Path, neumap: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    out = tmp_path / "out" / "demo"
    # over an older one
    shutil.copytree(SHIPPED, out)
    (out / "query" / "old.png").touch()
    result = neumap("demo", "--out", out)
    assert result.returncode == 0, result.stderr
    assert not (out / "query" / "old.png").exists()
    check_output(out, result.stdout)
    shipped, found = figures(SHIPPED), figures(out)
    for one, other in ((shipped, found), (shipped["replay"], found["replay"])):
        # computers round otherwise
        assert other["median_cm"] == pytest.approx(one["median_cm"], rel=0.2, abs=0.02)
        assert other.keys() == one.keys()
    assert found["map_kb"] == shipped["map_kb"]
    size = sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file())
    assert size < 3e6


def test_made_anew_it_is_as_it_ships(tmp_path: Path, neumap: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    out, saved = tmp_path / "demo", tmp_path / "saved"
    result = neumap("demo", "--full", "--out", out, "--save", saved)
    assert result.returncode == 0, result.stderr
    check_output(out, result.stdout)
    for name in ("mapping/rgb.txt", "mapping_bag/mapping_bag.mcap", "query_bag/query_bag.mcap", "negatives/noise.jpg"):
        assert (out / name).is_file(), name

    def names(folder: Path) -> list[Path]:
        return sorted(path.relative_to(folder) for path in folder.rglob("*"))

    assert names(saved) == names(SHIPPED)
    for found in (figures(out), figures(SHIPPED)):
        assert found["localized"] == 1
        assert found["wrongly_accepted"] == 0
        assert found["median_cm"] < 0.3
        assert found["median_deg"] < 0.1
        assert 200 < found["map_kb"] < 300
        replay = found["replay"]
        assert replay["first_fix_image"] == 1
        assert replay["jumps"] == replay["wrong"] == 0
        assert replay["median_cm"] < 0.5
        # 10 s, of which the lens is covered for 4
        assert 0.55 < replay["tracking"] < 0.65


def test_what_is_for_a_demo_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seed", "2", "--out", str(tmp_path / "demo")]) == 1
    assert "--seed is for a demo that is made anew: give --full, too" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("option", ["--out", "--save"])
@pytest.mark.parametrize(
    ("name", "figures"),
    [("query", None), ("negatives", "{}"), ("query_bag", "5"), ("mapping", "a table"), ("replay", None)],
)
def test_folders_of_the_user_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str, figures: str | None
) -> None:
    mine = tmp_path / "mine"
    (mine / name).mkdir(parents=True)
    (mine / name / "photo.jpg").write_text("mine")
    if figures is not None:
        (mine / "figures.json").write_text(figures)
    others = ("--full", "--out", str(tmp_path / "demo")) if option == "--save" else ()
    assert main(["demo", option, str(mine), *others]) == 1
    first = mine / (name if figures is None else "figures.json")
    held = f"{first} exists already, and {first.parent} holds no finished demo"
    said = f"neumap: error: {held}: remove it, or give another folder\n"
    assert capsys.readouterr().err == said
    assert (mine / name / "photo.jpg").read_text() == "mine"
    assert [*tmp_path.iterdir()] == [mine]


def test_what_is_missing_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("neumap.installation.find_spec", lambda name: None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert "neumap[plots,bags]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
