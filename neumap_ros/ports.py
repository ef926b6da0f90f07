"""The session's ports ``Clock``, ``Worker`` and ``Outputs`` on rclpy."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from neumap.arrays import FloatArray
from neumap.io.clouds import inlier_cloud, landmark_cloud
from neumap.maps.neural_map import NeuralMap, VoxelGrid
from neumap.tracking.fix import Fix
from neumap.tracking.ports import Inspected, LocalizerStatus, Result
from neumap_ros.conversions import (
    cloud_message,
    debug_image,
    stamped_pose,
    stamped_transform,
    status_message,
    voxel_markers,
)
from neumap_ros.msg import LocalizationStatus

# LATCHED: late subscribers receive the newest message.
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# TF_QUEUE: queue depth of /tf, as in tf2_ros.
TF_QUEUE = 100
# WORKER_NICENESS: of the worker thread and its helpers, so that callbacks, services and transforms have priority when
# all cores are busy.
WORKER_NICENESS = 5


class DelayedCall:
    """A delayed call by the node's clock, or by a steady clock while the node's stands still."""

    def __init__(self, node: Node, delay_s: float, callback: Callable[[], None]) -> None:
        self._node, self._callback = node, callback
        self._seen_ns = node.get_clock().now().nanoseconds
        self._timers = [
            node.create_timer(delay_s, self._call),
            node.create_timer(delay_s, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME)),
        ]

    def cancel(self) -> None:
        """Cancel the call."""
        while self._timers:
            self._node.destroy_timer(self._timers.pop())

    def _call(self) -> None:
        # timers created before the first /clock fire on its arrival; they are periodic, so the next call is on time
        if self._seen_ns == 0 and (now_ns := self._node.get_clock().now().nanoseconds):
            self._seen_ns = now_ns
        elif self._timers:
            self.cancel()
            self._callback()

    def _watch(self) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        if now_ns == self._seen_ns and self._timers:
            self.cancel()
            self._callback()
        self._seen_ns = now_ns


class RosClock:
    """The port ``Clock`` on the node's clock."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def call_after(self, delay_s: float, callback: Callable[[], None]) -> DelayedCall:
        return DelayedCall(self._node, delay_s, callback)


class ThreadWorker:
    """The port ``Worker`` as a thread. A guard condition wakes the executor for its results."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._results: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._wake = self._node.create_guard_condition(self._hand_back)
        self._thread = threading.Thread(target=self._work, name="neumap_worker", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception, float], None]) -> None:
        def run() -> None:
            started = time.perf_counter()
            result: Result | Exception
            try:
                result = job()
            except Exception as error:  # passed on to the caller
                result = error
            cost_s = time.perf_counter() - started
            self._results.append(lambda: done(result, cost_s))
            if not self._stopped:
                self._wake.trigger()

        self._jobs.put(run)

    def stop(self) -> None:
        if self._thread is None:
            return
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()
        self._thread = None
        self._results.clear()
        self._node.destroy_guard_condition(self._wake)

    def _work(self) -> None:
        # on Linux niceness is per thread; threads started from this one inherit it
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)
        while (run := self._jobs.get()) is not None and not self._stopped:
            run()

    def _hand_back(self) -> None:
        # triggers in quick succession wake the executor once
        while self._results and not self._stopped:
            self._results.popleft()()


class RosOutputs:
    """The port ``Outputs`` with publishers, which exist until :meth:`close`."""

    def __init__(self, node: LifecycleNode, map_frame: str, initializes: bool) -> None:
        """Create the publishers; that of initialpose only if the node ``initializes`` another localizer."""
        self._node, self._map_frame = node, map_frame
        self._pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._status = node.create_lifecycle_publisher(LocalizationStatus, "~/status", LATCHED)
        self._inliers = node.create_lifecycle_publisher(PointCloud2, "~/inliers", 1)
        self._debug_image = node.create_lifecycle_publisher(Image, "~/debug_image", 1)
        self._voxels = node.create_lifecycle_publisher(MarkerArray, "~/voxels", LATCHED)
        self._tf = node.create_lifecycle_publisher(TFMessage, "/tf", TF_QUEUE)
        self._all = [self._pose, self._status, self._inliers, self._debug_image, self._voxels, self._tf]
        # not a lifecycle publisher: the map is visible before the node is active
        self._landmarks = node.create_publisher(PointCloud2, "~/landmarks", LATCHED)
        if initializes:
            self._initial_pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "initialpose", 1)
            self._all.append(self._initial_pose)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._all:
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._landmarks)

    def uses(self, neural_map: NeuralMap) -> None:
        """Publish the landmarks of a map, once; the stamp is 0 because they are static."""
        self._landmarks.publish(cloud_message(landmark_cloud(neural_map), 0, self._map_frame))

    def pose(self, fix: Fix) -> None:
        self._pose.publish(stamped_pose(fix, self._map_frame))

    def transform(self, stamp_ns: int, child_frame: str, map_from_child: FloatArray) -> None:
        stamped = stamped_transform(stamp_ns, self._map_frame, child_frame, map_from_child)
        self._tf.publish(TFMessage(transforms=[stamped]))

    def initial_pose(self, fix: Fix) -> None:
        self._initial_pose.publish(stamped_pose(fix, self._map_frame))

    def status(self, status: LocalizerStatus) -> None:
        self._status.publish(status_message(status, self._map_frame))

    def inspected(self, inspected: Inspected) -> None:
        """Publish inliers and debug image, while subscribed."""
        frame, estimate = inspected.frame, inspected.estimate
        if self._inliers.get_subscription_count():
            self._inliers.publish(cloud_message(inlier_cloud(estimate), frame.stamp_ns, self._map_frame))
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(debug_image(inspected.pixels, estimate, frame.stamp_ns, frame.frame_id))

    def searched(self, stamp_ns: int, grid: VoxelGrid, voxels: Any) -> None:
        """Publish the voxels, while subscribed."""
        if self._voxels.get_subscription_count():
            self._voxels.publish(voxel_markers(grid, voxels, stamp_ns, self._map_frame))

    def log(self, level: str, text: str) -> None:
        # rclpy requires one severity per call site
        logger = self._node.get_logger()
        if level == "debug":
            logger.debug(text)
        elif level == "info":
            logger.info(text)
        elif level == "warning":
            logger.warning(text)
        else:
            logger.error(text)
