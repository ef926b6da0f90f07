"""The frozen decoder that ships with the package: an encoder of keypoints and the words of its latents.

Its id is a hash of its numbers. A map stores the id of the decoder its latents were made for, and no other reads it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from neumap.arrays import Float32Array
from neumap.errors import MapFileError
from neumap.model.attention import GeometricAttention
from neumap.model.codebooks import WORDS, ResidualCodebook, joint_descriptors
from neumap.model.encoder import EMBEDDING, KeypointEncoder, keypoint_shape

DECODER_FILE = Path(__file__).with_name("decoder.safetensors")
ENCODER_PREFIX, ATTENTION_PREFIX, WORDS_NAME = "encoder.", "attention.", "words"
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class FrozenDecoder:
    """Weights that know no place, ready to use. ``decoder_id`` is the hash of them."""

    encoder: KeypointEncoder
    attention: GeometricAttention
    codebook: ResidualCodebook
    decoder_id: str

    @property
    def min_similarity(self) -> float:
        """The similarity that a keypoint and a landmark that it does not show exceed by rare chance only."""
        return float(self.encoder.min_similarity)

    def embed(
        self,
        descriptors: npt.NDArray[Any],
        coarse: npt.NDArray[Any],
        size: npt.NDArray[Any],
        angle: npt.NDArray[Any],
    ) -> Float32Array:
        """Unit embeddings (N, 64) float32 of keypoints, described as in Features or Keyframes."""
        out = np.empty((len(descriptors), EMBEDDING), np.float32)
        for first in range(0, len(out), ROWS_AT_ONCE):
            some = slice(first, first + ROWS_AT_ONCE)
            fine, wide = (part[some].astype(np.float32, copy=False) for part in (descriptors, coarse))
            joint = joint_descriptors(fine, wide)
            shape = torch.from_numpy(keypoint_shape(size[some], angle[some]))
            with torch.inference_mode():
                out[some] = self.encoder(torch.from_numpy(joint), shape).numpy()
        return out


def save_decoder(
    path: str | os.PathLike[str], encoder: KeypointEncoder, attention: GeometricAttention, words: Float32Array
) -> None:
    """Write a decoder, in half precision."""
    tensors = {WORDS_NAME: words}
    for prefix, module in _modules(encoder, attention):
        tensors |= {prefix + name: value.numpy() for name, value in module.state_dict().items()}
    save_file({name: np.ascontiguousarray(value, dtype=np.float16) for name, value in tensors.items()}, path)


def load_decoder(path: str | os.PathLike[str]) -> FrozenDecoder:
    """Read a decoder. Raises :class:`~neumap.errors.MapFileError` for a file that is none."""
    try:
        tensors = load_file(path)
        words = tensors.pop(WORDS_NAME).astype(np.float32)
        state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
        encoder, attention = KeypointEncoder(), GeometricAttention()
        for prefix, module in _modules(encoder, attention):
            module.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
            module.eval().requires_grad_(False)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise MapFileError(f"{path} is not a decoder that 'neumap pretrain' wrote: {error}") from error
    if not all(name.startswith((ENCODER_PREFIX, ATTENTION_PREFIX)) for name in state):
        raise MapFileError(f"{path} is not a decoder of this version: it holds more than that")
    if not words.size or words.shape[1:] != (WORDS, EMBEDDING):
        raise MapFileError(f"{path} is not a decoder of this version: its words have the shape {words.shape}")
    if not np.isfinite(words).all() or not all(value.isfinite().all() for value in state.values()):
        raise MapFileError(f"{path} is damaged: some of its numbers are not finite")
    digest = hashlib.sha256(words.tobytes())
    for name in sorted(state):
        digest.update(name.encode() + state[name].numpy().tobytes())
    return FrozenDecoder(encoder, attention, ResidualCodebook(words), digest.hexdigest()[:16])


def _modules(encoder: KeypointEncoder, attention: GeometricAttention) -> tuple[tuple[str, torch.nn.Module], ...]:
    """The modules with what the names of their tensors begin with."""
    return (ENCODER_PREFIX, encoder), (ATTENTION_PREFIX, attention)


@cache
def shipped_decoder() -> FrozenDecoder:
    """The decoder in the package."""
    return load_decoder(DECODER_FILE)
