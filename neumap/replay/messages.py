"""What a localizer says as ROS 2 messages, to write it to a bag: objects of a rosbags typestore."""

from __future__ import annotations

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
    """Make a message of all its fields."""
    return typestore().types[type_name](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Make a std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def _position_and_turn(pose: FloatArray, position_type: str) -> tuple[Any, Any]:
    x, y, z = map(float, pose[:3, 3])
    qx, qy, qz, qw = map(float, quat_from_matrix(pose[:3, :3]))
    turn = message("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw)
    return message(position_type, x=x, y=y, z=z), turn


def pose_message(fix: Fix, frame_id: str) -> Any:
    """Make the PoseWithCovarianceStamped of a fix."""
    position, orientation = _position_and_turn(fix.map_from_base, "geometry_msgs/msg/Point")
    pose = message("geometry_msgs/msg/Pose", position=position, orientation=orientation)
    covariance = np.asarray(fix.covariance, dtype=np.float64).reshape(-1)
    with_covariance = message("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=covariance)
    return message(POSE, header=header(fix.stamp_ns, frame_id), pose=with_covariance)


def transform_message(sent: SentTransform, frame_id: str) -> Any:
    """Make the TFMessage of a transform."""
    translation, rotation = _position_and_turn(sent.map_from_child, "geometry_msgs/msg/Vector3")
    transform = message("geometry_msgs/msg/Transform", translation=translation, rotation=rotation)
    stamped = message(
        "geometry_msgs/msg/TransformStamped",
        header=header(sent.stamp_ns, frame_id),
        child_frame_id=sent.child_frame,
        transform=transform,
    )
    return message(TF, transforms=[stamped])


def status_message(status: LocalizerStatus, frame_id: str) -> Any:
    """Make the LocalizationStatus of a status."""
    return message(
        STATUS,
        header=header(status.stamp_ns, frame_id),
        state=status.state.value,
        reason=status.reason,
        inliers=status.inliers,
        reprojection_error_px=status.reprojection_error_px,
        age=status.age_s,
        latency=status.latency_s,
        map_id=status.map_id,
        images_processed=status.images_processed,
        images_dropped=status.images_dropped,
    )


def diagnostics_message(diagnosis: Diagnosis, stamp_ns: int, node: str) -> Any:
    """Make the DiagnosticArray of a diagnosis."""
    values = [message("diagnostic_msgs/msg/KeyValue", key=key, value=value) for key, value in diagnosis.values]
    status = message(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=diagnosis.level,
        name=f"{node}: localization",
        message=diagnosis.message,
        hardware_id="none",
        values=values,
    )
    return message(DIAGNOSTICS, header=header(stamp_ns, ""), status=[status])
