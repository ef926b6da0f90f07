"""Timestamps: decimal seconds in text, exact integer nanoseconds everywhere else."""

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
# LIMIT_NS: half of int64's range, so that the difference of any two stamps fits, too.
LIMIT_NS = 2**62
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
# COUNTED: the note on images that have no stamps.
COUNTED = "the file names are not stamps: the images are stamped 0 s, 1 s, ... in the order of their names"
_NANOSECONDS = re.compile(r"\d{18,19}", re.ASCII)


def parse_stamp(text: str) -> int:
    """Parse decimal seconds such as ``1305031229.528748`` or ``1.305e9`` to nanoseconds, with decimal arithmetic.

    Rounds digits beyond the ninth decimal. Raises ``ValueError`` if the text is no finite number or too large.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{text}' is not a timestamp in seconds")
    nanoseconds = Decimal(text).scaleb(9)
    if abs(nanoseconds) >= LIMIT_NS:
        raise ValueError(f"the timestamp {text} is too large to be in seconds")
    return round(nanoseconds)


def format_stamp(stamp_ns: int) -> str:
    """Format a stamp as seconds with nine decimals; :func:`parse_stamp` returns the same nanoseconds."""
    return f"{Decimal(int(stamp_ns)).scaleb(-9):f}"


def stamps_from_names(names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return the stamps of image files in nanoseconds, and a note for the user if the names are not stamps.

    A name (without its extension) that is a number is a stamp in seconds, or in nanoseconds if it is a whole number of
    18 or 19 digits. Unless all names are different stamps, the stamps are the index in seconds.
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
    """Return the indices and distances (N,) of the nearest of ``sorted_stamps_ns`` (M > 0,) to ``stamps_ns`` (N,)."""
    right = np.clip(np.searchsorted(sorted_stamps_ns, stamps_ns), 0, len(sorted_stamps_ns) - 1)
    left = np.maximum(right - 1, 0)
    to_left, to_right = np.abs(stamps_ns - sorted_stamps_ns[left]), np.abs(stamps_ns - sorted_stamps_ns[right])
    return np.where(to_left < to_right, left, right), np.minimum(to_left, to_right)


def span(stamps_ns: IntArray) -> str:
    """Format the first and the last of sorted stamps (N > 0,)."""
    return f"from {format_stamp(stamps_ns[0])} s to {format_stamp(stamps_ns[-1])} s"
