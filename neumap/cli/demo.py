"""Renders a furnished room, records a drive through it as a rosbag, maps it, localizes the images of another drive
and some that were not taken there, and draws how it went. Then it replays the drive of a robot, whose camera is
covered for a while, through the ROS node, without ROS 2. Takes less than two minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from neumap.cli import options
from neumap.cli.localize import localize_each
from neumap.cli.progress import StageProgress
from neumap.errors import MappingError
from neumap.maps import DECODERS

if TYPE_CHECKING:
    from neumap.arrays import FloatArray
    from neumap.maps.neural_map import NeuralMap
    from neumap.records import PoseEstimate, Source
    from neumap.virtual.recording import Covered

HELP = "map a virtual room and localize a camera in it; needs no data"

MAPPING_BAG, QUERY_BAG, REPLAY = "mapping_bag", "query_bag", "replay"
# REPLAY_LINES: how the lines of a replay's report begin that are repeated here.
REPLAY_LINES = ("played", "first fix", "published", "states", "translation", "rotation", "wrong", "covariance", "map")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where to write (default: demo_output)")
    add("--seed", type=options.seed, default=0, metavar="N", help="another room (default: 0)")
    add("--size", choices=("small", "normal"), default="normal", help="small: fewer and smaller images")
    add("--decoder", choices=DECODERS, default=DECODERS[0], help=f"as of neumap map (default: {DECODERS[0]})")


def run(args: argparse.Namespace) -> int:
    from neumap.installation import need_extras

    need_extras("the demo", "evo", "matplotlib", "rosbags")

    from neumap.io.files import make_folder
    from neumap.io.sources import open_source
    from neumap.io.trajectories import write_trajectory
    from neumap.localization.localizer import Localizer
    from neumap.mapping.build import build_map
    from neumap.mapping.settings import MappingSettings
    from neumap.maps.map_file import save_map
    from neumap.process import set_up
    from neumap.report.estimates import as_trajectory
    from neumap.report.figures import Example, draw_report
    from neumap.virtual import recording
    from neumap.virtual import world as virtual_world

    set_up()
    out, seed = args.out, args.seed
    world = virtual_world.SMALL if args.size == "small" else virtual_world.NORMAL
    started = time.perf_counter()
    make_folder(out)
    with StageProgress() as progress:
        room = virtual_world.write_world(out, world, seed=seed, progress=progress)
        step = partial(progress, "write mapping bag")
        recording.record_mapping(out / MAPPING_BAG, out / virtual_world.MAPPING, seed=seed, progress=step)
        mapping = open_source(out / MAPPING_BAG, poses=True)
        step = partial(progress, "record query bag")
        covered = recording.record_query(
            out / QUERY_BAG, room, world.camera, _poses(mapping), world.bag_seconds, seed=seed, progress=step
        )
        # poses of the query are for the comparison below; localizing looks at images and calibration only
        query = open_source(out / virtual_world.QUERY, poses=True)
        negatives = open_source(out / virtual_world.NEGATIVES, poses=False)
        mapping_started = time.perf_counter()
        settings = MappingSettings(decoder=args.decoder, seed=seed)
        neural_map = save_map(out / "demo.neumap", build_map(mapping.frames, settings, progress))
        mapping_s = time.perf_counter() - mapping_started
        localizer = Localizer(neural_map)
        estimates = localize_each(localizer, query, partial(progress, "localize"))
        refused = localize_each(localizer, negatives, partial(progress, "refuse"))
    write_trajectory(out / "poses.txt", as_trajectory(query.moments, estimates))
    if not any(estimate.localized for estimate in estimates):
        raise MappingError(f"the demo failed: none of {len(estimates)} images was localized, see {out}")
    print("\n".join(_table(neural_map, out, query, estimates, refused)))
    asked = zip((*query.frames, *negatives.frames), (*estimates, *refused), strict=True)
    draw_report(
        out / "demo.png",
        mapping_poses=_poses(mapping),
        truth=_poses(query),
        estimates=estimates,
        landmarks=neural_map.landmarks.points(neural_map.grid),
        examples=[Example(frame.read_image(), e, frame.map_from_camera) for frame, e in asked],
        title="A camera localized in a virtual room, from single images",
    )
    print(f"{'picture':<13}{out / 'demo.png'}")
    print("\n".join(replay_lines(out, covered)))
    print(f"{'time':<13}{mapping_s:.0f} s to map, {time.perf_counter() - started:.0f} s in all")
    return 0


def _poses(source: Source) -> FloatArray:
    import numpy as np

    return np.array([frame.map_from_camera for frame in source.frames], dtype=np.float64)


def _table(
    neural_map: NeuralMap, out: Path, query: Source, estimates: Sequence[PoseEstimate], refused: Sequence[PoseEstimate]
) -> list[str]:
    from neumap.io.trajectories import read_trajectory
    from neumap.mapping.calibration import measure
    from neumap.report.estimates import as_trajectory, times_text
    from neumap.report.evaluation import as_text, evaluate
    from neumap.report.map_summary import expected_text, size_text

    truth = read_trajectory(out / "query" / "groundtruth.txt")
    inside = measure(estimates, _poses(query)).in_90_percent_ellipsoid
    size = size_text((out / "demo.neumap").stat().st_size)
    wrong = sum(estimate.localized for estimate in refused)
    return [
        as_text(evaluate(as_trajectory(query.moments, estimates), truth, len(estimates))),
        f"{'covariance':<13}{inside:.0%} of the true poses inside the 90 % ellipsoid",
        f"{'refused':<13}{len(refused) - wrong} of {len(refused)} images that show another room, or nothing",
        f"{'map':<13}{size}, {len(neural_map.landmarks)} landmarks, decoder {neural_map.decoder}",
        f"{'expected':<13}{expected_text(neural_map.expected)}",
        f"{'per image':<13}{times_text(estimates)}",
    ]


def replay_lines(out: Path, covered: Covered) -> list[str]:
    """Replay the query bag in ``out`` and tell what came of it."""
    from neumap.replay.run import ReplaySettings, replay
    from neumap.report.replay_report import as_text

    with StageProgress() as progress:
        report = replay(out / QUERY_BAG, out / REPLAY, ReplaySettings(map=out / "demo.neumap"), progress)
    return [
        "",
        "A robot's drive through the room, replayed through the ROS node, with odometry that drifts:",
        *(line for line in as_text(report).splitlines() if line.startswith(REPLAY_LINES)),
        f"{'covered':<13}{covered_text((out / REPLAY / 'states.txt').read_text(encoding='utf-8'), covered)}",
        f"{'picture':<13}{out / REPLAY / 'replay.png'}",
    ]


def covered_text(states: str, covered: Covered) -> str:
    """Say when the states changed while the lens was covered and after, as a replay's ``states.txt`` tells."""
    from neumap.io.stamps import parse_stamp

    changes = [(parse_stamp(stamp), state) for stamp, state, *_ in map(str.split, states.splitlines())]

    def first(wanted: str, since_ns: int) -> float | None:
        return next((1e-9 * (at - since_ns) for at, state in changes if at >= since_ns and state == wanted), None)

    seconds = 1e-9 * (covered.end_ns - covered.start_ns)
    parts = []
    for state in ("DEGRADED", "LOST"):
        after = first(state, covered.start_ns)
        seen = after is not None and after <= seconds + 1
        parts.append(f"{state} after {after:.1f} s" if seen else f"never {state}")
    again = first("TRACKING", covered.end_ns)
    parts.append("not TRACKING again" if again is None else f"TRACKING again {again:.1f} s after it was free")
    return f"the lens, for {seconds:.0f} s: {', '.join(parts)}"
