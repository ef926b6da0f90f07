"""Settings of all tests, a virtual room with a map of it, and where the recorded scenes lie."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples on every run, and no verdict on speed: what fails, fails everywhere and again.
# `pytest --hypothesis-profile=default` draws new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def start_neumap() -> Callable[..., subprocess.Popen[str]]:
    """Starts the command in a process of its own."""

    def start(*args: str | Path, **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "neumap.cli", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            **kwargs,
        )

    return start


@pytest.fixture(scope="session")
def neumap(
    start_neumap: Callable[..., subprocess.Popen[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command in a process of its own."""

    def run(*args: str | Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        with start_neumap(*args, **kwargs) as process:
            try:
                out, err = process.communicate(timeout=300)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def virtual_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small virtual room: the folders mapping, query and negatives. Not to be written to."""
    from neumap.virtual.world import SMALL, write_world

    folder = tmp_path_factory.mktemp("virtual_world")
    write_world(folder, SMALL, seed=0)
    return folder


@pytest.fixture(scope="session")
def virtual_map(
    virtual_world: Path,
    tmp_path_factory: pytest.TempPathFactory,
    neumap: Callable[..., subprocess.CompletedProcess[str]],
) -> Path:
    """A quick map of the virtual room. Not to be written to."""
    path = tmp_path_factory.mktemp("virtual_map") / "room.neumap"
    result = neumap("map", virtual_world / "mapping", "--out", path, "--quick", "--seed", 3)
    assert result.returncode == 0, result.stderr
    path.with_suffix(".report").write_text(result.stdout)
    path.with_suffix(".progress").write_text(result.stderr)
    return path


@pytest.fixture
def some_frames(virtual_world: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Makes a TUM folder of the first of the mapping images, without a copy of their pixels."""

    def make(count: int) -> Path:
        folder = tmp_path / "some"
        folder.mkdir()
        for name in ("rgb", "depth", "groundtruth.txt", "camera_info.yaml"):
            (folder / name).symlink_to(virtual_world / "mapping" / name)
        for name in ("rgb.txt", "depth.txt"):
            lines = (virtual_world / "mapping" / name).read_text().splitlines()
            (folder / name).write_text("\n".join(lines[: 2 + count]) + "\n")
        return folder

    return make


@pytest.fixture(scope="session")
def scenes() -> Path:
    """The folder of the recorded scenes beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded scenes are not beside the checkout")
    return folder
