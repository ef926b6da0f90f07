"""The stored weights of the frozen decoder and their id. Reading them does not import torch.

The id is a hash of the weights. A map stores the id of the decoder that made its latents; no other decoder reads it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from neumap.arrays import Float32Array
from neumap.errors import MapFileError
from neumap.model.codebooks import WORDS

DECODER_FILE = Path(__file__).with_name("decoder.safetensors")
# WORDS_NAME: name of the words of latents in the file. MODULES: prefixes of the other names. EXTRACTOR_KEY: key of the
# feature extractor's name in the metadata.
WORDS_NAME, MODULES, EXTRACTOR_KEY = "words", ("encoder.", "transformer."), "extractor"


@dataclass(frozen=True)
class DecoderWeights:
    """Weights of a decoder. ``extractor``: the extractor whose features it reads. ``words`` (S, 256, D) float32: those
    of latents of up to S bytes. ``modules``: float32 arrays by one of ``MODULES`` plus torch's state dictionary names.
    """

    extractor: str
    words: Float32Array
    modules: Mapping[str, Float32Array]

    @cached_property
    def decoder_id(self) -> str:
        """The hash of all weights."""
        digest = hashlib.sha256(self.words.tobytes())
        for name in sorted(self.modules):
            digest.update(name.encode() + self.modules[name].tobytes())
        return digest.hexdigest()[:16]

    def module(self, prefix: str) -> dict[str, Float32Array]:
        """Return the arrays of one module, without the ``prefix`` of their names."""
        return {n.removeprefix(prefix): value for n, value in self.modules.items() if n.startswith(prefix)}


def save_weights(path: str | os.PathLike[str], weights: DecoderWeights) -> None:
    """Write weights, in half precision."""
    tensors = {WORDS_NAME: weights.words, **weights.modules}
    stored = {name: np.ascontiguousarray(value, dtype=np.float16) for name, value in tensors.items()}
    save_file(stored, path, {EXTRACTOR_KEY: weights.extractor})


def load_weights(path: str | os.PathLike[str]) -> DecoderWeights:
    """Read weights. Raises :class:`~neumap.errors.MapFileError` for another file."""
    try:
        with safe_open(path, framework="np") as file:
            extractor = (file.metadata() or {})[EXTRACTOR_KEY]
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        words = tensors.pop(WORDS_NAME)
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        # the last two: numpy lacks some dtypes of safetensors
        raise MapFileError(f"{path} is not a decoder that 'neumap pretrain' wrote: {error}") from error
    if not all(name.startswith(MODULES) for name in tensors):
        raise MapFileError(f"{path} is not a decoder of this version: it holds other tensors")
    if words.ndim != 3 or not words.size or words.shape[1] != WORDS:
        raise MapFileError(f"{path} is not a decoder of this version: its words have the shape {words.shape}")
    if not all(np.isfinite(value).all() for value in (words, *tensors.values())):
        raise MapFileError(f"{path} is damaged: some of its numbers are not finite")
    return DecoderWeights(extractor, words, tensors)


@cache
def shipped_weights() -> DecoderWeights:
    """Return the weights in the package."""
    return load_weights(DECODER_FILE)
