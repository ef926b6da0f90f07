"""The robot's own frames, as tf2 knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tf2_ros
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from neumap.arrays import FloatArray
from neumap_ros.conversions import matrix_of

CACHE_S = 30.0


@dataclass(frozen=True)
class RobotPose:
    """Where base and camera were at one time: ``base_from_camera`` (4, 4), and ``odom_from_base`` (4, 4), which is
    None where there is no odometry.
    """

    base_from_camera: FloatArray
    odom_from_base: FloatArray | None


class Frames:
    """Looks up odometry and the camera's place on the robot. Holds a tf2 listener until :meth:`close`."""

    def __init__(self, node: Node, base: str, odom: str) -> None:
        """``odom`` is empty where there is no odometry."""
        self._node = node
        self._base, self._odom = base, odom
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=CACHE_S))
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def close(self) -> None:
        """Stops listening."""
        self._listener.unregister()

    def clear(self) -> None:
        """Forgets all transforms but static ones."""
        self._buffer.clear()

    def at(self, stamp_ns: int, camera: str) -> RobotPose | str:
        """The poses at a stamp, or what tf2 says is missing."""
        when = Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
        try:
            base_from_camera = self._look_up(self._base, camera, when)
            odom_from_base = self._look_up(self._odom, self._base, when) if self._odom else None
        except tf2_ros.TransformException as error:
            return f"no transform for the image: {error}"
        return RobotPose(base_from_camera, odom_from_base)

    def odom_from_base(self) -> FloatArray | None:
        """The latest odometry; None where there is none."""
        return self._latest(self._odom, self._base) if self._odom else None

    def base_from_camera(self, camera: str) -> FloatArray | None:
        """The latest place of the camera on the robot; None where it is not known."""
        return self._latest(self._base, camera)

    def when_known(self, stamp_ns: int, camera: str, timeout_s: float, done: Callable[[RobotPose | str], None]) -> None:
        """Calls ``done`` with :meth:`at` as soon as that is a pose, at once or later, or when the time is up."""
        found = self.at(stamp_ns, camera)
        if isinstance(found, RobotPose) or timeout_s <= 0:
            done(found)
            return
        when = Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
        known = self._buffer.wait_for_transform_async(self._odom or self._base, camera, when)
        waiting = [True]

        def finish(_: object = None) -> None:
            # by the future or by the timer; a future that is cancelled calls back as well
            if waiting:
                waiting.clear()
                self._node.destroy_timer(timer)
                if not known.done():
                    known.cancel()
                done(self.at(stamp_ns, camera))

        timer = self._node.create_timer(timeout_s, finish)
        known.add_done_callback(finish)

    def _latest(self, target: str, source: str) -> FloatArray | None:
        try:
            return self._look_up(target, source, Time(clock_type=ClockType.ROS_TIME))
        except tf2_ros.TransformException:
            return None

    def _look_up(self, target: str, source: str, when: Time) -> FloatArray:
        return matrix_of(self._buffer.lookup_transform(target, source, when).transform)
