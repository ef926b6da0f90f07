"""A process uses the cores that it may, and memory that it has freed is there for what it allocates next."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from neumap.process import usable_cores

BLOCKS = """
import resource
{set_up}
def blocks():
    for _ in range(10):
        kept = [bytearray(6 << 20) for _ in range(5)]
blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SET_UP = "from neumap.process import set_up; set_up(1)"


def faults(set_up: str) -> int:
    """How many pages are new to a process that allocates the same blocks again."""
    command = [sys.executable, "-c", BLOCKS.format(set_up=set_up)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=120).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways")
def test_freed_memory_is_kept() -> None:
    assert faults(SET_UP) < 0.1 * faults("")


THREADS = """
import ctypes, os, sys
import numpy
{affinity}
from neumap.process import set_up
set_up({threads})
import cv2, scipy.linalg, torch
print(torch.get_num_threads(), cv2.getNumThreads())
for path in {{line.split()[-1] for line in open("/proc/self/maps") if "openblas" in line}}:
    library = ctypes.CDLL(path)
    for name in ("openblas_get_num_threads", "scipy_openblas_get_num_threads", "scipy_openblas_get_num_threads64_"):
        if hasattr(library, name):
            print(getattr(library, name)())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("affinity", "threads"), [("", 1), ("os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])", None)]
)
def test_threads_are_limited_everywhere(affinity: str, threads: int | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", THREADS.format(affinity=affinity, threads=threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=120, env=environment)
    assert set(done.stdout.split()) == {"1"}


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/user/app\n", {"user/app/cpu.max": "max 100000", "user/cpu.max": "150000 100000"}, 2),
        ("0::/user/app\n", {"user/app/cpu.max": "20000 100000", "user/cpu.max": "400000 100000"}, 1),
        ("0::/host/path\n", {"cpu.max": "300000 100000"}, 3),
        ("4:memory:/\n3:cpu,cpuacct:/docker/a\n", {"cpu,cpuacct/cpu.cfs_quota_us": "250000"}, 3),
        ("3:cpu,cpuacct:/docker/a\n", {"cpu,cpuacct/docker/a/cpu.cfs_quota_us": "-1"}, 8),
        ("5:cpu:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu.max": "max 100000"}, 4),
        ("", {}, 8),
        ("nonsense\n", {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_cores_are_those_of_the_container(
    groups: str, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "groups").write_text(groups)
    for name, content in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
        if file.name == "cpu.cfs_quota_us":
            (file.parent / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(tmp_path / "groups", tmp_path / "cgroup") == cores
