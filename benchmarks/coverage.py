#!/usr/bin/env python3
"""Calibration of covariances in virtual places of several kinds, and the default calibration of maps.

    python benchmarks/coverage.py [--kinds courtyard ...] [--poses POSES] [--calibrated] [--threads N] [--json FILE]

Places of each kind are mapped until POSES poses were found. A covariance is right if nine in ten errors are inside its
90 % ellipsoid. "Within 1 %" of the scene's distance: of the queries that show 30 stored landmarks or more, by rendered
depth. Maps have the default calibration, unless --calibrated. The last lines fit a calibration to each kind and to all
together: Calibration in neumap/maps/neural_map.py is the one that suits all, to be fitted anew after each new decoder.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import markdown
from neumap.arrays import FloatArray
from neumap.cli import options
from neumap.errors import MappingError
from neumap.geometry import cameras, se3
from neumap.localization.localizer import Localizer
from neumap.localization.verdict import pose_covariance
from neumap.mapping.build import map_of
from neumap.mapping.calibration import CHI2_90, Parts, fit_calibration
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.drift import deviations_between
from neumap.maps.neural_map import Calibration
from neumap.process import set_up
from neumap.records import Frame
from neumap.virtual import photos
from neumap.virtual.curriculum import CHANGED, STEADY, random_place
from neumap.virtual.grounds import make_ground
from neumap.virtual.lenses import random_lens
from neumap.virtual.walk import Way, close_way, walk

# seeds of held-out places
FIRST_SEED = 5_000_000
# queries of a place
QUERIES = 24
# a courtyard or hall is so long and so wide, metres; and so high
GROUND_M, HEIGHT_M = (30.0, 60.0), (6.0, 12.0)
# stored landmarks that a query must show to count; a landmark is shown that is no further behind the rendered surface
SHOWN, BEHIND = 30, 0.02
# quantile of chi-square with 6 degrees of freedom: a pose beyond it is wrong, if the truth is exact
CHI2_99 = 16.812


@dataclass(frozen=True)
class Kind:
    """A kind of place: ``ground`` is courtyard, hall or room; ``images`` map it, with depth up to ``depth_reach_m`` (0:
    none), to ``size_bytes``.
    """

    ground: str
    images: int
    depth_reach_m: float
    size_bytes: int

    def frames(self, seed: int) -> tuple[Sequence[Frame], Sequence[Frame]]:
        """Return mapping frames and queries of the place of a seed."""
        if self.ground == "room":
            place = random_place(seed, self.images, QUERIES)
            mapping, query = place.mapping, place.query
        else:
            rng = np.random.default_rng([seed, 991])
            size = (float(rng.uniform(*GROUND_M)), float(rng.uniform(*GROUND_M)), float(rng.uniform(*HEIGHT_M)))
            camera, ground = random_lens(rng), make_ground(seed, size, roofed=self.ground == "hall")
            reach = self.depth_reach_m
            way = close_way(size, self.images, "out", reach) if reach else Way("across")
            there, asked = walk(ground, seed, self.images, "mapping", way), walk(ground, seed, QUERIES, "query", way)
            mapping = tuple(photos.take(ground, camera, there, name="mapping", light=STEADY, seed=seed))
            query = tuple(photos.take(ground, camera, asked, name="query", light=CHANGED, seed=seed))
        return [within_reach(frame, self.depth_reach_m) for frame in mapping], query


KINDS = {
    "courtyard, 20 images, no depth": Kind("courtyard", 20, 0.0, 41_000),
    "hall, 36 images, no depth": Kind("hall", 36, 0.0, 60_000),
    "courtyard, 40 images, depth to 8 m": Kind("courtyard", 40, 8.0, 60_000),
    "room, 20 images, depth": Kind("room", 20, math.inf, 50_000),
    "room, 40 images, no depth": Kind("room", 40, 0.0, 50_000),
    "room, 120 images, depth": Kind("room", 120, math.inf, 100_000),
}


def within_reach(frame: Frame, reach_m: float) -> Frame:
    """The frame with depth up to ``reach_m`` metres."""
    read = frame.read_depth
    if read is None or not reach_m:
        return replace(frame, read_depth=None)

    def near() -> Any:
        depth = read()
        return np.where(depth <= reach_m, depth, 0)

    return replace(frame, read_depth=near)


@dataclass(frozen=True)
class Found:
    """A pose that was found: its covariance (6, 6) in the camera frame, and its error with what that is made of."""

    covariance: FloatArray
    parts: Parts

    @property
    def share(self) -> float:
        """The position error relative to the scene's distance."""
        return float(np.linalg.norm(self.parts.error[:3]) / self.parts.distance_m)

    @property
    def squared(self) -> float:
        """The squared Mahalanobis distance of the error."""
        return float(self.parts.error @ np.linalg.solve(self.covariance, self.parts.error))


def shows(frame: Frame, points: FloatArray) -> int:
    """Count the ``points`` (N, 3) that an image shows, by its rendered depth."""
    if frame.map_from_camera is None or frame.read_depth is None:
        return 0
    seen = se3.transform_points(se3.invert_pose(frame.map_from_camera), points)
    seen = seen[seen[:, 2] > 0]
    depth = frame.read_depth()
    height, width = depth.shape
    pixels = cameras.project(frame.camera, seen)
    inside = ((pixels > 0) & (pixels < [width - 1, height - 1])).all(axis=1)
    column, row = np.rint(pixels[inside]).astype(int).T
    return int((seen[inside, 2] < (1 + BEHIND) * depth[row, column]).sum())


def found_in(kind: Kind, seed: int, calibrated: bool) -> Iterator[tuple[int, Found | None]]:
    """Localize the queries of the place of a seed; None without a pose."""
    mapping, query = kind.frames(seed)
    neural_map = map_of(survey(mapping, MappingSettings()), replace(MappingSettings(), size_bytes=kind.size_bytes))
    if not calibrated:
        neural_map = replace(neural_map, calibration=Calibration())
    localizer = Localizer(neural_map)
    for frame in query:
        shown = shows(frame, neural_map.landmarks.points(neural_map.grid))
        _, found, verdict = localizer.solve(localizer.look(frame.read_image(), frame.camera))
        if found is None or verdict.reason or frame.map_from_camera is None:
            yield shown, None
            continue
        corrected = localizer.corrected(found)
        turn = np.kron(np.eye(2), corrected.map_from_camera[:3, :3])
        error = deviations_between(corrected.map_from_camera[None], frame.map_from_camera[None])[0]
        parts = Parts(error, corrected.unit, corrected.drift_sigma, corrected.distance_m)
        yield shown, Found(turn.T @ pose_covariance(corrected, neural_map.calibration) @ turn, parts)


def row(name: str, asked: Sequence[tuple[int, Found | None]], found: Sequence[Found]) -> tuple[str, ...]:
    clear = [one for shown, one in asked if shown >= SHOWN]
    within = [one is not None and one.share < 0.01 for one in clear]
    errors = np.array([np.linalg.norm(one.parts.error[:3]) for one in found])
    sigma = np.array([np.sqrt(np.trace(one.covariance[:3, :3])) for one in found])
    squared = np.array([one.squared for one in found])
    return (
        name,
        f"{len(found)} of {len(asked)}",
        f"{100 * np.median(errors):.1f} cm",
        f"{100 * np.median(sigma):.1f} cm",
        f"{100 * np.mean(within):.1f} % of {len(clear)}",
        f"{100 * (squared < CHI2_90).mean():.1f} %",
        f"{(squared > CHI2_99).sum()}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND")
    parser.add_argument("--poses", type=options.count, default=300, help="of each kind (default: 300)")
    parser.add_argument("--calibrated", action="store_true", help="by images set aside, as maps of many images are")
    parser.add_argument("--threads", type=options.threads, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    set_up(args.threads)
    rows: list[tuple[str, ...]] = []
    everything: dict[str, list[Found]] = {}
    for name in args.kinds:
        found, seed = everything.setdefault(name, []), FIRST_SEED
        asked: list[tuple[int, Found | None]] = []
        while len(found) < args.poses:
            try:
                here = list(found_in(KINDS[name], seed, args.calibrated))
            except MappingError as reason:
                here = []
                print(f"{name} {seed}: {reason}", file=sys.stderr)
            found += [one for _, one in here if one is not None]
            asked, seed = asked + here, seed + 1
            print(f"{name}: {len(found)} of {len(asked)}", file=sys.stderr, flush=True)
        rows.append(row(name, asked, found))
        if args.json:
            content = {
                kind: [(one.parts.error.tolist(), one.covariance.tolist(), one.parts.distance_m) for one in each]
                for kind, each in everything.items()
            }
            args.json.write_text(json.dumps(content), encoding="utf-8")
    head = ("place", "found", "median error", "median sigma", "within 1 %", "in the 90 % ellipsoid", "beyond 99 %")
    print(markdown("covariances", head, rows))
    for name, of in (*everything.items(), ("all", [one for each in everything.values() for one in each])):
        print(f"{name}: {fit_calibration([one.parts for one in of], Calibration())}")


if __name__ == "__main__":
    main()
