#!/usr/bin/env python3
"""Calibration of covariances of poses from several images together, in virtual places.

    python benchmarks/pooled.py [--windows 300] [--views 4] [--size 25KB] [--odometry 0.02]

Each place is mapped once. Windows of --views overlapping images of a drive are localized together, with relative poses
from odometry, whose error has a constant direction. NEES is the squared error normalized by the covariance, 6 on
average if that is right, of poses that are not wrong; "alone" is the newest image by itself. Places are rooms, halls
and corridors; for rooms with the same furniture see building.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import COMPARED_SIGMA_M, LOST, are_wrong, markdown, metres_and_degrees
from benchmarks.sizes import size_text
from benchmarks.windows import carried, nees
from neumap.arrays import FloatArray
from neumap.cli import options
from neumap.errors import MappingError
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.process import set_up
from neumap.records import PoseEstimate
from neumap.virtual.curriculum import random_place

HEAD = ("", "windows", "localized", "wrong", "median error", "mean NEES", "median NEES", "largest")
# FIRST_SEED: first seed of held-out places. IMAGES, QUERIES: mapping images and queries of each.
FIRST_SEED, IMAGES, QUERIES = 5_100_000, 40, 34

# Answer: metres, degrees and NEES; infinite without a pose.
Answer = tuple[float, float, float]


def answer(found: PoseEstimate, truth: FloatArray) -> Answer:
    found = found.certain(COMPARED_SIGMA_M)
    if found.map_from_camera is None:
        return (*LOST, np.inf)
    return (*metres_and_degrees(found.map_from_camera, truth), nees(found, truth))


def in_place(seed: int, args: argparse.Namespace) -> list[tuple[Answer, Answer]]:
    """Localize the windows of the place of a seed jointly, and their newest images alone."""
    place = random_place(seed, IMAGES, QUERIES)
    if place.description.startswith("twins"):
        return []
    settings = MappingSettings(size_bytes=args.size)
    localizer = Localizer(map_of(survey(place.mapping, settings), settings))
    queries = [localizer.look(frame.read_image(), frame.camera) for frame in place.query]
    poses = [frame.map_from_camera for frame in place.query if frame.map_from_camera is not None]
    rng, answers = np.random.default_rng(seed), []
    for newest in range(args.views - 1, len(queries)):
        window = [newest - i for i in range(args.views)]
        truths = [poses[i] for i in window]
        views = carried(truths, [queries[i] for i in window], args.odometry, rng, floor=(0.0, 0.0))
        together, alone = localizer.locate(views), localizer.locate(queries[newest])
        answers.append((answer(together, truths[0]), answer(alone, truths[0])))
    return answers


def row(name: str, answers: Sequence[Answer]) -> tuple[str, ...]:
    table = np.array(answers).reshape(-1, 3)
    localized, wrong = np.isfinite(table[:, 0]), are_wrong(table[:, :2])
    right = table[localized & ~wrong]
    squared = right[:, 2]
    return (
        name,
        str(len(table)),
        str(localized.sum()),
        str(wrong.sum()),
        f"{100 * np.median(right[:, 0]):.1f} cm",
        f"{squared.mean():.1f}",
        f"{np.median(squared):.1f}",
        ", ".join(f"{value:.0f}" for value in np.sort(squared)[-5:][::-1]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=options.count, default=300)
    parser.add_argument("--views", type=options.count, default=4)
    parser.add_argument("--size", type=size_text, default="25KB", metavar="25KB")
    parser.add_argument("--odometry", type=float, default=0.02, metavar="SHARE", help="of error (default: 0.02)")
    parser.add_argument("--threads", type=options.threads, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.size = options.size(args.size)
    set_up(args.threads)
    answers: list[tuple[Answer, Answer]] = []
    seed = FIRST_SEED
    while len(answers) < args.windows:
        try:
            answers += in_place(seed, args)
        except MappingError as reason:
            print(f"{seed}: {reason}", file=sys.stderr)
        seed += 1
        if args.json:
            args.json.write_text(json.dumps(answers), encoding="utf-8")
        print(f"{len(answers)} windows of {seed - FIRST_SEED} places", file=sys.stderr, flush=True)
    together, alone = zip(*answers, strict=True)
    print(markdown("poses of several images together", HEAD, [row("together", together), row("alone", alone)]))


if __name__ == "__main__":
    main()
