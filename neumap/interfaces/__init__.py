"""The definitions of neumap_ros' messages and services: replay writes these messages, and knows no ROS."""

from __future__ import annotations

from pathlib import Path

from neumap.errors import DataError

# ROS 2 wants msg/ and srv/ at the top of the repository; a wheel and colcon's installation have them beside this file
_HERE = Path(__file__).parent
_PLACES = (_HERE, _HERE.parents[1])


def definition(name: str) -> str:
    """Returns the text of the .msg or .srv file of, say, ``neumap_ros/msg/LocalizationStatus``.

    Raises :class:`~neumap.errors.DataError` where there is none.
    """
    _, kind, short = name.split("/")
    for place in _PLACES:
        path = place / kind / f"{short}.{kind}"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise DataError(f"the definition of {name} is missing: install neumap again")
