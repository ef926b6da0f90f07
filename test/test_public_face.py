"""What ``import neumap`` offers, and what it and ``neumap info`` do not wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_scene import make_latent_map, make_scene

import neumap
from neumap.maps.map_file import save_map

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "cv2", "scipy", "numpy", "rclpy"}


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Which of the heavy modules a program loads."""
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stderr.split())


def test_importing_the_library_loads_nothing_heavy() -> None:
    assert not loaded_by("import neumap")
    assert not loaded_by("import neumap; neumap.__all__; dir(neumap)")


def test_maps_are_read_and_settings_made_without_torch() -> None:
    assert "torch" not in loaded_by("import neumap.maps.map_file")
    assert "torch" not in loaded_by("from neumap.mapping.settings import MappingSettings; MappingSettings()")
    assert "torch" not in loaded_by("import neumap; neumap.load_map; neumap.Camera; neumap.PoseEstimate")


@pytest.mark.parametrize("options", [(), ("--json",), ("--voxels",)])
def test_info_needs_numpy_and_little_else(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = tmp_path / "a.neumap"
    save_map(path, make_latent_map(make_scene(np.random.default_rng(0), 100)))
    code = "from neumap.cli.main import main; assert main(sys.argv[1:]) == 0"
    assert loaded_by(code, "info", str(path), *options) <= {"numpy", "cv2"}


def test_all_that_is_offered_is_there() -> None:
    assert set(neumap.__all__) <= set(dir(neumap))
    for name in neumap.__all__:
        assert getattr(neumap, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Map'"):
        _ = neumap.Map
