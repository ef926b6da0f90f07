"""Gives access to the rosbags library and its typestore, and makes messages from their fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.errors import MissingDependencyError
from neumap.geometry.se3 import quat_from_matrix
from neumap.interfaces import definition
from neumap.io.stamps import NS_PER_SECOND

STATUS = "neumap_ros/msg/LocalizationStatus"


def rosbags(module: str) -> Any:
    """Import a module of rosbags. Raises :class:`~neumap.errors.MissingDependencyError` if it is not installed."""
    try:
        return import_module(f"rosbags.{module}")
    except ImportError:
        raise MissingDependencyError("a rosbag needs the package rosbags: pip install 'neumap[bags]'") from None


@cache
def typestore() -> Any:
    """Return the message types of ROS 2 Jazzy and of this package. Raises as :func:`rosbags` does.

    The types that this package reads are the same from Humble to Lyrical; further types can be registered.
    """
    typesys = rosbags("typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    store.register(typesys.get_types_from_msg(definition(STATUS), STATUS))
    return store


def message(type_name: str, **fields: Any) -> Any:
    """Make a message. Nested messages may be given as their fields; omitted fields are zero or empty."""
    about = typestore().fielddefs[type_name][1]
    return typestore().types[type_name](**{name: _value(kind[0], kind[1], fields.get(name)) for name, kind in about})


def _value(kind: Any, about: Any, given: Any) -> Any:
    from rosbags.interfaces import Nodetype

    if kind == Nodetype.NAME:
        return given if given is not None and not isinstance(given, Mapping) else message(about, **(given or {}))
    if kind == Nodetype.BASE:
        default: Any = "" if about[0] == "string" else 0
        return default if given is None else given
    (inner, inner_about), count = about
    if inner == Nodetype.NAME or inner_about[0] == "string":
        return [_value(inner, inner_about, each) for each in given or ()]
    return np.asarray(np.zeros(count) if given is None else given, dtype=inner_about[0])


def header(stamp_ns: int, frame_id: str) -> dict[str, Any]:
    """Return the fields of a std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, NS_PER_SECOND)
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": frame_id}


def pose(map_from_child: FloatArray) -> dict[str, Any]:
    """Return the fields of a geometry_msgs/Pose of a matrix (4, 4)."""
    position, orientation = _place(map_from_child)
    return {"position": position, "orientation": orientation}


def transform(stamp_ns: int, parent: str, child: str, parent_from_child: FloatArray) -> dict[str, Any]:
    """Return the fields of a geometry_msgs/TransformStamped of a matrix (4, 4)."""
    translation, rotation = _place(parent_from_child)
    fields = {"translation": translation, "rotation": rotation}
    return {"header": header(stamp_ns, parent), "child_frame_id": child, "transform": fields}


def _place(matrix: FloatArray) -> tuple[dict[str, float], dict[str, float]]:
    position, turn = map(float, matrix[:3, 3]), map(float, quat_from_matrix(matrix[:3, :3]))
    return dict(zip("xyz", position, strict=True)), dict(zip("xyzw", turn, strict=True))
