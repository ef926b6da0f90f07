"""A double of AMCL as a node sees it from outside: it takes initialpose, and sends map -> odom, stamped ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from player import SECOND, Player, nanoseconds
from tf2_msgs.msg import TFMessage

SCAN_S = 0.1
AHEAD_NS = SECOND


def planar(position: Any, orientation: Any) -> np.ndarray[Any, Any]:
    """Return x, y and yaw as a matrix (3, 3) of the plane."""
    yaw = 2 * np.arctan2(orientation.z, orientation.w)
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, position.x], [s, c, position.y], [0.0, 0.0, 1.0]])


class Amcl:
    """Lives in the node of the tests' client until :meth:`close`. It says nothing before it has an initial pose."""

    def __init__(self, player: Player) -> None:
        self._player, self._node = player, player.client.node
        self.taken: list[PoseWithCovarianceStamped] = []
        self.map_from_odom: np.ndarray[Any, Any] | None = None
        self.sent_ns: set[int] = set()
        self._odom: dict[int, np.ndarray[Any, Any]] = {}
        self._publisher = self._node.create_publisher(TFMessage, "/tf", 100)
        self._made = [
            self._node.create_subscription(PoseWithCovarianceStamped, "/initialpose", self._take, 1),
            self._node.create_subscription(TFMessage, "/tf", self._hear, 100),
        ]
        self._timer = self._node.create_timer(SCAN_S, self._scan)

    def close(self) -> None:
        """Take its topics away."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)
        for subscription in self._made:
            self._node.destroy_subscription(subscription)

    def _hear(self, message: TFMessage) -> None:
        for each in message.transforms:
            if each.child_frame_id == "base_link":
                pose = planar(each.transform.translation, each.transform.rotation)
                self._odom[nanoseconds(each.header.stamp)] = pose

    def _take(self, message: PoseWithCovarianceStamped) -> None:
        self.taken.append(message)
        stamp = min(self._odom, key=lambda each: abs(each - nanoseconds(message.header.stamp)))
        pose = planar(message.pose.pose.position, message.pose.pose.orientation)
        self.map_from_odom = pose @ np.linalg.inv(self._odom[stamp])

    def _scan(self) -> None:
        if self.map_from_odom is None:
            return
        sent = TransformStamped(child_frame_id="odom")
        sent.header.frame_id = "map"
        stamp_ns = self._player.now_ns + AHEAD_NS
        self.sent_ns.add(stamp_ns)
        sent.header.stamp = self._player.stamp(stamp_ns)
        (x, y), (c, s) = self.map_from_odom[:2, 2], self.map_from_odom[:2, 0]
        sent.transform.translation.x, sent.transform.translation.y = float(x), float(y)
        half = 0.5 * np.arctan2(s, c)
        sent.transform.rotation.z, sent.transform.rotation.w = float(np.sin(half)), float(np.cos(half))
        self._publisher.publish(TFMessage(transforms=[sent]))
