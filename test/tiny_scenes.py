"""Training scenes of random numbers: no images, but keypoints that look like the landmarks they show."""

from __future__ import annotations

import numpy as np

from neumap.arrays import Float32Array
from neumap.training.scenes import NOTHING, TrainingScene

SHOWN, FOREIGN = 150, 30


def tiny_scene(seed: int, mapped: int = 12, queries: int = 3, landmarks: int = 850) -> TrainingScene:
    """A scene whose landmarks come in pairs 2 cm apart. Every keypoint is unlike any other, also by its ray.

    An image has SHOWN keypoints that show a landmark and FOREIGN that show none.
    """
    rng = np.random.default_rng(seed)
    images = mapped + queries

    def unit(values: Float32Array) -> Float32Array:
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float32)

    # some directions matter more than others, as in real descriptors
    spread = np.exp(-np.arange(256) / 60)
    look = rng.normal(size=(landmarks, 256)) * spread
    points = np.repeat(rng.uniform(-3, 3, (landmarks // 2, 3)), 2, axis=0)
    points[1::2, 0] += 0.02
    shown = np.concatenate(
        [np.r_[rng.permutation(landmarks)[:SHOWN], np.full(FOREIGN, NOTHING)] for _ in range(images)]
    )
    seen = np.where(shown[:, None] >= 0, look[shown], rng.normal(size=(len(shown), 256)) * spread)
    seen = np.abs(seen + 0.3 * rng.normal(size=seen.shape) * spread)
    count = len(shown)
    return TrainingScene(
        descriptors=unit(seen[:, :128]).astype(np.float16),
        coarse=unit(seen[:, 128:]).astype(np.float16),
        size=rng.uniform(5, 40, count).astype(np.float32),
        angle=rng.uniform(-3, 3, count).astype(np.float32),
        rays=rng.uniform(-0.6, 0.6, (count, 2)).astype(np.float32),
        quick=np.ones(count, dtype=bool),
        image=np.repeat(np.arange(images), SHOWN + FOREIGN).astype(np.int32),
        landmark=shown.astype(np.int32),
        points=points.astype(np.float32),
        mapped=np.arange(images) < mapped,
    )
