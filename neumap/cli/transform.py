"""Transforms a map to another frame, given the transform or points clicked in both frames, or only renames its frame.
Poses estimated in the new map are in the new frame; nothing is mapped anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from neumap.cli import options

HELP = "transform a map to another frame"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", type=Path, metavar="M.neumap", help="the map")
    parser.add_argument("--out", type=Path, required=True, metavar="N.neumap", help="the map file to write")
    by = parser.add_mutually_exclusive_group()
    by.add_argument(
        "--by",
        nargs="+",
        metavar="NUMBER",
        help="the pose of the map's origin in the new frame, as for static_transform_publisher: x y z yaw or "
        "x y z qx qy qz qw, metres and radians, with spaces or commas (--by=-1,2,0,1.57 where the first is negative)",
    )
    by.add_argument(
        "--points",
        type=Path,
        metavar="FILE",
        help="three or more points that were clicked in both, a line each: x y X Y on the floor, or x y z X Y Z, "
        "metres, in the map and then in the new frame",
    )
    parser.add_argument("--to", type=options.frame_id, metavar="FRAME", help="the new frame's name (default: as it is)")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from neumap.errors import ConfigError
    from neumap.io.files import check_output
    from neumap.io.point_pairs import read_point_pairs, residuals_text
    from neumap.maps.map_file import load_map, save_map
    from neumap.maps.moving import transformed
    from neumap.report.map_summary import pose_text, report_text, size_text

    if args.by is None and args.points is None and args.to is None:
        raise ConfigError("give the transform with --by or --points, or a new name of the frame with --to")
    check_output(args.out, device=False)
    old = load_map(args.map)
    moved_by, rows = np.eye(4), []
    if args.by is not None:
        moved_by = options.rigid(args.by)
    elif args.points is not None:
        moved_by, residuals = read_point_pairs(args.points)
        rows = [("points", f"{len(residuals)} pairs, off by {residuals_text(residuals)}")]
    new = save_map(args.out, transformed(old, moved_by, args.to))
    rows = [
        ("map", f"{args.out}, {size_text(args.out.stat().st_size)}, id {new.map_id}"),
        ("made of", f"{args.map}, id {old.map_id}"),
        ("moved by", pose_text(moved_by)),
        *rows,
        ("frame", new.frame_id if new.frame_id == old.frame_id else f"{new.frame_id}, before {old.frame_id}"),
    ]
    print(report_text(rows))
    return 0
