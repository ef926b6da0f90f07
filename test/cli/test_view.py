"""A map, images and a replay, written for rerun and read again. Needs rerun, which CI does without."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from neumap.cli.main import main
from neumap.errors import UnreadableError
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose
from neumap.io.sources import open_source
from neumap.io.trajectories import read_trajectory
from neumap.io.tum import read_tum
from neumap.maps.map_file import load_map
from neumap.records import Frame, Mount, Status, lost
from neumap.report.view import View


def entities(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What is in a recording: the columns of each part of an entity."""
    from rerun.chunk import RrdReader

    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(str(path)).stream():
        found.setdefault(chunk.entity_path, []).append(chunk.to_record_batch().to_pydict())
    return found


def column(parts: list[dict[str, Any]], name: str) -> list[Any]:
    """The rows of a column of an entity that are there."""
    return [row[0] for part in parts for row in part.get(name, []) if row]


def points(parts: list[dict[str, Any]]) -> Any:
    return np.array(parts[0]["Points3D:positions"][0])


@pytest.fixture
def view(virtual_map: Path, tmp_path: Path) -> Any:
    """Views the map and more; what the file holds."""
    pytest.importorskip("rerun")

    def run(*shown: object) -> dict[str, list[dict[str, Any]]]:
        out = tmp_path / "view.rrd"
        assert main(["view", str(virtual_map), *map(str, shown), "--out", str(out)]) == 0
        assert [path.name for path in tmp_path.iterdir() if "rrd" in path.name] == ["view.rrd"]
        return entities(out)

    return run


@pytest.mark.filterwarnings("error")
def test_a_map(view: Any, virtual_map: Path) -> None:
    found, neural_map = view(), load_map(virtual_map)
    assert {"/map/landmarks", "/map/voxels", "/map/mapping_cameras"} <= set(found)
    landmarks = neural_map.landmarks.points(neural_map.grid)
    np.testing.assert_allclose(points(found["/map/landmarks"]), landmarks, atol=1e-5)
    cameras = np.array(found["/map/mapping_cameras"][0]["Arrows3D:origins"][0])
    np.testing.assert_allclose(cameras, neural_map.drift.poses[:, :3, 3], atol=1e-5)
    assert len(found["/map/voxels"][0]["Boxes3D:half_sizes"][0]) == len(neural_map.grid)


@pytest.mark.filterwarnings("error")
def test_images_of_a_source(view: Any, virtual_world: Path) -> None:
    found = view(virtual_world / "query")
    truth = [frame.map_from_camera for frame in open_source(virtual_world / "query", poses=True).frames]
    positions = points(found["/map/estimates/positions"])
    assert np.linalg.norm(positions - np.array(truth)[:, :3, 3], axis=1).max() < 0.01
    sizes = np.array(found["/map/estimates/ellipsoids_of_90_percent"][0]["Ellipsoids3D:half_sizes"][0])
    assert sizes.shape == (len(truth), 3)
    assert (sizes > 1e-4).all()
    assert len(column(found["/image"], "EncodedImage:blob")) == len(truth)
    assert set(column(found["/state"], "StateChange:state")) == {"LOCALIZED"}
    assert min(column(found["/plot/inliers"], "Scalars:scalars")) > 20


@pytest.mark.filterwarnings("error")
def test_images_that_are_lost(view: Any, virtual_world: Path) -> None:
    found = view(virtual_world / "negatives")
    assert set(column(found["/state"], "StateChange:state")) == {"LOST"}
    assert all(text.startswith("LOST: ") for text in column(found["/reasons"], "TextLog:text"))
    assert "/map/estimates/positions" not in found


def test_a_replay(view: Any, virtual_world: Path, virtual_map: Path, tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    from neumap.virtual.recording import record_query
    from neumap.virtual.world import SMALL

    camera = read_tum(virtual_world / "query", depth=False, poses=False).frames[0].camera
    mapped = read_trajectory(virtual_world / "mapping" / "groundtruth.txt").map_from_camera
    record_query(tmp_path / "drive", SMALL.room(0), camera, mapped, 5.0)
    arguments = ["--map", str(virtual_map), "--out", str(tmp_path / "replayed")]
    assert main(["replay", str(tmp_path / "drive"), *arguments]) == 0
    found = view(tmp_path / "replayed")
    poses = read_trajectory(tmp_path / "replayed" / "poses.txt").map_from_camera
    np.testing.assert_allclose(points(found["/map/estimates/positions"]), poses[:, :3, 3], atol=1e-5)
    states = column(found["/state"], "StateChange:state")
    assert states[:2] == ["UNINITIALIZED", "TRACKING"]
    assert len(column(found["/image"], "EncodedImage:blob")) > len(poses)
    pixels = [row for part in found["/image/inliers"] for row in part["Points2D:positions"] if row]
    assert len(pixels) >= len(poses)


class Shown(View):
    """What a view is told to show, without rerun."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def image(self, stamp_ns: int, encoded: bytes, camera: str = "") -> None:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
        self.said.append(("image", stamp_ns, None if pixels is None else round(pixels.mean())))

    def inliers(self, stamp_ns: int, points: Any, pixels: Any, camera: str = "") -> None:
        self.said.append(("inliers", stamp_ns))

    def pose(self, stamp_ns: int, pose: Any, covariance: Any, camera: Any = None) -> None:
        self.said.append(("pose", stamp_ns, None if pose is None else pose[:3, 3].tolist()))

    def state(self, stamp_ns: int, state: str, reason: str, inliers: int) -> None:
        self.said.append(("state", stamp_ns, state))


def test_of_a_moment_the_first_image_that_can_be_read_is_shown() -> None:
    def damaged() -> Any:
        raise UnreadableError("torn")

    camera = make_camera(16, 16, np.eye(3).ravel().tolist())
    rig = [Mount(5, number, make_pose(np.eye(3), np.array([number, 0.0, 0.0]))) for number in range(2)]
    front = Frame("front", 5, camera, damaged, mount=rig[0])
    rear = Frame("rear", 7, camera, lambda: np.full((16, 16), 90, np.uint8), mount=rig[1])
    found = replace(lost(""), status=Status.LOCALIZED, map_from_camera=make_pose(np.eye(3), np.ones(3)))
    view = Shown()
    view.answer([front, rear], found)
    assert view.said == [
        ("image", 5, 90),
        ("inliers", 5),
        ("pose", 5, [2.0, 1.0, 1.0]),
        ("state", 5, "LOCALIZED"),
    ]
    view.said.clear()
    view.answer([front], lost("torn"))
    assert view.said == [("state", 5, "LOST")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "there is no screen: give --out FILE.rrd, and open it with 'rerun FILE.rrd' elsewhere"),
        (("--out", "map.txt"), "map.txt is no name for a recording of rerun: end it in .rrd"),
        (("--out", "no/map.rrd"), "cannot write no/map.rrd: the folder no does not exist, create it first"),
        (("--out", "map.rrd"), "a view needs rerun: pip install 'neumap[view]'"),
    ],
)
def test_what_cannot_be_shown(
    virtual_map: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("neumap.installation.find_spec", lambda name: None)
    assert main(["view", str(virtual_map), *arguments]) == 1
    assert capsys.readouterr().err == f"neumap: error: {error}\n"
    assert not list(tmp_path.iterdir())
