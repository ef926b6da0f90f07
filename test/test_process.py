"""Memory that a process has freed is there for what it allocates next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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


def test_threads_are_limited() -> None:
    report = "import cv2, torch; print(torch.get_num_threads(), cv2.getNumThreads())"
    command = [sys.executable, "-c", f"{SET_UP}; {report}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "1"]
