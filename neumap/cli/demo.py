"""Shows neumap in a virtual room: localizes images of it in a map, refuses images of another room or of nothing, and
replays the drive of a robot, whose lens is covered for a while, to the localizer that runs on robots. Images, drive and
map are part of the package; --full renders, records and maps anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.cli.queries import localize_each
from neumap.errors import ConfigError, DataError, MappingError
from neumap.maps import DECODERS

if TYPE_CHECKING:
    from neumap.arrays import FloatArray
    from neumap.maps.neural_map import NeuralMap
    from neumap.records import PoseEstimate, Source
    from neumap.report.replay_report import Report
    from neumap.virtual.recording import Covered

HELP = "localize a camera in a virtual room and replay a robot's drive; needs no data"

# SHIPPED: the folder of the demo in the package. MAP, QUERY_BAG, FIGURES: names of its parts, there and in the output.
SHIPPED = Path(__file__).resolve().parents[1] / "demo_data"
MAP, QUERY_BAG, FIGURES = "demo.neumap", "query_bag", "figures.json"
# PARTS: what the package ships. The figures are copied first: they mark a folder as a demo's, even an incomplete one.
PARTS = (FIGURES, MAP, QUERY_BAG, "query", "negatives")
MAPPING_BAG, REPLAY = "mapping_bag", "replay"
# REPLAY_LINES: beginnings of the lines of a replay's report that the demo prints.
REPLAY_LINES = ("played", "first fix", "published", "states", "translation", "rotation", "wrong", "covariance", "map")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where to write (default: demo_output)")
    add("--full", action="store_true", help="make everything anew: render the room, record, map (a minute)")
    add("--seed", type=options.seed, metavar="N", help="another room, with --full (default: 0)")
    add("--decoder", choices=DECODERS, help=f"as of neumap map, with --full (default: {DECODERS[0]})")
    add("--save", type=Path, metavar="DIR", help="with --full: also write the parts that the package ships there")


def run(args: argparse.Namespace) -> int:
    from neumap.installation import need_extras
    from neumap.io.files import make_folder, write_atomically
    from neumap.process import set_up

    need_extras("the demo", "matplotlib", "rosbags")
    given = [f"--{name}" for name in ("seed", "decoder", "save") if getattr(args, name) is not None]
    if given and not args.full:
        raise ConfigError(f"{given[0]} is for a demo that is made anew: give --full, too")
    if not args.full and not (SHIPPED / FIGURES).is_file():
        raise DataError(f"this neumap has no demo in {SHIPPED}: make one with 'neumap demo --full'")
    for folder in filter(None, (args.out, args.save)):
        _check_folder(folder)
    set_up()
    started = time.perf_counter()
    make_folder(args.out)
    covered = _make(args.out, args) if args.full else _shipped(args.out)
    figures = _show(args.out, covered)
    write_atomically(args.out / FIGURES, (json.dumps(figures, indent=1) + "\n").encode())
    if args.save is not None:
        _copy(args.out, args.save)
    print(f"{'time':<13}{time.perf_counter() - started:.0f} s")
    return 0


def _check_folder(folder: Path) -> None:
    """Raise :class:`~neumap.errors.DataError` if the demo would replace files of a folder that are of no demo."""
    there = [folder / name for name in (*PARTS, "mapping", MAPPING_BAG, REPLAY) if (folder / name).exists()]
    try:
        is_demo = "covered_ns" in json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        is_demo = False
    if there and not is_demo:
        raise DataError(
            f"{there[0]} exists already, and {folder} holds no finished demo: remove it, or give another folder"
        )


def _make(out: Path, args: argparse.Namespace) -> Covered:
    """Render a room, record drives through it and map it; return when the lens was covered in the second one."""
    from neumap.io.sources import open_source
    from neumap.mapping.build import build_map
    from neumap.mapping.settings import MappingSettings
    from neumap.maps.map_file import save_map
    from neumap.virtual import recording
    from neumap.virtual import world as virtual_world

    seed, world = args.seed or 0, virtual_world.DEMO
    with StageProgress() as progress:
        room = virtual_world.write_world(out, world, seed=seed, progress=progress)
        step = partial(progress, "write mapping bag")
        recording.record_mapping(out / MAPPING_BAG, out / virtual_world.MAPPING, seed=seed, progress=step)
        mapping = open_source(out / MAPPING_BAG, poses=True)
        covered = recording.record_query(
            out / QUERY_BAG,
            room,
            world.camera,
            _poses(mapping),
            world.bag_seconds,
            hz=world.bag_hz,
            seed=seed,
            progress=partial(progress, "record query bag"),
        )
        settings = MappingSettings(decoder=args.decoder or DECODERS[0], seed=seed)
        save_map(out / MAP, build_map(mapping.frames, settings, progress))
    return covered


def _shipped(out: Path) -> Covered:
    """Copy the shipped parts; return when the lens was covered in the second drive."""
    from neumap.virtual.recording import Covered

    _copy(SHIPPED, out)
    return Covered(*json.loads((SHIPPED / FIGURES).read_text(encoding="utf-8"))["covered_ns"])


def _show(out: Path, covered: Covered) -> dict[str, Any]:
    """Localize and replay the recordings in ``out``; print and draw the results, and return the figures."""
    from neumap.io.sources import open_source
    from neumap.io.trajectories import write_trajectory
    from neumap.localization.localizer import Localizer
    from neumap.maps.map_file import load_map
    from neumap.report.estimates import as_trajectory
    from neumap.report.figures import Example, draw_report

    # the poses of the query are for the comparison below; localizing uses only images and calibration
    query = open_source(out / "query", poses=True)
    negatives = open_source(out / "negatives", poses=False)
    neural_map = load_map(out / MAP)
    localizer = Localizer(neural_map)
    with StageProgress() as progress:
        estimates = localize_each(localizer, query, partial(progress, "localize"))
        refused = localize_each(localizer, negatives, partial(progress, "refuse"))
    write_trajectory(out / "poses.txt", as_trajectory(query.moments, estimates))
    if not any(estimate.localized for estimate in estimates):
        raise MappingError(f"the demo failed: none of {len(estimates)} images was localized, see {out}")
    lines, figures = _found(out, neural_map, query, estimates, refused)
    print("\n".join(lines))
    asked = zip((*query.frames, *negatives.frames), (*estimates, *refused), strict=True)
    draw_report(
        out / "demo.png",
        mapping_poses=neural_map.drift.poses,
        truth=_poses(query),
        estimates=estimates,
        landmarks=neural_map.landmarks.points(neural_map.grid),
        examples=[Example(frame.read_image(), e, frame.map_from_camera) for frame, e in asked],
        title="A camera localized in a virtual room, from single images",
    )
    print(f"{'picture':<13}{out / 'demo.png'}")
    lines, replayed = _replayed(out, covered)
    print("\n".join(lines))
    return figures | {"replay": replayed, "covered_ns": list(covered)}


def _poses(source: Source) -> FloatArray:
    import numpy as np

    return np.array([frame.map_from_camera for frame in source.frames], dtype=np.float64)


def _found(
    out: Path,
    neural_map: NeuralMap,
    query: Source,
    estimates: Sequence[PoseEstimate],
    refused: Sequence[PoseEstimate],
) -> tuple[list[str], dict[str, Any]]:
    """Return the results of single images, as lines of text and as figures."""
    from neumap.io.trajectories import read_trajectory
    from neumap.mapping.calibration import measure
    from neumap.report.estimates import as_trajectory, times_text
    from neumap.report.evaluation import as_text, evaluate
    from neumap.report.map_summary import expected_text, size_text

    evaluation = evaluate(
        as_trajectory(query.moments, estimates), read_trajectory(out / "query" / "groundtruth.txt"), len(estimates)
    )
    inside = measure(estimates, _poses(query)).in_90_percent_ellipsoid
    bytes_ = (out / MAP).stat().st_size
    wrong = sum(estimate.localized for estimate in refused)
    lines = [
        as_text(evaluation),
        f"{'covariance':<13}{inside:.0%} of the true poses inside the 90 % ellipsoid",
        f"{'refused':<13}{len(refused) - wrong} of {len(refused)} images that show another room, or nothing",
        f"{'map':<13}{size_text(bytes_)}, {len(neural_map.landmarks)} landmarks, decoder {neural_map.decoder}",
        f"{'expected':<13}{expected_text(neural_map.expected)}",
        f"{'per image':<13}{times_text(estimates)}",
    ]
    figures = {
        "localized": evaluation.localized,
        "median_cm": 100 * evaluation.translation.median,
        "median_deg": evaluation.rotation.median,
        "wrongly_accepted": wrong,
        "map_kb": bytes_ / 1000,
    }
    return lines, figures


def _replayed(out: Path, covered: Covered) -> tuple[list[str], dict[str, Any]]:
    """Replay the query bag; return the results as lines of text and as figures."""
    from neumap.replay.run import ReplaySettings, replay
    from neumap.report.replay_report import as_text

    with StageProgress() as progress:
        report = replay(out / QUERY_BAG, out / REPLAY, ReplaySettings(map=out / MAP), progress)
    return [
        "",
        "A robot's drive through the room, replayed to the localizer of the node, with odometry that drifts:",
        *(line for line in as_text(report).splitlines() if line.startswith(REPLAY_LINES)),
        f"{'covered':<13}{covered_text((out / REPLAY / 'states.txt').read_text(encoding='utf-8'), covered)}",
        f"{'picture':<13}{out / REPLAY / 'replay.png'}",
    ], _figures_of(report)


def _figures_of(report: Report) -> dict[str, Any]:
    accuracy = report.accuracy
    return {
        "first_fix_image": report.first_fix_image,
        "tracking": report.state_shares["TRACKING"],
        "jumps": report.jumps,
        "median_cm": None if accuracy is None else 100 * accuracy.poses.translation.median,
        "wrong": None if accuracy is None else accuracy.wrong,
    }


def _copy(recorded: Path, folder: Path) -> None:
    """Copy the parts that the package ships to ``folder``, and replace those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        if (recorded / name).is_dir():
            shutil.copytree(recorded / name, folder / name)
        else:
            shutil.copyfile(recorded / name, folder / name)


def covered_text(states: str, covered: Covered) -> str:
    """Describe when the states changed while the lens was covered and after, from a replay's ``states.txt``."""
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
