"""The four ports of a running localizer, implemented once for a robot and once for a replay.

``neumap_ros`` implements them on rclpy, ``neumap/replay`` on a recording and virtual time. All methods are called, and
call back, on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from neumap.arrays import FloatArray, ImageArray
from neumap.maps.neural_map import NeuralMap, VoxelGrid
from neumap.records import Frame, PoseEstimate
from neumap.tracking.fix import Fix
from neumap.tracking.tracker import State

Result = TypeVar("Result")


class Cancellable(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call; no effect after it was made."""


class Clock(Protocol):
    """The clock of image stamps: the wall clock, or a recording's."""

    def now_ns(self) -> int:
        """Return the current time in nanoseconds."""

    def call_after(self, delay_s: float, callback: Callable[[], None]) -> Cancellable:
        """Call back once after ``delay_s`` seconds, even if the clock stands still."""


@dataclass(frozen=True)
class RobotPose:
    """Poses (4, 4) of camera and base at one time; ``odom_from_base`` is None without odometry."""

    base_from_camera: FloatArray
    odom_from_base: FloatArray | None


class Transforms(Protocol):
    """The robot's own frames."""

    def odom_from_base(self) -> FloatArray | None:
        """Return the latest odometry (4, 4); None without one."""

    def base_from_camera(self, camera_frame: str) -> FloatArray | None:
        """Return the latest pose (4, 4) of the camera on the robot; None if unknown."""

    def map_from_base(self, map_frame: str, stamp_ns: int) -> FloatArray | None:
        """Return another localizer's current estimate of the base's pose (4, 4) at a stamp; None without one."""

    def when_known(
        self, stamp_ns: int, camera_frame: str, timeout_s: float, done: Callable[[RobotPose | str], None]
    ) -> None:
        """Call ``done`` once: with the poses at a stamp as soon as they are known, or at the timeout with what is
        missing.
        """

    def time_jumped_back(self) -> None:
        """Drop all transforms but static ones, and all pending calls."""

    def disputed(self) -> tuple[str, ...]:
        """Return messages about links between map and camera that have several publishers."""


class Worker(Protocol):
    """Runs jobs one after the other, off the session's thread."""

    def start(self) -> None:
        """Start accepting jobs."""

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception, float], None]) -> None:
        """Run a job. ``done`` is called with its result or exception and its cost in seconds, on the session's thread
        and never from within ``submit``.
        """

    def stop(self) -> None:
        """Drop queued jobs, and wait for the running one; no ``done`` is called after this."""


@dataclass(frozen=True)
class LocalizerStatus:
    """The fields of neumap_ros/msg/LocalizationStatus."""

    stamp_ns: int
    state: State
    reason: str
    inliers: int
    reprojection_error_px: float
    age_s: float
    latency_s: float
    map_id: str
    images_processed: int
    images_dropped: int
    other_disagrees: bool
    other_distance_m: float
    other_angle_rad: float


@dataclass(frozen=True)
class Inspected:
    """What one image of a ``camera`` gave: the ``frame`` with its ``pixels`` (H, W), and the pose with the fewest
    conditions. The only camera may have no name.
    """

    frame: Frame
    pixels: ImageArray
    estimate: PoseEstimate
    camera: str


class Outputs(Protocol):
    """Receives the localizer's outputs."""

    def uses(self, neural_map: NeuralMap) -> None:
        """Publish the map that is used from now on."""

    def pose(self, fix: Fix) -> None:
        """Publish the base's pose in the map."""

    def transform(self, stamp_ns: int, child_frame: str, map_from_child: FloatArray) -> None:
        """Publish the pose (4, 4) of a frame in the map."""

    def initial_pose(self, fix: Fix) -> None:
        """Send the base's pose to another localizer as its initial pose."""

    def status(self, status: LocalizerStatus) -> None:
        """Publish the status."""

    def inspected(self, inspected: Inspected) -> None:
        """Publish the result of an image for debugging."""

    def searched(self, stamp_ns: int, grid: VoxelGrid, voxels: Any) -> None:
        """Publish the ``voxels`` (indices; None: all) of the map in which an image is searched."""

    def log(self, level: str, text: str) -> None:
        """Write a line to the log; ``level`` is "debug", "info", "warning" or "error"."""
