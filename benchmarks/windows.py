#!/usr/bin/env python3
"""Joint localization of several images, none of which is localized alone.

    python benchmarks/windows.py SCENE [--foreign SCENE ...] [--sizes 25KB 100KB] [--choices 1] [--odometry 0.02]

Images of the mapping drive of SCENE that were held out of the map as in left_out.py, each with those of the two seconds
before it, none localized alone. Relative poses are from odometry, whose error has a constant direction. Windows at the
start of a block, which are shorter, have separate rows. Windows of the foreign scenes' mapping drives, which no map
shows, must not be localized.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.left_out import BLOCKS, Protocol, open_maps, split
from benchmarks.scoring import COMPARED_SIGMA_M, LOST, are_wrong, markdown, metres_and_degrees, named, within
from benchmarks.sizes import size_text
from neumap.arrays import FloatArray
from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.geometry import se3
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query, View
from neumap.process import set_up
from neumap.records import Frame, PoseEstimate

HEAD = ("map", "windows", "no image alone", "localized", "within 25 cm", "wrong", "NEES of those within")
# WINDOW_S, STEP_S, MOST: how long before the newest image its window begins, how far apart its images are, and how
# many there are in all.
WINDOW_S, STEP_S, MOST = 2.0, 0.35, 6
# FLOOR_M, FLOOR_RAD: what the true poses may be wrong by from image to image.
FLOOR_M, FLOOR_RAD = 0.005, 0.003


def windows(frames: Sequence[Frame]) -> Iterator[list[int]]:
    """The images of each window, the newest first."""
    stamps = np.array([frame.stamp_ns for frame in frames]) * 1e-9
    for newest in range(len(frames)):
        taken = [newest]
        for i in range(newest - 1, -1, -1):
            if stamps[newest] - stamps[i] > WINDOW_S + 0.01 or stamps[i + 1] - stamps[i] > 1.0 or len(taken) == MOST:
                break
            if stamps[taken[-1]] - stamps[i] >= STEP_S:
                taken.append(i)
        yield taken


def carried(
    poses: Sequence[FloatArray],
    queries: Sequence[Query],
    share: float,
    rng: np.random.Generator,
    floor: tuple[float, float] = (FLOOR_M, FLOOR_RAD),
) -> list[View]:
    """The views of a window, the newest first, where odometry with a ``share`` of error says that they were; the poses
    may be wrong by the ``floor`` besides.
    """
    views = [View(queries[0])]
    wrong, pose = rng.normal(size=6) / np.sqrt(3), np.eye(4)
    metres = radians = 0.0
    for later, earlier, query in zip(poses, poses[1:], queries[1:], strict=False):
        step = se3.invert_pose(later) @ earlier
        turn = se3.rotation_log(step[:3, :3])
        far, angle = float(np.linalg.norm(step[:3, 3])), float(np.linalg.norm(turn))
        metres, radians = metres + share * far, radians + share * angle
        error = se3.make_pose(se3.rotation_exp(share * angle * wrong[3:]), share * far * wrong[:3])
        pose = pose @ step @ error
        covariance = np.diag([(metres**2 + floor[0] ** 2) / 3] * 3 + [(radians**2 + floor[1] ** 2) / 3] * 3)
        views.append(View(query, pose, covariance))
    return views


def nees(found: PoseEstimate, truth: FloatArray) -> float:
    """The squared error in units of the covariance; 6 on average, if that is right."""
    assert found.map_from_camera is not None
    assert found.covariance is not None
    error = se3.pose_error(found.map_from_camera, truth)
    return float(error @ np.linalg.solve(found.covariance, error))


def measure(
    localizer: Localizer, frames: Sequence[Frame], share: float
) -> dict[bool, list[tuple[float, float, float]]]:
    """Metres, degrees and NEES of the windows in which no image alone is localized, by whether they are of full
    length; infinite without a pose.
    """
    queries = [localizer.look(frame.read_image(), frame.camera) for frame in frames]
    alone = [localizer.locate(query).certain(COMPARED_SIGMA_M).localized for query in queries]
    answers = defaultdict(list)
    rng = np.random.default_rng(0)
    for window in windows(frames):
        if any(alone[window[-1] : window[0] + 1]) or len(window) == 1:
            continue
        truths = [pose for i in window if (pose := frames[i].map_from_camera) is not None]
        found = localizer.locate(carried(truths, [queries[i] for i in window], share, rng)).certain(COMPARED_SIGMA_M)
        error = LOST if found.map_from_camera is None else metres_and_degrees(found.map_from_camera, truths[0])
        answers[len(window) == MOST].append((*error, nees(found, truths[0]) if found.localized else np.inf))
        print(window, found.reason or error, found.evidence, file=sys.stderr, flush=True)
    return answers


def row(name: str, kind: str, count: int, answers: Sequence[tuple[float, float, float]]) -> tuple[str, ...]:
    errors = np.array(answers).reshape(-1, 3)
    localized, right = np.isfinite(errors[:, 0]), within(errors[:, :2], "25 cm, 10°")
    told = f"{errors[right, 2].mean():.1f}" if right.any() else ""
    shares = str(localized.sum()), str(right.sum()), str(are_wrong(errors[:, :2]).sum())
    return (f"{name}, {kind}", str(count), str(len(errors)), *shares, told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--foreign", type=Path, nargs="+", default=())
    parser.add_argument("--sizes", type=size_text, nargs="+", default=("25KB", "100KB"), metavar="100KB")
    parser.add_argument("--choices", type=options.count, default=1, help="of landmarks (default: 1)")
    parser.add_argument("--parts", type=options.count, default=4, help="one is left out at a time (default: 4)")
    parser.add_argument("--odometry", type=float, default=0.02, metavar="SHARE", help="of error (default: 0.02)")
    parser.add_argument("--threads", type=options.threads, default=2)
    args = parser.parse_args()
    set_up(args.threads)
    protocol = Protocol(args.sizes, args.choices, (), False, args.parts, BLOCKS)
    answers: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    with StageProgress() as progress:
        frames = open_source(args.scene / "mapping", poses=True).frames
        foreign = [open_source(scene / "mapping", poses=True).frames for scene in args.foreign]
        for part, (mapped, out) in enumerate(split(frames, protocol)):
            for one in open_maps(mapped, protocol, named(f"part {part + 1} of {args.parts}", progress)):
                for whole, found in measure(one.localizer, out, args.odometry).items():
                    answers[one.size, "whole" if whole else "at the start"] += found
                for other in foreign if part == 0 else ():
                    for found in measure(one.localizer, other[::4], args.odometry).values():
                        answers[one.size, "foreign"] += found
                asked[one.size] += len(out)
    rows = [row(size, kind, asked[size], found) for (size, kind), found in answers.items()]
    print(markdown(args.scene.name, HEAD, rows), flush=True)


if __name__ == "__main__":
    main()
