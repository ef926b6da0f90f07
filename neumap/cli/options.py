"""Values of options, whether they come from the command line or from a file."""

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
# BEST: the size of a file without a limit.
BEST = "best"

_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmg]?)b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}


def checked(what: str, read: Callable[[Any], Any]) -> Parser:
    """Make a parser of what ``read`` returns; where that is None, or it fails, the value is said not to be ``what``."""

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
    """Make a parser of whole numbers from ``low`` to ``high``."""

    def read(value: Any) -> int | None:
        text = str(value).strip()
        return int(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) and low <= int(text) <= high else None

    return checked(f"a {what} from {low} to {high}", read)


def number(what: str, is_good: Callable[[float], bool]) -> Parser:
    """Make a parser of the numbers that ``is_good`` takes."""
    return checked(what, lambda value: float(value) if is_good(float(value)) else None)


def _bytes(value: Any) -> int | str | None:
    """Read ``100KB``, ``1.2MB`` or ``80000`` as bytes, a KB being 1000; or the word ``best``."""
    if value == BEST:
        return BEST
    found = _SIZE.fullmatch(str(value).strip())
    return found and round(float(found[1]) * _UNITS[found[2].lower()])


size = checked(f"a size such as 100KB, 1.2MB or 80000, nor {BEST}", _bytes)
seed = whole("seed", 0, 2**32 - 1)  # what numpy's generator takes
threads = whole("number of threads", 1, 1024)
count = whole("number", 1, 100_000_000)
metres = number("a distance in metres above 0 and up to 1000", lambda value: 0 < value <= 1000)
degrees = number("an angle in degrees above 0 and up to 180", lambda value: 0 < value <= 180)
seconds = number("a number of seconds, 0 or more", lambda value: 0 <= value < math.inf)
positive = number("a number above 0", lambda value: 0 < value < math.inf)
frame_id = checked(
    "a frame name such as map (without spaces)",  # tf2 knows no leading slash, as people of ROS 1 write it
    lambda value: value.removeprefix("/") if re.fullmatch(r"/?[^\s/][^\s]*", value) else None,
)
topic = checked(
    "the name of a topic such as /camera/image_raw",  # the leading slash may be left out
    lambda value: f"/{value.removeprefix('/')}" if re.fullmatch(r"/?[^\s/]+(/[^\s/]+)*", value) else None,
)
file = checked("the path of a file", Path)


def rigid(numbers: Iterable[str]) -> FloatArray:
    """Return the transform (4, 4) of x y z yaw or x y z qx qy qz qw, metres and radians, between spaces or commas.

    Raises :class:`~neumap.errors.ConfigError` where they are none.
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
    """Return the parser of an option's value in a file, where a switch is true or false."""

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
    """Read the options of a YAML file, each through its parser; a ``ConfigError`` names what is unknown or wrong."""
    import yaml

    from neumap.io.files import read_text

    try:
        content = yaml.safe_load(read_text(path, "the configuration"))
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{path} is not YAML: write lines of 'option: value'") from None
    return parse_options(str(path), {} if content is None else content, known)


def parse_options(where: str, content: Any, known: Mapping[str, Parser]) -> dict[str, Any]:
    """Parse a mapping of options; errors as of :func:`read_config` begin with ``where``."""
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


# BAG_OPTIONS: what names the topics and frames of a bag, as BagOptions calls it: parser, example, help.
BAG_OPTIONS: dict[str, tuple[Parser, str, str]] = {
    "image_topic": (topic, "/TOPIC", "the images of a bag; of several cameras, each with this option"),
    "camera_info_topic": (topic, "/TOPIC", "their calibration (default: beside them)"),
    "depth_topic": (topic, "/TOPIC", "their depth, registered to them"),
    "pose_topic": (topic, "/TOPIC", "poses or odometry (default: /tf, else what is in the map's frame)"),
    "tf_topic": (topic, "/TOPIC", "transforms (default: tf, and tf_static, in the namespace of the images)"),
    "map_frame": (frame_id, "map", "the frame of the bag that the map is made in (default: map)"),
    "base_frame": (frame_id, "base_link", "whose poses the pose topic tells (default: as its messages say)"),
    "camera_frame": (frame_id, "FRAME", "the camera's optical frame (default: that of the images)"),
    "max_gap_s": (seconds, "0.5", "the longest gap to interpolate over, s (default: 2.5 usual periods, or 0.15)"),
}
# PER_CAMERA: those that are given once for each camera, in the order of the image topics.
PER_CAMERA = ("image_topic", "camera_info_topic", "depth_topic", "camera_frame")
# IMAGE_OPTIONS: those that say what to localize.
IMAGE_OPTIONS = ("image_topic", "camera_info_topic")


# LENS_OPTIONS: what the user can say of images, as neumap.io.camera_info.Told calls it.
LENS_OPTIONS = ("rectified", "mask")


def add_lens_arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Add the options of LENS_OPTIONS."""
    return [
        parser.add_argument(
            "--rectified",
            action=argparse.BooleanOptionalAction,
            help="the images are rectified, with P of camera_info, or are not (default: as the name of their topic "
            "says, else as they show)",
        ),
        parser.add_argument(
            "--mask",
            type=file,
            metavar="FILE",
            help="an image, white where images show the place, black where they show the robot itself",
        ),
    ]


def told_of(args: argparse.Namespace) -> Told:
    """Return what LENS_OPTIONS tell. Raises :class:`~neumap.errors.DataError` for a mask that is none."""
    from neumap.io.camera_info import Told
    from neumap.io.images import read_mask

    return Told(args.rectified, None if args.mask is None else read_mask(args.mask))


def add_bag_arguments(
    parser: argparse.ArgumentParser, names: Iterable[str], several: Iterable[str] = ()
) -> list[argparse.Action]:
    """Add the options of BAG_OPTIONS with these names, of which ``several`` may be given several times."""
    group = parser.add_argument_group("rosbag2", "Topics and frames are found by themselves where they are clear.")
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
