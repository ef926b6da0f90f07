#!/usr/bin/env python3
"""The effect of the way of recording: both directions, overlap, sharp images; in a virtual corridor.

    python benchmarks/recording.py [--seeds 0 1]

A camera of 320 x 240 at a robot's height drives along a furnished corridor of 12 x 3.7 m, with depth. Queries drive
0.15 m beside it and look up to 10 degrees aside, half of them in each direction. Rows are ways of recording, cells the
share of queries within 5 cm, 5 degrees: those in the initial direction of the mapping drive, those in the other, all
with blur, and all in the dark.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scoring import LOST, metres_and_degrees
from neumap.arrays import FloatArray, ImageArray
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose, optical_axes
from neumap.localization.localizer import Localizer
from neumap.mapping.build import build_map
from neumap.mapping.settings import MappingSettings
from neumap.process import set_up
from neumap.records import Frame
from neumap.virtual.drive import clearance
from neumap.virtual.layout import make_room
from neumap.virtual.render import expose, render
from neumap.virtual.scene import Room

CAMERA = make_camera(320, 240, [210, 0, 159.5, 0, 210, 119.5, 0, 0, 1])
SIZE = (12.0, 3.7, 2.6)
# metres from either end; height of the camera; queries each way
FROM_M, HEIGHT_M, QUERIES = 1.0, 0.7, 10
# how a map is recorded: metres between images, whether it drives back, pixels of blur
MANNERS = {
    "0.1 m, one way": (0.1, False, 0.0),
    "0.5 m, both ways": (0.5, True, 0.0),
    "0.1 m, both ways, 8 px of blur": (0.1, True, 8.0),
    "0.1 m, both ways": (0.1, True, 0.0),
    "1.0 m, both ways": (1.0, True, 0.0),
}
# what queries are: blur in pixels, gain, gamma
ASKED = {"as mapped": (0.0, 1.0, 1.0), "4 px": (4.0, 1.0, 1.0), "8 px": (8.0, 1.0, 1.0), "dark": (0.0, 0.5, 1.5)}


def along(room: Room, x: FloatArray, back: bool, rng: np.random.Generator, aside_m: float, sway: float) -> FloatArray:
    """Poses (N, 4, 4) at ``x`` (N,) along the free middle of the corridor."""
    ys = np.linspace(0.8, SIZE[1] - 0.8, 22)
    grid = np.stack(np.meshgrid(np.linspace(FROM_M, SIZE[0] - FROM_M, 60), ys), axis=-1)
    middle = ys[int(np.argmax(clearance(room, grid).min(axis=1)))]
    yaw = (np.pi if back else 0.0) + sway * rng.uniform(-1, 1, len(x))
    axes = optical_axes(yaw, rng.normal(0, 0.02, len(x)), rng.normal(0, 0.01, len(x)))
    y, z = (about + rng.normal(0, 0.02, len(x)) for about in (middle + aside_m, HEIGHT_M))
    return make_pose(axes, np.column_stack([x, y, z]))


def take(
    room: Room, poses: FloatArray, seed: int, blur_px: float, gain: float = 1.0, gamma: float = 1.0
) -> list[Frame]:
    frames = []
    for i, pose in enumerate(poses):
        image, depth = render(room, CAMERA, pose)
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        rng = np.random.default_rng([seed, i])
        seen: ImageArray = expose(
            gray, rng, gain=gain, gamma=gamma, noise_sigma=1.8, motion_px=np.array([blur_px, 0.0])
        )
        frames.append(
            Frame(f"{i}", i, CAMERA, partial(np.asarray, seen), partial(np.asarray, depth), map_from_camera=pose)
        )
    return frames


def within(localizer: Localizer, frames: list[Frame]) -> list[bool]:
    out = []
    for frame in frames:
        found = localizer.localize(frame.read_image(), frame.camera).map_from_camera
        metres, degrees = LOST if found is None else metres_and_degrees(found, np.asarray(frame.map_from_camera))
        out.append(metres < 0.05 and degrees < 5)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    set_up(1)
    rows: dict[str, list[list[bool]]] = {}
    for seed in args.seeds:
        room, rng = make_room(seed, SIZE, detail=220.0), np.random.default_rng(seed)
        spots = (
            rng.uniform(FROM_M, SIZE[0] - FROM_M - 1.0, QUERIES),
            rng.uniform(FROM_M + 1.0, SIZE[0] - FROM_M, QUERIES),
        )
        forth, back = (
            along(room, x, way, rng, 0.15, np.deg2rad(10)) for x, way in zip(spots, (False, True), strict=True)
        )
        asked = {
            name: [take(room, poses, 7 + way, *kind) for way, poses in enumerate((forth, back))]
            for name, kind in ASKED.items()
        }
        for name, (step_m, both, blur_px) in MANNERS.items():
            x = np.arange(FROM_M, SIZE[0] - FROM_M, step_m)
            drive = [along(room, x, False, rng, 0.0, 0.03), along(room, x[::-1], True, rng, 0.0, 0.03)]
            poses = np.concatenate(drive if both else drive[:1])
            localizer = Localizer(build_map(take(room, poses, 3, blur_px), MappingSettings(size_bytes=60_000)))
            ways = [within(localizer, frames) for frames in asked["as mapped"]]
            others = [within(localizer, [*asked[k][0], *asked[k][1]]) for k in ASKED if k != "as mapped"]
            row = rows.setdefault(name, [[] for _ in range(2 + len(others))])
            for cell, new in zip(row, [*ways, *others], strict=True):
                cell += new
            print(seed, name, len(poses), [f"{100 * np.mean(c):.0f}" for c in row], file=sys.stderr, flush=True)
    print("| recorded | same way | other way | 4 px of blur | 8 px | dark |\n|---|---|---|---|---|---|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(f'{100 * np.mean(cell):.0f} %' for cell in cells)} |")


if __name__ == "__main__":
    main()
