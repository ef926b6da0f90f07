"""Decodes RVL of compressed_depth_image_transport (Wilson, "Fast lossless depth image compression", 2017)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neumap.errors import DataError

# _MOST: the largest number of pixels of an image; it bounds the memory that a damaged header asks for.
_MOST = 50_000_000


def decode(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Decode width, height and an RVL stream to (H, W) samples. Raises :class:`~neumap.errors.DataError` if damaged."""
    damaged = DataError(f"compressed depth of {data.size} bytes cannot be decoded as RVL: it is damaged")
    if data.size < 8:
        raise damaged
    width, height = (int(each) for each in data[:8].view("<i4"))
    if not (width > 0 and height > 0 and width * height <= _MOST):
        raise damaged
    out = np.zeros(width * height, np.int64)
    numbers = _numbers(data[8 : 8 + (data.size - 8) // 4 * 4])
    at, pixel, runs = 0, 0, []
    # each run: the number of zeros, the number of nonzero pixels, and the zigzag differences of these
    while pixel < out.size:
        if at + 2 > len(numbers):
            raise damaged
        zeros, others = int(numbers[at]), int(numbers[at + 1])
        pixel += zeros
        if pixel + others > out.size or at + 2 + others > len(numbers) or zeros + others == 0:
            raise damaged
        coded = numbers[at + 2 : at + 2 + others]
        out[pixel : pixel + others] = (coded >> 1) ^ -(coded & 1)
        runs.append((pixel, others))
        at, pixel = at + 2 + others, pixel + others
    known = np.concatenate([np.arange(start, start + count) for start, count in runs])
    out[known] = np.cumsum(out[known])
    if out.min() < 0 or out.max() > np.iinfo(np.uint16).max:
        raise damaged
    return out.astype(np.uint16).reshape(height, width)


def _numbers(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the variable-length numbers of a stream: each nibble holds three bits, lowest first, and a continuation
    bit. Nibbles are packed into 32-bit words, the first in the highest bits.
    """
    nibbles = (data.view("<u4")[:, None] >> np.arange(28, -4, -4, dtype=np.uint32) & 15).reshape(-1).astype(np.int64)
    last = np.flatnonzero(nibbles < 8)
    if not len(last):
        return last
    first = np.concatenate([[0], last[:-1] + 1])
    nibbles = nibbles[: last[-1] + 1]
    place = np.arange(len(nibbles)) - np.repeat(first, last - first + 1)
    return np.add.reduceat((nibbles & 7) << np.minimum(3 * place, 60), first)
