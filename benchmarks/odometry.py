#!/usr/bin/env python3
"""Map drives with poses from odometry, and print position errors before and after loop closure.

    python benchmarks/odometry.py --room 0 --rooms 4 [--scene FOLDER ...] [--seeds 0 1] [--no-depth]

``--room``: the demo's room of that seed. ``--rooms``: a building of that many rooms, driven through one after the
other, and back. ``--scene``: a recording with true poses. Errors are those of positions after rigid alignment, in
centimetres; odometry errs by 2 % and 0.5 degrees a metre, and with depth by 1 % in scale.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from neumap.arrays import FloatArray
from neumap.cli import options
from neumap.io.sources import open_source
from neumap.mapping.odometry import Straightened, straighten
from neumap.mapping.settings import MappingSettings
from neumap.process import set_up
from neumap.records import Frame
from neumap.virtual import photos
from neumap.virtual.curriculum import STEADY, building
from neumap.virtual.drive import drive
from neumap.virtual.recording import wandering_odometry
from neumap.virtual.world import VirtualWorld

# IMAGES: images of each room of a building. SECONDS: time between two images.
IMAGES, SECONDS = 60, 0.4


def room_drive(seed: int) -> list[Frame]:
    world = VirtualWorld()
    room = world.room(seed)
    poses = drive(room, seed, world.mapping_frames, "mapping")
    return photos.take(room, world.camera, poses, name="mapping", light=STEADY, seed=seed, offset=(0.0, 0.0, 0.0))


def building_drive(rooms: int, seed: int) -> list[Frame]:
    """Make a drive through all rooms, row by row, and through the same rooms in reverse order."""
    place = building(rooms, seed, images=IMAGES)
    order = [
        row * place.columns + (c if row % 2 == 0 else place.columns - 1 - c)
        for row in range(place.columns)
        for c in range(place.columns)
    ]
    visited = [index for index in order if index < rooms]
    drives = {index: place.room(index).mapping for index in visited}
    half = IMAGES // 2
    frames = [frame for index in visited for frame in drives[index][:half]]
    frames += [frame for index in reversed(visited) for frame in drives[index][half:]]
    return [replace(frame, stamp_ns=round(1e9 * SECONDS * i)) for i, frame in enumerate(frames)]


def recorded_drive(path: Path) -> list[Frame]:
    return list(open_source(path, poses=True).frames)


def off_m(found: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the position errors (N,) of poses (N, 4, 4) after the best rigid alignment, metres."""
    a, b = found[:, :3, 3], truth[:, :3, 3]
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    u, _, v = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    return np.asarray(np.linalg.norm(a @ turn.T - b, axis=1))


def text(errors_m: FloatArray) -> str:
    return f"{100 * np.median(errors_m):.1f}, {100 * errors_m.max():.1f}"


def measure(frames: Sequence[Frame], seeds: Sequence[int], use_depth: bool) -> Iterator[tuple[str, Straightened]]:
    truth = np.array([frame.map_from_camera for frame in frames])
    metres = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).sum()
    for seed in seeds:
        told = wandering_odometry(truth, seed, too_long=0.01 if use_depth else 0.0)
        drifting = [replace(frame, map_from_camera=pose) for frame, pose in zip(frames, told, strict=True)]
        started = time.process_time()
        made = straighten(drifting, MappingSettings(use_depth=use_depth))
        seconds = time.process_time() - started
        after = text(off_m(made.keyframes.map_from_camera, truth))
        yield (
            f"{len(frames)} | {metres:.0f} | {seed} | {text(off_m(told, truth))} | {len(made.loops)} | {after} "
            f"| {len(made.loose)} | {seconds:.0f}",
            made,
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
    print("| drive | images | m | seed | before, cm: median, most | loops | after, cm | loose | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    drives: list[tuple[str, Callable[[], Sequence[Frame]]]] = [
        *((f"room {seed}", partial(room_drive, seed)) for seed in args.room),
        *((f"{count} rooms", partial(building_drive, count, 0)) for count in args.rooms),
        *((f"{path}", partial(recorded_drive, path)) for path in args.scene),
    ]
    for name, frames_of in drives:
        for row, _ in measure(frames_of(), args.seeds, args.depth):
            print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
