"""Merges maps that were made with the same options, in one frame or, with --align, each in its own. Landmarks that
several maps hold are kept once. 'neumap map --extend' adds a recording to a map instead.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neumap.mapping.align import Alignment

HELP = "merge several maps into one"
APART_HELP = "they are side by side or above each other: do not ask for landmarks in common where they share space"
ALIGN_HELP = "their frames differ: align them by the landmarks of the space that they share"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("maps", type=Path, nargs="+", metavar="M.neumap", help="the maps, two at least")
    parser.add_argument("--out", type=Path, required=True, metavar="ALL.neumap", help="the map file to write")
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument("--apart", action="store_true", help=APART_HELP)
    frames.add_argument("--align", action="store_true", help=ALIGN_HELP + "; all are moved to that of the first")


def aligned_rows(name: str, found: Alignment) -> list[tuple[str, str]]:
    """Return the rows of a report on how the map or recording ``name`` was moved."""
    from neumap.report.map_summary import pose_text

    return [("aligned", f"{name}: {found}"), ("moved by", pose_text(found.first_from_second))]


def run(args: argparse.Namespace) -> int:
    from neumap.errors import ConfigError
    from neumap.io.files import check_output
    from neumap.mapping.align import aligned, check_one_frame
    from neumap.mapping.merge import merge_all
    from neumap.maps.map_file import load_map, save_map
    from neumap.process import set_up
    from neumap.report.map_summary import expected_text, report_text, size_text

    started = time.perf_counter()
    if len(args.maps) < 2:
        raise ConfigError("give two maps at least to merge")
    check_output(args.out, device=False)
    set_up()
    maps, names = [load_map(path) for path in args.maps], [str(path) for path in args.maps]
    if not args.align and not args.apart:
        check_one_frame(maps, names)
    placed = aligned(maps, names) if args.align else [(one, None) for one in maps]
    merged = save_map(args.out, merge_all([one for one, _ in placed], args.apart, names))
    twice = sum(len(one.landmarks) for one in maps) - len(merged.landmarks)
    rows = [
        ("map", f"{args.out}, {size_text(args.out.stat().st_size)}, id {merged.map_id}"),
        *(
            ("made of", f"{path}, {size_text(path.stat().st_size)}, id {one.map_id}, {len(one.landmarks)} landmarks")
            for path, one in zip(args.maps, maps, strict=True)
        ),
        *(row for name, (_, found) in zip(names, placed, strict=True) if found for row in aligned_rows(name, found)),
        (
            "holds",
            f"{len(merged.landmarks)} landmarks in {len(merged.grid)} voxels, decoder {merged.decoder}; "
            f"dropped {twice} duplicates and outliers",
        ),
        ("time", f"{time.perf_counter() - started:.1f} s"),
        ("expected", expected_text(merged.expected) + " (the mean of all)"),
    ]
    print(report_text(rows))
    return 0
