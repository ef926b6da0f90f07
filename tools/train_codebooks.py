#!/usr/bin/env python3
"""Train the descriptor codebooks that ship with the package (neumap/model/codebooks.safetensors).

    python tools/train_codebooks.py          # about five minutes on two cores

The words come from images of virtual rooms only, so no recording's licence applies to them. On descriptors of real
kitchens and desks they lose no more than words trained on those.
"""

import cv2
import numpy as np
from safetensors.numpy import save_file

from neumap.features.sift import FeatureExtractor
from neumap.geometry.cameras import make_camera
from neumap.model.codebooks import CODEBOOK_FILE, train_codebook
from neumap.virtual.drive import drive
from neumap.virtual.layout import make_room
from neumap.virtual.render import render

ROOMS, VIEWS, KEYPOINTS = range(100, 112), 14, 500
SAMPLES = 60_000


def main() -> None:
    camera = make_camera(640, 480, [520, 0, 320, 0, 520, 240, 0, 0, 1])
    extract = FeatureExtractor()
    fine, coarse = [], []
    for seed in ROOMS:
        room = make_room(seed)
        rng = np.random.default_rng(seed)
        for pose in drive(room, seed, VIEWS, "mapping"):
            image, _ = render(room, camera, pose)
            features = extract(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
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
