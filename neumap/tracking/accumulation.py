"""Images of the last seconds that gave no pose, put together by odometry with the newest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neumap.geometry.se3 import invert_pose
from neumap.localization.localizer import MIN_KEYPOINTS
from neumap.localization.query import Query, View
from neumap.localization.rig import can_pool
from neumap.tracking.inspection import Finding, OpenMap
from neumap.tracking.ports import RobotPose
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import UNSURE_IMAGES, Fix, moved_covariance, predict

# MOST_VIEWS: images that are searched for together: each costs as much as one alone.
MOST_VIEWS = 6
# EVENLY: share of an even part of the time that images which are kept are apart by, at least.
EVENLY = 0.8


@dataclass(frozen=True)
class Shown:
    """What an image showed, ``query``, and where the ``robot`` was at its stamp, by odometry."""

    stamp_ns: int
    query: Query
    robot: RobotPose


@dataclass(frozen=True)
class Accumulation:
    """The images ``kept``, the newest first."""

    kept: tuple[Shown, ...] = ()

    def followed_by(self, newest: Shown, settings: Settings) -> Accumulation:
        """Return what is kept with a newer image: those of the last ``accumulate_s`` seconds, evenly, and not more than
        are searched for together.
        """
        span_ns, kept = settings.accumulate_s * 1e9, self.kept
        if len(kept) > 1 and kept[0].stamp_ns - kept[1].stamp_ns < EVENLY * span_ns / MOST_VIEWS:
            kept = kept[1:]
        recent = (each for each in kept if newest.stamp_ns - each.stamp_ns <= span_ns)
        return Accumulation((newest, *recent)[:MOST_VIEWS])

    def views(self, settings: Settings) -> list[View]:
        """Return the images as views, where odometry says that they were taken, as uncertain as it is."""
        newest = self.kept[0]
        return [View(newest.query), *(_carried(newest, earlier, settings) for earlier in self.kept[1:])]


def wanted(finding: Finding, settings: Settings) -> bool:
    """Tell whether an image that gave no pose may do so with others."""
    shows = len(finding.query) >= MIN_KEYPOINTS and bool(finding.frame.frame_id)
    return settings.accumulate_s > 0 and bool(settings.odom_frame_id) and shows and can_pool()


def search_together(opened: OpenMap, finding: Finding, views: Sequence[View], settings: Settings) -> Finding:
    """Search the map for several images and return what the newest gave with it, if they have a pose for which as much
    speaks as for those of ``UNSURE_IMAGES`` single ones: windows that overlap could not confirm each other.
    """
    found = opened.localizer.locate(views).certain(settings.max_sigma_m)
    enough = found.localized and found.evidence >= UNSURE_IMAGES * opened.map.calibration.min_inliers
    return replace(finding, estimate=found, together=True) if enough else finding


def _carried(newest: Shown, earlier: Shown, settings: Settings) -> View:
    """Return an earlier image as a view of the newest one's camera."""
    here = Fix(newest.stamp_ns, np.eye(4), np.zeros((6, 6)), newest.robot.odom_from_base)
    there = predict(here, earlier.stamp_ns, earlier.robot.odom_from_base, settings)
    base_from_camera = there.map_from_base @ earlier.robot.base_from_camera
    covariance = moved_covariance(there.covariance, base_from_camera[:3, 3] - there.map_from_base[:3, 3])
    rig_from_base = invert_pose(newest.robot.base_from_camera)
    turn = np.kron(np.eye(2), rig_from_base[:3, :3])
    return View(earlier.query, rig_from_base @ base_from_camera, turn @ covariance @ turn.T)
