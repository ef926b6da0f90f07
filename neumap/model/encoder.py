"""The frozen decoder's first half: what a keypoint looks like, in a few numbers that another view agrees with.

A landmark is stored as the mean of what its views looked like, residual-quantized to a few bytes. The weights and words
are trained once, on many places (``pretraining.py``), and ship with the package: a new place costs codes only.

    tensor                                        shape
    keypoints   joint descriptor, shape           (N, D + 3), D of RootSIFT 256
    embedding   linear + MLP, unit length         (N, 64)
    latents     words of residual stages          (L, B) uint8 -> (L, 64), any B up to 16
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from neumap.arrays import Float32Array

# SHAPE: numbers that tell size and direction of a keypoint; EMBEDDING: of an embedding; HIDDEN: width of the MLP.
SHAPE, EMBEDDING, HIDDEN = 3, 64, 256
# USUAL_SIZE_PX: diameters of keypoints are told relative to it; SMALLEST_SIZE_PX: smaller ones count as of this one.
USUAL_SIZE_PX, SMALLEST_SIZE_PX = 4.0, 0.5


class KeypointEncoder(nn.Module):
    """Joint descriptors (N, D) and shapes (N, 3) of keypoints to unit embeddings (N, 64).

    The linear part starts as the principal components of the descriptors, so that training begins with what plain
    descriptors tell. ``log_scale`` turns similarities into logits, ``none`` is the logit of "nothing in the map".
    ``min_similarity`` is what a keypoint and a landmark that it does not show rarely exceed, which is measured: it
    differs from training to training.
    """

    min_similarity: Tensor

    def __init__(self, descriptor_size: int) -> None:
        """``descriptor_size`` is D, which the feature extractor decides."""
        super().__init__()
        self.linear = nn.Linear(descriptor_size, EMBEDDING, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(descriptor_size + SHAPE, HIDDEN),
            nn.GELU(),
            nn.LayerNorm(HIDDEN),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, EMBEDDING),
        )
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.none = nn.Parameter(torch.tensor(14.0))
        self.register_buffer("min_similarity", torch.tensor(0.5))
        nn.init.zeros_(self.mlp[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.mlp[-1].bias)  # type: ignore[arg-type]

    def forward(self, descriptors: Tensor, shape: Tensor) -> Tensor:
        """Return embeddings (N, 64) of unit length."""
        linear = self.linear(descriptors)
        return functional.normalize(linear + self.mlp(torch.cat([descriptors, shape], dim=1)), dim=1)


def keypoint_shape(size: npt.NDArray[Any], angle: npt.NDArray[Any]) -> Float32Array:
    """Tell what the encoder knows of keypoints besides descriptors (N, 3): the logarithm of the size and the direction,
    of diameters in pixels (N,) and angles in radians (N,).

    Not the position in the image: learned by heart, positions do harm on a new view.
    """
    scale = np.log(np.maximum(size, SMALLEST_SIZE_PX) / USUAL_SIZE_PX)
    return np.stack([scale, np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
