#!/usr/bin/env python3
"""Train the descriptor codebooks that ship with the package (neumap/model/codebooks.safetensors).

    python tools/train_codebooks.py          # about five minutes on two cores

The words come from images of virtual rooms only, so no recording's licence applies to them. On descriptors of real
kitchens and desks they lose no more than words trained on those.
"""

import cv2
import numpy as np
from safetensors.numpy import save_file

from neumap.arrays import Float32Array
from neumap.features import default_settings, make_extractor
from neumap.geometry.cameras import make_camera
from neumap.model.codebooks import CODEBOOK_EXTRACTOR, CODEBOOK_FILE, WORDS, Codebook
from neumap.virtual.drive import drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import render

ROOMS, VIEWS, KEYPOINTS = range(100, 112), 14, 500
SAMPLES = 60_000


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


def main() -> None:
    camera = make_camera(640, 480, [520, 0, 320, 0, 520, 240, 0, 0, 1])
    extract = make_extractor(default_settings(CODEBOOK_EXTRACTOR))
    fine, coarse = [], []
    for seed in ROOMS:
        room = make_room(seed)
        rng = np.random.default_rng(seed)
        for pose in drive(room, seed, VIEWS, "mapping"):
            image, _ = render(room, camera, pose)
            features = extract.whole(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8))
            some = rng.permutation(len(features))[:KEYPOINTS]
            fine.append(features.descriptors[some])
            coarse.append(features.coarse[some])
        print(f"room {seed}: {sum(map(len, fine))} descriptors", flush=True)
    samples = {"descriptor": np.concatenate(fine)[:SAMPLES], "coarse": np.concatenate(coarse)[:SAMPLES]}
    books = {}
    for kind, parts in (("descriptor", 16), ("descriptor", 32), ("coarse", 8), ("coarse", 16)):
        books[f"{kind}-{parts}"] = train_codebook(samples[kind], parts).words.astype(np.float16)
    save_file(books, CODEBOOK_FILE)


if __name__ == "__main__":
    main()
