"""The numbers of the frozen decoder as they are stored, and the id that they have. Reading them takes no torch.

The id is a hash of the numbers. A map stores the id of the decoder its latents were made for, and no other reads it.
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
# WORDS_NAME, MODULES: how the file calls the words of latents, and what its other names begin with; EXTRACTOR_KEY: what
# its header calls the name of the feature extractor.
WORDS_NAME, MODULES, EXTRACTOR_KEY = "words", ("encoder.", "transformer."), "extractor"


@dataclass(frozen=True)
class DecoderWeights:
    """``extractor``: the name of the one whose features the decoder reads. ``words`` (S, 256, D) float32: of latents of
    up to S bytes. ``modules``: float32 arrays by the names of torch's state dictionaries, behind one of ``MODULES``.
    """

    extractor: str
    words: Float32Array
    modules: Mapping[str, Float32Array]

    @cached_property
    def decoder_id(self) -> str:
        """The hash of all numbers."""
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
    """Read weights. Raises :class:`~neumap.errors.MapFileError` for a file that holds none."""
    try:
        with safe_open(path, framework="np") as file:
            extractor = (file.metadata() or {})[EXTRACTOR_KEY]
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        words = tensors.pop(WORDS_NAME)
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        # the last two: safetensors knows types of numbers that numpy does not have
        raise MapFileError(f"{path} is not a decoder that 'neumap pretrain' wrote: {error}") from error
    if not all(name.startswith(MODULES) for name in tensors):
        raise MapFileError(f"{path} is not a decoder of this version: it holds more than that")
    if words.ndim != 3 or not words.size or words.shape[1] != WORDS:
        raise MapFileError(f"{path} is not a decoder of this version: its words have the shape {words.shape}")
    if not all(np.isfinite(value).all() for value in (words, *tensors.values())):
        raise MapFileError(f"{path} is damaged: some of its numbers are not finite")
    return DecoderWeights(extractor, words, tensors)


@cache
def shipped_weights() -> DecoderWeights:
    """Return the weights in the package."""
    return load_weights(DECODER_FILE)
