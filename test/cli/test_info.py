from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_scene import make_latent_map, make_scene

from neumap.cli.main import main
from neumap.maps.map_file import VERSION, load_map, save_map
from neumap.maps.recording import Recording


def test_json(virtual_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(virtual_map), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    neural_map = load_map(virtual_map)
    assert info["id"] == neural_map.map_id
    assert info["format_version"] == VERSION
    assert (info["decoder"], info["frame_id"], info["seed"]) == ("latent", "map", 3)
    assert info["size_bytes"] == virtual_map.stat().st_size
    assert info["mapping_images"] == 51
    assert sum(info["landmarks_per_voxel"]) == info["landmarks"] == len(neural_map.landmarks)
    assert len(info["landmarks_per_voxel"]) == info["voxels"]
    # the room is 4.5 m by 4 m, 2.7 m high
    assert np.allclose(info["bounds"]["low"], 0, atol=0.2)
    assert np.allclose(info["bounds"]["high"], [4.5, 4, 2.7], atol=0.3)
    assert (info["features"]["extractor"], info["features"]["max_keypoints"]) == ("rootsift", 2000)
    assert info["calibration"]["min_inliers"] > 5
    assert info["drift"]["samples"] <= 128
    assert info["expected"]["images"] == 9
    assert info["expected"]["within_5cm_5deg"] == 1.0


def test_text(virtual_map: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(virtual_map)]) == 0
    out = capsys.readouterr().out
    assert load_map(virtual_map).map_id in out
    assert "within 5 cm, 5 deg 100%" in out
    assert "place       4." in out
    assert "made of     51 images; mapping (2023-11-14 22:13 to 22:13 UTC)\ncamera      320 x 240, " in out
    assert "weak        " in out
    # what is inside is not what a user asks
    assert "decoder" not in out
    assert main(["info", str(virtual_map), "--verbose"]) == 0
    more = capsys.readouterr().out
    assert more.startswith(out)
    assert "decoder     latent" in more
    assert "features    rootsift, max_keypoints 2000, contrast_threshold 0.01, edge_threshold 12\n" in more


def test_when_from_what_and_where_weak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    neural_map = make_latent_map(make_scene(np.random.default_rng(0), 100))
    cells = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    offsets = np.array([0, 60, 65, 100])
    start = 1_772_619_120_000_000_000
    made = replace(
        neural_map,
        grid=replace(neural_map.grid, cells=cells, size_m=5.0),
        landmarks=replace(neural_map.landmarks, offsets=offsets),
        recordings=(
            Recording("Küche", start, start + 780 * 10**9, 640, 480, 525.0),
            Recording("simulation", 0, 10**9, 640, 480, 525.0),
        ),
    )
    save_map(tmp_path / "a.neumap", made)
    assert load_map(tmp_path / "a.neumap").recordings == made.recordings
    assert main(["info", str(tmp_path / "a.neumap")]) == 0
    out = capsys.readouterr().out
    assert "made of     0 images; Küche (2026-03-04 10:12 to 10:25 UTC); simulation\n" in out
    assert "camera      640 x 480, 525 px of focal length\n" in out
    corner = neural_map.grid.origin + 5.0 * cells[1] + 2.5
    assert f"few landmarks about ({', '.join(f'{c:.1f}' for c in corner)}): 5; usual are 35\n" in out
