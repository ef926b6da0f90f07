"""Where a robot will be lost: told of a map alone, and of a drive through it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from neumap.cli.main import main
from neumap.io.stamps import format_stamp
from neumap.io.trajectories import read_trajectory

BLANK, BROKEN = range(4, 7), 10


def check(out: Path, *arguments: Path | str) -> dict[str, Any]:
    assert main(["check", *map(str, arguments), "--out", str(out)]) == 0
    content: dict[str, Any] = json.loads((out / "check.json").read_text())
    return content


@pytest.fixture(scope="module")
def of_map(virtual_map: Path, virtual_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is told of the map alone, with the camera of the room's recordings."""
    out = tmp_path_factory.mktemp("check") / "of_map"
    camera = virtual_world / "query" / "camera_info.yaml"
    check(out, virtual_map, "--camera", camera, "--cell", "0.5", "--height", "1.2")
    return out


def test_what_is_foreseen_of_a_map(of_map: Path) -> None:
    content = json.loads((of_map / "check.json").read_text())
    grid = content["grid"]
    shape = (grid["rows"], grid["columns"], len(grid["headings_deg"]))
    probability, error_m = (np.array(content[name], dtype=float) for name in ("probability", "error_m"))
    assert probability.shape == error_m.shape == shape
    inside = np.isfinite(probability)
    assert (inside.all(axis=2) == inside.any(axis=2)).all()
    assert ((probability[inside] >= 0) & (probability[inside] <= 1)).all()
    told = content["foreseen"]
    assert told["places"] == inside[:, :, 0].sum()
    assert told["localized"] == pytest.approx(probability[inside].mean(), abs=1e-3)
    # a room that was mapped all around
    assert told["localized_best_heading"] > 0.95
    assert 0.001 < told["error_m"] < 0.05
    assert content["drive"] is None
    assert not content["camera"]["assumed"]
    assert cv2.imread(str(of_map / "check.png")) is not None


def test_the_overlay_is_where_map_server_puts_it(of_map: Path) -> None:
    content = json.loads((of_map / "check.json").read_text())
    told = yaml.safe_load((of_map / "lost.yaml").read_text())
    image = cv2.imread(str(of_map / told["image"]), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert (told["mode"], told["negate"]) == ("scale", 0)
    assert told["free_thresh"] < told["occupied_thresh"]
    share = np.array(content["probability"], dtype=float).mean(axis=2)
    assert image.shape == (*share.shape, 4)
    # as map_server reads it: the last row is the one with the least y
    for x, y in ((1.3, 0.8), (0.7, 2.1)):
        column = int((x - told["origin"][0]) // told["resolution"])
        row = int((y - told["origin"][1]) // told["resolution"])
        pixel = image[image.shape[0] - 1 - row, column]
        assert pixel[3] == 255
        assert pixel[0] == pytest.approx(255 * share[row, column], abs=1)
    assert (image[::-1, :, 3] == 255 * np.isfinite(share)).all()


@pytest.fixture(scope="module")
def blinded(virtual_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The query drive, in another frame, of which a few images in a row are black."""
    folder = tmp_path_factory.mktemp("blinded") / "drive"
    shutil.copytree(virtual_world / "query", folder)
    rows = [line.split() for line in (folder / "rgb.txt").read_text().splitlines() if line[0] != "#"]
    for index in BLANK:
        image = cv2.imread(str(folder / rows[index][1]))
        assert image is not None
        cv2.imwrite(str(folder / rows[index][1]), np.zeros_like(image))
    # and one is no image at all
    (folder / rows[BROKEN][1]).write_bytes(b"nothing")
    # odometry begins elsewhere, a quarter turn on
    lines = []
    for line in (folder / "groundtruth.txt").read_text().splitlines():
        if line[0] != "#":
            stamp, x, y, z, *quaternion = line.split()
            qx, qy, qz, qw = map(float, quaternion)
            half = np.sqrt(0.5)
            turned = half * (qx - qy), half * (qy + qx), half * (qz + qw), half * (qw - qz)
            line = " ".join(map(str, (stamp, 7 - float(y), float(x) - 3, z, *turned)))
        lines.append(line)
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_a_drive_is_judged(
    virtual_map: Path, blinded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = check(tmp_path / "out", virtual_map, blinded, "--cell", "1")
    drive = content["drive"]
    assert drive["images"] == 12
    assert drive["localized"] == pytest.approx(8 / 12)
    odometry = drive["odometry"]
    assert odometry["steps"] == 7
    assert odometry["disagreeing"] == []
    assert odometry["off_m"] < 0.01
    assert odometry["off_deg"] < 0.5
    worst, broken = drive["worst"]
    assert broken["images"] == 1
    assert "cannot be decoded" in broken["reason"]
    truth = read_trajectory(blinded / "groundtruth.txt")
    assert (worst["from"], worst["to"]) == tuple(format_stamp(truth.stamps_ns[i]) for i in (BLANK[0], BLANK[-1]))
    around = truth.map_from_camera[BLANK[0] - 1 : BLANK[-1] + 2, :3, 3]
    assert worst["metres"] == pytest.approx(np.linalg.norm(np.diff(around, axis=0), axis=1).sum(), abs=1e-3)
    assert drive["longest_gap_m"] == worst["metres"]
    assert worst["reason"] == "only 0 keypoints: blank, dark or blurred image"
    # the map says nothing of images that are black
    assert drive["foreseen"] > 0.9
    assert cv2.imread(str(tmp_path / "out" / "drive.png")) is not None
    printed = capsys.readouterr().out
    assert "drive       67% of 12 images localized\n" in printed
    assert "odometry    7 of 7 steps agree" in printed


def test_images_without_poses_are_compared_with_nothing(
    virtual_map: Path, virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(virtual_world / "query" / "camera_info.yaml", folder)
    for path in sorted((virtual_world / "query" / "rgb").iterdir())[:2]:
        shutil.copy(path, folder)
    drive = check(tmp_path / "out", virtual_map, folder, "--cell", "1")["drive"]
    assert (drive["localized"], drive["odometry"], drive["longest_gap_m"]) == (1.0, None, None)
    captured = capsys.readouterr()
    assert "note: nothing is compared with odometry: " in captured.err
    assert "odometry    none in the drive: gaps are in seconds only\n" in captured.out


def test_a_drive_elsewhere_is_lost_all_along(virtual_map: Path, virtual_world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(virtual_world / "query" / "camera_info.yaml", folder)
    for name in ("other_room_000.jpg", "blank_wall.jpg"):
        shutil.copy(virtual_world / "negatives" / name, folder)
    drive = check(tmp_path / "out", virtual_map, folder, "--cell", "1")["drive"]
    assert (drive["localized"], drive["foreseen"]) == (0.0, None)
    assert [stretch["images"] for stretch in drive["worst"]] == [2]
    assert (tmp_path / "out" / "drive.png").exists()


def test_where_no_camera_is_given_one_is_assumed_and_said(
    virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path / "out", virtual_map, "--cell", "1")["camera"]["assumed"]
    assert (
        "camera      640 x 480 pixels, focal length 502 pixels, assumed: give --camera for another\n"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--cell", "0.001"), "cells of 0.001 m are more than 100000: give a larger --cell"),
        (("--camera", "nowhere.yaml"), "the calibration nowhere.yaml does not exist: check the path"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    assert main(["check", str(virtual_map), "--out", str(tmp_path / "out"), *options]) == 1
    error = capsys.readouterr().err
    assert error.endswith("\n")
    assert sentence in error


def test_no_place_is_inside_at_another_height(
    virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = check(tmp_path / "out", virtual_map, "--cell", "1", "--height", "40")
    assert content["foreseen"]["places"] == 0
    assert "no place is inside of what was mapped: is --height right?" in capsys.readouterr().out
