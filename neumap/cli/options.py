"""Parse option values from the command line or a configuration file."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neumap.errors import ConfigError

if TYPE_CHECKING:
    from neumap.arrays import FloatArray
    from neumap.io.camera_info import Told

Parser = Callable[[Any], Any]
# BEST: the value of --size that sets no limit.
BEST = "best"

_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmg]?)b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}


def checked(what: str, read: Callable[[Any], Any]) -> Parser:
    """Make a parser that calls ``read`` and rejects the value as "not ``what``" if that fails or returns None."""

    def parse(value: Any) -> Any:
        try:
            parsed = None if isinstance(value, bool) else read(value)
        except (TypeError, ValueError):
            parsed = None
        if parsed is None:
            raise argparse.ArgumentTypeError(f"'{value}' is not {what}")
        return parsed

    return parse


def whole(what: str, low: int, high: int) -> Parser:
    """Make a parser of integers from ``low`` to ``high``."""

    def read(value: Any) -> int | None:
        text = str(value).strip()
        return int(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) and low <= int(text) <= high else None

    return checked(f"a {what} from {low} to {high}", read)


def number(what: str, is_good: Callable[[float], bool]) -> Parser:
    """Make a parser of the numbers that ``is_good`` accepts."""
    return checked(what, lambda value: float(value) if is_good(float(value)) else None)


def _bytes(value: Any) -> int | str | None:
    """Parse ``100KB`` (1 KB = 1000 bytes), ``1.2MB`` or ``80000`` as bytes, or the word ``best``."""
    if value == BEST:
        return BEST
    found = _SIZE.fullmatch(str(value).strip())
    return found and round(float(found[1]) * _UNITS[found[2].lower()])


size = checked(f"a size such as 100KB, 1.2MB or 80000, nor {BEST}", _bytes)
seed = whole("seed", 0, 2**32 - 1)  # the range of numpy's generators
threads = whole("number of threads", 1, 1024)
count = whole("number", 1, 100_000_000)
metres = number("a distance in metres above 0 and up to 1000", lambda value: 0 < value <= 1000)
degrees = number("an angle in degrees above 0 and up to 180", lambda value: 0 < value <= 180)
seconds = number("a number of seconds, 0 or more", lambda value: 0 <= value < math.inf)
positive = number("a number above 0", lambda value: 0 < value < math.inf)
frame_id = checked(
    "a frame name such as map (without spaces)",  # a leading slash, as in ROS 1, is removed: tf2 has none
    lambda value: value.removeprefix("/") if re.fullmatch(r"/?[^\s/][^\s]*", value) else None,
)
topic = checked(
    "the name of a topic such as /camera/image_raw",  # the leading slash is optional
    lambda value: f"/{value.removeprefix('/')}" if re.fullmatch(r"/?[^\s/]+(/[^\s/]+)*", value) else None,
)
file = checked("the path of a file", Path)


def rigid(numbers: Iterable[str]) -> FloatArray:
    """Parse x y z yaw or x y z qx qy qz qw (metres, radians; spaces or commas between) as a transform (4, 4).

    Raises :class:`~neumap.errors.ConfigError` if the numbers are not a transform.
    """
    from neumap.geometry.se3 import poses_of, yaw_pose
    from neumap.io.trajectories import check_row

    text = " ".join(numbers).replace(",", " ")
    try:
        row = [float(number) for number in text.split()]
        if len(row) not in (4, 7):
            raise ValueError(f"{len(row)} numbers, expected x y z yaw or x y z qx qy qz qw")
        check_row(row if len(row) == 7 else [*row[:3], 0.0, 0.0, 0.0, 1.0])
        if len(row) == 4 and not abs(row[3]) <= 2 * math.pi:
            raise ValueError(f"a yaw of {row[3]:g} is more than a turn: give it in radians")
    except ValueError as error:
        raise ConfigError(f"'{text}' is no transform: {error}") from None
    return poses_of([row])[0] if len(row) == 7 else yaw_pose(*row)


def parser_of(action: argparse.Action) -> Parser:
    """Return the parser of an option's value in a configuration file, where switches are true or false."""

    def parse(value: Any) -> Any:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentTypeError(f"'{value}' is none of {', '.join(action.choices)}")
        if action.nargs == 0 and not isinstance(value, bool):
            raise argparse.ArgumentTypeError(f"'{value}' is neither true nor false")
        if callable(action.type) and isinstance(value, list) and action.dest in PER_CAMERA:
            return [action.type(each) for each in value]
        return action.type(value) if callable(action.type) else value

    return parse


def read_config(path: Path, known: Mapping[str, Parser]) -> dict[str, Any]:
    """Parse the options of a YAML file.

    Raises :class:`~neumap.errors.ConfigError` naming an unknown option or an invalid value.
    """
    import yaml

    from neumap.io.files import read_text

    try:
        content = yaml.safe_load(read_text(path, "the configuration"))
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{path} is not YAML: write lines of 'option: value'") from None
    return parse_options(str(path), {} if content is None else content, known)


def parse_options(where: str, content: Any, known: Mapping[str, Parser]) -> dict[str, Any]:
    """Parse a mapping of options. Raises as :func:`read_config`; messages begin with ``where``."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: expected lines of 'option: value', where the options are {', '.join(known)}")
    made = {}
    for name, value in content.items():
        if name not in known:
            raise ConfigError(f"{where}: unknown option '{name}'; the options are {', '.join(known)}")
        try:
            made[str(name)] = known[name](value)
        except argparse.ArgumentTypeError as error:
            raise ConfigError(f"{where}: {name}: {error}") from None
    return made


# BAG_OPTIONS: options for the topics and frames of a bag, by the names of BagOptions: parser, example, help.
BAG_OPTIONS: dict[str, tuple[Parser, str, str]] = {
    "image_topic": (topic, "/TOPIC", "image topic of a bag; repeat it for several cameras"),
    "camera_info_topic": (topic, "/TOPIC", "CameraInfo of the images (default: camera_info beside them)"),
    "depth_topic": (topic, "/TOPIC", "depth registered to the images"),
    "pose_topic": (topic, "/TOPIC", "poses or odometry (default: /tf, else poses in the map's frame, else odometry)"),
    "tf_topic": (topic, "/TOPIC", "transforms (default: tf and tf_static in the namespace of the images)"),
    "map_frame": (frame_id, "map", "frame of the poses in the bag (default: map)"),
    "base_frame": (frame_id, "base_link", "frame whose poses --pose-topic holds (default: as in its messages)"),
    "camera_frame": (frame_id, "FRAME", "optical frame of the camera (default: frame_id of the images)"),
    "max_gap_s": (seconds, "0.5", "longest gap to interpolate over, s (default: 2.5 usual periods, at least 0.15)"),
}
# PER_CAMERA: options given once per camera, in the order of the image topics.
PER_CAMERA = ("image_topic", "camera_info_topic", "depth_topic", "camera_frame")
# IMAGE_OPTIONS: options that select the images to localize.
IMAGE_OPTIONS = ("image_topic", "camera_info_topic")


# LENS_OPTIONS: options that describe images, by the names of neumap.io.camera_info.Told.
LENS_OPTIONS = ("rectified", "mask")


def add_lens_arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Add LENS_OPTIONS."""
    return [
        parser.add_argument(
            "--rectified",
            action=argparse.BooleanOptionalAction,
            help="whether the images are rectified, so that P of camera_info applies (default: by the topic's name, "
            "else by the images)",
        ),
        parser.add_argument(
            "--mask",
            type=file,
            metavar="FILE",
            help="an image that is white where the place is visible and black where the robot is",
        ),
    ]


def told_of(args: argparse.Namespace) -> Told:
    """Return the values of LENS_OPTIONS. Raises :class:`~neumap.errors.DataError` for an unusable mask."""
    from neumap.io.camera_info import Told
    from neumap.io.images import read_mask

    return Told(args.rectified, None if args.mask is None else read_mask(args.mask))


def add_bag_arguments(
    parser: argparse.ArgumentParser, names: Iterable[str], several: Iterable[str] = ()
) -> list[argparse.Action]:
    """Add the BAG_OPTIONS in ``names``; those in ``several`` may be repeated."""
    group = parser.add_argument_group("rosbag2", "Topics and frames are detected if there is only one candidate.")
    return [
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=parse,
            action="append" if name in several else "store",
            metavar=example,
            help=text,
        )
        for name, (parse, example, text) in BAG_OPTIONS.items()
        if name in names
    ]
