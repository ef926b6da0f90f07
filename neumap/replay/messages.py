"""Converts the outputs of a localizer to ROS 2 messages for a bag."""

from __future__ import annotations

from typing import Any

import numpy as np

from neumap.arrays import ImageArray
from neumap.io.bags.messages import STATUS, header, message, pose, transform
from neumap.io.bags.topics import COMPRESSED_IMAGE, POSE_WITH_COVARIANCE, TF
from neumap.io.clouds import Cloud, fields_of
from neumap.io.images import jpeg_of
from neumap.replay.recorder import SentTransform
from neumap.tracking.diagnosis import Diagnosis
from neumap.tracking.fix import Fix
from neumap.tracking.ports import LocalizerStatus

DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"


def pose_message(fix: Fix, frame_id: str) -> Any:
    """Make the PoseWithCovarianceStamped of a fix."""
    fields = {"pose": pose(fix.map_from_base), "covariance": fix.covariance.reshape(-1)}
    return message(POSE_WITH_COVARIANCE, header=header(fix.stamp_ns, frame_id), pose=fields)


def transform_message(sent: SentTransform, frame_id: str) -> Any:
    """Make the TFMessage of a transform."""
    return message(TF, transforms=[transform(sent.stamp_ns, frame_id, sent.child_frame, sent.map_from_child)])


def status_message(status: LocalizerStatus, frame_id: str) -> Any:
    """Make the LocalizationStatus of a status."""
    same = ("reason", "inliers", "reprojection_error_px", "map_id", "images_processed", "images_dropped")
    return message(
        STATUS,
        header=header(status.stamp_ns, frame_id),
        state=status.state.value,
        age=status.age_s,
        latency=status.latency_s,
        other_disagrees=status.other_disagrees,
        other_distance=status.other_distance_m,
        other_angle=status.other_angle_rad,
        **{name: getattr(status, name) for name in same},
    )


def diagnostics_message(diagnosis: Diagnosis, stamp_ns: int, node: str) -> Any:
    """Make the DiagnosticArray of a diagnosis."""
    values = [{"key": key, "value": value} for key, value in diagnosis.values]
    status = {"level": diagnosis.level, "name": f"{node}: localization", "message": diagnosis.message}
    status |= {"hardware_id": "none", "values": values}
    return message(DIAGNOSTICS, header=header(stamp_ns, ""), status=[status])


def cloud_message(cloud: Cloud, stamp_ns: int, frame_id: str) -> Any:
    """Make the PointCloud2 of a cloud."""
    size = cloud.dtype.itemsize
    layout = {"height": 1, "width": len(cloud), "point_step": size, "row_step": size * len(cloud)}
    fields, data = fields_of(cloud), np.frombuffer(cloud.tobytes(), np.uint8)
    return message(POINT_CLOUD, header=header(stamp_ns, frame_id), fields=fields, data=data, **layout)


def jpeg_message(pixels: ImageArray, stamp_ns: int, frame_id: str) -> Any:
    """Make the CompressedImage of a grey image (H, W)."""
    data = np.frombuffer(jpeg_of(pixels), np.uint8)
    return message(COMPRESSED_IMAGE, header=header(stamp_ns, frame_id), format="jpeg", data=data)
