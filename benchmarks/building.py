#!/usr/bin/env python3
"""Localize in a virtual building with more and more rooms that look partly alike, and print a table.

    python benchmarks/building.py [--rooms 1 4 16 64] [--seed 0] [--threads 1]

Each room is mapped once, and the maps are merged. Queries are localized with the right voxels given, with those that
the map chooses, with the four likeliest of them pooled for one PnP, and with all of them decoded at once (a quarter of
the queries, since it is slow). "claimed" is the node's search with a prior that is off by half a metre: queries not
localized in the whole map are searched near it. In the row of one room each room is a building by itself, so that the
queries are those of the last row.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import COMPARED_SIGMA_M, LOST, metres_and_degrees
from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose
from neumap.localization.large_place import voxel_index
from neumap.localization.localizer import Localizer
from neumap.localization.query import EVERYWHERE, Query, Scope
from neumap.localization.retrieval import ASKED_KEYPOINTS, MOST_VOXELS
from neumap.mapping.build import map_of
from neumap.mapping.merge import merge_all
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.map_file import to_bytes
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.tracking.fix import Fix, claimed_near
from neumap.virtual.curriculum import Building, building

ROOM_BYTES = 45_000
# distance from the camera within which voxels are the right ones, metres
NEAR_M = 2.0
# standard deviation of a claim along each horizontal axis
CLAIM_SIGMA_M = 0.5
# every ALL_EVERY-th query is localized with all voxels, which is slow
ALL_EVERY = 4


@dataclass(frozen=True)
class Mapped:
    """A room: its map, its queries with their poses, and the time for both."""

    neural_map: NeuralMap
    poses: Sequence[FloatArray]
    queries: Sequence[Query]
    mapping_s: float
    features_ms: float


def map_room(place: Building, index: int) -> Mapped:
    frames = place.room(index)
    settings = MappingSettings(size_bytes=ROOM_BYTES)
    started = time.perf_counter()
    # queries are evaluated, so none of the few mapping images is held out
    neural_map = map_of(replace(survey(frames.mapping, settings), aside=()), settings)
    mapped = time.perf_counter()
    localizer = Localizer(neural_map)
    images = [frame.read_image() for frame in frames.query]
    rendered = time.perf_counter()
    # the full look as well: otherwise its cost would count for the first way that needs it only
    queries = [localizer.look(image, frame.camera) for image, frame in zip(images, frames.query, strict=True)]
    for query in queries:
        _ = query.whole
    return Mapped(
        neural_map,
        [frame.map_from_camera for frame in frames.query if frame.map_from_camera is not None],
        queries,
        mapped - started,
        (time.perf_counter() - rendered) * 1e3 / len(queries),
    )


@dataclass(frozen=True)
class Answers:
    """Errors (N,) in metres and degrees, infinite where there is no pose, and milliseconds (N,) beyond features."""

    metres: FloatArray
    degrees: FloatArray
    ms: FloatArray

    def text(self) -> str:
        def within(metres: float, degrees: float) -> float:
            return 100 * float(((self.metres < metres) & (self.degrees < degrees)).mean())

        wrong = int((np.isfinite(self.metres) & ((self.metres > 0.25) | (self.degrees > 10))).sum())
        return (
            f"{within(0.05, 5):.1f} % | {within(0.25, 10):.1f} % | {wrong} of {len(self.ms)} | "
            f"{np.median(self.ms):.0f}, {self.ms.mean():.0f}"
        )


Pose = FloatArray | None


def pose_of(localizer: Localizer, query: Query, scope: Scope = EVERYWHERE) -> Pose:
    return localizer.locate(query, scope).certain(COMPARED_SIGMA_M).map_from_camera


def by_right_voxels(neural_map: NeuralMap) -> Callable[[Query, FloatArray], Pose]:
    localizer, grid = Localizer(neural_map, choose_voxels=False), neural_map.grid
    return lambda query, truth: pose_of(localizer, query, Scope(grid.within(truth[:3, 3], NEAR_M)))


def by_all_voxels(neural_map: NeuralMap) -> Callable[[Query, FloatArray], Pose]:
    localizer = Localizer(neural_map, choose_voxels=False)
    return lambda query, _: pose_of(localizer, query)


def by_chosen_voxels(neural_map: NeuralMap) -> Callable[[Query, FloatArray], Pose]:
    localizer = Localizer(neural_map)
    return lambda query, _: pose_of(localizer, query)


def by_pooled_voxels(neural_map: NeuralMap) -> Callable[[Query, FloatArray], Pose]:
    localizer, index = Localizer(neural_map), voxel_index(neural_map)

    def answer(query: Query, _: FloatArray) -> Pose:
        ranked = index.rank(index.compare(query.embeddings[:ASKED_KEYPOINTS]), None)[0]
        return pose_of(localizer, query, Scope(ranked[:MOST_VOXELS]))

    return answer


def by_claim(neural_map: NeuralMap) -> Callable[[Query, FloatArray], Pose]:
    localizer, rng = Localizer(neural_map), np.random.default_rng(0)

    def answer(query: Query, truth: FloatArray) -> Pose:
        position = truth[:3, 3] + rng.normal(size=3) * [CLAIM_SIGMA_M, CLAIM_SIGMA_M, 0.0]
        prior = Fix(0, make_pose(truth[:3, :3], position), np.diag([CLAIM_SIGMA_M**2] * 3 + [0.0] * 3))
        near = claimed_near(prior, np.eye(4), COMPARED_SIGMA_M)
        found = pose_of(localizer, query)
        if found is None:
            voxels = neural_map.grid.within(near.position, near.radius_m + neural_map.sight_m)
            return pose_of(localizer, query, Scope(voxels, near))
        return found if np.linalg.norm(found[:3, 3] - near.position) <= near.radius_m else None

    return answer


WAYS = {
    "right": by_right_voxels,
    "chosen": by_chosen_voxels,
    "claimed": by_claim,
    "pooled": by_pooled_voxels,
    "all": by_all_voxels,
}


def localize(neural_map: NeuralMap, rooms: Sequence[Mapped], which: str) -> Answers:
    """The answers to the rooms' queries, in one of the :data:`WAYS` (with "all" voxels, to fewer queries)."""
    answer = WAYS[which](neural_map)
    queries = [(p, q) for room in rooms for p, q in zip(room.poses, room.queries, strict=True)]
    rows = []
    for pose, query in queries[:: ALL_EVERY if which == "all" else 1]:
        started = time.perf_counter()
        found = answer(query, pose)
        ms = (time.perf_counter() - started) * 1e3
        rows.append((*(LOST if found is None else metres_and_degrees(found, pose)), ms))
    return Answers(*np.array(rows).T)


def together(answers: Sequence[Answers]) -> Answers:
    """The answers of several buildings."""
    return Answers(*(np.concatenate([getattr(one, f.name) for one in answers]) for f in fields(Answers)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_up(args.threads)
    place = building(max(args.rooms), args.seed)
    rooms: list[Mapped] = []
    for index in range(max(args.rooms)):
        rooms.append(map_room(place, index))
        print(f"room {index}: mapped in {rooms[-1].mapping_s:.1f} s", file=sys.stderr, flush=True)
    print(
        f"Mapping a room takes {np.median([r.mapping_s for r in rooms]):.1f} s, rendering included; the features of "
        f"both looks at a query {np.median([r.features_ms for r in rooms]):.0f} ms.\n"
    )
    print("| rooms | voxels | map, kB | a room, kB | merged in, s | searched | 5 cm, 5° | 25 cm, 10° | wrong | ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for count in args.rooms:
        groups = [[room] for room in rooms] if count == 1 else [rooms[:count]]
        started = time.perf_counter()
        maps = [merge_all([room.neural_map for room in group], apart=True) for group in groups]
        seconds = (time.perf_counter() - started) / len(maps)
        voxels = np.mean([len(one.grid) for one in maps])
        size = np.mean([len(to_bytes(one)) for one in maps]) / 1000
        for which in WAYS if voxels > MOST_VOXELS else ("right", "chosen", "all"):
            answers = together([localize(one, group, which) for one, group in zip(maps, groups, strict=True)])
            print(
                f"| {count} | {voxels:.0f} | {size:.0f} | {size / count:.1f} | {seconds:.1f} | {which} "
                f"| {answers.text()} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
