"""The frozen decoder: an encoder of keypoints, a transformer that chooses landmarks, and the words of latents."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neumap.arrays import Float32Array
from neumap.errors import ConfigError, MapFileError
from neumap.features import extractor_class
from neumap.features.extractor import joint_descriptors
from neumap.model.codebooks import ResidualCodebook
from neumap.model.encoder import EMBEDDING, KeypointEncoder, keypoint_shape
from neumap.model.transformer import Transformer
from neumap.model.weights import MODULES, DecoderWeights, load_weights, save_weights, shipped_weights

# KEYPOINTS_AT_ONCE: keypoints embedded together; more would take more memory and no less time.
KEYPOINTS_AT_ONCE = 20_000


@dataclass(frozen=True)
class FrozenDecoder:
    """The pretrained modules, the same for all places. ``decoder_id`` is the hash of their weights, ``extractor`` the
    name of the extractor whose features they read.
    """

    extractor: str
    encoder: KeypointEncoder
    transformer: Transformer
    codebook: ResidualCodebook
    decoder_id: str

    @property
    def min_similarity(self) -> float:
        """The similarity that a keypoint rarely exceeds with a landmark that it does not show."""
        return float(self.encoder.min_similarity)

    def embed(
        self,
        descriptors: npt.NDArray[Any],
        coarse: npt.NDArray[Any],
        size: npt.NDArray[Any],
        angle: npt.NDArray[Any],
    ) -> Float32Array:
        """Return unit embeddings (N, 64) float32 of keypoints; arguments are as in Features or Keyframes."""
        out = np.empty((len(descriptors), EMBEDDING), np.float32)
        for first in range(0, len(out), KEYPOINTS_AT_ONCE):
            some = slice(first, first + KEYPOINTS_AT_ONCE)
            fine, wide = (part[some].astype(np.float32, copy=False) for part in (descriptors, coarse))
            joint = joint_descriptors(fine, wide)
            shape = torch.from_numpy(keypoint_shape(size[some], angle[some]))
            with torch.inference_mode():
                out[some] = self.encoder(torch.from_numpy(joint), shape).numpy()
        return out


def save_decoder(
    path: str | os.PathLike[str],
    extractor: str,
    encoder: KeypointEncoder,
    transformer: Transformer,
    words: Float32Array,
) -> None:
    """Write a decoder for the features of ``extractor``, in half precision."""
    modules: dict[str, Float32Array] = {}
    for prefix, module in zip(MODULES, (encoder, transformer), strict=True):
        modules |= {prefix + name: value.numpy() for name, value in module.state_dict().items()}
    save_weights(path, DecoderWeights(extractor, words, modules))


def load_decoder(path: str | os.PathLike[str]) -> FrozenDecoder:
    """Read a decoder. Raises :class:`~neumap.errors.MapFileError` for another file."""
    return _decoder_of(load_weights(path), path)


@cache
def shipped_decoder() -> FrozenDecoder:
    """Return the decoder in the package."""
    return _decoder_of(shipped_weights(), "the decoder of the package")


def _decoder_of(weights: DecoderWeights, source: str | os.PathLike[str]) -> FrozenDecoder:
    try:
        kind = extractor_class(weights.extractor)
        encoder, transformer = KeypointEncoder(kind.descriptor_size + kind.coarse_size), Transformer()
        for prefix, module in zip(MODULES, (encoder, transformer), strict=True):
            module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.module(prefix).items()})
            module.eval().requires_grad_(False)
    except ConfigError as error:
        raise MapFileError(f"{source} reads features that this neumap does not make: {error}") from error
    except RuntimeError as error:
        raise MapFileError(f"{source} is not a decoder that 'neumap pretrain' wrote: {error}") from error
    if weights.words.shape[2] != EMBEDDING:
        raise MapFileError(f"{source} is not a decoder of this version: its words have the shape {weights.words.shape}")
    return FrozenDecoder(weights.extractor, encoder, transformer, ResidualCodebook(weights.words), weights.decoder_id)
