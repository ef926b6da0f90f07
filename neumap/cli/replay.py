"""``neumap replay``: the ROS node itself, run over a rosbag without ROS 2, the same way every time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neumap.cli import options
from neumap.cli.progress import StageProgress
from neumap.errors import ConfigError, DataError, MissingDependencyError

if TYPE_CHECKING:
    from neumap.io.bags.reader import BagReader, Topic
    from neumap.records import Trajectory
    from neumap.report.replay_report import ReplayLog, Report
    from neumap_ros.simulator.player import Event, Timed
    from neumap_ros.simulator.rig import Rig

    Progress = Callable[[str, int, int], object]
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

# what a small computer takes for an image, near enough; a fixed time makes every replay the same
INFERENCE_MS = 100.0
CALLS = ("relocalize", "reinitialize", "load_map")
NODE = "neumap_localizer"
OUTPUT_BAG = "replay"
EXTRAS = ("evo", "matplotlib", "rosbags")
# played to the node beside images and camera_info
PLAYED = frozenset({"/tf", "/tf_static", "/initialpose"})
TRUTH_TYPES = frozenset(
    {"geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped", "nav_msgs/msg/Odometry"}
)


def add_parser(subparsers: Subparsers) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "replay",
        help="run the ROS node over a rosbag, without ROS 2",
        description="Runs the node over a recording on virtual time and writes what it publishes: a bag to open in "
        "Foxglove or RViz, poses.txt, states.txt, a report and a picture. Two replays give the same output.",
    )
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2: folder, .mcap or .db3")
    parser.add_argument("--map", type=Path, required=True, metavar="M.neumap", help="the map to localize in")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--params", type=Path, metavar="FILE.yaml", help="a parameter file, as for the node")
    parser.add_argument("--rate", type=_positive, default=1.0, metavar="2.0", help="play so much faster (default: 1)")
    parser.add_argument("--start", type=options.seconds, default=0.0, metavar="S", help="skip the first seconds")
    parser.add_argument("--duration", type=_positive, metavar="S", help="play so many seconds only")
    parser.add_argument(
        "--call",
        type=_call,
        action="append",
        default=[],
        metavar="NAME@S",
        help="call a service so many seconds after the start of what is played: relocalize@12.5, reinitialize@3, "
        "load_map:FILE@20; may be given several times",
    )
    parser.add_argument(
        "--inference-ms",
        type=_inference,
        default=INFERENCE_MS,
        metavar="MS|measured",
        help=f"how long the node takes for an image (default: {INFERENCE_MS:g}); measured: as long as it does, "
        "which no second replay repeats",
    )
    parser.add_argument("--image-topic", metavar="TOPIC", help="the images, where the bag has several")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="their calibration")
    parser.add_argument(
        "--ground-truth",
        metavar="TOPIC|FILE",
        help="true poses of the base in the map: a topic (default: one with ground_truth in its name) or a TUM file",
    )
    parser.add_argument("--threads", type=options.threads, metavar="N", help="use at most this many threads")
    parser.set_defaults(run=run)


def _positive(value: str) -> float:
    seconds = options.seconds(value)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"'{value}' is not more than 0")
    return seconds


def _inference(value: str) -> float | None:
    return None if value == "measured" else options.seconds(value)


class Call(NamedTuple):
    """A service to call ``at_s`` seconds into the recording."""

    name: str
    argument: str
    at_s: float


def _call(value: str) -> Call:
    what, at, seconds = value.rpartition("@")
    name, _, argument = what.partition(":")
    if not at or name not in CALLS or (name == "load_map") != bool(argument):
        raise argparse.ArgumentTypeError(f"'{value}' is none of relocalize@S, reinitialize@S, load_map:FILE@S")
    return Call(name, argument, options.seconds(seconds))


@dataclass(frozen=True)
class ReplaySettings:
    """What ``neumap replay`` can be told. ``inference_s`` None: as long as it takes."""

    map: Path
    params: Path | None = None
    rate: float = 1.0
    start_s: float = 0.0
    duration_s: float | None = None
    calls: Sequence[Call] = ()
    inference_s: float | None = INFERENCE_MS / 1e3
    image_topic: str | None = None
    camera_info_topic: str | None = None
    ground_truth: str | None = None


def run(args: argparse.Namespace) -> int:
    """Replays, writes and reports."""
    from neumap.process import set_up
    from neumap.report.replay_report import as_text

    set_up(args.threads)
    settings = ReplaySettings(
        map=args.map,
        params=args.params,
        rate=args.rate,
        start_s=args.start,
        duration_s=args.duration,
        calls=args.call,
        inference_s=None if args.inference_ms is None else args.inference_ms / 1e3,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        ground_truth=args.ground_truth,
    )
    with StageProgress() as progress:
        result = replay(args.bag, args.out, settings, progress)
    print(as_text(result))
    print(f"written      {args.out}")
    return 0


def replay(bag_path: Path, out: Path, settings: ReplaySettings, progress: Progress) -> Report:
    """Runs the node over a bag and writes all outputs to the folder ``out``, which is made where it is not there.

    Raises :class:`~neumap.errors.DataError` and its kin for a bag, a map or parameters that cannot be used.
    """
    from neumap.io.bags.reader import BagReader
    from neumap.report.replay_figure import draw_replay
    from neumap.report.replay_report import report
    from neumap_ros.simulator.recording import replay_log, write_output

    check_extras("a replay")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{out} is not a folder: give another one to write to") from None
    with BagReader(bag_path) as bag:
        played = _choose_topics(bag, settings)
        truth = _truth(bag, settings.ground_truth)
        with localizer_rig(
            {"map": str(settings.map), "image_transport": played.transport},
            params=settings.params,
            remaps=played.remaps,
            inference_s=settings.inference_s,
            rate=settings.rate,
        ) as rig:
            rig.player.advance_to(played.start_ns)
            rig.start()
            events = [_event(rig, call, played.start_ns) for call in settings.calls]
            rig.player.play(_messages(bag, played, progress), events)
            log = replay_log(rig.published, played.start_ns, rig.player.last_ns, played.first_image_ns)
            names = ("global_frame_id", "odom_frame_id", "base_frame_id")
            in_map, odom, base = (str(rig.node.get_parameter(name).value) for name in names)
        odometry = _odometry(bag, played, odom, base)
        link = (in_map, odom or base)
        write_output(out / OUTPUT_BAG, bag, rig.published, played.start_ns, played.end_ns, link)
    result = report(log, truth, odometry)
    _write(out, log, result, rig.log_lines)
    draw_replay(out / "replay.png", log, result, truth)
    return result


def check_extras(what: str) -> None:
    """Raises MissingDependencyError now where ``what`` would have to end without an extra."""
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in EXTRAS):
        raise MissingDependencyError(
            f"{what} needs evo, matplotlib and rosbags: pip install 'neumap[evaluate,plots,bags]'"
        )


@dataclass(frozen=True)
class Played:
    """What of a bag is played: ``topics`` from ``start_ns`` to ``end_ns`` of recording time."""

    topics: tuple[Topic, ...]
    transport: str
    remaps: tuple[str, ...]
    start_ns: int
    end_ns: int
    first_image_ns: int


def _choose_topics(bag: BagReader, settings: ReplaySettings) -> Played:
    from neumap.io.bags.topics import choose_camera_info, choose_image, look_at_images
    from neumap.io.stamps import stamp_of

    looks = look_at_images(bag)
    image = choose_image(bag, looks, settings.image_topic)
    info = choose_camera_info(bag, image, looks[image].frame, settings.camera_info_topic)
    first = next(bag.messages(bag.topics)).time_ns
    start_ns = first + round(settings.start_s * 1e9)
    end_ns = 2**63 - 1 if settings.duration_s is None else start_ns + round(settings.duration_s * 1e9)
    images = (message for message in bag.messages([image], start_ns) if message.time_ns <= end_ns)
    first_image = next(images, None)
    if first_image is None:
        raise DataError(f"no image on {image.name} is within the part of {bag.path} that is to be played")
    compressed = image.type == "sensor_msgs/msg/CompressedImage"
    return Played(
        topics=tuple(t for t in bag.topics if t in (image, info) or t.name in PLAYED),
        transport="compressed" if compressed else "raw",
        remaps=(f"image{'/compressed' if compressed else ''}:={image.name}", f"camera_info:={info.name}"),
        start_ns=start_ns,
        end_ns=end_ns,
        first_image_ns=stamp_of(bag.decode(first_image).header),
    )


def _messages(bag: BagReader, played: Played, progress: Progress) -> Iterator[Timed]:
    """The messages to play. What is said once and for all is played even where it was said before the start."""
    from neumap_ros.simulator.player import Timed

    total = sum(topic.count for topic in played.topics)
    for done, message in enumerate(bag.messages(played.topics), start=1):
        progress("replay", done, total)
        early = message.time_ns < played.start_ns
        if message.time_ns > played.end_ns or (early and message.topic.name != "/tf_static"):
            continue
        time_ns = max(message.time_ns, played.start_ns)
        yield Timed(time_ns, message.topic.name, message.topic.type, bytes(message.data))


def _truth(bag: BagReader, given: str | None) -> Trajectory | None:
    """True poses of the base in the map, from a topic or a file."""
    from neumap.io.bags.poses import read_track
    from neumap.io.trajectories import read_trajectory

    topics = [t for t in bag.topics if t.type in TRUTH_TYPES and t.count]
    chosen = [t for t in topics if t.name == given or (given is None and "ground_truth" in t.name)]
    if len(chosen) == 1:
        return read_track(bag, chosen[0]).trajectory
    if given is None:
        return None
    if not Path(given).is_file():
        names = ", ".join(t.name for t in topics) or "none"
        raise ConfigError(f"'{given}' is neither a file nor a topic of poses; those of the bag are: {names}")
    return read_trajectory(given)


def _odometry(bag: BagReader, played: Played, odom: str, base: str) -> Trajectory | None:
    """Poses of the base in the odometry's frame, as /tf tells them; None where it does not."""
    from neumap.io.bags.transforms import RecordedTransforms
    from neumap.records import Trajectory

    transforms = RecordedTransforms()
    for message in bag.messages([t for t in played.topics if t.name in ("/tf", "/tf_static")]):
        transforms.add(bag.decode(message).transforms, is_static=message.topic.name == "/tf_static")
    if not odom or transforms.problem(odom, base):
        return None
    times = transforms.stamps_ns
    found = transforms.lookup(odom, base, times)
    return Trajectory(times[found.known], found.poses[found.known])


def _write(out: Path, log: ReplayLog, result: Report, log_lines: Sequence[str]) -> None:
    from neumap.io.files import write_atomically
    from neumap.io.trajectories import write_trajectory
    from neumap.report.replay_report import as_dict, as_text, status_lines

    write_trajectory(out / "poses.txt", log.poses)
    for name, text in (
        ("states.txt", status_lines(log)),
        ("report.txt", as_text(result) + "\n"),
        ("report.json", json.dumps(as_dict(result), indent=1) + "\n"),
        ("log.txt", "".join(line + "\n" for line in log_lines)),
    ):
        write_atomically(out / name, text.encode())


def localizer_rig(
    parameters: Mapping[str, Any],
    params: Path | None = None,
    remaps: Sequence[str] = (),
    inference_s: float | None = INFERENCE_MS / 1e3,
    rate: float = 1.0,
) -> Rig:
    """The localizer in the simulator, to be entered. ``parameters`` outdo those of the file ``params``.

    Raises :class:`~neumap.errors.ConfigError` where that file is not there.
    """
    from neumap_ros.simulator.rig import Rig

    def make_node(make_worker: Any, **arguments: Any) -> Any:
        from neumap_ros.node import LocalizerNode

        return LocalizerNode(make_worker, **arguments)

    if params is not None and not params.is_file():
        raise ConfigError(f"the parameter file {params} does not exist")
    rules = [word for rule in remaps for word in ("-r", rule)]
    files = [] if params is None else ["--params-file", str(params)]
    return Rig(make_node, parameters, [*rules, *files], inference_s, rate)


def _event(rig: Rig, call: Call, start_ns: int) -> Event:
    """The event of a call of the command line; its answer goes to the log."""
    from neumap_ros.simulator.player import Event

    def ask() -> None:
        if call.name == "reinitialize":
            future = rig.call("/reinitialize_global_localization", "std_srvs/srv/Empty")
        elif call.name == "load_map":
            future = rig.call(f"/{NODE}/load_map", "neumap_ros/srv/LoadMap", map_path=call.argument)
        else:
            future = rig.call(f"/{NODE}/relocalize", "neumap_ros/srv/Relocalize")
        future.add_done_callback(lambda done: rig.log_lines.append(f"ANSWER {call.name}: {_short(done.result())}"))

    return Event(start_ns + round(call.at_s * 1e9), ask)


def _short(answer: Any) -> str:
    """An answer on one line, without its long fields."""
    fields = {name: getattr(answer, name, None) for name in ("success", "reason", "inliers", "latency", "map_id")}
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value not in (None, ""))
