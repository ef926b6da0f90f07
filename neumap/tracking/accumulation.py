"""Images that gave no pose, of all cameras, put together: of the last seconds by odometry, else of about one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neumap.geometry.se3 import invert_pose
from neumap.localization.localizer import MIN_KEYPOINTS
from neumap.localization.pnp import has_poselib
from neumap.localization.query import Near, Query, Scope, View
from neumap.tracking.inspection import Finding, OpenMap, voxels_near
from neumap.tracking.ports import RobotPose
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Fix, moved_covariance, predict

# MOST_VIEWS: images that are searched for together: each costs as much as one alone.
MOST_VIEWS = 6
# EVENLY: share of an even part of the time that images of a camera which are kept are apart by, at least.
EVENLY = 0.8
# AT_ONCE_S: where there is no odometry images are put together that are this near in time, seconds: further apart the
# fastest robot moved too far.
AT_ONCE_S = 0.1


@dataclass(frozen=True)
class Shown:
    """What an image of a ``camera`` showed, ``query``, and where the ``robot`` was at its stamp."""

    stamp_ns: int
    query: Query
    robot: RobotPose
    camera: str = ""


@dataclass(frozen=True)
class Accumulation:
    """The images ``kept``, the newest first."""

    kept: tuple[Shown, ...] = ()

    def followed_by(self, newest: Shown, settings: Settings) -> Accumulation:
        """Return what is kept with another image, first: those of the last ``accumulate_s`` seconds, of each camera
        evenly, and not more than are searched for together.
        """
        span_s = settings.accumulate_s if newest.robot.odom_from_base is not None else AT_ONCE_S
        kept = [each for each in self.kept if abs(newest.stamp_ns - each.stamp_ns) * 1e-9 <= span_s]
        apart_s = EVENLY * span_s * len({newest.camera, *(each.camera for each in kept)}) / MOST_VIEWS
        mine = [each for each in kept if each.camera == newest.camera]
        if len(mine) > 1 and (mine[0].stamp_ns - mine[1].stamp_ns) * 1e-9 < apart_s:
            kept = [each for each in kept if each is not mine[0]]
        # the farther away, the more uncertain
        kept.sort(key=lambda each: abs(newest.stamp_ns - each.stamp_ns))
        return Accumulation((newest, *kept)[:MOST_VIEWS])

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that the images are of, that of the newest first."""
        return tuple(dict.fromkeys(each.camera for each in self.kept))

    def views(self, settings: Settings) -> list[View]:
        """Return the images as views, where odometry says that they were taken, as uncertain as it is; where there is
        none, where the newest was, as uncertain as the robot is fast.
        """
        newest = self.kept[0]
        return [View(newest.query), *(_carried(newest, earlier, settings) for earlier in self.kept[1:])]


def wanted(finding: Finding, settings: Settings) -> bool:
    """Tell whether an image that gave no pose may do so with others."""
    shows = len(finding.query) >= MIN_KEYPOINTS and bool(finding.frame.frame_id)
    return settings.accumulate_s > 0 and shows and has_poselib()


def search_together(
    opened: OpenMap, finding: Finding, recent: Accumulation, within: Near | None, tracked: bool, settings: Settings
) -> Finding:
    """Search the map, or the part ``within`` which they are said to be, for several images and return what the newest
    gave with it, if they have a pose: where the robot is not ``tracked``, one that is enough to begin with.
    """
    scope = Scope(voxels_near(opened.map, within))
    found = opened.localizer.locate(recent.views(settings), scope).certain(settings.max_sigma_m)
    enough = found.localized and (tracked or opened.is_sure_of_many(found.evidence))
    return replace(finding, estimate=found, together=True, cameras=recent.cameras) if enough else finding


def _carried(newest: Shown, earlier: Shown, settings: Settings) -> View:
    """Return an earlier image as a view of the newest one's camera."""
    here = Fix(newest.stamp_ns, np.eye(4), np.zeros((6, 6)), newest.robot.odom_from_base)
    there = predict(here, earlier.stamp_ns, earlier.robot.odom_from_base, settings)
    base_from_camera = there.map_from_base @ earlier.robot.base_from_camera
    covariance = moved_covariance(there.covariance, base_from_camera[:3, 3] - there.map_from_base[:3, 3])
    rig_from_base = invert_pose(newest.robot.base_from_camera)
    turn = np.kron(np.eye(2), rig_from_base[:3, :3])
    return View(earlier.query, rig_from_base @ base_from_camera, turn @ covariance @ turn.T)
