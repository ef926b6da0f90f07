"""Quantization of vectors to a few bytes by codebooks shipped in the package, so that a map stores codes only.

Product quantization (Jegou, Douze and Schmid, PAMI 2011) cuts a descriptor of 128 numbers into equal parts and stores
each part as the number of the nearest of 256 words. Residual quantization (Chen, Guan and Wang, Sensors 2010) stores
the nearest word of the whole vector, then the nearest word of the residual, and so on: fewer bytes for the same error,
and the first bytes alone are a coarser code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from neumap.arrays import Float32Array
from neumap.progress import Step, ignore

# WORDS: words per byte of a code.
WORDS = 256
# BEAM: width of the beam search for residual codes; wider finds hardly better codes. VECTORS_AT_ONCE: vectors encoded
# together; more would take more memory and no less time.
BEAM, VECTORS_AT_ONCE = 8, 1000
# CODEBOOK_FILE: words of product quantization; CODEBOOK_EXTRACTOR: extractor whose descriptors they were trained on.
CODEBOOK_FILE, CODEBOOK_EXTRACTOR = Path(__file__).with_name("codebooks.safetensors"), "rootsift"
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Codebook:
    """``words`` (P, 256, D / P) float32 for descriptors of D numbers in P parts."""

    words: Float32Array

    @property
    def parts(self) -> int:
        """Bytes per descriptor."""
        return len(self.words)

    def encode(self, descriptors: Float32Array) -> Codes:
        """Return codes (N, P) of descriptors (N, D)."""
        cut = descriptors.reshape(len(descriptors), self.parts, self.words.shape[2])
        out = np.empty((len(descriptors), self.parts), np.uint8)
        for p, words in enumerate(self.words):
            distance = (words**2).sum(axis=1) - 2 * cut[:, p] @ words.T
            out[:, p] = distance.argmin(axis=1)
        return out

    def decode(self, codes: Codes) -> Float32Array:
        """Return unit descriptors (N, D) float32 of codes (N, P)."""
        found = self.words[np.arange(self.parts), codes].reshape(len(codes), self.parts * self.words.shape[2])
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), dtype=np.float32)


@dataclass(frozen=True)
class ResidualCodebook:
    """``words`` (S, 256, D) float32: stage s quantizes the residual of a unit vector (D,) after the stages before."""

    words: Float32Array

    def encode(self, vectors: Float32Array, parts: int, step: Step = ignore) -> Codes:
        """Return codes (N, ``parts``) of vectors (N, D), by a beam search over the stages.

        ``step`` is called with how many more are encoded. Raises ValueError for more ``parts`` than stages.
        """
        if not 1 <= parts <= len(self.words):
            raise ValueError(f"a code has 1 to {len(self.words)} parts, not {parts}")
        found = []
        for some in np.array_split(vectors, len(vectors) // VECTORS_AT_ONCE + 1):
            found.append(self._encode(some, parts))
            step(len(some))
        return np.concatenate(found)

    def _encode(self, vectors: Float32Array, parts: int) -> Codes:
        rest = vectors[:, None].astype(np.float32)
        chosen = np.zeros((len(vectors), 1, 0), np.uint8)
        for words in self.words[:parts]:
            left = (rest**2).sum(axis=2, keepdims=True) - 2 * rest @ words.T + (words**2).sum(axis=1)
            flat = left.reshape(len(vectors), rest.shape[1] * WORDS)
            best = np.argpartition(flat, BEAM, axis=1)[:, :BEAM]
            # sorted, so that ties are broken alike on every machine
            best.sort(axis=1)
            path, word = best // WORDS, best % WORDS
            rest = np.take_along_axis(rest, path[..., None], axis=1) - words[word]
            kept = np.take_along_axis(chosen, path[..., None], axis=1)
            chosen = np.concatenate([kept, word[..., None].astype(np.uint8)], axis=2)
        winner = (rest**2).sum(axis=2).argmin(axis=1)
        return np.asarray(chosen[np.arange(len(vectors)), winner])

    def decode(self, codes: Codes) -> Float32Array:
        """Return unit vectors (N, D) float32 of codes (N, B), B up to S."""
        found = np.zeros((len(codes), self.words.shape[2]), np.float32)
        for words, code in zip(self.words, codes.T, strict=False):
            found += words[code]
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), dtype=np.float32)


@cache
def shipped_codebooks() -> dict[str, Codebook]:
    """Return the shipped codebooks by name: "descriptor-16", "descriptor-32", "coarse-8", "coarse-16" (bytes each)."""
    return {name: Codebook(words.astype(np.float32)) for name, words in load_file(CODEBOOK_FILE).items()}
