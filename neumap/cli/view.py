"""Shows a map in rerun: landmarks, voxels and mapping cameras; with a source, the poses of its images and their
inliers; with the output folder of 'neumap replay', the poses, states and images of the node.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from neumap.cli import options
from neumap.cli.notes import tell
from neumap.cli.progress import StageProgress
from neumap.cli.queries import BAG_OPTIONS, open_images, queries_of

if TYPE_CHECKING:
    from neumap.maps.neural_map import NeuralMap
    from neumap.report.view import View

HELP = "show a map, and the poses of images in it, in rerun"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("map", type=Path, metavar="M.neumap", help="the map")
    add("shown", type=Path, nargs="?", metavar="SOURCE|REPLAY", help="images to localize, or the output of a replay")
    add("--out", type=Path, metavar="FILE.rrd", help="write a file for rerun instead of opening its viewer")
    add("--images", type=Path, metavar="DIR", help="the images of a COLMAP model")
    add("--threads", type=options.threads, metavar="N", help="use at most this many threads")
    options.add_lens_arguments(parser)
    options.add_bag_arguments(parser, BAG_OPTIONS, several=options.PER_CAMERA)


def run(args: argparse.Namespace) -> int:
    from neumap.maps.map_file import load_map
    from neumap.process import set_up
    from neumap.report.view import replay_in, viewing

    set_up(args.threads)
    neural_map = load_map(args.map)
    replayed = None if args.shown is None else replay_in(args.shown)
    with viewing(neural_map, args.out) as view:
        if replayed is not None:
            view.replay(replayed)
        elif args.shown is not None:
            _localize(args, neural_map, view)
    if args.out is not None:
        print(f"written      {args.out}: 'rerun {args.out}' shows it")
    return 0


def _localize(args: argparse.Namespace, neural_map: NeuralMap, view: View) -> None:
    from neumap.localization.localizer import Localizer

    localizer = Localizer(neural_map)
    queries = queries_of(open_images(args, args.shown), localizer)
    moments = queries.source.moments
    with StageProgress() as progress:
        for done, frames in enumerate(moments, start=1):
            view.answer(frames, localizer.localize_moment(frames))
            progress("localize", done, len(moments))
    tell(queries.notes)
