"""Values of options, whether they come from the command line or from a file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neumap_ros.errors import ConfigError

Parser = Callable[[Any], Any]

_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmg]?)b?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}
# what numpy's generator takes
_MAX_SEED = 2**32 - 1


def size(value: Any) -> int:
    """Bytes of ``100KB``, ``1.2MB`` or ``80000``; a KB is 1000 bytes."""
    found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{value}' is not a size such as 100KB, 1.2MB or 80000")
    return round(float(found[1]) * _UNITS[found[2].lower()])


def seed(value: Any) -> int:
    """A seed of random numbers."""
    return _integer(value, 0, _MAX_SEED, "seed")


def threads(value: Any) -> int:
    """A number of threads."""
    return _integer(value, 1, 1024, "number of threads")


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

    Raises :class:`~neumap_ros.errors.ConfigError` naming the option that is unknown or wrong,
    :class:`~neumap_ros.errors.DataError` where the file cannot be read.
    """
    import yaml

    from neumap_ros.io.files import read_text

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


def use_threads(count: int | None) -> None:
    """Limits the threads of torch and OpenCV; None leaves them as they are."""
    if count is not None:
        import cv2
        import torch

        torch.set_num_threads(count)
        cv2.setNumThreads(count)
