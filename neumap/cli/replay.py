"""Runs the session of the node over a recording on virtual time, and writes what it publishes: a bag for Foxglove or
RViz, poses.txt, states.txt, a report and a picture. Two replays give the same output, except times.txt, the measured
times of searching.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from neumap.cli import options
from neumap.cli.notes import refuse
from neumap.cli.progress import StageProgress
from neumap.errors import DataError

HELP = "run the localizer of the ROS node over a rosbag, without ROS 2"

# INFERENCE_MS: INFERENCE_S of neumap.replay.run, which is slow to import. CALLS: services that can be called.
INFERENCE_MS = 100.0
CALLS = ("relocalize", "reinitialize", "load_map")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="rosbag: folder, .mcap, .db3 or .bag")
    add("--map", type=Path, required=True, metavar="M.neumap", help="the map to localize in")
    add("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    add("--params", type=Path, metavar="FILE.yaml", help="a parameter file, as for the node")
    add("--rate", type=options.positive, default=1.0, metavar="2.0", help="speed of playing (default: 1)")
    add("--start", type=options.seconds, default=0.0, metavar="S", help="skip the first seconds")
    add("--duration", type=options.positive, metavar="S", help="play only this many seconds")
    add(
        "--call",
        type=_call,
        action="append",
        default=[],
        metavar="NAME@S",
        help="call a service at a time in seconds after the start of playing: relocalize@12.5, reinitialize@3, "
        "load_map:FILE@20; may be given several times",
    )
    add(
        "--inference-ms",
        dest="inference_s",
        type=_inference,
        default=f"{INFERENCE_MS:g}",
        metavar="MS|measured",
        help=f"time of the node per image (default: {INFERENCE_MS:g}); measured: the real time, which makes replays "
        "differ",
    )
    add(
        "--ground-truth",
        metavar="TOPIC|FILE",
        help="true poses of the base in the map: a topic (default: one with ground_truth in its name) or a TUM file",
    )
    add("--strict", action="store_true", help="fail, with all outputs written, where messages or rows were left out")
    add("--threads", type=options.threads, metavar="N", help="use at most this many threads")
    options.add_lens_arguments(parser)
    options.add_bag_arguments(parser, (*options.IMAGE_OPTIONS, "tf_topic"), several=options.PER_CAMERA)


def _inference(value: str) -> float | None:
    return None if value == "measured" else options.seconds(value) / 1e3


def _call(value: str) -> tuple[str, str, float]:
    what, at, seconds = value.rpartition("@")
    name, _, argument = what.partition(":")
    if not at or name not in CALLS or (name == "load_map") != bool(argument):
        raise argparse.ArgumentTypeError(f"'{value}' is none of relocalize@S, reinitialize@S, load_map:FILE@S")
    return name, argument, options.seconds(seconds)


def run(args: argparse.Namespace) -> int:
    from neumap.process import set_up
    from neumap.replay.run import Call, ReplaySettings, replay
    from neumap.report.replay_report import as_text

    set_up(args.threads)
    settings = ReplaySettings(
        map=args.map,
        params=args.params,
        rate=args.rate,
        start_s=args.start,
        duration_s=args.duration,
        calls=[Call(*call) for call in args.call],
        inference_s=args.inference_s,
        image_topics=args.image_topic or (),
        camera_info_topics=args.camera_info_topic or (),
        tf_topic=args.tf_topic,
        rectified=args.rectified,
        mask=args.mask,
        ground_truth=args.ground_truth,
    )
    with StageProgress() as progress:
        result = replay(args.bag, args.out, settings, progress)
    print(as_text(result))
    print(f"written      {args.out}")
    if args.strict:
        refuse(result.left_out)
    if not result.poses:
        raise DataError(f"nothing was localized: {result.why_not or 'no image came'}")
    return 0
