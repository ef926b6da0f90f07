"""Settings of the process: numbers of threads, and reuse of freed memory."""

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

# M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: options of mallopt in <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# LARGEST_KEPT: largest block that glibc allocates on the heap, bytes. MOST_KEPT: free memory that it keeps at the end
# of the heap, bytes; enough for the pyramid of a large image.
LARGEST_KEPT, MOST_KEPT = 32 << 20, 256 << 20
# TORCH_THREADS: torch's default, which respects OMP_NUM_THREADS.
TORCH_THREADS = torch.get_num_threads()


def set_up(threads: int | None = None) -> None:
    """Limit the threads of torch, OpenCV and OpenBLAS to the usable cores, and to ``threads`` (None: no limit), and
    keep freed memory.

    For programs, not libraries, since it changes the whole process.
    """
    torch.set_num_threads(min(threads or TORCH_THREADS, usable_cores()))
    cv2.setNumThreads(torch.get_num_threads())
    _limit_openblas(torch.get_num_threads())
    keep_freed_memory()


def usable_cores(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that this process may use: those of its affinity, or the quota of a control group,
    such as a container's, rounded up, if that is less.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # lines 0::/path (version 2) and 4:cpu,cpuacct:/path (version 1); a container may see its own group as the root
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
        places = [(root / kinds, path) for _, kinds, path in lines if kinds == "" or "cpu" in kinds.split(",")]
    except (OSError, ValueError):
        return cores
    quotas = [_quota(group) for top, path in places for group in _groups(top, path)]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def _groups(top: Path, path: str) -> list[Path]:
    """Return the folders of a control group and of its ancestors."""
    below = Path(path.strip("/"))
    return [top / below, *(top / parent for parent in below.parents)]


def _quota(group: Path) -> float | None:
    """Return the quota of a control group in cores; None if unlimited."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # "max", or no limits here
        return None


def _limit_openblas(threads: int) -> None:
    """Limit the threads of each OpenBLAS, numpy's and SciPy's own: of those loaded, and of those loaded later."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    with suppress(OSError):
        maps = Path("/proc/self/maps").read_text().splitlines()
        for path in {line.split(maxsplit=5)[-1] for line in maps if "openblas" in line}:
            library = ctypes.CDLL(path)
            for prefix, suffix in product(("", "scipy_"), ("", "64_")):
                if (limit := getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)) is not None:
                    limit(threads)


def keep_freed_memory() -> None:
    """Make glibc keep up to 256 MB of freed memory for reuse; no effect with another C library.

    Otherwise the pyramid of each image, some 70 MB, is returned to the system and allocated again for the next, with
    each page cleared: up to a quarter of the time of feature extraction.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
