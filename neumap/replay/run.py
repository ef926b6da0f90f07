"""``neumap replay``: plays a recording to the session of the node and writes the results to files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neumap.errors import ConfigError, DataError
from neumap.installation import need_extras
from neumap.io.bags.poses import odometry_of, true_poses
from neumap.io.bags.reader import BagReader, Topic
from neumap.io.bags.topics import (
    COMPRESSED_IMAGE,
    choose_camera_info,
    choose_image,
    choose_transforms,
    look_at_images,
)
from neumap.io.files import make_folder, write_atomically
from neumap.io.image_messages import base_topic
from neumap.io.parameter_file import NODE, read_parameters
from neumap.io.stamps import stamp_of
from neumap.io.trajectories import write_trajectory
from neumap.progress import Progress
from neumap.records import Trajectory
from neumap.replay.output_bag import write_output_bag
from neumap.replay.rig import Event, Rig, Timed
from neumap.report.replay_figure import draw_replay
from neumap.report.replay_report import Report, as_dict, as_text, report, status_lines
from neumap.tracking.cameras import offsets_ns
from neumap.tracking.planar import flattened
from neumap.tracking.requests import LoadAnswer, RelocalizeAnswer, RelocalizeRequest
from neumap.tracking.settings import SPECS, Settings, settings_from

# INFERENCE_S: approximate time of a small computer per image, seconds; a fixed time makes replays repeatable.
INFERENCE_S = 0.1
OUTPUT_BAG = "replay"


class Call(NamedTuple):
    """A service (relocalize, reinitialize or load_map) to call ``at_s`` seconds into the recording."""

    name: str
    argument: str
    at_s: float


@dataclass(frozen=True)
class ReplaySettings:
    """Settings of a replay. ``inference_s`` None: the measured time. Topics are given once for each camera."""

    map: Path
    params: Path | None = None
    rate: float = 1.0
    start_s: float = 0.0
    duration_s: float | None = None
    calls: Sequence[Call] = ()
    inference_s: float | None = INFERENCE_S
    image_topics: Sequence[str] = ()
    camera_info_topics: Sequence[str] = ()
    tf_topic: str | None = None
    rectified: bool | None = None
    mask: Path | None = None
    ground_truth: str | None = None


def replay(bag_path: Path, out: Path, settings: ReplaySettings, progress: Progress) -> Report:
    """Play a bag and write all outputs to the folder ``out``, which is created if needed.

    Raises :class:`~neumap.errors.DataError` (or its kin) for a bag, a map or parameters that cannot be used.
    """
    need_extras("a replay", "matplotlib", "rosbags")
    make_folder(out)
    parameters, unknown = ({}, ()) if settings.params is None else read_parameters(settings.params)
    given = settings_from(parameters)
    initializes = given.initializes
    with BagReader(bag_path) as bag:
        names = _names_of_cameras(given, settings)
        played = _choose_topics(bag, settings, names, f"/{NODE}/claim" if initializes else "/initialpose")
        truth = true_poses(bag, settings.ground_truth)
        parameters |= {"map": str(settings.map), "image_transport": played.transport, "camera_names": names}
        if settings.rectified is not None:
            parameters["rectified"] = "always" if settings.rectified else "never"
        if settings.mask is not None:
            parameters["mask"] = str(settings.mask)
        image_topics = {name: topic.name for name, topic in played.images.items()}
        rig = Rig(parameters, played.start_ns, settings.inference_s, settings.rate, image_topics)
        for name in unknown:
            rig.out.log("warning", f"{settings.params} has a parameter {name}, which the localizer does not")
        rig.start()
        events = [_event(rig, call, played.start_ns) for call in settings.calls]
        rig.play(_messages(bag, played, progress), events)
        for note in bag.left_out:
            rig.out.log("warning", note)
        of_truth = [truth.left_out] if truth is not None and truth.left_out else []
        left_out = (*bag.left_out, *rig.transforms.left_out, *of_truth)
        notes = (*left_out, *rig.transforms.disputes)
        log = rig.out.replay_log(played.start_ns, rig.last_ns, played.first_image_ns, notes, left_out)
        log = replace(log, costs_s=tuple(rig.worker.costs_s))
        now = rig.settings
        odometry = odometry_of(bag, played.tf, now.odom_frame_id, now.base_frame_id)
        # keep the transforms of another localizer
        link = None if initializes else (now.global_frame_id, now.odom_frame_id or now.base_frame_id)
        span_ns = played.start_ns, played.end_ns
        late_ns = offsets_ns(now)
        images = {topic: (name, late_ns[name]) for name, topic in played.images.items()}
        write_output_bag(out / OUTPUT_BAG, bag, rig.out, span_ns, played.tf, images, now.global_frame_id, link, NODE)
    if now.on_floor:
        truth, odometry = _on_floor(truth), _on_floor(odometry)
    result = report(log, truth, odometry)
    write_trajectory(out / "poses.txt", log.poses)
    measured = (f"{time_ns * 1e-9:.3f} {1e3 * took_s:.1f}\n" for time_ns, took_s in rig.worker.measured)
    for name, text in (
        ("states.txt", status_lines(log)),
        ("report.txt", as_text(result) + "\n"),
        ("report.json", json.dumps(as_dict(result), indent=1) + "\n"),
        ("log.txt", "".join(line + "\n" for line in rig.out.log_lines)),
        ("times.txt", "# begin of search (s), measured (ms): differs from run to run\n" + "".join(measured)),
    ):
        write_atomically(out / name, text.encode())
    neural_map = rig.session.map.map
    draw_replay(out / "replay.png", log, result, truth, neural_map.landmarks.points(neural_map.grid))
    return result


def _on_floor(path: Trajectory | None) -> Trajectory | None:
    """Reduce a path to x, y and yaw, to compare it with poses on the floor."""
    return None if path is None else replace(path, map_from_camera=np.array([*map(flattened, path.map_from_camera)]))


@dataclass(frozen=True)
class _Played:
    """What of a bag is played, from ``start_ns`` to ``end_ns`` of recording time. ``roles`` maps each topic to the
    method of :class:`~neumap.io.live.LiveInputs` that takes it and to its cameras (None: of no camera), ``tf`` the
    topics of transforms to whether they are static, and ``images`` each camera to its topic of images.
    """

    roles: dict[Topic, tuple[str, tuple[str | None, ...]]]
    tf: dict[Topic, bool]
    images: dict[str, Topic]
    transport: str
    start_ns: int
    end_ns: int
    first_image_ns: int


def _names_of_cameras(given: Settings, settings: ReplaySettings) -> list[str]:
    """Return the names of the cameras: those of the parameters; else, of several cameras, their topics if they are
    valid names, else numbers.

    Raises :class:`~neumap.errors.ConfigError` for other numbers of topics than cameras, or an image topic given twice.
    """
    names, topics = list(given.camera_names), settings.image_topics
    if len(set(topics)) < len(topics):
        raise ConfigError(f"--image-topic names a topic twice: {', '.join(topics)}")
    if len(names) == 1 and len(topics) > 1:
        names = [base_topic(topic).strip("/") for topic in topics]
        numbers = [f"camera_{i + 1}" for i in range(len(names))]
        is_name = [not SPECS["camera_names"].doubt([name]) and names.count(name) == 1 for name in names]
        names = [name if fits else number for name, fits, number in zip(names, is_name, numbers, strict=True)]
    for option, many in (("--image-topic", topics), ("--camera-info-topic", settings.camera_info_topics)):
        if len(many) not in (0, len(names)):
            raise ConfigError(f"{option} is given {len(many)} times for {len(names)} cameras: once for each, in order")
    return names


def _choose_cameras(
    bag: BagReader, settings: ReplaySettings, names: Sequence[str]
) -> tuple[dict[str, Topic], dict[str, Topic]]:
    """Choose the topics of images and calibrations of each camera: those given, else those with its name in theirs."""
    looks, images, infos = look_at_images(bag), dict[str, Topic](), dict[str, Topic]()
    for i, name in enumerate(names):
        given = settings.image_topics[i] if settings.image_topics else None
        info = settings.camera_info_topics[i] if settings.camera_info_topics else None
        mine = {topic: look for topic, look in looks.items() if f"/{name}/" in topic.name or not name}
        if given is None and not mine:
            have = ", ".join(topic.name for topic in looks) or "none"
            raise ConfigError(
                f"no topic of images has /{name}/ in its name, as camera_names has it: name those of all cameras with "
                f"--image-topic; there are {have}"
            )
        images[name] = choose_image(bag, mine, given)
        infos[name] = choose_camera_info(bag, images[name], looks[images[name]].frame, info)
    return images, infos


def _choose_topics(bag: BagReader, settings: ReplaySettings, names: Sequence[str], claims: str) -> _Played:
    """Choose the topics to play; ``claims`` is the name of the topic of pose claims, with or without a namespace."""
    images, infos = _choose_cameras(bag, settings, names)
    image = images[names[0]]
    first = next(bag.messages(bag.topics)).time_ns
    start_ns = first + round(settings.start_s * 1e9)
    end_ns = 2**63 - 1 if settings.duration_s is None else start_ns + round(settings.duration_s * 1e9)
    shown = (message for message in bag.messages([*images.values()], start_ns) if message.time_ns <= end_ns)
    first_image = next(filter(None, map(bag.try_to_decode, shown)), None)
    if first_image is None:
        topics = " or ".join(topic.name for topic in images.values())
        raise DataError(f"no image on {topics} is within the part of {bag.path} that is to be played")
    tf = choose_transforms(bag, image, settings.tf_topic)
    roles: dict[Topic, tuple[str, tuple[str | None, ...]]]
    roles = {topic: ("tf_static" if is_static else "tf", (None,)) for topic, is_static in tf.items()}
    # in the namespace of the transforms, else without namespace
    spaces = {topic.name.rpartition("/")[0] for topic in tf}
    claimed = [topic for topic in bag.topics if topic.name.endswith(claims)]
    beside = [topic for topic in claimed if topic.name.removesuffix(claims) in spaces]
    heard = beside or [topic for topic in claimed if topic.name == claims]
    roles |= dict.fromkeys(heard, ("initial_pose", (None,)))
    roles |= {topic: ("image", (name,)) for name, topic in images.items()}
    # cameras may share a topic
    roles |= {topic: ("camera_info", tuple(n for n in infos if infos[n] == topic)) for topic in infos.values()}
    return _Played(
        roles=roles,
        tf=tf,
        images=images,
        transport="compressed" if image.type == COMPRESSED_IMAGE else "raw",
        start_ns=start_ns,
        end_ns=end_ns,
        first_image_ns=stamp_of(first_image.header),
    )


def _messages(bag: BagReader, played: _Played, progress: Progress) -> Iterator[Timed]:
    """Yield the messages to play. Static transforms from before the start, and the last calibration of each camera from
    then, come at the start.
    """
    total = sum(topic.count for topic in played.roles)
    calibrations = dict[str | None, Any]()
    for done, message in enumerate(bag.messages(played.roles), start=1):
        progress("replay", done, total)
        role, cameras = played.roles[message.topic]
        early = message.time_ns < played.start_ns
        if message.time_ns > played.end_ns or (early and role not in ("tf_static", "camera_info")):
            continue
        if (decoded := bag.try_to_decode(message)) is None:
            continue
        if early and role == "camera_info":
            calibrations |= dict.fromkeys(cameras, decoded)
            continue
        while calibrations and not early:
            name, calibration = calibrations.popitem()
            yield Timed(played.start_ns, "camera_info", calibration, name)
        for camera in cameras:
            yield Timed(max(message.time_ns, played.start_ns), role, decoded, camera)


def _event(rig: Rig, call: Call, start_ns: int) -> Event:
    """Return the event of a service call of the command line; the answer goes to the log."""

    def answered(answer: RelocalizeAnswer | LoadAnswer) -> None:
        found = [f"success {answer.success}", answer.reason, f"map_id {answer.map_id}"]
        if isinstance(answer, RelocalizeAnswer):
            found[1:1] = [f"inliers {answer.inliers}", f"latency {answer.latency_s}"]
        rig.out.log_lines.append(f"ANSWER {call.name}: {', '.join(filter(None, found))}")

    def ask() -> None:
        if call.name == "reinitialize":
            rig.session.start_over("global localization was asked for")
            rig.out.log_lines.append("ANSWER reinitialize: done")
        elif call.name == "load_map":
            rig.session.load_map(call.argument, answered)
        else:
            rig.session.relocalize(RelocalizeRequest(), answered)

    return Event(start_ns + round(call.at_s * 1e9), ask)
