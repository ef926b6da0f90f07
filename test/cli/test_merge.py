from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neumap.cli.main import main
from neumap.io.trajectories import read_trajectory
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


def test_merging_maps(
    halves: tuple[Path, Path], first_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second, out = tmp_path / "second.neumap", tmp_path / "all.neumap"
    assert main(["map", str(halves[1]), "--out", str(second), "--size", "60KB", "--frame-id", "cellar"]) == 0
    capsys.readouterr()
    assert main(["merge", str(first_map), str(second), "--out", str(out)]) == 0
    report = capsys.readouterr().out
    merged = load_map(out)
    assert f"id {merged.map_id}" in report
    assert f"{len(merged.landmarks)} landmarks in {len(merged.grid)} voxels, decoder latent" in report
    parts = [load_map(path) for path in (first_map, second)]
    assert merged.mapping_images == sum(part.mapping_images for part in parts)
    assert len(merged.landmarks) < sum(len(part.landmarks) for part in parts)
    assert within_5cm(out, halves[1], tmp_path / "second.txt") > 0.9


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
    said = "share space but no landmarks there, as if of two places or frames: give --align"
    assert main(["merge", str(first_map), str(other_map), "--out", str(out)]) == 1
    assert f"{first_map} and {other_map} {said}" in capsys.readouterr().err
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
