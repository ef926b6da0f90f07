"""Convert the session's records to ROS messages.

rclpy's generated messages do not check types by default, so every value is converted explicitly: an int or a float32 in
a float64 field would be published as garbage.
"""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, PoseWithCovarianceStamped, TransformStamped
from sensor_msgs.msg import Image, PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import create_cloud
from std_msgs.msg import Header
from tf_transformations import quaternion_from_matrix
from visualization_msgs.msg import Marker, MarkerArray

from neumap.arrays import FloatArray, ImageArray
from neumap.io.clouds import Cloud, fields_of
from neumap.maps.neural_map import VoxelGrid
from neumap.records import PoseEstimate
from neumap.tracking.diagnosis import Diagnosis
from neumap.tracking.fix import Fix
from neumap.tracking.ports import LocalizerStatus
from neumap.tracking.requests import RelocalizeAnswer
from neumap_ros.msg import LocalizationStatus

GREEN_BGR = (60, 220, 60)
INLIER_RADIUS_PX = 3
# For ~/voxels: EDGE_M is the line width in metres, colours are red, green, blue, opacity.
EDGE_M = 0.03
SEARCHED_RGBA, OTHER_RGBA = (0.2, 0.9, 0.4, 0.9), (0.6, 0.6, 0.6, 0.6)


def time_message(stamp_ns: int) -> Time:
    """Return the message of a time in nanoseconds."""
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def pose_message(pose: FloatArray) -> Pose:
    """Return the message of a pose (4, 4)."""
    message = Pose()
    message.position.x, message.position.y, message.position.z = (float(v) for v in pose[:3, 3])
    x, y, z, w = (float(v) for v in quaternion_from_matrix(pose))
    message.orientation.x, message.orientation.y, message.orientation.z, message.orientation.w = x, y, z, w
    return message


def pose_with_covariance(fix: Fix) -> PoseWithCovariance:
    """Return the message of a fix. The covariance is 36 numbers, row by row: a 6x6 array would be published wrongly."""
    message = PoseWithCovariance(pose=pose_message(fix.map_from_base))
    message.covariance = [float(v) for v in np.asarray(fix.covariance, dtype=np.float64).reshape(-1)]
    return message


def stamped_pose(fix: Fix, frame_id: str) -> PoseWithCovarianceStamped:
    """Return the stamped message of a fix."""
    return PoseWithCovarianceStamped(header=header(fix.stamp_ns, frame_id), pose=pose_with_covariance(fix))


def stamped_transform(stamp_ns: int, parent: str, child: str, pose: FloatArray) -> TransformStamped:
    """Return the message of a transform (4, 4) that maps points from ``child`` to ``parent``."""
    message = TransformStamped(header=header(stamp_ns, parent), child_frame_id=child)
    as_pose = pose_message(pose)
    for axis in "xyz":
        setattr(message.transform.translation, axis, getattr(as_pose.position, axis))
    message.transform.rotation = as_pose.orientation
    return message


def status_message(status: LocalizerStatus, frame_id: str) -> LocalizationStatus:
    """Return the message of a status."""
    return LocalizationStatus(
        header=header(status.stamp_ns, frame_id),
        state=status.state.value,
        reason=status.reason,
        inliers=int(status.inliers),
        reprojection_error_px=float(status.reprojection_error_px),
        age=float(status.age_s),
        latency=float(status.latency_s),
        map_id=status.map_id,
        images_processed=status.images_processed,
        images_dropped=status.images_dropped,
        other_disagrees=status.other_disagrees,
        other_distance=float(status.other_distance_m),
        other_angle=float(status.other_angle_rad),
    )


def diagnostics_message(diagnosis: Diagnosis, stamp_ns: int, node_name: str) -> DiagnosticArray:
    """Return the message of a diagnosis, named as by diagnostic_updater."""
    status = DiagnosticStatus(name=f"{node_name}: localization", message=diagnosis.message, hardware_id="none")
    status.level = bytes([diagnosis.level])
    status.values = [KeyValue(key=key, value=value) for key, value in diagnosis.values]
    return DiagnosticArray(header=header(stamp_ns, ""), status=[status])


def fill_relocalize(response: Any, answer: RelocalizeAnswer, frame_id: str) -> Any:
    """Fill the response of Relocalize."""
    response.success, response.reason, response.map_id = answer.success, answer.reason, answer.map_id
    if answer.image_ns is not None:
        response.image_stamp = time_message(answer.image_ns)
    if answer.fix is not None:
        response.pose = stamped_pose(answer.fix, frame_id)
        response.inliers, response.latency = int(answer.inliers), float(answer.latency_s)
        response.alternatives = [pose_with_covariance(fix) for fix, _ in answer.alternatives]
        response.alternative_inliers = [int(inliers) for _, inliers in answer.alternatives]
    return response


def cloud_message(cloud: Cloud, stamp_ns: int, frame_id: str) -> PointCloud2:
    """Return the message of a cloud."""
    return create_cloud(header(stamp_ns, frame_id), [PointField(**field) for field in fields_of(cloud)], cloud)


def debug_image(pixels: ImageArray, estimate: PoseEstimate, stamp_ns: int, frame_id: str) -> Image:
    """Draw the inliers on a grey image (H, W), and their number or the reason for no pose; returns bgr8."""
    colour = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    for x, y in np.rint(estimate.keypoints_px).astype(int).tolist():
        cv2.circle(colour, (x, y), INLIER_RADIUS_PX, GREEN_BGR, 1, cv2.LINE_AA)
    text = f"{estimate.inliers} inliers" if estimate.localized else estimate.reason
    cv2.putText(colour, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, GREEN_BGR, 1, cv2.LINE_AA)
    height, width = pixels.shape
    message = Image(header=header(stamp_ns, frame_id), height=height, width=width, encoding="bgr8", step=3 * width)
    # a uint8[] field rejects an ndarray; array.array is assigned without a check of each element
    message.data = array("B", colour.tobytes())
    return message


def voxel_markers(grid: VoxelGrid, searched: Any, stamp_ns: int, frame_id: str) -> MarkerArray:
    """Draw all voxels as boxes; the ``searched`` ones (indices; None: all) in another colour."""
    chosen = set(range(len(grid)) if searched is None else searched.tolist())
    markers = [Marker(action=Marker.DELETEALL)]
    ends = np.array(list(np.ndindex(2, 2, 2)))
    edges = [end for a in ends for b in ends if (b - a).sum() == 1 and (b >= a).all() for end in (a, b)]
    for i, corner in enumerate(grid.corners):
        marker = Marker(ns="voxels", id=i, type=Marker.LINE_LIST, action=Marker.ADD)
        marker.pose.orientation.w, marker.scale.x = 1.0, EDGE_M
        color = marker.color
        color.r, color.g, color.b, color.a = SEARCHED_RGBA if i in chosen else OTHER_RGBA
        marker.points = [
            Point(**dict(zip("xyz", map(float, corner + grid.size_m * end), strict=True))) for end in edges
        ]
        markers.append(marker)
    for marker in markers:
        marker.header = header(stamp_ns, frame_id)
    return MarkerArray(markers=markers)
