"""What a map spans: where mapping cameras were, and what they saw. Beyond that is what nobody saw from, most often the
other side of a wall.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from neumap.arrays import FloatArray

# BULK: share of the landmarks that count, in each direction: some are always astray.
BULK = 0.99


class Span:
    """The hull of mapping cameras and landmarks, by its extent towards the faces and edges of a cube."""

    def __init__(self, cameras: FloatArray, landmarks: FloatArray) -> None:
        """``cameras`` (S, 3) and ``landmarks`` (L, 3) in the map frame; without cameras nothing is known, and the span
        has no end.
        """
        # not towards its corners: few landmarks are in those of a room
        ways = np.array([way for way in product((-1.0, 0.0, 1.0), repeat=3) if any(way) and not all(way)])
        self._ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
        self._extent = np.full(len(ways), np.inf)
        if len(cameras):
            bulk = np.quantile(landmarks @ self._ways.T, BULK, axis=0)
            self._extent = np.maximum(bulk, (cameras @ self._ways.T).max(axis=0))

    def beyond_m(self, position: FloatArray) -> float:
        """Tell how far outside of it a ``position`` (3,) in the map frame is, metres; negative within."""
        return float((self._ways @ position - self._extent).max())
