"""What a localizer says during a replay, kept: the port ``Outputs``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neumap.arrays import FloatArray
from neumap.io.clouds import Cloud, inlier_cloud, landmark_cloud
from neumap.maps.neural_map import NeuralMap, VoxelGrid
from neumap.records import Trajectory
from neumap.replay.clock import VirtualClock
from neumap.report.replay_report import ReplayLog, StatusLine
from neumap.tracking.diagnosis import Diagnosis
from neumap.tracking.fix import Fix
from neumap.tracking.ports import Inspected, LocalizerStatus

# _LEVELS: what ROS 2 calls the levels of a log that are not their own names in capitals.
_LEVELS = {"warning": "WARN"}


@dataclass(frozen=True)
class SentTransform:
    """A transform as it was published: ``map_from_child`` (4, 4), stamped ``stamp_ns``."""

    stamp_ns: int
    child_frame: str
    map_from_child: FloatArray


@dataclass(frozen=True)
class Seen:
    """The inliers of an image, which ``camera`` took at ``stamp_ns``."""

    camera: str
    stamp_ns: int
    inliers: Cloud


@dataclass
class Recorder:
    """Keeps all that is published, each with the time at which it was, and the log. Implements ``Outputs``."""

    clock: VirtualClock
    poses: list[tuple[int, Fix]] = field(default_factory=list)
    transforms: list[tuple[int, SentTransform]] = field(default_factory=list)
    initial_poses: list[tuple[int, Fix]] = field(default_factory=list)
    statuses: list[tuple[int, LocalizerStatus]] = field(default_factory=list)
    diagnoses: list[tuple[int, Diagnosis]] = field(default_factory=list)
    maps: list[tuple[int, Cloud]] = field(default_factory=list)
    seen: list[tuple[int, Seen]] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    glances: int = 0

    def uses(self, neural_map: NeuralMap) -> None:
        """Keep its landmarks."""
        self.maps.append((self.clock.now_ns(), landmark_cloud(neural_map)))

    def pose(self, fix: Fix) -> None:
        self.poses.append((self.clock.now_ns(), fix))

    def transform(self, stamp_ns: int, child_frame: str, map_from_child: FloatArray) -> None:
        self.transforms.append((self.clock.now_ns(), SentTransform(stamp_ns, child_frame, map_from_child)))

    def initial_pose(self, fix: Fix) -> None:
        self.initial_poses.append((self.clock.now_ns(), fix))

    def status(self, status: LocalizerStatus) -> None:
        self.statuses.append((self.clock.now_ns(), status))

    def diagnosis(self, diagnosis: Diagnosis) -> None:
        """Keep what /diagnostics says."""
        self.diagnoses.append((self.clock.now_ns(), diagnosis))

    def inspected(self, inspected: Inspected) -> None:
        """Keep what was found in it."""
        seen = Seen(inspected.camera, inspected.frame.stamp_ns, inlier_cloud(inspected.estimate))
        self.seen.append((self.clock.now_ns(), seen))
        self.glances += inspected.estimate.glance

    def searched(self, stamp_ns: int, grid: VoxelGrid, voxels: Any) -> None:
        """Nobody looks."""

    def log(self, level: str, text: str) -> None:
        """What is there for debugging is left out."""
        if level != "debug":
            self.log_lines.append(f"{_LEVELS.get(level, level.upper())} {text}")

    def replay_log(
        self,
        start_ns: int,
        end_ns: int,
        first_image_ns: int | None,
        notes: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
    ) -> ReplayLog:
        """Return the records of a recording that was played from ``start_ns`` to ``end_ns``, for a report."""
        return ReplayLog(
            start_ns=start_ns,
            end_ns=end_ns,
            first_image_ns=first_image_ns,
            statuses=tuple(
                StatusLine(
                    time_ns=time_ns,
                    state=status.state.name,
                    reason=status.reason,
                    latency_s=status.latency_s,
                    processed=status.images_processed,
                    dropped=status.images_dropped,
                )
                for time_ns, status in self.statuses
            ),
            poses=Trajectory(
                np.array([fix.stamp_ns for _, fix in self.poses], dtype=np.int64),
                np.array([fix.map_from_base for _, fix in self.poses], dtype=np.float64).reshape(-1, 4, 4),
            ),
            covariances=np.array([fix.covariance for _, fix in self.poses], dtype=np.float64).reshape(-1, 6, 6),
            published_ns=np.array([time_ns for time_ns, _ in self.poses], dtype=np.int64),
            transform_ns=np.array([time_ns for time_ns, _ in self.transforms], dtype=np.int64),
            map_from_odom=np.array([sent.map_from_child for _, sent in self.transforms]).reshape(-1, 4, 4),
            searched=len(self.seen),
            glances=self.glances,
            notes=notes,
            left_out=left_out,
        )
