"""A client, processes that end with the test, and a map. Only used where ROS 2 is."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from localizer_client import Client, Process

NEEDED_FOR_A_MAP = ("torch", "poselib", "safetensors", "scipy", "tqdm")

# Each test has a domain of its own: a process that was killed is remembered in its domain for a while.
_domains = itertools.count(os.getpid())


@pytest.fixture
def client() -> Iterator[Client]:
    os.environ["ROS_DOMAIN_ID"] = str(1 + next(_domains) % 100)
    client = Client()
    yield client
    client.close()


@pytest.fixture
def start(tmp_path: Path, client: Client) -> Iterator[Callable[..., Process]]:
    """Starts a command in the client's domain; it ends with the test."""
    processes: list[Process] = []

    def run(*command: object) -> Process:
        process = Process([str(part) for part in command], tmp_path / f"output{len(processes)}.txt")
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.end()


@pytest.fixture(scope="session")
def room_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of a virtual room."""
    missing = [name for name in NEEDED_FOR_A_MAP if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no map can be made without {', '.join(missing)}: see docs/ros.md")
    from neumap.virtual.world import MAPPING, SMALL, write_world

    folder = tmp_path_factory.mktemp("virtual_world")
    write_world(folder, SMALL, seed=0)
    path = folder / "room.neumap"
    command = [sys.executable, "-m", "neumap.cli", "map", str(folder / MAPPING), "--out", str(path), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return path
