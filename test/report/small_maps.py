"""A map that is made without images, of which nothing can be found."""

from __future__ import annotations

import numpy as np

from neumap.features.sift import SiftSettings
from neumap.geometry.se3 import make_pose
from neumap.maps.drift import DriftField
from neumap.maps.neural_map import NeuralMap, lay_out


def small_map(cameras: int = 3) -> NeuralMap:
    """A map of 400 landmarks in a box of 8 x 4 x 2 m, whose cameras look along y."""
    points = np.random.default_rng(0).uniform(0, [8.0, 4.0, 2.0], (400, 3))
    codes = np.zeros((400, 8), np.uint8)
    grid, landmarks = lay_out(points, codes, codes, 16, 5.0, 1)
    looks = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    poses = np.array([make_pose(looks, np.array([2.0 + i, 1.0, 1.0])) for i in range(cameras)]).reshape(-1, 4, 4)
    drift = DriftField(poses, np.zeros((cameras, 6)), np.full(6, 0.01), 0.4, 0.4, 0.1)
    return NeuralMap(SiftSettings(), grid, landmarks, drift, mapping_images=cameras)
