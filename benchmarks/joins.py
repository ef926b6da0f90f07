#!/usr/bin/env python3
"""Merge maps of two drives in random frames, and try to merge maps without overlap; print two tables.

    python benchmarks/joins.py [--seed 0] [--images 20] [--threads 1]

Virtual rooms stand in a row, every fifth with the same furniture within different walls. Six pairs are drives through
one place, the second at another height, with other headings and in another light; half of them go through two rooms
each and share one. Twenty pairs have no overlap, ten of which are such twins.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.building import ROOM_BYTES
from benchmarks.scoring import markdown
from neumap.arrays import FloatArray
from neumap.errors import ConfigError
from neumap.geometry import se3
from neumap.geometry.cameras import make_camera
from neumap.mapping.align import find_alignment
from neumap.mapping.build import map_of
from neumap.mapping.merge import merge_all
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.moving import transformed
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.virtual.curriculum import CHANGED, ROOM_M, STEADY, WALLS_M, record_drive
from neumap.virtual.drive import Kind
from neumap.virtual.layout import make_room

ROOMS, FURNITURE = 20, 5
# as in a building, seen by a small camera
DETAIL, CAMERA = 160.0, make_camera(400, 300, [280, 0, 199.5, 0, 280, 149.5, 0, 0, 1])
# images of a drive that are passed over for one that is taken
STRIDE = 8
# rooms of the first and of the second drive
SHARED = (((0,), (0,)), ((1,), (1,)), ((2,), (2,)), ((6, 3), (3, 1)), ((7, 4), (4, 0)), ((8, 5), (5, 2)))
PAIRS_APART = 10
# how far frames are moved along each axis, metres, one standard deviation
FAR_M = 20.0


def map_drive(index: int, kind: Kind, images: int, seed: int) -> NeuralMap:
    """The map of a drive through a room, in the frame of all of them."""
    room = make_room(seed * FURNITURE + index % FURNITURE, ROOM_M, detail=DETAIL, decoration_seed=index)
    light = STEADY if kind == "mapping" else CHANGED
    offset = (index * (ROOM_M[0] + WALLS_M), 0.0, 0.0)
    record = partial(record_drive, room, CAMERA, seed=seed * ROOMS + index, offset=offset)
    frames = record(count=STRIDE * images, kind=kind, light=light)[::STRIDE]
    settings = MappingSettings(size_bytes=ROOM_BYTES)
    return map_of(replace(survey(frames, settings), aside=()), settings)


def named(rooms: tuple[int, ...]) -> str:
    return " + ".join(map(str, rooms))


def random_frame(rng: np.random.Generator) -> FloatArray:
    """Any turn, and a shift."""
    quaternion = rng.normal(size=4)
    return se3.make_pose(se3.matrix_from_quat(quaternion), rng.normal(size=3) * FAR_M)


def join(first: NeuralMap, second: NeuralMap, rng: np.random.Generator) -> tuple[str, ...]:
    """Join the second map, moved: what agrees, how far off its cameras are at most, where the first map was made and
    anywhere, and how far they are turned.
    """
    moved_by = random_frame(rng)
    try:
        found = find_alignment(first, transformed(second, moved_by), ("the first", "the second"))
    except ConfigError as error:
        return "refused", str(error).partition("(at best, ")[2].partition(")")[0] or "none agree", "", "", ""
    poses = second.drift.poses
    apart = se3.pose_error(found.first_from_second @ moved_by @ poses, poses)
    metres, radians = (np.linalg.norm(each, axis=1) for each in np.split(apart, 2, axis=1))
    low, high = first.bounds
    shared = ((poses[:, :3, 3] > low) & (poses[:, :3, 3] < high)).all(axis=1)
    off = (f"{100 * each.max():.1f} cm" for each in (metres[shared], metres))
    return "joined", str(found), *off, f"{np.rad2deg(radians.max()):.2f}°"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_up(args.threads)
    again = {room for _, second in SHARED for room in second}
    firsts, seconds = [], {}
    for index in range(ROOMS):
        firsts.append(map_drive(index, "mapping", args.images, args.seed))
        if index in again:
            seconds[index] = map_drive(index, "query", args.images, args.seed)
        print(f"room {index}: mapped", file=sys.stderr, flush=True)
    rng = np.random.default_rng(args.seed)
    rows = []
    for one, other in SHARED:
        first = merge_all([firsts[i] for i in one], apart=True)
        second = merge_all([seconds[i] for i in other], apart=True)
        rows.append((f"rooms {named(one)}, and {named(other)}", *join(first, second, rng)))
    head = ("drives", "", "landmarks", "off where they share", "anywhere", "turned")
    print(markdown("drives that share a room", head, rows))
    pairs = [(i, j) for i in range(ROOMS) for j in range(i)]
    twins = [pair for pair in pairs if pair[0] % FURNITURE == pair[1] % FURNITURE]
    strangers = [pair for pair in pairs if pair not in twins]
    rows = [
        (f"{kind} {i} and {j}", *join(firsts[i], firsts[j], rng)[:2])
        for kind, some in (("twins", twins), ("rooms", strangers))
        for i, j in (some[k] for k in rng.permutation(len(some))[:PAIRS_APART])
    ]
    print(markdown("drives that share nothing", ("drives", "", "landmarks at best"), rows))


if __name__ == "__main__":
    main()
