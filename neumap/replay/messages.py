"""ROS 2 messages as objects of a rosbags typestore, and those that a localizer sends, to write them to a bag."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.se3 import quat_from_matrix
from neumap.interfaces import definition
from neumap.replay.recorder import SentTransform
from neumap.tracking.diagnosis import Diagnosis
from neumap.tracking.ports import LocalizerStatus
from neumap.tracking.tracker import Fix

POSE = "geometry_msgs/msg/PoseWithCovarianceStamped"
STATUS = "neumap_ros/msg/LocalizationStatus"
TF = "tf2_msgs/msg/TFMessage"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"


@cache
def typestore() -> Any:
    """Return the message types of ROS 2 Jazzy and of this package."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(definition(STATUS), STATUS))
    return store


def message(type_name: str, **fields: Any) -> Any:
    """Make a message. Messages in it may be given by their fields; what is left out is zero or empty."""
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
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": frame_id}


def place(pose: FloatArray) -> tuple[dict[str, float], dict[str, float]]:
    """Return the fields of position and orientation, or translation and rotation, of a pose (4, 4)."""
    position, turn = map(float, pose[:3, 3]), map(float, quat_from_matrix(pose[:3, :3]))
    return dict(zip("xyz", position, strict=True)), dict(zip("xyzw", turn, strict=True))


def pose_message(fix: Fix, frame_id: str) -> Any:
    """Make the PoseWithCovarianceStamped of a fix."""
    position, orientation = place(fix.map_from_base)
    pose = {"pose": {"position": position, "orientation": orientation}, "covariance": fix.covariance.reshape(-1)}
    return message(POSE, header=header(fix.stamp_ns, frame_id), pose=pose)


def transform_message(sent: SentTransform, frame_id: str) -> Any:
    """Make the TFMessage of a transform."""
    translation, rotation = place(sent.map_from_child)
    transform = {"translation": translation, "rotation": rotation}
    stamped = header(sent.stamp_ns, frame_id)
    return message(TF, transforms=[{"header": stamped, "child_frame_id": sent.child_frame, "transform": transform}])


def status_message(status: LocalizerStatus, frame_id: str) -> Any:
    """Make the LocalizationStatus of a status."""
    same = ("reason", "inliers", "reprojection_error_px", "map_id", "images_processed", "images_dropped")
    return message(
        STATUS,
        header=header(status.stamp_ns, frame_id),
        state=status.state.value,
        age=status.age_s,
        latency=status.latency_s,
        **{name: getattr(status, name) for name in same},
    )


def diagnostics_message(diagnosis: Diagnosis, stamp_ns: int, node: str) -> Any:
    """Make the DiagnosticArray of a diagnosis."""
    values = [{"key": key, "value": value} for key, value in diagnosis.values]
    status = {"level": diagnosis.level, "name": f"{node}: localization", "message": diagnosis.message}
    status |= {"hardware_id": "none", "values": values}
    return message(DIAGNOSTICS, header=header(stamp_ns, ""), status=[status])
