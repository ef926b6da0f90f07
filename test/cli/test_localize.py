from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from neumap.cli.main import main
from neumap.io.trajectories import read_trajectory

Process = Callable[..., subprocess.CompletedProcess[str]]


def localize(neural_map: Path, source: Path, folder: Path, *options: str) -> list[dict[str, Any]]:
    """The lines of the report; poses go to ``folder``/poses.txt."""
    arguments = ["--out", str(folder / "poses.txt"), "--report", str(folder / "r.jsonl"), *options]
    assert main(["localize", str(neural_map), str(source), *arguments]) == 0
    return [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]


def test_from_map_to_evaluation(virtual_map: Path, virtual_world: Path, tmp_path: Path, neumap: Process) -> None:
    query = virtual_world / "query"
    poses, report = tmp_path / "poses.txt", tmp_path / "r.jsonl"
    result = neumap("localize", virtual_map, query, "--out", poses, "--report", report)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("localized 12 of 12 images\n")
    assert "ms (median): features " in result.stdout
    assert result.stderr.startswith("localize: done")
    assert result.stderr.endswith("note: intrinsics: K of camera_info, which has no distortion\n")
    result = neumap("evaluate", poses, query, "--json")
    assert result.returncode == 0, result.stderr
    numbers = json.loads(result.stdout)
    assert numbers["localized"] == 1.0
    assert numbers["translation_m"]["median"] < 0.01
    assert all(recall["share"] == 1.0 for recall in numbers["recall"] if recall["metres"] >= 0.05)


def test_poses_less_certain_than_asked_for_are_lost(virtual_map: Path, virtual_world: Path, tmp_path: Path) -> None:
    all_lines = localize(virtual_map, virtual_world / "query", tmp_path)
    sigma_m = [float(np.sqrt(np.trace(np.array(line["covariance"])[:3, :3]))) for line in all_lines]
    bound = round(float(np.median(sigma_m)), 4)
    lines = localize(virtual_map, virtual_world / "query", tmp_path, "--max-sigma", str(bound))
    assert [line["status"] == "LOCALIZED" for line in lines] == [sigma <= bound for sigma in sigma_m]
    lost = next(line for line in lines if line["status"] == "LOST")
    assert lost["reason"].endswith(f"m, more than {bound:g} m")


def test_the_report_has_a_line_for_every_image(virtual_map: Path, virtual_world: Path, tmp_path: Path) -> None:
    lines = localize(virtual_map, virtual_world / "query", tmp_path)
    trajectory = read_trajectory(tmp_path / "poses.txt")
    listed = [line for line in (virtual_world / "query/rgb.txt").read_text().splitlines() if line[0] != "#"]
    assert [f"{line['stamp']} {line['name']}" for line in lines] == listed
    assert [line["stamp"].partition(".")[2] for line in lines] == [
        stamp[-9:] for stamp in map(str, trajectory.stamps_ns)
    ]
    for line, pose in zip(lines, trajectory.map_from_camera, strict=True):
        assert (line["status"], line["reason"]) == ("LOCALIZED", "")
        assert line["inliers"] > 14
        assert 0 < line["reprojection_error_px"] < 5
        assert np.allclose(line["pose"]["position"], pose[:3, 3], atol=1e-8)
        assert np.linalg.norm(line["pose"]["quat_xyzw"]) == pytest.approx(1)
        covariance = np.array(line["covariance"])
        assert covariance.shape == (6, 6)
        assert (np.linalg.eigvalsh(covariance) > 0).all()
        assert {"features", "decode", "pnp", "refine"} <= set(line["times_ms"])


def test_what_was_not_mapped_is_refused(
    virtual_map: Path, virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "negatives"
    shutil.copytree(virtual_world / "negatives", folder)
    shutil.copy(folder / "blank_wall.jpg", folder / "pale.jpg")
    cv2.imwrite(str(folder / "black.png"), np.zeros((240, 320), np.uint8))
    lines = localize(virtual_map, folder, tmp_path)
    names = {line["name"] for line in lines}
    assert {"blank_wall.jpg", "noise.jpg", "covered_lens.jpg", "black.png", "other_room_000.jpg"} <= names
    for line in lines:
        assert line["status"] == "LOST", line["name"]
        assert line["reason"]
        assert line["pose"] is line["covariance"] is None
    poses = (tmp_path / "poses.txt").read_text()
    assert all(line.startswith("#") for line in poses.splitlines())
    captured = capsys.readouterr()
    assert f"localized 0 of {len(lines)} images" in captured.out
    assert "holds no poses" in captured.out
    assert "the file names are not stamps" in captured.err


def test_one_image_and_the_other_sizes_of_its_camera(
    virtual_map: Path, virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = sorted((virtual_world / "query/rgb").iterdir())[0]
    (whole,) = localize(virtual_map, first, tmp_path, "--threads", "1")
    image = cv2.imread(str(first), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    larger = tmp_path / "larger" / first.name
    larger.parent.mkdir()
    cv2.imwrite(str(larger), cv2.resize(image, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC))
    shutil.copy(virtual_world / "query/camera_info.yaml", larger.parent)
    (resized,) = localize(virtual_map, larger, tmp_path)
    assert "scaled to fit" in capsys.readouterr().err
    assert np.linalg.norm(np.subtract(resized["pose"]["position"], whole["pose"]["position"])) < 0.03


def test_the_same_image_gives_the_same_pose(virtual_map: Path, virtual_world: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        localize(virtual_map, virtual_world / "query", tmp_path / name)
        contents.append((tmp_path / name / "poses.txt").read_bytes())
    assert contents[0] == contents[1]


def test_poses_and_report_need_two_names(
    virtual_map: Path, virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "x"), "--report", str(tmp_path / "." / "x")]
    assert main(["localize", str(virtual_map), str(virtual_world / "query"), *arguments]) == 1
    assert "give two names" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
