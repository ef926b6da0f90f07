"""Predicts from the map alone where in a place a robot will be lost, on a grid of places and headings. With another
drive through the place, reports where it is lost, and whether its poses agree with odometry.

Writes check.png and check.json, and lost.png with lost.yaml for Nav2's map_server; with a drive also drive.png.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from neumap.cli import options
from neumap.cli.notes import tell
from neumap.cli.progress import StageProgress
from neumap.cli.queries import POSED_OPTIONS, localize_each, open_images, queries_of
from neumap.errors import DataError

if TYPE_CHECKING:
    from neumap.maps.neural_map import NeuralMap
    from neumap.records import Camera, Source
    from neumap.report.drive_check import DriveCheck

HELP = "predict where in a map a robot will be lost"

PICTURE, NUMBERS, OVERLAY, DRIVE = "check.png", "check.json", "lost", "drive.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("map", type=Path, metavar="M.neumap", help="the map")
    add("drive", type=Path, nargs="?", metavar="DRIVE", help="images of another drive, as for neumap localize")
    add("--out", type=Path, required=True, metavar="DIR", help="where to write")
    add(
        "--camera",
        type=Path,
        metavar="camera_info.yaml",
        help="the robot's camera (default: that of the drive, else 640 x 480 pixels, 65 degrees wide)",
    )
    height = options.number("a height in metres", lambda value: math.isfinite(value))
    add("--height", type=height, metavar="M", help="the camera's z in the map (default: of the nearest mapping camera)")
    add(
        "--cell",
        type=options.metres,
        metavar="M",
        help="distance of the places (default: such that there are about 600)",
    )
    add("--images", type=Path, metavar="DIR", help="the images of a COLMAP model")
    add("--threads", type=options.threads, metavar="N", help="use at most this many threads")
    options.add_lens_arguments(parser)
    options.add_bag_arguments(parser, POSED_OPTIONS, several=options.PER_CAMERA)


def run(args: argparse.Namespace) -> int:
    from neumap.installation import need_extras

    need_extras("neumap check", "matplotlib")

    from neumap.io.camera_info import read_camera_info
    from neumap.io.files import make_folder, write_atomically
    from neumap.maps.map_file import load_map
    from neumap.process import set_up
    from neumap.report import drive_check, forecast, forecast_figure
    from neumap.report.map_summary import report_text

    set_up(args.threads)
    neural_map = load_map(args.map)
    camera = None if args.camera is None else read_camera_info(args.camera)
    make_folder(args.out)
    with StageProgress() as progress:
        drive = None if args.drive is None else _open(args)
        if drive is not None:
            camera = camera or drive.frames[0].camera
        seen = camera or forecast.usual_camera()
        foreseen = forecast.foresee(neural_map, seen, progress, args.cell, args.height)
        asked = None if drive is None else _asked(drive, neural_map, progress)
    tell(foreseen.notes)
    rows = [("camera", _camera_text(seen, camera is None)), *forecast.as_text(foreseen)]
    content = {
        "map_id": neural_map.map_id,
        "frame_id": neural_map.frame_id,
        "camera": {
            "width": seen.width,
            "height": seen.height,
            "matrix": seen.matrix.tolist(),
            "assumed": camera is None,
        },
        **forecast.as_dict(foreseen),
        "drive": None if asked is None else drive_check.as_dict(asked),
    }
    name = args.map.name
    forecast_figure.draw_forecast(args.out / PICTURE, foreseen, neural_map, f"Where a camera is localized in {name}")
    if asked is not None:
        rows += drive_check.as_text(asked)
        title = f"{args.drive.name} in {name}: {asked.localized.mean():.0%} of {len(asked.localized)} images localized"
        forecast_figure.draw_drive(args.out / DRIVE, asked, foreseen, neural_map, title)
    png, yaml = forecast.overlay(foreseen, f"{OVERLAY}.png")
    write_atomically(args.out / f"{OVERLAY}.png", png)
    write_atomically(args.out / f"{OVERLAY}.yaml", yaml)
    write_atomically(args.out / NUMBERS, (json.dumps(content, allow_nan=False) + "\n").encode())
    pictures = [PICTURE, *([] if asked is None else [DRIVE])]
    rows.append(("written", f"{args.out}: {', '.join([*pictures, NUMBERS, f'{OVERLAY}.yaml'])}"))
    print(report_text(rows))
    return 0


def _open(args: argparse.Namespace) -> Source:
    """Open the drive, with poses if it has some."""
    try:
        return open_images(args, args.drive, POSED_OPTIONS, poses=True)
    except DataError as error:
        source = open_images(args, args.drive, POSED_OPTIONS)
        return replace(source, notes=(f"nothing is compared with odometry: {error}", *source.notes))


def _asked(source: Source, neural_map: NeuralMap, progress: StageProgress) -> DriveCheck:
    """Localize the images of a drive and check the estimates."""
    from neumap.io.files import noting
    from neumap.localization.localizer import Localizer
    from neumap.report.drive_check import check_drive

    localizer = Localizer(neural_map)
    with noting(source.left_out):
        queries = queries_of(source, localizer)
        estimates = localize_each(localizer, queries.source, partial(progress, "localize"))
    progress.close()
    tell(queries.notes)
    return check_drive(queries.source.moments, estimates, neural_map)


def _camera_text(camera: Camera, assumed: bool) -> str:
    text = f"{camera.width} x {camera.height} pixels, focal length {camera.matrix[0, 0]:.0f} pixels"
    return f"{text}, assumed: give --camera for another" if assumed else text
