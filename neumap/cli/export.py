"""Exports a map: its landmarks as a PLY file, or landmarks and mapping cameras as a COLMAP model; metres, in the frame
of the map.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from neumap.errors import ConfigError

HELP = "write a map's landmarks as PLY or as a COLMAP model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("map", type=Path, metavar="M.neumap", help="the map")
    add("--ply", type=Path, metavar="FILE.ply", help="the landmarks, for MeshLab, CloudCompare and others")
    add(
        "--colmap",
        type=Path,
        metavar="DIR",
        help="landmarks and mapping cameras (the map holds at most 256 of a recording) as a COLMAP text model, in a "
        "new or an empty folder",
    )


def run(args: argparse.Namespace) -> int:
    from neumap.io.files import check_output
    from neumap.io.map_export import check_colmap, write_colmap, write_ply
    from neumap.maps.map_file import load_map

    if args.ply is None and args.colmap is None:
        raise ConfigError("nothing to write: give --ply FILE.ply, --colmap DIR or both")
    if args.ply is not None:
        if args.ply.suffix.lower() != ".ply":
            raise ConfigError(f"{args.ply} is no name for a PLY file: end it in .ply")
        check_output(args.ply)
    if args.colmap is not None:
        check_colmap(args.colmap)
    neural_map = load_map(args.map)
    points, cameras = neural_map.landmarks.points(neural_map.grid), neural_map.drift.poses
    if args.ply is not None:
        write_ply(args.ply, points)
        print(f"{args.ply}: {len(points)} landmarks")
    if args.colmap is not None:
        write_colmap(args.colmap, points, cameras)
        print(f"{args.colmap}: {len(points)} landmarks, {len(cameras)} mapping cameras")
    return 0
