#!/usr/bin/env python3
"""Correct drives whose poses are odometry's; print their errors before and after, and how well the maps localize.

    python benchmarks/odometry.py --room 0 --rooms 4 [--scene FOLDER ...] [--seeds 0 1] [--no-depth]

``--room``: the demo's room of that seed. ``--rooms``: a building of N rooms, driven through row by row, then column by
column. ``--scene``: a folder with the recordings mapping and query, whose poses are taken for true. Odometry errs by
2 % and 0.5 degrees per square root of a metre, and by 1 % in scale where there is depth.

Errors are of positions after a rigid alignment, in centimetres. Shares are of queries localized within 5 cm and 5
degrees, in the map of true poses, and in that of odometry, aligned, where the bound is larger by the map's own error
there: that of the nearest mapping image.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import metres_and_degrees
from neumap.arrays import FloatArray
from neumap.cli import options
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.mapping.build import map_of
from neumap.mapping.odometry import straighten, survey_drive
from neumap.mapping.settings import MappingSettings
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.records import Frame
from neumap.virtual import photos
from neumap.virtual.curriculum import CHANGED, FURNITURE, ROOM_M, STEADY, building, record_drive
from neumap.virtual.drive import Kind, drive
from neumap.virtual.layout import make_room
from neumap.virtual.recording import wandering_odometry
from neumap.virtual.render import Light
from neumap.virtual.world import VirtualWorld

# IMAGES: of each room of a building. SECONDS: between two images. CAMERA, DETAIL: as the building's
# queries have them.
IMAGES, SECONDS, DETAIL = 64, 0.4, 220.0
CAMERA = make_camera(640, 480, [430, 0, 319.5, 0, 430, 239.5, 0, 0, 1])
# BOUND_M, BOUND_DEG: error of a query that counts as localized.
BOUND_M, BOUND_DEG = 0.05, 5.0


@dataclass(frozen=True)
class Drive:
    """Frames to map, with true poses, and others to be localized in the same frame."""

    mapping: Sequence[Frame]
    query: Sequence[Frame]


def room_drive(seed: int) -> Drive:
    world = VirtualWorld()
    room = world.room(seed)

    def taken(kind: Kind, count: int, light: Light) -> list[Frame]:
        poses = drive(room, seed, count, kind)
        return photos.take(room, world.camera, poses, name=kind, light=light, seed=seed, offset=(0.0, 0.0, 0.0))

    return Drive(taken("mapping", world.mapping_frames, STEADY), taken("query", world.query_frames, CHANGED))


def building_drive(rooms: int, seed: int) -> Drive:
    """A drive through all rooms, row by row, and through the same again, column by column."""
    place = building(rooms, seed, images=IMAGES)
    taken = []
    for index in range(rooms):
        room = make_room(seed * FURNITURE + place.furniture(index), ROOM_M, detail=DETAIL, decoration_seed=index)
        taken.append(record_drive(room, CAMERA, seed=index, count=IMAGES, kind="mapping", offset=place.offset(index)))
    grid = np.arange(place.columns**2).reshape(place.columns, -1)
    ways = [np.concatenate([row[:: 1 - 2 * (i % 2)] for i, row in enumerate(each)]) for each in (grid, grid.T)]
    half = IMAGES // 2
    # the first half of a drive goes round the room, the second half the other way round
    parts = [
        taken[i][part] for way, part in zip(ways, (np.s_[:half], np.s_[half:]), strict=True) for i in way if i < rooms
    ]
    frames = [frame for part in parts for frame in part]
    stamped = [replace(frame, stamp_ns=round(1e9 * SECONDS * i)) for i, frame in enumerate(frames)]
    return Drive(stamped, [frame for index in range(rooms) for frame in place.room(index).query])


def recorded_drive(path: Path) -> Drive:
    mapping, query = (open_source(path / name, poses=True).frames for name in ("mapping", "query"))
    return Drive(mapping, query)


def truth_from(found: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the rigid transform (4, 4) that takes positions of poses (N, 4, 4) to true ones best (Kabsch 1976)."""
    a, b = found[:, :3, 3], truth[:, :3, 3]
    turn, _ = Rotation.align_vectors(b - b.mean(axis=0), a - a.mean(axis=0))
    return make_pose(turn.as_matrix(), b.mean(axis=0) - turn.apply(a.mean(axis=0)))


def off_m(found: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the errors of positions of poses (N, 4, 4) after the best rigid alignment, metres (N,)."""
    aligned = truth_from(found, truth) @ found
    return np.asarray(np.linalg.norm((aligned - truth)[:, :3, 3], axis=1))


def text(errors_m: FloatArray) -> str:
    return f"{100 * np.median(errors_m):.1f}, {100 * errors_m.max():.1f}"


def localized(neural_map: NeuralMap, query: Sequence[Frame], found: FloatArray, truth: FloatArray) -> float:
    """Return the share of query frames that a map localizes within the bound, percent; its mapping images were
    ``found`` (N, 4, 4) in the place of the ``truth``.
    """
    localizer, own_m = Localizer(neural_map), off_m(found, truth)
    aligned, mapped = truth_from(found, truth), cKDTree(truth[:, :3, 3])
    right = 0
    for frame in query:
        pose = localizer.localize(frame.read_image(), frame.camera).map_from_camera
        if pose is not None and frame.map_from_camera is not None:
            metres, degrees = metres_and_degrees(aligned @ pose, frame.map_from_camera)
            _, nearest = mapped.query(frame.map_from_camera[:3, 3])
            right += metres < BOUND_M + own_m[nearest] and degrees < BOUND_DEG
    return 100 * right / len(query)


def measure(taken: Drive, seeds: Sequence[int], settings: MappingSettings) -> Iterator[str]:
    """Yield a row of the table for each seed of the odometry's errors."""
    truth = np.array([frame.map_from_camera for frame in taken.mapping])
    metres = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).sum()
    for seed in seeds:
        told = wandering_odometry(truth, seed, too_long=0.01 if settings.use_depth else 0.0)
        drifting = [replace(frame, map_from_camera=pose) for frame, pose in zip(taken.mapping, told, strict=True)]
        started = time.process_time()
        made = straighten(drifting, settings)
        seconds = time.process_time() - started
        found = made.keyframes.map_from_camera
        by_odometry = map_of(survey_drive(made), settings)
        # the features are the same: they are not extracted again
        true = replace(made, keyframes=replace(made.keyframes, map_from_camera=truth, frames=tuple(taken.mapping)))
        by_truth = map_of(survey_drive(true), settings)
        shares = (
            localized(by_truth, taken.query, truth, truth),
            localized(by_odometry, taken.query, found, truth),
        )
        yield (
            f"{len(truth)} | {metres:.0f} | {seed} | {text(off_m(told, truth))} | {len(made.loops)} "
            f"| {text(off_m(found, truth))} | {len(made.loose)} | {seconds:.0f} | {shares[0]:.1f} | {shares[1]:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", type=options.seed, nargs="*", default=[], metavar="SEED")
    parser.add_argument("--rooms", type=options.count, nargs="*", default=[], metavar="N")
    parser.add_argument("--scene", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--seeds", type=options.seed, nargs="+", default=[0])
    parser.add_argument("--depth", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=options.threads, default=1)
    args = parser.parse_args()
    set_up(args.threads)
    print(
        "| drive | images | m | seed | before, cm: median, most | loops | after, cm | loose | CPU s "
        "| localized, true poses, % | odometry, % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    drives: list[tuple[str, Callable[[], Drive]]] = [
        *((f"room {seed}", partial(room_drive, seed)) for seed in args.room),
        *((f"{count} rooms", partial(building_drive, count, 0)) for count in args.rooms),
        *((f"{path}", partial(recorded_drive, path)) for path in args.scene),
    ]
    for name, drive_of in drives:
        for row in measure(drive_of(), args.seeds, MappingSettings(use_depth=args.depth)):
            print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
