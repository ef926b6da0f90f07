"""Make a map of a place. Some images are held out of the map, and the accuracy of localizing them is measured and
printed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neumap.cli import options
from neumap.cli.merge import aligned_rows
from neumap.cli.notes import refuse, tell, telling
from neumap.cli.progress import StageProgress
from neumap.errors import ConfigError
from neumap.maps import DECODERS

if TYPE_CHECKING:
    from neumap.mapping.settings import MappingSettings
    from neumap.mapping.work import Work
    from neumap.maps.neural_map import NeuralMap
    from neumap.records import Source

HELP = "make a map from images with known poses"

# SETTINGS: the fields of MappingSettings by the options that set them.
SETTINGS = {"size": "size_bytes", "depth": "use_depth"} | {
    name: name for name in ("decoder", "quick", "seed", "frame_id", "features")
}
# POSES: the values of --poses.
MAP, ODOMETRY = POSES = ("map", "odometry")
# OF_OLD_MAP: options that --extend takes from the old map.
OF_OLD_MAP = ("decoder", "size", "quick", "frame_id", "features")
# MANY: for more images the memory they need is printed.
MANY = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, flag = parser.add_argument, argparse.BooleanOptionalAction
    add(
        "source",
        type=Path,
        metavar="SOURCE",
        help="TUM RGB-D folder with groundtruth.txt, COLMAP model, nerfstudio folder, or rosbag (folder or file)",
    )
    add("--out", type=Path, required=True, metavar="M.neumap", help="the map file to write")
    add(
        "--extend",
        type=Path,
        metavar="OLD.neumap",
        help="add SOURCE to this map, whose options are kept; the poses must be in its frame unless --align is given",
    )
    add("--apart", action="store_true", help="with --extend: SOURCE is beside or above the map, as in neumap merge")
    add("--align", action="store_true", help="with --extend: SOURCE is in another frame, as in neumap merge")
    add(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep intermediate results here (about 1 MB per image) to save memory and to resume an interrupted run; "
        "remove the folder when the map is made",
    )
    add("--images", type=Path, metavar="DIR", help="image folder of a COLMAP model")
    add("--plot", type=Path, metavar="FILE", help="draw the map from above (.png, .pdf, .svg, .jpg)")
    add(
        "--config",
        type=Path,
        metavar="FILE.yaml",
        help="YAML file of the options below (frame_id for --frame-id) and features; the command line overrides it",
    )
    in_file = [
        add(
            "--decoder",
            choices=DECODERS,
            help="how landmarks are stored. latent: codes for the frozen decoder of the package; descriptor: plain "
            f"descriptors, in larger maps (default: {DECODERS[0]})",
        ),
        add("--size", type=options.size, metavar="100KB", help="maximum size of the file; best: no limit (default)"),
        add("--quick", action=flag, help="a map of at most 100KB"),
        add("--depth", action=flag, help="use depth images if there are any (default: yes)"),
        add(
            "--poses",
            choices=POSES,
            help="odometry: the poses drift, which loop closure corrects; a bag's odometry is used even if it has "
            "map poses. map: use the poses as they are (default: map, but odometry if a bag has nothing else)",
        ),
        add("--seed", type=options.seed, metavar="N", help="the same seed gives the same map (default: 0)"),
        add("--frame-id", type=options.frame_id, metavar="map", help="the map's frame (default: map or --map-frame)"),
        add("--every-m", type=options.metres, metavar="0.1", help="use an image only if it moved this far"),
        add("--every-deg", type=options.degrees, metavar="5", help="... or turned this far; either is enough"),
        add("--strict", action=flag, help="refuse damaged items instead of skipping them"),
        add("--threads", type=options.threads, metavar="N", help="use at most this many threads"),
        add(
            "--trajectory",
            type=options.file,
            metavar="FILE",
            help="TUM file (timestamp tx ty tz qx qy qz qw) with the poses of the camera's optical frame or, for a "
            "bag, of --base-frame",
        ),
        *options.add_lens_arguments(parser),
        *options.add_bag_arguments(parser, options.BAG_OPTIONS, several=options.PER_CAMERA),
    ]
    parser.set_defaults(in_file=in_file, features=None)


def run(args: argparse.Namespace) -> int:
    from neumap.report.map_summary import report_text

    try:
        with StageProgress() as progress:
            progress("open", 0, 1)
            rows = _make(args, progress)
    except KeyboardInterrupt:
        resume = "with --work DIR the run could be resumed"
        if args.work is not None:
            resume = f"the same command resumes the run from {args.work}"
        raise KeyboardInterrupt(f"interrupted; {resume}") from None
    print(report_text(rows))
    return 0


def _make(args: argparse.Namespace, progress: StageProgress) -> list[tuple[str, str]]:
    """Make the map; return the rows of the report."""
    started = time.perf_counter()
    from neumap.io.damage import Damage
    from neumap.io.files import check_output
    from neumap.mapping.work import Work
    from neumap.maps.map_file import load_map, save_map
    from neumap.maps.recording import recording_of
    from neumap.process import set_up
    from neumap.report.map_figure import draw_map
    from neumap.report.map_summary import expected_text, size_text
    from neumap.report.pictures import check_picture

    told = settings_of(args)
    check_output(args.out, device=False)
    if args.plot is not None:
        check_picture(args.plot)
    work = Work(args.work)
    old = None if args.extend is None else load_map(args.extend)
    set_up(args.threads)
    source, count = _source(args, told, progress)
    damage = Damage(source)
    with telling(source.notes), progress:
        neural_map, source, rows = _mapped(args, source if args.strict else damage.source, told, old, progress, work)
    recordings = (*neural_map.recordings, recording_of(args.source, source.frames))
    neural_map = save_map(args.out, replace(neural_map, recordings=recordings))
    if args.plot is not None:
        draw_map(args.plot, neural_map)
    used = len(source.frames) - damage.unreadable
    aside = used - neural_map.mapping_images + (0 if old is None else old.mapping_images)
    return [
        ("map", f"{args.out}, {size_text(args.out.stat().st_size)}, id {neural_map.map_id}"),
        ("made of", f"{source.description}: {used} of {count} frames, {aside} of them set aside"),
        *(("", note) for note in (*source.notes, *damage.notes)),
        *rows,
        ("holds", f"{len(neural_map.landmarks)} landmarks, decoder {neural_map.decoder}"),
        *([] if args.work is None else [("work", str(work))]),
        ("time", f"{time.perf_counter() - started:.1f} s"),
        ("expected", expected_text(neural_map.expected)),
        *([] if args.plot is None else [("picture", str(args.plot))]),
    ]


def _source(args: argparse.Namespace, told: MappingSettings, progress: StageProgress) -> tuple[Source, int]:
    """Open the source; also return its number of frames before a long drive is thinned."""
    from neumap.io.bags.topics import BagOptions
    from neumap.io.sources import open_source, thin
    from neumap.mapping.survey import used_of

    source = open_source(
        args.source,
        poses=True,
        depth=told.use_depth,
        told=options.told_of(args),
        images=args.images,
        bag=BagOptions(**{name: getattr(args, name) for name in options.BAG_OPTIONS}),
        odometry=args.poses == ODOMETRY,
        trajectory=args.trajectory,
    )
    source = replace(source, drifts=source.drifts and args.poses != MAP)
    if source.drifts and args.extend is not None and not args.align:
        raise ConfigError(
            f"the poses of {args.source} are odometry's, in a frame of their own, not in that of {args.extend}: give "
            "--align, which finds how the two lie to each other"
        )
    source = thin(source, args.every_m, args.every_deg)
    if source.drifts:
        straight = "their drift is corrected by the images; --poses map uses them as they are"
        source = replace(source, notes=(*source.notes, straight))
    if args.strict:
        refuse(source.left_out)
    count = len(source.frames)
    if args.every_m is None and args.every_deg is None:
        source = replace(source, frames=used_of(source.frames))
    progress("open", 1, 1)
    progress.close()
    if args.work is None and len(source.frames) > MANY:
        tell([f"{len(source.frames)} images take about {len(source.frames) / 800:.0f} GB of memory, less with --work"])
    return source, count


def _mapped(
    args: argparse.Namespace,
    source: Source,
    told: MappingSettings,
    old: NeuralMap | None,
    progress: StageProgress,
    work: Work,
) -> tuple[NeuralMap, Source, list[tuple[str, str]]]:
    """Return the map, the source with its lens decided, and rows for the report."""
    from neumap.localization.lens import of_each_camera
    from neumap.mapping.build import build_map, map_of
    from neumap.mapping.extend import extend_map
    from neumap.mapping.lens import settled
    from neumap.mapping.odometry import straighten, survey_drive
    from neumap.report.map_summary import drive_texts

    source = of_each_camera(source, partial(settled, settings=told, progress=progress))
    drive = straighten(source.frames, told, progress, work) if source.drifts else None
    frames = source.frames if drive is None else drive.frames
    rows = [] if drive is None else [("odometry", text) for text in drive_texts(drive)]
    if old is not None:
        neural_map, found = extend_map(old, frames, told.use_depth, told.seed, progress, args.apart, args.align, work)
        rows.append(("extends", f"{args.extend}, {len(old.landmarks)} landmarks, id {old.map_id}"))
        rows += [] if found is None else aligned_rows(str(args.source), found)
    elif drive is not None:
        neural_map = map_of(survey_drive(drive, progress), told, progress)
    else:
        neural_map = build_map(frames, told, progress, work)
    return neural_map, source, rows


def settings_of(args: argparse.Namespace) -> MappingSettings:
    """Complete ``args`` from the configuration file, and return the settings."""
    from neumap.mapping.settings import MappingSettings

    if args.config is not None:
        known = {action.dest: options.parser_of(action) for action in args.in_file} | {"features": _features}
        for name, value in options.read_config(args.config, known).items():
            if getattr(args, name) is None:
                setattr(args, name, value)
    if (args.apart or args.align) and args.extend is None:
        option = "--apart" if args.apart else "--align"
        raise ConfigError(f"'{option}' needs --extend: leave it out, or give --extend")
    if args.apart and args.align:
        raise ConfigError("'--apart' and '--align' do not go together: places that are apart share nothing to align by")
    refused = [] if args.extend is None else [name for name in OF_OLD_MAP if getattr(args, name) is not None]
    if refused:
        option = refused[0].replace("_", "-")
        raise ConfigError(f"'{option}' does not go with --extend: the extended map determines it; leave it out")
    given = {setting: getattr(args, name) for name, setting in SETTINGS.items()}
    given["frame_id"] = args.frame_id or args.map_frame
    given["size_bytes"] = None if args.size == options.BEST else args.size
    return MappingSettings(**{name: value for name, value in given.items() if value is not None})


def _features(content: Any) -> Any:
    from dataclasses import fields

    from neumap.features import DEFAULT, EXTRACTORS, extractor_class

    whole = options.whole("number of keypoints", 100, 1_000_000)
    positive = options.number("a positive number", lambda value: 0 < value < 1e6)
    given = dict(content) if isinstance(content, dict) else content
    name = given.pop("extractor", DEFAULT) if isinstance(given, dict) else DEFAULT
    if name not in EXTRACTORS:
        raise ConfigError(f"features: extractor: '{name}' is none of {', '.join(EXTRACTORS)}")
    kind = extractor_class(name).settings_class
    known = {field.name: whole if field.type == "int" else positive for field in fields(kind)}
    return kind(**options.parse_options("features", given, known))
