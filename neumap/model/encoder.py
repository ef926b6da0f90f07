"""The encoder of the frozen decoder: embeds keypoints so that two views of one point are similar.

A landmark is stored as the mean of its views' embeddings, residual-quantized to a few bytes. Weights and words are
trained once, on many places (``pretraining.py``), and ship with the package: a map of a new place stores codes only.

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

# SHAPE, EMBEDDING, HIDDEN: dimensions of a keypoint's size and direction, of an embedding, and of the hidden layers.
SHAPE, EMBEDDING, HIDDEN = 3, 64, 256
# USUAL_SIZE_PX: unit of keypoint diameters, pixels; SMALLEST_SIZE_PX: smaller diameters are raised to this, pixels.
USUAL_SIZE_PX, SMALLEST_SIZE_PX = 4.0, 0.5


class KeypointEncoder(nn.Module):
    """Joint descriptors (N, D) and shapes (N, 3) of keypoints to unit embeddings (N, 64).

    The linear part is initialized with the principal components of the descriptors, so that training begins with the
    similarities of plain descriptors. ``log_scale`` scales similarities to logits, ``none`` is the logit of "nothing in
    the map". ``min_similarity``, measured after each training, is the similarity that a keypoint rarely exceeds with a
    landmark that it does not show.
    """

    min_similarity: Tensor

    def __init__(self, descriptor_size: int) -> None:
        """``descriptor_size`` is D, that of the feature extractor's joint descriptors."""
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
    """Return the encoder's input besides descriptors (N, 3): log size, sine and cosine of the direction.

    ``size`` (N,) are diameters in pixels, ``angle`` (N,) is in radians. Positions in the image are left out, since
    memorized positions do harm in a new view.
    """
    scale = np.log(np.maximum(size, SMALLEST_SIZE_PX) / USUAL_SIZE_PX)
    return np.stack([scale, np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
