#!/usr/bin/env python3
"""Pose recall in virtual places of the shipped decoder's training, and in held-out ones.

    python benchmarks/generalization.py [--places N] [--size 100KB]

Training places have the seeds of that training, from 0 on; held-out ones begin at a million. Queries come from another
drive at another height, with other light, blur and noise; half of them see little that was mapped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import COMPARED_SIGMA_M, LOST, metres_and_degrees
from neumap.cli import options
from neumap.errors import MappingError
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps import DECODERS
from neumap.process import set_up
from neumap.virtual.curriculum import random_place

FIRST = {"training places": 0, "unseen places": 1_000_000}


def errors_in(seed: int, size_bytes: int) -> dict[str, list[tuple[float, float]]] | None:
    """Metres and degrees of each query, infinite where it is lost, by decoder; None for a place that is not mapped."""
    place = random_place(seed)
    out: dict[str, list[tuple[float, float]]] = {}
    try:
        surveyed = survey(place.mapping, MappingSettings())
    except MappingError as reason:
        print(f"{seed}: {place.description}: {reason}", file=sys.stderr)
        return None
    for decoder in DECODERS:
        localizer = Localizer(map_of(surveyed, MappingSettings(decoder=decoder, size_bytes=size_bytes)))
        out[decoder] = []
        for frame in place.query:
            estimate = localizer.localize(frame.read_image(), frame.camera).certain(COMPARED_SIGMA_M)
            if estimate.map_from_camera is None or frame.map_from_camera is None:
                out[decoder].append(LOST)
                continue
            out[decoder].append(metres_and_degrees(estimate.map_from_camera, frame.map_from_camera))
    print(f"{seed}: {place.description}", file=sys.stderr, flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=options.count, default=10, help="of each kind (default: 10)")
    parser.add_argument("--size", type=options.size, default=100_000)
    parser.add_argument("--threads", type=options.threads, default=2)
    args = parser.parse_args()
    set_up(args.threads)
    print("| | decoder | images | 5 cm, 5° | 25 cm, 10° | localized | wrong |\n|" + "---|" * 7)
    for name, first in FIRST.items():
        found = [errors_in(first + k, args.size) for k in range(args.places)]
        for decoder in DECODERS:
            m, d = np.array([pair for place in found if place for pair in place[decoder]]).T
            near, fair = (m < 0.05) & (d < 5), (m < 0.25) & (d < 10)
            lost = np.isinf(m)
            print(
                f"| {name} | {decoder} | {len(m)} | {100 * near.mean():.1f} % | {100 * fair.mean():.1f} % "
                f"| {100 * (~lost).mean():.1f} % | {(~lost & ~fair).sum()} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
