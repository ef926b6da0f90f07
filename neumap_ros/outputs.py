"""Everything the node publishes, as messages made of what it knows."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from geometry_msgs.msg import Point, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs_py.point_cloud2 import create_cloud_xyz32
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster
from visualization_msgs.msg import Marker, MarkerArray

from neumap.arrays import FloatArray, ImageArray
from neumap.localization.query import Near
from neumap.maps.neural_map import NeuralMap
from neumap.records import PoseEstimate
from neumap.tracking.tracker import Fix
from neumap_ros.conversions import set_stamp, stamped_pose, stamped_transform
from neumap_ros.msg import LocalizationStatus

# the newest message is kept for those who subscribe later
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
GREEN_BGR = (60, 220, 60)
INLIER_RADIUS_PX = 3


class Outputs:
    """The publishers of a node, made when it is configured and gone after :meth:`close`."""

    def __init__(self, node: LifecycleNode, map_frame: str) -> None:
        self._node, self._map_frame = node, map_frame
        self._pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._status = node.create_lifecycle_publisher(LocalizationStatus, "~/status", LATCHED)
        self._inliers = node.create_lifecycle_publisher(PointCloud2, "~/inliers", 1)
        self._debug_image = node.create_lifecycle_publisher(Image, "~/debug_image", 1)
        self._voxels = node.create_lifecycle_publisher(MarkerArray, "~/voxels", LATCHED)
        self._tf = TransformBroadcaster(node)

    def close(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._pose, self._status, self._inliers, self._debug_image, self._voxels):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._tf.pub_tf)

    def pose(self, fix: Fix) -> None:
        """Publishes the base's pose."""
        self._pose.publish(stamped_pose(fix, self._map_frame))

    def transform(self, pose: FloatArray, child_frame: str, stamp_ns: int) -> None:
        """Publishes where ``child_frame`` is in the map."""
        self._tf.sendTransform(stamped_transform(pose, stamp_ns, self._map_frame, child_frame))

    def status(self, message: LocalizationStatus) -> None:
        """Publishes the status; its frame is filled in."""
        message.header.frame_id = self._map_frame
        self._status.publish(message)

    def image(self, image: ImageArray, estimate: PoseEstimate, header: Header) -> None:
        """Publishes what an image gave, to those who listen."""
        if self._inliers.get_subscription_count():
            in_map = Header(stamp=header.stamp, frame_id=self._map_frame)
            self._inliers.publish(create_cloud_xyz32(in_map, estimate.points_map))
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(image_message(drawn(image, estimate), header))

    def voxels(self, neural_map: NeuralMap, searched: Near | None, stamp_ns: int) -> None:
        """Publishes the map's voxels as boxes, those that are ``searched`` (None: all) in another colour, to those who
        listen.
        """
        if not self._voxels.get_subscription_count():
            return
        grid = neural_map.grid
        chosen = range(len(grid)) if searched is None else grid.within(searched.position, searched.radius_m).tolist()
        markers = [Marker(action=Marker.DELETEALL)]
        for i, corner in enumerate(grid.corners):
            markers.append(box(i, corner, grid.size_m, i in chosen))
        for marker in markers:
            marker.header.frame_id = self._map_frame
            set_stamp(marker.header, stamp_ns)
        self._voxels.publish(MarkerArray(markers=markers))


def box(number: int, corner: FloatArray, size_m: float, searched: bool) -> Marker:
    """The edges of a voxel."""
    marker = Marker(ns="voxels", id=number, type=Marker.LINE_LIST, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale.x = 0.03
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = (0.2, 0.9, 0.4, 0.9) if searched else (0.6,) * 4
    ends = [np.array(end) for end in np.ndindex(2, 2, 2)]
    edges = [(a, b) for a in ends for b in ends if (b - a).sum() == 1 and ((b - a) >= 0).all()]
    for end in (end for edge in edges for end in edge):
        x, y, z = (float(v) for v in corner + size_m * end)
        marker.points.append(Point(x=x, y=y, z=z))
    return marker


def drawn(image: ImageArray, estimate: PoseEstimate) -> ImageArray:
    """The image in BGR with its inliers as circles and, where there is no pose, the reason."""
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    for x, y in np.rint(estimate.keypoints_px).astype(int).tolist():
        cv2.circle(colour, (x, y), INLIER_RADIUS_PX, GREEN_BGR, 1, cv2.LINE_AA)
    text = f"{estimate.inliers} inliers" if estimate.localized else estimate.reason
    cv2.putText(colour, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, GREEN_BGR, 1, cv2.LINE_AA)
    return np.asarray(colour)


def image_message(image: ImageArray, header: Header) -> Image:
    """A bgr8 message of an image (H, W, 3)."""
    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="bgr8", is_bigendian=0, step=3 * width)
    # an ndarray is refused by uint8[]; bytes are taken over in one go
    message.data = array("B", image.tobytes())
    return message
