"""Compares the poses that 'neumap localize' wrote with the truth, through the evo package. Both are TUM trajectories
(timestamp tx ty tz qx qy qz qw) in the same frame; nothing is aligned.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from neumap.cli import options
from neumap.cli.notes import refuse, tell

HELP = "compare estimated poses with the truth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("poses", type=Path, help="estimated poses")
    parser.add_argument("truth", type=Path, metavar="groundtruth", help="true poses, interpolated between samples")
    total = parser.add_mutually_exclusive_group()
    total.add_argument(
        "--images",
        type=Path,
        metavar="rgb.txt",
        help="list of all query images, so that the shares are of all of them and not of the localized ones",
    )
    total.add_argument("--queries", type=options.count, metavar="N", help="the same, by their number")
    parser.add_argument("--strict", action="store_true", help="refuse files with rows that hold no pose")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the errors (.png, .pdf, .svg, .jpg)")
    parser.add_argument("--json", action="store_true", help="print JSON (metres, degrees, shares from 0 to 1)")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from neumap.io.trajectories import read_trajectory
    from neumap.io.tum import read_image_list
    from neumap.report.evaluation import as_dict, as_text, count_queries, evaluate, lost_poses
    from neumap.report.evaluation_figure import draw_evaluation
    from neumap.report.pictures import check_picture

    if args.plot is not None:
        check_picture(args.plot)
    estimate, truth = read_trajectory(args.poses), read_trajectory(args.truth)
    left_out = list(filter(None, (estimate.left_out, truth.left_out)))
    if args.strict:
        refuse(left_out)
    tell(left_out)
    queries: int | None = args.queries
    images = None
    if args.images is not None:
        images = np.array([stamp for stamp, _ in read_image_list(args.images)], dtype=np.int64)
        queries = count_queries(images, estimate, truth)
    evaluation = evaluate(estimate, truth, queries)
    if args.plot is not None:
        draw_evaluation(args.plot, evaluation, None if images is None else lost_poses(images, estimate, truth))
    print(json.dumps(as_dict(evaluation), indent=2) if args.json else as_text(evaluation))
    return 0
