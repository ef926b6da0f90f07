"""Makes one map of several that are in one frame and were made with the same options. What several of them hold is
kept once. 'neumap map --extend' adds a recording instead, in the form of the map it extends.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

HELP = "make one map of several that are in one frame"
APART_HELP = "they are side by side or above each other: do not ask for landmarks in common where they share space"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("maps", type=Path, nargs="+", metavar="M.neumap", help="the maps, two at least")
    parser.add_argument("--out", type=Path, required=True, metavar="ALL.neumap", help="the map file to write")
    parser.add_argument("--apart", action="store_true", help=APART_HELP)


def run(args: argparse.Namespace) -> int:
    from neumap.errors import ConfigError
    from neumap.io.files import check_output
    from neumap.mapping.merge import merge_all
    from neumap.maps.map_file import load_map, save_map
    from neumap.process import set_up
    from neumap.report.map_summary import expected_text, report_text, size_text

    started = time.perf_counter()
    if len(args.maps) < 2:
        raise ConfigError("give two maps at least to merge")
    check_output(args.out, device=False)
    set_up()
    maps = [load_map(path) for path in args.maps]
    merged = save_map(args.out, merge_all(maps, args.apart, [str(path) for path in args.maps]))
    twice = sum(len(one.landmarks) for one in maps) - len(merged.landmarks)
    rows = [
        ("map", f"{args.out}, {size_text(args.out.stat().st_size)}, id {merged.map_id}"),
        *(
            ("made of", f"{path}, {size_text(path.stat().st_size)}, id {one.map_id}, {len(one.landmarks)} landmarks")
            for path, one in zip(args.maps, maps, strict=True)
        ),
        (
            "holds",
            f"{len(merged.landmarks)} landmarks in {len(merged.grid)} voxels, decoder {merged.decoder}; "
            f"{twice} were there twice or stray",
        ),
        ("time", f"{time.perf_counter() - started:.1f} s"),
        ("expected", expected_text(merged.expected) + " (the mean of all)"),
    ]
    print(report_text(rows))
    return 0
