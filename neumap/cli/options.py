"""Values of options, whether they come from the command line or from a file."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from neumap.errors import ConfigError

Parser = Callable[[Any], Any]
# the size of a file without a limit
BEST: Final = "best"

_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmg]?)b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}
# what numpy's generator takes
_MAX_SEED = 2**32 - 1


def size(value: Any) -> int | Literal["best"]:
    """Bytes of ``100KB``, ``1.2MB`` or ``80000``, a KB being 1000 bytes; or the word ``best``."""
    if value == BEST:
        return BEST
    found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{value}' is not a size such as 100KB, 1.2MB or 80000, nor {BEST}")
    return round(float(found[1]) * _UNITS[found[2].lower()])


def seed(value: Any) -> int:
    """A seed of random numbers."""
    return _integer(value, 0, _MAX_SEED, "seed")


def threads(value: Any) -> int:
    """A number of threads."""
    return _integer(value, 1, 1024, "number of threads")


def count(value: Any) -> int:
    """How many of something, one at least."""
    return _integer(value, 1, 100_000_000, "number")


def _integer(value: Any, low: int, high: int, what: str) -> int:
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"'{value}' is not a {what} from {low} to {high}")
    return int(text)


def frame_id(value: Any) -> str:
    """The name of a tf2 frame, which has no leading slash."""
    if not isinstance(value, str) or not re.fullmatch(r"[^\s/][^\s]*", value):
        raise argparse.ArgumentTypeError(f"'{value}' is not a frame name such as map (no spaces, no leading slash)")
    return value


def topic(value: Any) -> str:
    """The full name of a topic; the leading slash may be left out."""
    if not isinstance(value, str) or not re.fullmatch(r"/?[^\s/]+(/[^\s/]+)*", value):
        raise argparse.ArgumentTypeError(f"'{value}' is not the name of a topic such as /camera/image_raw")
    return value if value.startswith("/") else f"/{value}"


def metres(value: Any) -> float:
    """A distance above 0 m."""
    return _number(value, "a distance in metres above 0 and up to 1000", lambda number: 0 < number <= 1000)


def degrees(value: Any) -> float:
    """An angle above 0 and up to 180 degrees."""
    return _number(value, "an angle in degrees above 0 and up to 180", lambda number: 0 < number <= 180)


def seconds(value: Any) -> float:
    """A time of 0 s or more."""
    return _number(value, "a number of seconds, 0 or more", lambda number: 0 <= number < math.inf)


def _number(value: Any, what: str, is_good: Callable[[float], bool]) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not is_good(number):
        raise argparse.ArgumentTypeError(f"'{value}' is not {what}")
    return number


def switch(value: Any) -> bool:
    """True or false in a file."""
    if not isinstance(value, bool):
        raise argparse.ArgumentTypeError(f"'{value}' is neither true nor false")
    return value


def one_of(*choices: str) -> Parser:
    """A parser that takes these words only."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise argparse.ArgumentTypeError(f"'{value}' is none of {', '.join(choices)}")
        return str(value)

    return parse


def read_config(path: Path, known: Mapping[str, Parser]) -> dict[str, Any]:
    """The options of a YAML file, each through its parser.

    Raises :class:`~neumap.errors.ConfigError` naming the option that is unknown or wrong,
    :class:`~neumap.errors.DataError` where the file cannot be read.
    """
    import yaml

    from neumap.io.files import read_text

    try:
        content = yaml.safe_load(read_text(path, "the configuration"))
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{path} is not YAML: write lines of 'option: value'") from None
    return parse_options(str(path), {} if content is None else content, known)


def parse_options(where: str, content: Any, known: Mapping[str, Parser]) -> dict[str, Any]:
    """A mapping of options, each through its parser; errors as of :func:`read_config` begin with ``where``."""
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


# what names the topics and frames of a bag, as BagOptions calls it: parser, example, help
BAG_OPTIONS: dict[str, tuple[Parser, str, str]] = {
    "image_topic": (topic, "/TOPIC", "the images of a bag"),
    "camera_info_topic": (topic, "/TOPIC", "their calibration (default: beside them)"),
    "depth_topic": (topic, "/TOPIC", "their depth, registered to them"),
    "pose_topic": (topic, "/TOPIC", "poses or odometry (default: /tf, else what is in the map's frame)"),
    "map_frame": (frame_id, "map", "the frame of the bag that the map is made in (default: map)"),
    "base_frame": (frame_id, "base_link", "whose poses the pose topic tells (default: as its messages say)"),
    "camera_frame": (frame_id, "FRAME", "the camera's optical frame (default: that of the images)"),
}


def add_bag_arguments(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Adds the options of BAG_OPTIONS with these names."""
    group = parser.add_argument_group("rosbag2", "Topics and frames are found by themselves where they are clear.")
    for name in names:
        parse, example, text = BAG_OPTIONS[name]
        group.add_argument(f"--{name.replace('_', '-')}", type=parse, metavar=example, help=text)
