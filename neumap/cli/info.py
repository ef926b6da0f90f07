"""Prints the place, the size, the recordings, the expected accuracy and the weak spots of a map."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "print what is in a map"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", type=Path, metavar="M.neumap", help="the map")
    parser.add_argument("--json", action="store_true", help="print JSON (metres, degrees, shares from 0 to 1)")
    parser.add_argument("--verbose", action="store_true", help="print also internals: decoder, features, drift")
    parser.add_argument(
        "--voxels",
        action="store_true",
        help="list all voxels with position, landmarks and size (always in JSON)",
    )


def run(args: argparse.Namespace) -> int:
    from neumap.maps.map_file import load_map
    from neumap.report.map_summary import as_dict, as_text, internals_text, voxels_text

    neural_map = load_map(args.map)
    if args.json:
        print(json.dumps(as_dict(neural_map, args.map), indent=2))
        return 0
    print(as_text(neural_map, args.map))
    if args.verbose:
        print(internals_text(neural_map))
    if args.voxels:
        print(f"\n{voxels_text(neural_map)}")
    return 0
