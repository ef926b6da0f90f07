"""Compares the poses that 'neumap localize' wrote with the truth: the poses of the source of the images, or a TUM
trajectory (timestamp tx ty tz qx qy qz qw). Both must be in the same frame; nothing is aligned.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from neumap.cli import options
from neumap.cli.notes import refuse, tell
from neumap.cli.queries import POSED_OPTIONS
from neumap.errors import DataError

if TYPE_CHECKING:
    from neumap.arrays import IntArray
    from neumap.io.bags.topics import BagOptions
    from neumap.records import Source, Trajectory

HELP = "compare estimated poses with the truth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("poses", type=Path, help="estimated poses")
    parser.add_argument(
        "truth",
        type=Path,
        metavar="TRUTH",
        help="the source of the images, where it has their poses, or a trajectory, interpolated between samples",
    )
    total = parser.add_mutually_exclusive_group()
    total.add_argument(
        "--images",
        type=Path,
        metavar="rgb.txt",
        help="beside a trajectory, the list of all query images: the shares are then of all of them, not of those "
        "localized; with a COLMAP model, the folder of its images",
    )
    total.add_argument("--queries", type=options.count, metavar="N", help="the same, by their number")
    parser.add_argument("--strict", action="store_true", help="refuse files with rows that hold no pose")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the errors (.png, .pdf, .svg, .jpg)")
    parser.add_argument("--json", action="store_true", help="print JSON (metres, degrees, shares from 0 to 1)")
    options.add_bag_arguments(parser, POSED_OPTIONS, several=options.PER_CAMERA)


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from neumap.io.bags.reader import is_bag
    from neumap.io.bags.topics import BagOptions
    from neumap.io.trajectories import read_trajectory
    from neumap.io.tum import read_image_list
    from neumap.report.evaluation import as_dict, as_text, count_queries, evaluate, lost_poses
    from neumap.report.evaluation_figure import draw_evaluation
    from neumap.report.pictures import check_picture

    if args.plot is not None:
        check_picture(args.plot)
    estimate = read_trajectory(args.poses, may_be_empty=True)
    left_out, notes, images = [estimate.left_out], [], None
    if args.truth.is_dir() or is_bag(args.truth):
        bag = BagOptions(**{name: getattr(args, name) for name in POSED_OPTIONS})
        truth, images, posed = _of_source(args.truth, args.images, bag)
        left_out += posed.left_out
        notes = [note for note in posed.notes if note not in posed.left_out]
    else:
        truth = read_trajectory(args.truth)
        left_out.append(truth.left_out)
        if args.images is not None:
            images = np.array([stamp for stamp, _ in read_image_list(args.images)], dtype=np.int64)
    left_out = list(filter(None, left_out))
    if args.strict:
        refuse(left_out)
    tell([*left_out, *notes])
    queries: int | None = args.queries
    if queries is None and images is not None:
        queries = count_queries(images, estimate, truth)
    evaluation = evaluate(estimate, truth, queries)
    if args.plot is not None:
        draw_evaluation(args.plot, evaluation, None if images is None else lost_poses(images, estimate, truth))
    print(json.dumps(as_dict(evaluation), indent=2) if args.json else as_text(evaluation))
    return 0


def _of_source(path: Path, images: Path | None, bag: BagOptions) -> tuple[Trajectory, IntArray, Source]:
    """Return the true poses of a source (of several cameras: those of the first), the stamps (N,) of all its moments,
    with or without a pose, and the source with poses.
    """
    import numpy as np

    from neumap.io.sources import open_source
    from neumap.records import Trajectory

    posed = open_source(path, poses=True, depth=False, images=images, bag=bag)
    # odometry on a given topic may be the truth of a simulation
    if posed.drifts and bag.pose_topic is None:
        raise DataError(f"{path} tells odometry only, which is no truth: give --pose-topic, or a trajectory as TRUTH")
    poses = sorted(
        [(moment[0].moment_ns, moment[0].map_from_rig) for moment in posed.moments], key=lambda each: each[0]
    )
    everything = open_source(path, poses=False, depth=False, images=images, bag=bag)
    truth = Trajectory(np.array([t for t, _ in poses]), np.array([pose for _, pose in poses], dtype=np.float64))
    return truth, np.array([moment[0].moment_ns for moment in everything.moments]), posed
