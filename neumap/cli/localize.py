"""Estimates the camera's pose in a map for each image on its own, without a prior. Poses are of the camera's optical
frame; an image that is not localized gets none. Images that the cameras of a rig took together get one pose, that of
the first camera.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from neumap.cli import options
from neumap.cli.notes import tell
from neumap.cli.progress import StageProgress
from neumap.cli.queries import BAG_OPTIONS, localize_each, open_images, queries_of
from neumap.errors import ConfigError

HELP = "find the poses of images in a map"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("map", type=Path, metavar="M.neumap", help="the map")
    add(
        "source",
        type=Path,
        metavar="SOURCE",
        help="TUM or nerfstudio folder, COLMAP model, rosbag (folder, .mcap, .db3 or .bag), folder of images or image",
    )
    add("--out", type=Path, required=True, metavar="poses.txt", help="TUM trajectory of the images localized")
    add("--report", type=Path, metavar="r.jsonl", help="a line of JSON for every pose: images, status, covariance, ...")
    add("--images", type=Path, metavar="DIR", help="the images of a COLMAP model")
    add(
        "--max-sigma",
        type=options.metres,
        default=float("inf"),
        metavar="M",
        help="poses whose position is less certain, as a standard deviation in metres, count as lost (default: none)",
    )
    add("--strict", action="store_true", help="refuse images that cannot be read instead of leaving them out")
    add("--threads", type=options.threads, metavar="N", help="use at most this many threads")
    options.add_lens_arguments(parser)
    options.add_bag_arguments(parser, BAG_OPTIONS, several=options.PER_CAMERA)


def run(args: argparse.Namespace) -> int:
    from neumap.io.files import check_output, noting, write_atomically
    from neumap.io.trajectories import write_trajectory
    from neumap.localization.localizer import Localizer
    from neumap.maps.map_file import load_map
    from neumap.process import set_up
    from neumap.report.estimates import as_json_line, as_trajectory, summary_text

    outputs = [path for path in (args.out, args.report) if path is not None]
    for path in outputs:
        check_output(path)
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ConfigError(f"poses and report cannot both go to {args.out}: give two names")
    set_up(args.threads)
    localizer = Localizer(load_map(args.map))
    queries = queries_of(open_images(args, args.source), localizer, args.strict)
    source = queries.source
    with StageProgress() as progress, noting(source.left_out):
        estimates = localize_each(localizer, source, partial(progress, "localize"), args.max_sigma)
    tell(queries.notes)
    trajectory = as_trajectory(source.moments, estimates)
    write_trajectory(args.out, trajectory)
    if args.report is not None:
        lines = [as_json_line(frames, e) + "\n" for frames, e in zip(source.moments, estimates, strict=True)]
        write_atomically(args.report, "".join(lines).encode())
    print(summary_text(source.moments, estimates))
    if not len(trajectory):
        print(f"no image was localized: {args.out} holds no poses")
    return 0
