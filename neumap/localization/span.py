"""The mapped space: the hull of mapping cameras and landmarks. Outside is most often the other side of a wall."""

from __future__ import annotations

from itertools import product

import numpy as np

from neumap.arrays import FloatArray

# BULK: quantile of the landmarks in each direction, since a few are outliers.
BULK = 0.99


class Span:
    """The hull of mapping cameras and landmarks, by its extent towards the faces and edges of a cube."""

    def __init__(self, cameras: FloatArray, landmarks: FloatArray) -> None:
        """Make the hull of ``cameras`` (S, 3) and ``landmarks`` (L, 3) in the map frame; infinite without cameras."""
        # without the corners: a room has few landmarks there
        ways = np.array([way for way in product((-1.0, 0.0, 1.0), repeat=3) if any(way) and not all(way)])
        self._ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
        self._extent = np.full(len(ways), np.inf)
        if len(cameras):
            bulk = np.quantile(landmarks @ self._ways.T, BULK, axis=0)
            self._extent = np.maximum(bulk, (cameras @ self._ways.T).max(axis=0))

    def beyond_m(self, position: FloatArray) -> float:
        """Return how far outside a ``position`` (3,) in the map frame is, metres; negative inside."""
        return float((self._ways @ position - self._extent).max())
