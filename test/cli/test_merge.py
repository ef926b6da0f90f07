from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neumap.cli.main import main
from neumap.geometry.se3 import pose_error, poses_of, yaw_pose
from neumap.io.trajectories import read_trajectory, write_trajectory
from neumap.maps.map_file import load_map
from neumap.report.evaluation import evaluate
from neumap.virtual.world import SMALL, write_world


def folder_of(world: Path, folder: Path, first: int, last: int) -> Path:
    """A TUM folder of some of the mapping images, without a copy of their pixels."""
    folder.mkdir()
    for name in ("rgb", "depth", "groundtruth.txt", "camera_info.yaml"):
        (folder / name).symlink_to(world / "mapping" / name)
    for name in ("rgb.txt", "depth.txt"):
        lines = (world / "mapping" / name).read_text().splitlines()
        (folder / name).write_text("\n".join([*lines[:2], *lines[2 + first : 2 + last]]) + "\n")
    return folder


@pytest.fixture(scope="module")
def halves(virtual_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The first and the second half of a drive."""
    folder = tmp_path_factory.mktemp("halves")
    return folder_of(virtual_world, folder / "first", 0, 32), folder_of(virtual_world, folder / "second", 28, 60)


@pytest.fixture(scope="module")
def first_map(halves: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first_map") / "first.neumap"
    assert main(["map", str(halves[0]), "--out", str(out), "--size", "60KB", "--frame-id", "cellar"]) == 0
    return out


def within_5cm(neural_map: Path, source: Path, out: Path) -> float:
    assert main(["localize", str(neural_map), str(source), "--out", str(out)]) == 0
    count = len((source / "rgb.txt").read_text().splitlines()) - 2
    recall = evaluate(read_trajectory(out), read_trajectory(source / "groundtruth.txt"), count).recall
    return next(r.share for r in recall if r.metres == 0.05)


def test_extending_a_map(
    halves: tuple[Path, Path], first_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both.neumap"
    assert main(["map", str(halves[1]), "--extend", str(first_map), "--out", str(out)]) == 0
    report = capsys.readouterr().out
    old, both = load_map(first_map), load_map(out)
    assert f"extends     {first_map}, {len(old.landmarks)} landmarks, id {old.map_id}" in report
    assert "32 of 32 frames, 2 of them set aside" in report
    assert f"id {both.map_id}" in report
    assert (both.frame_id, both.decoder_id, both.features) == ("cellar", old.decoder_id, old.features)
    assert both.landmarks.descriptors.shape[1] == old.landmarks.descriptors.shape[1]
    assert both.landmarks.anchor_bits == old.landmarks.anchor_bits
    assert both.mapping_images == old.mapping_images + 30
    assert [recording.name for recording in both.recordings] == ["first", "second"]
    assert len(old.landmarks) < len(both.landmarks) < 2.5 * len(old.landmarks)
    assert both.calibration.inflation >= old.calibration.inflation
    assert both.expected.images == 2
    assert within_5cm(out, halves[0], tmp_path / "first.txt") > 0.9
    assert within_5cm(out, halves[1], tmp_path / "second.txt") > 0.9


@pytest.mark.parametrize(
    "option", [("--size", "80KB"), ("--quick",), ("--frame-id", "map"), ("--decoder", "descriptor")]
)
def test_what_the_old_map_decides(
    option: tuple[str, ...],
    halves: tuple[Path, Path],
    first_map: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "both.neumap"
    assert main(["map", str(halves[1]), "--extend", str(first_map), "--out", str(out), *option]) == 1
    assert f"'{option[0][2:]}' does not go with --extend" in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture(scope="module")
def second_map(halves: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("second_map") / "second.neumap"
    assert main(["map", str(halves[1]), "--out", str(out), "--size", "60KB", "--frame-id", "cellar"]) == 0
    return out


def test_merging_maps(
    halves: tuple[Path, Path], first_map: Path, second_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second, out = second_map, tmp_path / "all.neumap"
    assert main(["merge", str(first_map), str(second), "--out", str(out)]) == 0
    report = capsys.readouterr().out
    merged = load_map(out)
    assert f"id {merged.map_id}" in report
    assert f"{len(merged.landmarks)} landmarks in {len(merged.grid)} voxels, decoder latent" in report
    parts = [load_map(path) for path in (first_map, second)]
    assert merged.mapping_images == sum(part.mapping_images for part in parts)
    assert len(merged.landmarks) < sum(len(part.landmarks) for part in parts)
    assert within_5cm(out, halves[1], tmp_path / "second.txt") > 0.9


def test_merging_maps_of_two_frames(
    halves: tuple[Path, Path], first_map: Path, second_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved, out, plain = (tmp_path / f"{name}.neumap" for name in ("moved", "all", "plain"))
    by = ["--by=1,-2,0.5,2.5", "--to", "hall"]
    assert main(["transform", str(second_map), "--out", str(moved), *by]) == 0
    assert main(["merge", str(first_map), str(moved), "--out", str(out)]) == 1
    assert "in the frames 'cellar' and 'hall': give --align to find how they lie" in capsys.readouterr().err
    assert main(["merge", str(first_map), str(moved), "--out", str(out), "--align"]) == 0
    report = capsys.readouterr().out
    assert re.search(rf"aligned +{moved}: \d+ landmarks agree, in \d+ of \d+ parts of the space they share\n", report)
    x, y, z, *quaternion = map(float, report.partition("moved by")[2].partition("(")[0].split())
    found = poses_of([[x, y, z, *quaternion]])[0]
    off = pose_error(found @ yaw_pose(1, -2, 0.5, 2.5), np.eye(4))
    assert np.linalg.norm(off[:3]) < 0.01
    assert np.rad2deg(np.linalg.norm(off[3:])) < 0.3
    assert load_map(out).frame_id == "cellar"
    for half in halves:
        assert within_5cm(out, half, tmp_path / "poses.txt") > 0.9
    # of one frame they stay as they are
    assert main(["merge", str(first_map), str(second_map), "--out", str(out), "--align"]) == 0
    assert main(["merge", str(first_map), str(second_map), "--out", str(plain)]) == 0
    assert out.read_bytes() == plain.read_bytes()


def test_extending_a_map_by_a_drive_in_another_frame(
    halves: tuple[Path, Path], first_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "moved", tmp_path / "both.neumap"
    folder.mkdir()
    for path in halves[1].iterdir():
        if path.name != "groundtruth.txt":
            (folder / path.name).symlink_to(path)
    truth = read_trajectory(halves[1] / "groundtruth.txt")
    move = yaw_pose(1, -2, 0.5, 2.5)
    write_trajectory(folder / "groundtruth.txt", replace(truth, map_from_camera=move @ truth.map_from_camera))
    extend = ["map", str(folder), "--extend", str(first_map), "--out", str(out)]
    assert main(extend) == 1
    said = r"what is added to it shows the same as the map that is extended, but elsewhere \(\d+ .*\): give --align if "
    assert re.search(said, capsys.readouterr().err)
    assert not out.exists()
    assert main([*extend, "--align"]) == 0
    assert re.search(rf"aligned +{folder}: \d+ landmarks agree, .*\nmoved by +", capsys.readouterr().out)
    assert load_map(out).expected.within_5cm_5deg == 1.0
    for half in halves:
        assert within_5cm(out, half, tmp_path / "poses.txt") > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--align"], "'--align' needs --extend: leave it out, or give --extend"),
        (["--align", "--apart", "--extend", "old.neumap"], "'--apart' and '--align' do not go together"),
    ],
)
def test_what_does_not_go_with_align(
    arguments: list[str], said: str, halves: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", str(halves[0]), "--out", str(tmp_path / "map.neumap"), *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def other_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of another room, whose frame is said to be the same."""
    folder = tmp_path_factory.mktemp("other")
    write_world(folder, replace(SMALL, mapping_frames=20, query_frames=2, other_room_frames=1), seed=5)
    out = folder / "other.neumap"
    source = str(folder / "mapping")
    assert main(["map", source, "--out", str(out), "--size", "60KB", "--frame-id", "cellar"]) == 0
    return out


def test_two_rooms_in_one_space(
    first_map: Path, other_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mapping = tmp_path / "all.neumap", other_map.parent / "mapping"
    said = "share space but no landmarks there, as if of two places or frames: map both in one frame, or give --apart"
    assert main(["merge", str(first_map), str(other_map), "--out", str(out)]) == 1
    assert f"{first_map} and {other_map} {said}" in capsys.readouterr().err
    assert main(["merge", str(first_map), str(other_map), "--out", str(out), "--align"]) == 1
    assert f"{other_map} cannot be joined to {first_map}: they share too little" in capsys.readouterr().err
    assert main(["map", str(mapping), "--extend", str(first_map), "--out", str(out)]) == 1
    assert f"the map that is extended and what is added to it {said}" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()
    assert main(["merge", str(first_map), str(other_map), "--out", str(out), "--apart"]) == 0
    landmarks = [len(load_map(path).landmarks) for path in (first_map, other_map, out)]
    assert landmarks[2] >= 0.95 * sum(landmarks[:2])


def test_maps_that_do_not_go_together(
    first_map: Path, virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.neumap"
    assert main(["merge", str(first_map), str(virtual_map), "--out", str(out)]) == 1
    assert "'cellar' and 'map'" in capsys.readouterr().err
    assert main(["merge", str(first_map), "--out", str(out)]) == 1
    assert "two maps at least" in capsys.readouterr().err
    assert not out.exists()


def test_info_of_voxels(first_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(first_map), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert len(info["voxel"]) == info["voxels"]
    assert [voxel["landmarks"] for voxel in info["voxel"]] == info["landmarks_per_voxel"]
    assert 0.5 * info["size_bytes"] < sum(voxel["bytes"] for voxel in info["voxel"]) < info["size_bytes"]
    for voxel in info["voxel"]:
        np.testing.assert_allclose(np.subtract(voxel["high"], voxel["low"]), info["voxel_size_m"])
    assert main(["info", str(first_map), "--voxels"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(table) == 1 + info["voxels"]
    assert len({len(line) for line in table}) == 1
