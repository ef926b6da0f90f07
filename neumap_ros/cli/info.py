"""``neumap info``: what is in a map."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "info",
        help="say what is in a map",
        description="Says what is in a map: its id, size, bounds, and the accuracy to expect of it.",
    )
    parser.add_argument("map", type=Path, metavar="M.neumap", help="the map")
    parser.add_argument("--json", action="store_true", help="print JSON (metres, degrees, shares from 0 to 1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Loads and prints."""
    from neumap_ros.core.map_file import load_map
    from neumap_ros.io.map_summary import as_dict, as_text

    neural_map = load_map(args.map)
    print(json.dumps(as_dict(neural_map, args.map), indent=2) if args.json else as_text(neural_map, args.map))
    return 0
