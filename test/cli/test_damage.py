"""One damaged image among many is left out and counted, in every source; with --strict it is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from neumap.cli.main import main
from neumap.io.trajectories import read_trajectory
from neumap.maps.map_file import load_map


@pytest.fixture
def damaged(some_frames: Callable[[int], Path]) -> Path:
    """Twelve mapping images, of which the first is no image, one that is set aside is cut off, and one depth is."""
    folder = some_frames(12)
    for name in ("rgb", "depth"):
        original = (folder / name).resolve()
        (folder / name).unlink()
        (folder / name).mkdir()
        listed = (folder / f"{name}.txt").read_text().splitlines()[2:]
        for line in listed:
            shutil.copy(original / Path(line.split()[1]).name, folder / name)
    colour, depth = (sorted((folder / name).iterdir()) for name in ("rgb", "depth"))
    colour[0].write_bytes(b"no image")
    colour[5].write_bytes(colour[5].read_bytes()[:300])
    depth[7].write_bytes(depth[7].read_bytes()[:1000])
    return folder


def test_mapping(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.neumap"
    assert main(["map", str(damaged), "--out", str(out), "--quick"]) == 0
    captured = capsys.readouterr()
    first = damaged / "rgb" / sorted(path.name for path in (damaged / "rgb").iterdir())[0]
    notes = [line.strip() for line in captured.out.splitlines() if line.startswith(" ")]
    assert notes[0].startswith("intrinsics: ")
    assert notes[1].startswith(f"2 of 12 images cannot be read, and are left out: the image {first} cannot be ")
    # of images that are set aside it is not looked at, nor of those that cannot be read
    assert notes[2].startswith("1 of 9 depth images cannot be read, and are left out: the image")
    assert len(notes) == 3
    assert "note: " not in captured.err
    assert ": 10 of 12 frames, 1 of them set aside\n" in captured.out
    assert load_map(out).mapping_images == 9
    out.unlink()
    assert main(["map", str(damaged), "--out", str(out), "--quick", "--strict"]) == 1
    assert "cannot be decoded" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("folder", ["", "rgb"])
def test_localizing(
    damaged: Path, virtual_map: Path, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "poses.txt", tmp_path / "r.jsonl"
    arguments = ["localize", str(virtual_map), str(damaged / folder), "--out", str(out), "--report", str(report)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "note: 2 of 12 images cannot be read, and are left out: the image" in captured.err
    assert "time per image" in captured.out
    assert "features " in captured.out
    assert len(read_trajectory(out)) == 10
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["status"] for line in lines].count("LOST") == 2
    assert "cannot be decoded" in lines[0]["reason"]
    assert main([*arguments, "--strict"]) == 1


def test_only_images_that_were_looked_at_count(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a long recording some are used."""
    for name, value in (("MANY_FRAMES", 9), ("EVERY_M", 100.0), ("EVERY_DEG", 360.0)):
        monkeypatch.setattr(f"neumap.mapping.survey.{name}", value)
    assert main(["map", str(damaged), "--out", str(tmp_path / "m.neumap"), "--quick"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"\d of 9 images cannot be read", captured.out)
    assert re.search(r": [78] of 12 frames, 0 of them set aside\n", captured.out)
