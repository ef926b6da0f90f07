"""How a process works: with how many threads, and what it does with memory it is done with."""

from __future__ import annotations

import ctypes
import sys

import cv2
import torch

# M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: names of options in <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# LARGEST_KEPT: bytes of the largest block that glibc takes from its heap at all. MOST_KEPT: bytes of free memory that
# it keeps at the end of the heap; the pyramid of a large image fits.
LARGEST_KEPT, MOST_KEPT = 32 << 20, 256 << 20


def set_up(threads: int | None = None) -> None:
    """Limit the threads of torch and OpenCV, unless ``threads`` is None, and has freed memory kept.

    For programs to call, not for libraries: it is the whole process that works differently.
    """
    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Have glibc keep up to 256 MB of freed memory, for what is allocated next; another C library goes on as it is.

    The pyramid of an image, of some 70 MB, would else go back to the system and be asked for anew with every image, and
    each of its pages cleared: up to a quarter of the time that features take.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
