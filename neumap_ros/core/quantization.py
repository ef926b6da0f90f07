"""Product quantization of descriptors (Jegou, Douze and Schmid, PAMI 2011) with codebooks shipped in the package.

A descriptor of 128 numbers is cut into equal parts and each part stored as the number of the nearest of 256 words.
The words are the same for all maps, so that a map pays for its codes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from neumap_ros.records import Float32Array

WORDS = 256
CODEBOOK_FILE = Path(__file__).with_name("codebooks.safetensors")
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
        """Codes (N, P) of descriptors (N, D)."""
        cut = descriptors.reshape(len(descriptors), self.parts, self.words.shape[2])
        out = np.empty((len(descriptors), self.parts), np.uint8)
        for p, words in enumerate(self.words):
            distance = (words**2).sum(axis=1) - 2 * cut[:, p] @ words.T
            out[:, p] = distance.argmin(axis=1)
        return out

    def decode(self, codes: Codes) -> Float32Array:
        """Unit descriptors (N, D) float32 of codes (N, P)."""
        found = self.words[np.arange(self.parts), codes].reshape(len(codes), self.parts * self.words.shape[2])
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def train_codebook(descriptors: Float32Array, parts: int, seed: int = 0) -> Codebook:
    """A codebook of k-means words for descriptors (N, D); D must be a multiple of ``parts``."""
    cut = np.ascontiguousarray(descriptors, dtype=np.float32).reshape(len(descriptors), parts, -1)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-5)
    labels = np.zeros((len(cut), 1), np.int32)
    cv2.setRNGSeed(seed)
    words = [
        cv2.kmeans(np.ascontiguousarray(cut[:, p]), WORDS, labels, criteria, 1, cv2.KMEANS_PP_CENTERS)[2]
        for p in range(parts)
    ]
    return Codebook(np.stack(words))


@cache
def shipped_codebooks() -> dict[str, Codebook]:
    """The package's codebooks by name: "descriptor-16", "descriptor-32", "coarse-8", "coarse-16" (bytes each)."""
    return {name: Codebook(words.astype(np.float32)) for name, words in load_file(CODEBOOK_FILE).items()}
