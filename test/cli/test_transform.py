from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_scene import make_map, make_scene, no_drift, ring

from neumap.cli.main import main
from neumap.geometry.se3 import pose_error, transform_points, yaw_pose
from neumap.io.trajectories import read_trajectory
from neumap.maps.map_file import load_map, save_map


@pytest.fixture(scope="module")
def small_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small_map") / "small.neumap"
    drift = replace(no_drift(), poses=ring(6), deviations=np.zeros((6, 6)))
    save_map(path, replace(make_map(make_scene(np.random.default_rng(0), 200), voxel_m=5.0), drift=drift))
    return path


MOVE = yaw_pose(-4.5, 2.25, 0.5, 0.75)


def moved(tmp_path: Path, small_map: Path, *arguments: str) -> np.ndarray:
    """x, y, z and yaw of the transform that moved all landmarks, as its viewpoints tell it."""
    out = tmp_path / "moved.neumap"
    assert main(["transform", str(small_map), "--out", str(out), *arguments]) == 0
    old, new = load_map(small_map), load_map(out)
    assert len(new.landmarks) == len(old.landmarks)
    middle = [one.drift.poses[:, :3, 3].mean(axis=0) for one in (old, new)]
    turn = new.drift.poses[0, :3, :3] @ old.drift.poses[0, :3, :3].T
    return np.array([*(middle[1] - turn @ middle[0]), np.arctan2(turn[1, 0], turn[0, 0])])


@pytest.mark.parametrize(
    "by",
    [
        ("--by=-4.5,2.25,0.5,0.75",),
        ("--by", "-4.5", "2.25", "0.5", "0.75"),
        ("--by=-4.5 2.25 .5 0 0 0.3662725 0.9305076",),
    ],
)
def test_a_transform_that_is_known(by: tuple[str, ...], small_map: Path, tmp_path: Path) -> None:
    np.testing.assert_allclose(moved(tmp_path, small_map, *by), [-4.5, 2.25, 0.5, 0.75], atol=1e-4)


def test_poses_are_in_the_new_frame(
    virtual_map: Path, virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "moved.neumap"
    by = ["--by=-4.5,2.25,0.5,0.75", "--to", "/cellar"]
    assert main(["transform", str(virtual_map), "--out", str(out), *by]) == 0
    report = capsys.readouterr().out
    assert "moved by    -4.5000 2.2500 0.5000 0.0000 0.0000 0.3663 0.9305 (x y z qx qy qz qw; yaw 43.0 deg)" in report
    assert re.search(r"frame +cellar, before map\n", report)
    assert load_map(out).frame_id == "cellar"
    found = []
    for path in (virtual_map, out):
        poses = tmp_path / "poses.txt"
        assert main(["localize", str(path), str(virtual_world / "query"), "--out", str(poses)]) == 0
        found.append(read_trajectory(poses))
    assert len(found[0]) >= 10
    np.testing.assert_array_equal(found[0].stamps_ns, found[1].stamps_ns)
    off = pose_error(found[1].map_from_camera, MOVE @ found[0].map_from_camera)
    assert np.linalg.norm(off[:, :3], axis=1).max() < 1e-3


def pairs(path: Path, columns: int, noise_m: float = 0.0, count: int = 4, scale: float = 1.0) -> str:
    rng = np.random.default_rng(1)
    points = rng.uniform([0, 0, 0], [5, 4, 2], (count, 3))
    if columns == 4:
        points[:, 2] = 0
    there = scale * transform_points(MOVE, points) + rng.normal(size=points.shape) * noise_m
    rows = np.concatenate([points[:, : columns // 2], there[:, : columns // 2]], axis=1)
    text = "\n".join(", ".join(f"{each:.3f}" for each in row) for row in rows)
    path.write_text(f"# in RViz\n{text}\n")
    return str(path)


@pytest.mark.parametrize("columns", [4, 6])
def test_clicked_points(columns: int, small_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pairs(tmp_path / "points.txt", columns, noise_m=0.01)
    z = 0.5 if columns == 6 else 0.0
    found = moved(tmp_path, small_map, "--points", file, "--to", "nav")
    np.testing.assert_allclose(found, [-4.5, 2.25, z, 0.75], atol=0.05)
    assert re.search(r"points +4 pairs, off by [0-3], [0-3], [0-3], [0-3] cm", capsys.readouterr().out)


def test_points_that_do_not_fit(small_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "points.txt", tmp_path / "moved.neumap"

    def refused(text: str = "") -> str:
        if text:
            file.write_text(text)
        assert main(["transform", str(small_map), "--out", str(out), "--points", str(file)]) == 1
        assert not out.exists()
        return capsys.readouterr().err

    pairs(file, 6, noise_m=1.0)
    assert re.search(r"the pairs do not fit, they are off by \d+, \d+, \d+, \d+ cm: click them again", refused())
    pairs(file, 4, scale=2.0)
    assert "distances in the other frame are 2.00 times those in the map" in refused()
    # the mirror image, as of x and y swapped
    assert "the pairs do not fit" in refused("0 0 0 0\n4 0 0 4\n0 2 2 0\n")
    assert "has 2 pairs of points, 3 are needed" in refused("0 0 1 1\n4 0 5 1\n")
    assert "too near to each other" in refused("0 0 1 1\n.1 0 1.1 1\n0 .1 1 1.1")
    assert "on one line" in refused("0 0 0 1 1 0\n2 0 0 3 1 0\n5 0 0 6 1 0")
    assert "line 2: expected four or six numbers" in refused("0 0 1 1\n4 0 5")
    assert "some lines have four numbers and others six" in refused("0 0 1 1\n4 0 5 1\n1 2 3 4 5 6\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give the transform with --by or --points, or a new name of the frame with --to"),
        (("--by", "1", "2", "3"), "'1 2 3' is no transform: 3 numbers"),
        (("--by", "1", "2", "0", "90"), "a yaw of 90 is more than a turn: give it in radians"),
        (("--by", "1", "2", "0", "0", "0", "0", "2"), "the quaternion's norm is 2 instead of 1"),
        (("--by", "1", "2", "0", "nan"), "a yaw of nan is more"),
        (("--by", "inf", "2", "0", "0"), "a value is not finite"),
        (("--by", "1", "2", "0", "left"), "is no transform"),
    ],
)
def test_what_is_no_transform(
    arguments: tuple[str, ...], said: str, small_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "moved.neumap"
    assert main(["transform", str(small_map), "--out", str(out), *arguments]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()
