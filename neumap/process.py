"""How a process works: with how many threads, and what it does with memory it is done with."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress
from itertools import product
from pathlib import Path

import cv2
import torch

# M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: names of options in <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# LARGEST_KEPT: bytes of the largest block that glibc takes from its heap at all. MOST_KEPT: bytes of free memory that
# it keeps at the end of the heap; the pyramid of a large image fits.
LARGEST_KEPT, MOST_KEPT = 32 << 20, 256 << 20
# TORCH_THREADS: what torch takes by itself, which heeds OMP_NUM_THREADS.
TORCH_THREADS = torch.get_num_threads()


def set_up(threads: int | None = None) -> None:
    """Limit the threads of torch, OpenCV and OpenBLAS to the cores that may be used, and to ``threads`` of them unless
    that is None; and have freed memory kept.

    For programs to call, not for libraries: it is the whole process that works differently.
    """
    torch.set_num_threads(min(threads or TORCH_THREADS, usable_cores()))
    cv2.setNumThreads(torch.get_num_threads())
    _limit_openblas(torch.get_num_threads())
    keep_freed_memory()


def usable_cores(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores that this process may use: those of its affinity, or what the quota of a control group, such as a
    container's, is worth where that is less; rounded up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # lines of 0::/path (version 2) and of 4:cpu,cpuacct:/path (version 1); a container may see its own as the root
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
        places = [(root / kinds, path) for _, kinds, path in lines if kinds == "" or "cpu" in kinds.split(",")]
    except (OSError, ValueError):
        return cores
    quotas = [_quota(group) for top, path in places for group in _groups(top, path)]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def _groups(top: Path, path: str) -> list[Path]:
    """Return the folders of a control group and of those above it."""
    below = Path(path.strip("/"))
    return [top / below, *(top / parent for parent in below.parents)]


def _quota(group: Path) -> float | None:
    """Read how many cores' time a control group may take; None where that is not limited."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # "max", or no limits here
        return None


def _limit_openblas(threads: int) -> None:
    """Limit the threads of each OpenBLAS, numpy's and scipy's own: those loaded by now, and those to come."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    with suppress(OSError):
        maps = Path("/proc/self/maps").read_text().splitlines()
        for path in {line.split(maxsplit=5)[-1] for line in maps if "openblas" in line}:
            library = ctypes.CDLL(path)
            for prefix, suffix in product(("", "scipy_"), ("", "64_")):
                if (limit := getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)) is not None:
                    limit(threads)


def keep_freed_memory() -> None:
    """Have glibc keep up to 256 MB of freed memory, for what is allocated next; another C library goes on as it is.

    The pyramid of an image, of some 70 MB, would else go back to the system and be asked for anew with every image, and
    each of its pages cleared: up to a quarter of the time that features take.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
