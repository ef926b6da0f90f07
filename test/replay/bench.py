"""A node to which a stream is played piece by piece, with somebody beside it who asks, claims and listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from streams import START_NS, Stream, message, ns, transform_of

from neumap.arrays import FloatArray
from neumap.cli.replay import NODE
from neumap.report.replay_report import STATES
from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.player import Timed
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.parameter import Parameter
from neumap_ros.simulator.rclpy.qos import DurabilityPolicy, QoSProfile
from neumap_ros.simulator.recording import decoded, nanoseconds
from neumap_ros.simulator.rig import Rig

POSE, STATUS = "geometry_msgs/msg/PoseWithCovarianceStamped", "neumap_ros/msg/LocalizationStatus"


class Bench:
    """Seconds are those of streams. Time begins a moment before the stream."""

    def __init__(self, rig: Rig, stream: Stream = ()) -> None:  # type: ignore[assignment]
        self.rig, self.node = rig, rig.node
        self._rest = list(stream)
        rig.player.advance_to(min([START_NS - 10**9, *(each.time_ns for each in self._rest)]))
        self.friend = Node("friend", parameter_overrides=[Parameter("use_sim_time", value=True)])
        rig.executor.add_node(self.friend)
        self._claims = self.friend.create_publisher(message_class(POSE), "/initialpose", 10)

    @property
    def now_s(self) -> float:
        return (self.rig.player.now_ns - START_NS) * 1e-9

    def until(self, seconds: float) -> None:
        """Plays the stream, and lets time pass, up to then."""
        end = ns(seconds)
        part = [each for each in self._rest if each.time_ns <= end]
        self._rest = self._rest[len(part) :]
        self.rig.player.play(part, after_s=0)
        self.rig.player.advance_to(end)

    def skip(self, seconds: float) -> None:
        """Leaves out the stream up to then."""
        self._rest = [each for each in self._rest if each.time_ns > ns(seconds)]

    def drop(self, topic: str) -> None:
        """Leaves out a topic."""
        self._rest = [each for each in self._rest if each.topic != topic]

    # --- what somebody asks for ---------------------------------------------------

    def relocalize(self, **fields: Any) -> Any:
        return self.rig.call(f"/{NODE}/relocalize", "neumap_ros/srv/Relocalize", **fields)

    def load_map(self, path: object) -> Any:
        return self.rig.call(f"/{NODE}/load_map", "neumap_ros/srv/LoadMap", map_path=str(path))

    def reinitialize(self) -> Any:
        return self.rig.call("/reinitialize_global_localization", "std_srvs/srv/Empty")

    def claim(self, message_: Any) -> None:
        """Publishes an initial pose."""
        self._claims.publish(message_)
        self.rig.executor.spin_until_idle()

    def set(self, name: str, value: Any) -> Any:
        """Sets a parameter of the node; the result with its reason."""
        return self.node.set_parameters([Parameter(name, value=value)])[0]

    # --- what the node says ----------------------------------------------------------

    def on(self, topic: str, since_s: float = -np.inf) -> list[Any]:
        """The messages that it has published, after a time."""
        return [decoded(each) for each in self.timed(topic, since_s)]

    def timed(self, topic: str, since_s: float = -np.inf) -> list[Timed]:
        since = -1 if since_s == -np.inf else ns(since_s)
        return [each for each in self.rig.published if each.topic == topic and each.time_ns > since]

    def statuses(self, since_s: float = -np.inf) -> list[Any]:
        return self.on(f"/{NODE}/status", since_s)

    def told(self, since_s: float = -np.inf) -> list[tuple[str, str]]:
        """States and reasons, without repetitions."""
        out: list[tuple[str, str]] = []
        for status in self.statuses(since_s):
            if not out or out[-1] != (STATES[status.state], status.reason):
                out.append((STATES[status.state], status.reason))
        return out

    @property
    def state(self) -> str:
        return STATES[self.statuses()[-1].state]

    @property
    def reason(self) -> str:
        reason: str = self.statuses()[-1].reason
        return reason

    def poses(self, since_s: float = -np.inf) -> list[Any]:
        return self.on("/pose", since_s)

    def transforms(self, since_s: float = -np.inf) -> list[Any]:
        """Those of the map."""
        return [each for tf in self.on("/tf", since_s) for each in tf.transforms]

    def latched(self, topic: str, type_name: str) -> list[Any]:
        """What somebody hears who subscribes now and wants what was said last."""
        heard: list[Any] = []
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscription = self.friend.create_subscription(message_class(type_name), topic, heard.append, qos)
        self.rig.executor.spin_until_idle()
        self.friend.destroy_subscription(subscription)
        return heard

    def lines(self, level: str) -> list[str]:
        return [line for line in self.rig.log_lines if line.startswith(level)]


def claimed(pose: FloatArray, frame: str = "map") -> Any:
    """The message of a claimed pose (4, 4), which says nothing about its covariance."""
    from streams import pose_message

    out = message(POSE)
    out.header.frame_id = frame
    out.pose.pose = pose_message(pose)
    return out


def matrix(pose: Any) -> FloatArray:
    """The transform (4, 4) of a Pose."""
    transform = message("geometry_msgs/msg/Transform", rotation=pose.orientation)
    transform.translation.x, transform.translation.y, transform.translation.z = (
        pose.position.x,
        pose.position.y,
        pose.position.z,
    )
    return transform_of(transform)


def stamps(messages: Sequence[Any]) -> list[int]:
    return [nanoseconds(each.header.stamp) for each in messages]
