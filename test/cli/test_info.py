from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neumap.cli.main import main
from neumap.maps.map_file import VERSION, load_map


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
    assert "decoder     latent" in out
    assert "features    rootsift, max_keypoints 2000, contrast_threshold 0.01, edge_threshold 12\n" in out
