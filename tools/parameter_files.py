"""Write what follows from the parameters in neumap/tracking/settings.py: config/localize.yaml and docs/parameters.md.

    python tools/parameter_files.py

To add a parameter, declare it there and run this. A test holds the files to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from neumap.tracking.settings import SPECS, Spec, Value

ROOT = Path(__file__).resolve().parents[1]
CONFIG, TABLE = ROOT / "config" / "localize.yaml", ROOT / "docs" / "parameters.md"

CONFIG_HEAD = """\
# Every parameter of neumap_localizer with its default. docs/ros.md says more.
# Numbers with a decimal point must keep it: ROS 2 refuses 5 where 5.0 is meant.
# "fixed": read when the node is configured, refused while it is inactive or active. All others can always be changed.
# Written by tools/parameter_files.py.
/**:
  ros__parameters:
    use_sim_time: false  # take the time from /clock
"""
TABLE_HEAD = """\
# Parameters

Of the node, of `neumap replay --params` and of `config/localize.yaml`. Ranges are enforced;
`ros2 param describe /neumap_localizer NAME` shows them. Those marked * are read when the node is configured, and
refused while it is inactive or active; all others can be changed at any time. `use_sim_time` is as in every node.
Written by `tools/parameter_files.py` from `neumap/tracking/settings.py`.
"""


def shown(value: Value) -> str:
    """Write a value as YAML: text in quotes, numbers with a decimal point keep it."""
    return repr(value) if isinstance(value, float) else json.dumps(value)


def limits(spec: Spec) -> str:
    """Tell unit, range and choices."""
    numbers = f"{spec.low:.7g} to {spec.high:.7g}" if spec.low is not None and spec.high is not None else ""
    unit = f"{spec.unit}, {numbers}" if spec.unit and numbers else spec.unit or numbers
    return " or ".join(spec.choices) or unit


def config() -> str:
    """Make the text of config/localize.yaml."""
    return CONFIG_HEAD + "".join(f"{line}\n" for line in _config_lines())


def _config_lines() -> Iterator[str]:
    inside = ""
    for spec in SPECS.values():
        if spec.group:
            yield f"\n    # {spec.group}"
        prefix, _, name = spec.name.rpartition(".")
        if prefix and prefix != inside:
            yield f"    {prefix}:"
        inside = prefix
        about = "; ".join(filter(None, [spec.description, limits(spec)])) + (" (fixed)" if spec.fixed else "")
        yield f"    {'  ' if prefix else ''}{name}: {shown(spec.default)}  # {about}"


def table() -> str:
    """Make the text of docs/parameters.md."""
    lines = []
    for spec in SPECS.values():
        if spec.group:
            lines += ["", f"## {spec.group}", "", "| name | default | unit, range | |", "|---|---|---|---|"]
        star = "*" if spec.fixed else ""
        lines.append(f"| `{spec.name}`{star} | {shown(spec.default)} | {limits(spec)} | {spec.description} |")
    return TABLE_HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    for path, text in ((CONFIG, config()), (TABLE, table())):
        path.write_text(text, encoding="utf-8")
        print(f"written {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
