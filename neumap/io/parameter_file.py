"""Reads the parameters of one node from a ROS 2 parameter file, for ``neumap replay --params``.

The rules are those of rcl_yaml_param_parser: ``ros__parameters`` is nested under the name of a node or a wildcard that
matches it; nested names are joined by dots; later entries override earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from neumap.errors import ConfigError
from neumap.io.files import read_text
from neumap.tracking.settings import SPECS

NODE = "neumap_localizer"
# OF_ALL_NODES: parameters that rclpy declares for every node.
OF_ALL_NODES = frozenset({"use_sim_time"})


def read_parameters(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read the parameters of the node ``/neumap_localizer``, and the names of those that it does not declare.

    Raises :class:`~neumap.errors.ConfigError` for a missing file, a file that is no parameter file, and a value of the
    wrong type or out of range.
    """
    if not path.is_file():
        raise ConfigError(f"the parameter file {path} does not exist")
    try:
        content = yaml.safe_load(read_text(path, "the parameter file"))
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"the parameter file {path} is not YAML") from None
    if not isinstance(content, Mapping):
        raise ConfigError(f"the parameter file {path} does not begin with the name of a node, such as '/**:'")
    found: dict[str, Any] = {}
    for given in _for_node(content, ""):
        if not isinstance(given, Mapping):
            raise ConfigError(f"{path}: ros__parameters is no list of 'name: value'")
        found |= dict(_flat(given, ""))
    unknown = tuple(name for name in found if name not in SPECS and name not in OF_ALL_NODES)
    known = {name: value for name, value in found.items() if name in SPECS}
    for name, value in known.items():
        if doubt := SPECS[name].doubt(value):
            raise ConfigError(f"{path}: {doubt}")
    return known, unknown


def _for_node(content: Mapping[Any, Any], namespace: str) -> Iterator[Any]:
    """Yield the value of each ``ros__parameters`` that applies to the node."""
    for key, value in content.items():
        if not isinstance(value, Mapping):
            continue
        name = f"{namespace}/{str(key).strip('/')}"
        if "ros__parameters" in value and _matches(name):
            yield value["ros__parameters"]
        yield from _for_node({k: v for k, v in value.items() if k != "ros__parameters"}, name)


def _matches(pattern: str) -> bool:
    """Return whether a name, in which ``**`` is any number of names and ``*`` is one, matches the node."""
    parts = (
        r"(/[^/]+)*" if part == "**" else r"/[^/]+" if part == "*" else f"/{re.escape(part)}"
        for part in pattern.strip("/").split("/")
    )
    return bool(re.fullmatch("".join(parts), f"/{NODE}"))


def _flat(given: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
