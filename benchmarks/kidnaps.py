#!/usr/bin/env python3
"""Move a tracked camera into a twin room of a virtual building, and count the undetected moves.

    python benchmarks/kidnaps.py [--rooms 16] [--queries 13] [--seed 0] [--threads 1]

Each query of a room is localized as if the robot was tracked at the same place of another room with the same furniture:
only voxels around that are searched, as by a session while tracking, with a glance first and without. A move is
undetected if the pose is where the robot was tracked. The last rows localize the same queries where the robot really is
tracked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.building import Mapped, map_room
from benchmarks.scoring import markdown, metres_and_degrees
from neumap.arrays import FloatArray, ImageArray
from neumap.localization.localizer import Localizer
from neumap.localization.query import Scope
from neumap.mapping.merge import merge_all
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.records import Camera
from neumap.tracking.settings import Settings
from neumap.virtual.curriculum import Building, building

# HERE_M, HERE_DEG: a pose this near to where the robot is tracked passes for it, metres and degrees
HERE_M, HERE_DEG = 0.5, 15.0


def moved(pose: FloatArray, by: FloatArray) -> FloatArray:
    return np.asarray(pose + np.pad(by[:, None], ((0, 1), (3, 0))))


def twin_of(place: Building, index: int) -> int | None:
    """Another room with the same furniture."""
    others = [i for i in range(place.rooms) if i != index and place.furniture(i) == place.furniture(index)]
    return others[0] if others else None


def ask(
    neural_map: NeuralMap, asked: Sequence[tuple[ImageArray, Camera, FloatArray, FloatArray]], glance: bool
) -> tuple[str, ...]:
    """Ask for images by a camera, with their true pose and where they are tracked: how many are taken to be there, how
    many right, elsewhere or lost, and by how many a glance was enough.
    """
    localizer = Localizer(neural_map)
    here = right = lost = glances = 0
    for image, camera, truth, expected in asked:
        query = localizer.looks(image, [camera], glance)[0]
        voxels = neural_map.grid.within(expected[:3, 3], Settings().voxel_radius)
        solved = localizer.solve(query, Scope(voxels))
        pose = solved.verdict.map_from_camera
        glances += solved.query.glance
        if pose is None:
            lost += 1
            continue
        metres, degrees = metres_and_degrees(pose, expected)
        here += metres < HERE_M and degrees < HERE_DEG
        metres, degrees = metres_and_degrees(pose, truth)
        right += metres < 0.25 and degrees < 10
    return str(len(asked)), str(here), str(right), str(lost), str(glances)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=16)
    parser.add_argument("--queries", type=int, default=13)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_up(args.threads)
    place = building(args.rooms, args.seed, queries=args.queries)
    rooms: list[Mapped] = []
    kidnapped, tracked = [], []
    for index in range(args.rooms):
        rooms.append(map_room(place, index))
        print(f"room {index}: mapped in {rooms[-1].mapping_s:.1f} s", file=sys.stderr, flush=True)
        twin = twin_of(place, index)
        for frame in place.room(index).query:
            if twin is None or frame.map_from_camera is None:
                continue
            image, true = frame.read_image(), frame.map_from_camera
            away = np.subtract(place.offset(twin), place.offset(index))
            kidnapped.append((image, frame.camera, true, moved(true, away)))
            tracked.append((image, frame.camera, true, true))
    neural_map = merge_all([room.neural_map for room in rooms], apart=True)
    rows = [
        (name, "glance" if glance else "quick", *ask(neural_map, asked, glance))
        for name, asked in (("kidnapped", kidnapped), ("tracked", tracked))
        for glance in (False, True)
    ]
    head = ("robot", "first look", "images", "where it is tracked", "where it is", "lost", "a glance did")
    print(markdown("kidnaps", head, rows))


if __name__ == "__main__":
    main()
