"""Reads the transforms of a tf2_msgs/TFMessage, or of its CDR bytes, for a transform tree."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from neumap.errors import DataError
from neumap.io.stamps import NS_PER_SECOND, stamp_of
from neumap.io.trajectories import row_of

# _HEADER: encapsulation of plain little-endian CDR. _BODY: its length in bytes; alignment counts from its end.
_HEADER, _BODY = b"\x00\x01", 4
# _STAMP: seconds, nanoseconds and the length of the first string. _POSE: x y z qx qy qz qw.
_LENGTH, _STAMP, _POSE = struct.Struct("<I"), struct.Struct("<iII"), struct.Struct("<7d")

# Link: parent, child, stamp (ns), xyz (m) and quaternion xyzw.
Link = tuple[str, str, int, Sequence[float], Sequence[float]]


def transforms_of(transforms: Iterable[Any]) -> Iterator[Link]:
    """Yield the links of TransformStamped messages."""
    for each in transforms:
        row = row_of(each.transform)
        yield each.header.frame_id, each.child_frame_id, stamp_of(each.header), row[:3], row[3:]


def transforms_in(cdr: bytes) -> list[Link]:
    """Read the links from the bytes of a TFMessage, several times faster than deserializing it.

    Raises :class:`~neumap.errors.DataError` if the bytes are damaged or not plain little-endian CDR, which ROS 2
    middlewares write on most machines.
    """
    if cdr[:2] != _HEADER:
        raise DataError("a TFMessage is not encoded as plain CDR in little endian")
    links: list[Link] = []
    body = cdr[_BODY:]
    try:
        (count,), at = _LENGTH.unpack_from(body), 4
        for _ in range(count):
            sec, nanosec, size = _STAMP.unpack_from(body, at)
            parent, at = _text(body, at + 12, size)
            at = -(-at // 4) * 4
            (size,) = _LENGTH.unpack_from(body, at)
            child, at = _text(body, at + 4, size)
            row = _POSE.unpack_from(body, at := -(-at // 8) * 8)
            at += 56
            links.append((parent, child, sec * NS_PER_SECOND + nanosec, row[:3], row[3:]))
    except struct.error as error:
        raise DataError(f"a TFMessage is damaged: {error}") from error
    return links


def _text(body: bytes, at: int, size: int) -> tuple[str, int]:
    """Return the string of ``size`` bytes, including its terminating zero, and the offset of its end."""
    return body[at : at + max(size - 1, 0)].decode(errors="replace"), at + size
