"""Time stamps: decimal seconds in text, exact integer nanoseconds everywhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from neumap.arrays import IntArray

NS_PER_SECOND = 1_000_000_000
# LIMIT_NS: half of int64's range, so that the difference of any two stamps fits too
LIMIT_NS = 2**62
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
# COUNTED: the note on images that have no stamps.
COUNTED = "the file names are not stamps: the images are stamped 0 s, 1 s, ... in the order of their names"
_NANOSECONDS = re.compile(r"\d{18,19}", re.ASCII)


def parse_stamp(text: str) -> int:
    """Read decimal seconds such as ``1305031229.528748`` or ``1.305e9`` as nanoseconds, by decimal arithmetic.

    Digits beyond the ninth decimal are rounded. Raises ``ValueError`` for what is no finite number, or too large.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{text}' is not a timestamp in seconds")
    nanoseconds = Decimal(text).scaleb(9)
    if abs(nanoseconds) >= LIMIT_NS:
        raise ValueError(f"the timestamp {text} is too large to be in seconds")
    return round(nanoseconds)


def format_stamp(stamp_ns: int) -> str:
    """Write a stamp as seconds with nine decimals; :func:`parse_stamp` gives the same nanoseconds back."""
    return f"{Decimal(int(stamp_ns)).scaleb(-9):f}"


def stamps_from_names(names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return stamps in nanoseconds of image files, and a note for the user where the names do not hold them.

    A name (without its extension) that is a number is a stamp in seconds, or in nanoseconds where it is a whole number
    of 18 or 19 digits. Unless every name is one and all differ, the stamps are the index in seconds.
    """
    stamps: list[int] = []
    for name in names:
        stem = PurePath(name).stem
        try:
            stamps.append(int(stem) if _NANOSECONDS.fullmatch(stem) else parse_stamp(stem))
        except ValueError:
            break
    if len(set(stamps)) == len(names):
        return stamps, ()
    return [index * NS_PER_SECOND for index in range(len(names))], (COUNTED,)


def stamp_of(header: Any) -> int:
    """Read the stamp of a std_msgs/Header in nanoseconds."""
    return int(header.stamp.sec) * NS_PER_SECOND + int(header.stamp.nanosec)


def nearest(sorted_stamps_ns: IntArray, stamps_ns: IntArray) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Find for each of ``stamps_ns`` (N,) the nearest of ``sorted_stamps_ns`` (M > 0,): its index and how far."""
    right = np.clip(np.searchsorted(sorted_stamps_ns, stamps_ns), 0, len(sorted_stamps_ns) - 1)
    left = np.maximum(right - 1, 0)
    to_left, to_right = np.abs(stamps_ns - sorted_stamps_ns[left]), np.abs(stamps_ns - sorted_stamps_ns[right])
    return np.where(to_left < to_right, left, right), np.minimum(to_left, to_right)


def span(stamps_ns: IntArray) -> str:
    """Say from when to when sorted stamps (N > 0,) are."""
    return f"from {format_stamp(stamps_ns[0])} s to {format_stamp(stamps_ns[-1])} s"
