"""Joint search of images without a pose, of all cameras: of the last seconds by odometry, else of one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neumap.geometry.se3 import invert_pose
from neumap.localization.localizer import MIN_KEYPOINTS
from neumap.localization.pnp import has_poselib
from neumap.localization.query import Near, Query, Scope, View
from neumap.tracking.fix import Fix, moved_covariance, predict
from neumap.tracking.inspection import Finding, OpenMap, voxels_near
from neumap.tracking.ports import RobotPose
from neumap.tracking.settings import Settings

# MOST_VIEWS: largest number of images in a joint search: each costs as much as a single one.
MOST_VIEWS = 6
# EVENLY: shortest spacing of kept images of a camera, as a fraction of even spacing.
EVENLY = 0.8
# AT_ONCE_S: longest time between images of a joint search without odometry, seconds: the fastest robot moves too far in
# more.
AT_ONCE_S = 0.1


@dataclass(frozen=True)
class Shown:
    """The ``query`` of an image of a ``camera``, and the ``robot``'s poses at its stamp."""

    stamp_ns: int
    query: Query
    robot: RobotPose
    camera: str = ""


@dataclass(frozen=True)
class Accumulation:
    """The images ``kept`` for a joint search, the newest first."""

    kept: tuple[Shown, ...] = ()

    def followed_by(self, newest: Shown, settings: Settings) -> Accumulation:
        """Return the images with another one in front.

        Those of the last ``accumulate_s`` seconds are kept, evenly spaced per camera, ``MOST_VIEWS`` at most.
        """
        span_s = settings.accumulate_s if newest.robot.odom_from_base is not None else AT_ONCE_S
        kept = [each for each in self.kept if abs(newest.stamp_ns - each.stamp_ns) * 1e-9 <= span_s]
        apart_s = EVENLY * span_s * len({newest.camera, *(each.camera for each in kept)}) / MOST_VIEWS
        mine = [each for each in kept if each.camera == newest.camera]
        if len(mine) > 1 and (mine[0].stamp_ns - mine[1].stamp_ns) * 1e-9 < apart_s:
            kept = [each for each in kept if each is not mine[0]]
        # the relative pose is the less certain the longer ago
        kept.sort(key=lambda each: abs(newest.stamp_ns - each.stamp_ns))
        return Accumulation((newest, *kept)[:MOST_VIEWS])

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras of the images, that of the newest first."""
        return tuple(dict.fromkeys(each.camera for each in self.kept))

    def views(self, settings: Settings) -> list[View]:
        """Return the images as views, with relative poses and covariances from odometry.

        Without odometry the poses are that of the newest, with a covariance that follows from max_speed.
        """
        newest = self.kept[0]
        return [View(newest.query), *(_carried(newest, earlier, settings) for earlier in self.kept[1:])]


def wanted(finding: Finding, settings: Settings) -> bool:
    """Return whether to search an image without a pose together with others."""
    shows = len(finding.query) >= MIN_KEYPOINTS and bool(finding.frame.frame_id)
    return settings.accumulate_s > 0 and shows and has_poselib()


def search_together(
    opened: OpenMap, finding: Finding, recent: Accumulation, within: Near | None, tracked: bool, settings: Settings
) -> Finding:
    """Search several images together, in the map or the part ``within`` a region.

    Returns the newest image's ``finding``, with their pose if they have one; unless ``tracked`` its evidence must be
    enough to start tracking.
    """
    scope = Scope(voxels_near(opened.map, within))
    found = opened.localizer.locate(recent.views(settings), scope).certain(settings.max_sigma_m)
    enough = found.localized and (tracked or opened.is_sure_of_many(found.evidence))
    return replace(finding, estimate=found, together=True, cameras=recent.cameras) if enough else finding


def _carried(newest: Shown, earlier: Shown, settings: Settings) -> View:
    """Return an earlier image as a view relative to the newest one's camera."""
    here = Fix(newest.stamp_ns, np.eye(4), np.zeros((6, 6)), newest.robot.odom_from_base)
    there = predict(here, earlier.stamp_ns, earlier.robot.odom_from_base, settings)
    base_from_camera = there.map_from_base @ earlier.robot.base_from_camera
    covariance = moved_covariance(there.covariance, base_from_camera[:3, 3] - there.map_from_base[:3, 3])
    rig_from_base = invert_pose(newest.robot.base_from_camera)
    turn = np.kron(np.eye(2), rig_from_base[:3, :3])
    return View(earlier.query, rig_from_base @ base_from_camera, turn @ covariance @ turn.T)
