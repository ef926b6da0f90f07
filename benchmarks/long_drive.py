#!/usr/bin/env python3
"""CPU time and memory of each stage of mapping, for drives of several lengths.

    python benchmarks/long_drive.py [--images 250 1000 4000] [--no-depth] [--work DIR] [--keypoints 2000]

A camera passes along a painted wall at 0.1 m an image and returns the same way, so that its beginning and its end show
the same. Its images, 320 x 240, cost two milliseconds. Memory is the peak resident memory of a stage. With --work an
interrupted run resumes. Rows are printed when a drive is mapped.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.cli.progress import StageProgress
from neumap.features import default_settings
from neumap.geometry.cameras import make_camera, normalize
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.mapping.build import build_map
from neumap.mapping.settings import MappingSettings
from neumap.mapping.work import Work
from neumap.maps.map_file import to_bytes
from neumap.process import set_up
from neumap.records import Frame

# metres between two images, distance from the wall and its height; pixels per metre of its paint
STEP_M, AWAY_M, HEIGHT_M, PAINT = 0.1, 1.8, 3.0, 220
CAMERA = make_camera(320, 240, [210, 0, 159.5, 0, 210, 119.5, 0, 0, 1])
_PIXELS = np.stack(np.meshgrid(np.arange(320.0), np.arange(240.0)), axis=-1).reshape(-1, 2)


def paint(length_m: float, seed: int) -> ImageArray:
    """A wall with paint of all sizes, as grey pixels; z is up, x along it."""
    rng = np.random.default_rng(seed)
    shape = (int(HEIGHT_M * PAINT), int(length_m * PAINT))
    out = np.zeros(shape, np.float32)
    for size in (3, 6, 12, 25, 50, 110):
        coarse = rng.normal(size=(shape[0] // size + 2, shape[1] // size + 2)).astype(np.float32)
        # in pieces: OpenCV resizes images of at most 32767 pixels a side
        for first in range(0, shape[1], 20 * size * 50):
            part = out[:, first : first + 20 * size * 50]
            some = coarse[:, first // size : first // size + part.shape[1] // size + 2]
            wide = cv2.resize(some, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
            part += 20 * wide[: part.shape[0], : part.shape[1]]
    return np.clip(128 + out, 0, 255).astype(np.uint8)


def poses_of(images: int, seed: int) -> FloatArray:
    """Return poses map_from_camera (N, 4, 4) along the wall and back, looking at it obliquely."""
    rng = np.random.default_rng(seed)
    half = images // 2
    along = np.concatenate([np.arange(half), np.arange(images - half)[::-1] + 0.5]) * STEP_M + 3.0
    at = np.arange(images)
    away = AWAY_M + 0.25 * np.sin(at / 23) + rng.normal(0, 0.02, images)
    height = 1.4 + rng.normal(0, 0.02, images)
    # the wall is y = 0, the camera looks along +y from y < 0
    level = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    yaw = 0.35 * np.sin(at / 17) + rng.normal(0, 0.02, images)
    turn = rotation_exp(yaw[:, None] * np.array([0.0, 0.0, 1.0]))
    return make_pose(turn @ level, np.stack([along, -away, height], axis=1))


def depth_of(pose: FloatArray) -> Float32Array:
    rays = np.column_stack([normalize(CAMERA, _PIXELS), np.ones(len(_PIXELS))]) @ pose[:3, :3].T
    return np.asarray((-pose[1, 3] / rays[:, 1]).reshape(240, 320), dtype=np.float32)


def image_of(wall: ImageArray, pose: FloatArray, seed: int) -> ImageArray:
    first = int(max(pose[0, 3] - 6, 0) * PAINT)
    piece = wall[:, first : first + 12 * PAINT]
    # wall pixel (u, v) is the point x = (first + u) / PAINT, y = 0, z = HEIGHT - v / PAINT
    point = np.array([[1 / PAINT, 0, first / PAINT], [0, 0, 0], [0, -1 / PAINT, HEIGHT_M], [0, 0, 1]])
    seen = CAMERA.matrix @ np.linalg.inv(pose)[:3] @ point
    image = cv2.warpPerspective(piece, seen, (320, 240), flags=cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), dtype=np.uint8)


def drive(images: int, seed: int = 0) -> list[Frame]:
    """Return the frames of a drive with true poses."""
    wall, poses = paint(images * STEP_M / 2 + 8, seed), poses_of(images, seed)
    return [
        Frame(f"{i}", i * 200_000_000, CAMERA, partial(image_of, wall, p, i), partial(depth_of, p), p)
        for i, p in enumerate(poses)
    ]


@dataclass
class Stage:
    """CPU seconds, longest gap of progress, peak resident megabytes, and the time of completion of a stage."""

    spent_s: float = 0.0
    silent_s: float = 0.0
    resident_mb: float = 0.0


class Meter:
    """Measures each stage, called with the progress."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.between_s = 0.0
        self._stage, self._last, self._over = "", time.process_time(), threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.process_time()
        silent, self._last = now - self._last, now
        if stage != self._stage:
            self.between_s += silent
        self._stage = stage
        row = self.stages.setdefault(stage, Stage())
        row.spent_s += silent
        row.silent_s = max(row.silent_s, silent)

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            row = self.stages.setdefault(self._stage, Stage())
            row.resident_mb = max(row.resident_mb, resident_mb())

    def close(self) -> None:
        self._over.set()


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--no-depth", action="store_true")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keypoints", type=int, default=2000)
    args = parser.parse_args()
    settings = MappingSettings(
        use_depth=not args.no_depth, features=replace(default_settings(), max_keypoints=args.keypoints)
    )
    set_up(args.threads)
    print("| images | stage | CPU, s | ms an image | longest silence, s | memory, MB |\n|---|---|---|---|---|---|")
    for images in args.images:
        frames = drive(images)
        meter = Meter()
        work = Work(args.work)
        with StageProgress() as progress:

            def told(stage: str, done: int, total: int, meter: Meter = meter) -> None:
                meter(stage, done, total)
                progress(stage, done, total)

            made = build_map(frames, settings, told, work)
        meter.close()
        whole = Stage(sum(s.spent_s for s in meter.stages.values()), meter.between_s, 0.0)
        whole.resident_mb = max(s.resident_mb for s in meter.stages.values())
        for name, stage in [*meter.stages.items(), ("all, between stages", whole)]:
            each = f"{stage.spent_s:.1f} | {1e3 * stage.spent_s / images:.1f} | {stage.silent_s:.1f}"
            print(f"| {images} | {name} | {each} | {stage.resident_mb:.0f} |", flush=True)
        print(f"{work}; {len(to_bytes(made)) / 1000:.0f} kB, {made.expected}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
