"""A map written in other programs' formats, and read again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neumap.cli.main import main
from neumap.geometry.se3 import make_pose, pose_error
from neumap.io.map_export import write_colmap
from neumap.maps.map_file import load_map


def test_landmarks_as_ply(virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "room.ply"
    assert main(["export", str(virtual_map), "--ply", str(out)]) == 0
    neural_map = load_map(virtual_map)
    assert capsys.readouterr().out == f"{out}: {len(neural_map.landmarks)} landmarks\n"
    head, _, body = out.read_bytes().partition(b"end_header\n")
    assert head.decode().splitlines() == [
        *("ply", "format binary_little_endian 1.0", f"element vertex {len(neural_map.landmarks)}"),
        *("property double x", "property double y", "property double z"),
    ]
    points = np.frombuffer(body, "<f8").reshape(-1, 3)
    np.testing.assert_array_equal(points, neural_map.landmarks.points(neural_map.grid))


def test_a_colmap_model(virtual_map: Path, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    out = tmp_path / "model"
    assert main(["export", str(virtual_map), "--colmap", str(out)]) == 0
    neural_map, model = load_map(virtual_map), pycolmap.Reconstruction(out)
    points = np.array([model.points3D[i].xyz for i in sorted(model.points3D)])
    np.testing.assert_allclose(points, neural_map.landmarks.points(neural_map.grid), atol=1e-6)
    poses = [model.images[i].cam_from_world().inverse().matrix() for i in sorted(model.images)]
    cameras = np.array([make_pose(pose[:, :3], pose[:, 3]) for pose in poses])
    assert len(cameras) == len(neural_map.drift.poses) > 40
    np.testing.assert_allclose(pose_error(cameras, neural_map.drift.poses), 0, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_map_without_cameras(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    points = np.array([[500_000.125, 5_400_000.25, 3.0]])
    (tmp_path / "model").mkdir()
    write_colmap(tmp_path / "model", points, np.zeros((0, 4, 4)))
    model = pycolmap.Reconstruction(tmp_path / "model")
    assert not model.images
    np.testing.assert_allclose([point.xyz for point in model.points3D.values()], points, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "nothing to write: give --ply FILE.ply, --colmap DIR or both"),
        (["--ply", "room.neumap"], "room.neumap is no name for a PLY file: end it in .ply"),
        (["--colmap", "full"], "full exists already and is not an empty folder: remove it or give another name"),
        (["--ply", "no/room.ply"], "cannot write no/room.ply: the folder no does not exist, create it first"),
    ],
)
def test_what_is_not_written(
    virtual_map: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/points3D.bin").write_text("mine")
    assert main(["export", str(virtual_map), *arguments]) == 1
    assert capsys.readouterr() == ("", f"neumap: error: {error}\n")
    assert Path("full/points3D.bin").read_text() == "mine"
    assert os.listdir() == ["full"]
