#!/usr/bin/env python3
"""Map a scene and localize its queries with neumap and with a classic pipeline, side by side in one run.

    python benchmarks/run.py SCENE [SCENE ...] [--rows classic latent quick ...] [--json FILE]

SCENE is a folder with mapping/ and query/ in the TUM RGB-D layout and a camera_info.yaml. With several scenes the
queries of the others are also given to each map; each of them that gets a pose is an error. Every row runs in a process
of its own, one after the other, so that memory and time are its own. The rows:

    classic       RootSIFT, VLAD, ratio test, PnP (classic.py)
    latent        the default: the frozen decoder of the package
    descriptor    product-quantized descriptors
    quick         the default in at most 100 KB
    no-depth      the default without depth images
    paper         NeuMap's own decoder, trained on the scene for minutes (paper_decoder.py)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.classic import ClassicMap
from benchmarks.paper_decoder import PaperMap
from benchmarks.scoring import COMPARED_SIGMA_M, ellipsoid_text, foreign_text, markdown, median_text, score
from neumap.arrays import FloatArray, ImageArray
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.localization.timing import measured
from neumap.mapping.build import build_map, map_of
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.map_file import to_bytes
from neumap.process import set_up
from neumap.records import Camera, Frame

SETTINGS = {
    "latent": MappingSettings(),
    "descriptor": MappingSettings(decoder="descriptor"),
    "quick": MappingSettings(quick=True),
    "no-depth": MappingSettings(use_depth=False),
}
ROWS = ("classic", *SETTINGS, "paper")
# a pose with a covariance, or neither, and milliseconds per stage
TimedAnswer = tuple[FloatArray | None, FloatArray | None, dict[str, float]]
HEAD = (
    *("", "map", "mapped in", "memory", "median", "2 cm, 2°", "5 cm, 5°", "25 cm, 10°", "localized (wrong)"),
    *("in 90 % ellipsoid (allowing)", "foreign with a pose", "query / features", "stages, ms"),
)


def map_with_neumap(
    settings: MappingSettings, frames: Sequence[Frame]
) -> tuple[Callable[[ImageArray, Camera], TimedAnswer], int]:
    neural_map = build_map(frames, settings)
    localizer = Localizer(neural_map)

    def localize(image: ImageArray, camera: Camera) -> TimedAnswer:
        estimate = localizer.localize(image, camera).certain(COMPARED_SIGMA_M)
        return estimate.map_from_camera, estimate.covariance, dict(estimate.times_ms)

    return localize, len(to_bytes(neural_map))


def map_classically(frames: Sequence[Frame]) -> tuple[Callable[[ImageArray, Camera], TimedAnswer], int]:
    classic = ClassicMap.build(frames)

    def localize(image: ImageArray, camera: Camera) -> TimedAnswer:
        pose, _, times = classic.localize(image, camera)
        return pose, None, times

    return localize, classic.size_bytes


def map_as_in_the_paper(frames: Sequence[Frame]) -> tuple[Callable[[ImageArray, Camera], TimedAnswer], int]:
    settings = MappingSettings(decoder="descriptor")
    place = survey(frames, settings)
    paper = PaperMap(place, map_of(place, settings))

    def localize(image: ImageArray, camera: Camera) -> TimedAnswer:
        with measured() as times_ms:
            pose = paper.localize(image, camera)
        return pose, None, dict(times_ms)

    return localize, paper.size_bytes


def make_map(row: str, frames: Sequence[Frame]) -> tuple[Callable[[ImageArray, Camera], TimedAnswer], int]:
    """What a row localizes with, and the bytes of its map."""
    if row == "classic":
        return map_classically(frames)
    return map_as_in_the_paper(frames) if row == "paper" else map_with_neumap(SETTINGS[row], frames)


def measure(row: str, scene: Path, others: Sequence[Path]) -> dict[str, Any]:
    """One row of one scene's table."""
    frames = open_source(scene / "mapping", poses=True).frames
    started = time.perf_counter()
    localize, size = make_map(row, frames)
    mapped_s = time.perf_counter() - started
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queries = open_source(scene / "query", poses=True).frames
    localize(queries[0].read_image(), queries[0].camera)
    answers, times = [], []
    for query in queries:
        pose, covariance, stages = localize(query.read_image(), query.camera)
        answers.append((pose, covariance))
        times.append(stages)
    mean = {stage: float(np.mean([t[stage] for t in times])) for stage in times[0]}
    foreign = (
        [f for other in others for f in open_source(other / "query", poses=False).frames] if row != "classic" else []
    )
    return {
        "row": row,
        "size_kb": size / 1000,
        "map_s": mapped_s,
        "memory_mb": memory_mb,
        **score(answers, [query.map_from_camera for query in queries]),
        "foreign_images": len(foreign),
        "foreign_with_pose": sum(localize(f.read_image(), f.camera)[0] is not None for f in foreign),
        "stages_ms": mean,
        "query_over_features": sum(mean.values()) / mean["features"],
    }


def show(scene: str, rows: Sequence[dict[str, Any]]) -> str:
    """One scene as a Markdown table; map time and size also as ratios to the first row."""
    first = rows[0]
    return markdown(
        scene,
        HEAD,
        [
            (
                r["row"],
                f"{r['size_kb']:.0f} kB (1/{first['size_kb'] / r['size_kb']:.0f})",
                f"{r['map_s']:.0f} s (x{r['map_s'] / first['map_s']:.1f})",
                f"{r['memory_mb']:.0f} MB",
                median_text(r),
                f"{r['within_2cm_2deg']:.0f} %",
                f"{r['within_5cm_5deg']:.1f} %",
                f"{r['within_25cm_10deg']:.1f} %",
                f"{r['localized']:.0f} % ({r['wrong']})",
                ellipsoid_text(r),
                foreign_text(r),
                f"{r['query_over_features']:.2f}",
                ", ".join(f"{name} {ms:.1f}" for name, ms in r["stages_ms"].items()),
            )
            for r in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.single:
        set_up(args.threads)
        print(json.dumps(measure(args.rows[0], args.scenes[0], args.scenes[1:])))
        return
    everything = {}
    for scene in args.scenes:
        rows = []
        for row in args.rows:
            others = [other for other in args.scenes if other != scene]
            command = [sys.executable, __file__, str(scene), *map(str, others), "--single", "--rows", row]
            done = subprocess.run(
                [*command, "--threads", str(args.threads)], stdout=subprocess.PIPE, text=True, check=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{scene.name} {row}: {rows[-1]['within_5cm_5deg']:.1f} %", file=sys.stderr, flush=True)
        print(show(scene.name, rows), flush=True)
        everything[scene.name] = rows
        if args.json:
            args.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
