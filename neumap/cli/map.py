"""``neumap map``: from posed images to a map."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.errors import ConfigError
from neumap.maps import DECODERS

if TYPE_CHECKING:
    from neumap.io.bags.topics import BagOptions
    from neumap.mapping.settings import MappingSettings

HELP = "make a map of images with known poses"
DESCRIPTION = (
    "Makes a map of a place. Some images are set aside, and the accuracy that the map reaches on them is measured and "
    "printed."
)

# _SETTING: options that MappingSettings calls differently.
_SETTING = {"size": "size_bytes", "depth": "use_depth"}
# _OF_OLD_MAP: options that a map that is extended decides.
_OF_OLD_MAP = ("decoder", "size", "quick", "frame_id", "features")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="TUM RGB-D folder with groundtruth.txt, COLMAP model, or rosbag2 (folder, .mcap or .db3)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="M.neumap", help="the map file to write")
    parser.add_argument(
        "--extend",
        type=Path,
        metavar="OLD.neumap",
        help="add what SOURCE shows to this map, in whose frame its poses must be; it decides how landmarks are stored",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images of a COLMAP model")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE.yaml",
        help="a file of the options below, written as quick or frame_id, and features; what is given here as well wins",
    )
    in_file = [
        parser.add_argument(
            "--decoder",
            choices=DECODERS,
            help="what finds the coordinates of keypoints. latent: the frozen decoder of the package; descriptor: "
            f"plain descriptors, in larger maps (default: {DECODERS[0]})",
        ),
        parser.add_argument(
            "--size",
            type=options.size,
            metavar="100KB",
            help="make the file at most this large; best: no limit (the default)",
        ),
        parser.add_argument("--quick", action=argparse.BooleanOptionalAction, help="a map of at most 100KB"),
        parser.add_argument(
            "--depth", action=argparse.BooleanOptionalAction, help="use depth images where there are any (default: yes)"
        ),
        parser.add_argument(
            "--seed", type=options.seed, metavar="N", help="the same seed gives the same map (default: 0)"
        ),
        parser.add_argument(
            "--frame-id",
            type=options.frame_id,
            metavar="map",
            help="name of the map's frame (default: map or --map-frame)",
        ),
        parser.add_argument(
            "--every-m",
            type=options.metres,
            metavar="0.1",
            help="take an image only where it moved so far since the last",
        ),
        parser.add_argument(
            "--every-deg",
            type=options.degrees,
            metavar="5",
            help="... or turned so far; with both, either is enough",
        ),
        parser.add_argument("--threads", type=options.threads, metavar="N", help="use at most this many threads"),
        *options.add_bag_arguments(parser, options.BAG_OPTIONS),
    ]
    parser.set_defaults(in_file=in_file)


def run(args: argparse.Namespace) -> int:
    """Map, write and report."""
    from neumap.io.files import check_output
    from neumap.io.sources import open_source
    from neumap.io.thinning import thin
    from neumap.mapping.build import build_map
    from neumap.mapping.calibration import set_aside
    from neumap.mapping.extend import extend_map
    from neumap.mapping.survey import MAX_FRAMES
    from neumap.maps.map_file import load_map, save_map
    from neumap.process import set_up
    from neumap.report.map_summary import expected_text, report_text, size_text

    started = time.perf_counter()
    given = _given(args)
    told = given.settings
    check_output(args.out, device=False)
    old = None if args.extend is None else load_map(args.extend)
    set_up(given.threads)
    source = open_source(args.source, poses=True, depth=told.use_depth, images=args.images, bag=given.bag_options)
    source = thin(source, given.every_m, given.every_deg)
    with StageProgress() as progress:
        if old is None:
            neural_map = build_map(source.frames, told, progress)
        else:
            neural_map = extend_map(old, source.frames, use_depth=told.use_depth, seed=told.seed, progress=progress)
    neural_map = save_map(args.out, neural_map)
    aside = len(set_aside(min(len(source.frames), MAX_FRAMES)))
    used = neural_map.mapping_images - (0 if old is None else old.mapping_images) + aside
    extended = [] if old is None else [("extends", f"{args.extend}, {len(old.landmarks)} landmarks, id {old.map_id}")]
    rows = [
        ("map", f"{args.out}, {size_text(args.out.stat().st_size)}, id {neural_map.map_id}"),
        ("made of", f"{source.description}: {used} of {len(source.frames)} frames, {aside} of them set aside"),
        *(("", note) for note in source.notes),
        *extended,
        ("holds", f"{len(neural_map.landmarks)} landmarks, decoder {neural_map.decoder}"),
        ("time", f"{time.perf_counter() - started:.1f} s"),
        ("expected", expected_text(neural_map.expected)),
    ]
    print(report_text(rows))
    return 0


class _Given(NamedTuple):
    """The options of file and command line."""

    settings: MappingSettings
    bag_options: BagOptions
    every_m: float | None
    every_deg: float | None
    threads: int | None


def _given(args: argparse.Namespace) -> _Given:
    from neumap.io.bags.topics import BagOptions
    from neumap.mapping.settings import MappingSettings

    known = {action.dest: options.parser_of(action) for action in args.in_file} | {"features": _features}
    given: dict[str, Any] = {} if args.config is None else options.read_config(args.config, known)
    given |= {name: getattr(args, name) for name in known if getattr(args, name, None) is not None}
    refused = [] if args.extend is None else [name for name in _OF_OLD_MAP if name in given]
    if refused:
        option = refused[0].replace("_", "-")
        raise ConfigError(f"'{option}' does not go with --extend: the map that is extended decides it; leave it out")
    others = {name: given.pop(name, None) for name in ("every_m", "every_deg", "threads")}
    bag_options = BagOptions(**{name: given.pop(name, None) for name in options.BAG_OPTIONS})
    if bag_options.map_frame is not None:
        given.setdefault("frame_id", bag_options.map_frame)
    if given.get("size") == options.BEST:
        given["size"] = None
    settings = MappingSettings(**{_SETTING.get(name, name): value for name, value in given.items()})
    return _Given(settings, bag_options, **others)


def _features(content: Any) -> Any:
    from dataclasses import fields

    from neumap.features import DEFAULT, extractor_class

    whole = options.whole("number of keypoints", 100, 1_000_000)
    positive = options.number("a positive number", lambda value: 0 < value < 1e6)
    given = dict(content) if isinstance(content, dict) else content
    name = given.pop("extractor", DEFAULT) if isinstance(given, dict) else DEFAULT
    kind = extractor_class(str(name)).settings_class
    known = {field.name: whole if field.type == "int" else positive for field in fields(kind)}
    return kind(**options.parse_options("features", given, known))
