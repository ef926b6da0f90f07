"""What a running localizer needs of the world: four ports, which a robot and a replay fill differently.

``neumap_ros/node.py`` implements them on rclpy, ``neumap/replay`` on a recording and virtual time. Everything here is
called from one thread, and calls back on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from neumap.arrays import FloatArray, ImageArray
from neumap.maps.neural_map import NeuralMap, VoxelGrid
from neumap.records import Frame, PoseEstimate
from neumap.tracking.tracker import Fix, State

Result = TypeVar("Result")


class Cancellable(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Keep it from happening; without effect once it has."""


class Clock(Protocol):
    """The time that images are stamped in: the wall clock's, or a recording's."""

    def now_ns(self) -> int:
        """Return the present in nanoseconds."""

    def call_after(self, delay_s: float, callback: Callable[[], None]) -> Cancellable:
        """Call back once when ``delay_s`` seconds have passed; also where the clock itself stands still so long."""


@dataclass(frozen=True)
class RobotPose:
    """Where base and camera were at one time: ``base_from_camera`` (4, 4), and ``odom_from_base`` (4, 4), which is
    None where there is no odometry.
    """

    base_from_camera: FloatArray
    odom_from_base: FloatArray | None


class Transforms(Protocol):
    """The robot's own frames."""

    def odom_from_base(self) -> FloatArray | None:
        """Return the latest odometry (4, 4); None where there is none."""

    def base_from_camera(self, camera_frame: str) -> FloatArray | None:
        """Return the latest place (4, 4) of the camera on the robot; None where it is not known."""

    def map_from_base(self, map_frame: str, stamp_ns: int) -> FloatArray | None:
        """Return where another localizer says, now, that the base was in the map (4, 4) at a stamp; None where none
        does.
        """

    def when_known(
        self, stamp_ns: int, camera_frame: str, timeout_s: float, done: Callable[[RobotPose | str], None]
    ) -> None:
        """Call ``done`` once: with the poses at a stamp as soon as they are known, at once or later, or with what is
        missing when the time is up.
        """

    def time_jumped_back(self) -> None:
        """Forget all that moves, and what is still waited for."""

    def disputed(self) -> tuple[str, ...]:
        """Name the links between map and camera that have several publishers, if any, for people."""


class Worker(Protocol):
    """Does jobs one after the other, away from the thread of the session."""

    def start(self) -> None:
        """Get ready to take jobs."""

    def submit(self, job: Callable[[], Result], done: Callable[[Result | Exception, float], None]) -> None:
        """Do a job. ``done`` is called with what it returned or raised and the seconds that it cost, on the session's
        thread and never from within ``submit``.
        """

    def stop(self) -> None:
        """Let go of jobs not begun, and wait for the one in work; no ``done`` is called after this."""


@dataclass(frozen=True)
class LocalizerStatus:
    """How well the localizer knows where the robot is; the fields of neumap_ros/msg/LocalizationStatus."""

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
    """Where a localizer's answers go."""

    def uses(self, neural_map: NeuralMap) -> None:
        """Show the map that is used from now on."""

    def pose(self, fix: Fix) -> None:
        """Publish the base's pose in the map."""

    def transform(self, stamp_ns: int, child_frame: str, map_from_child: FloatArray) -> None:
        """Publish where a frame is in the map."""

    def initial_pose(self, fix: Fix) -> None:
        """Tell another localizer where the base is in the map."""

    def status(self, status: LocalizerStatus) -> None:
        """Publish the status."""

    def inspected(self, inspected: Inspected) -> None:
        """Show what an image gave to whoever looks."""

    def searched(self, stamp_ns: int, grid: VoxelGrid, voxels: Any) -> None:
        """Show which ``voxels`` (indices; None: all) of the map an image is searched in."""

    def log(self, level: str, text: str) -> None:
        """Write a line to the log; ``level`` is "debug", "info", "warning" or "error"."""
