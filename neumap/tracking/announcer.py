"""Publishes accepted poses: the pose, the transform, and initial poses for another localizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from neumap.tracking.beside import Other, compare, is_due, to_tell
from neumap.tracking.fix import Fix
from neumap.tracking.planar import MeanTilt, planar
from neumap.tracking.ports import Clock, Outputs, Transforms
from neumap.tracking.requests import RelocalizeAnswer
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Track


class Announcer:
    """Converts fixes as the settings require and passes them to the outputs."""

    def __init__(
        self, settings: Callable[[], Settings], clock: Clock, transforms: Transforms, outputs: Outputs
    ) -> None:
        self._settings, self._clock, self._transforms, self._outputs = settings, clock, transforms, outputs
        self.start_over()

    def start_over(self) -> None:
        """Reset the state of the other localizer and the mean tilt of the map."""
        self.other, self._tilt = Other(), MeanTilt()

    def announce(self, track: Track) -> None:
        """Publish the pose of an image, if it was accepted."""
        if track.believed and track.fix is not None:
            self._outputs.pose(self._shown(track.fix))
            self.transform(track)
            if self._settings().on_floor and (doubt := self._tilt.doubt(track.fix.map_from_base)):
                self._outputs.log("warning", doubt)
            if self._settings().initializes:
                self._watch(track.fix, track.agreed)

    def transform(self, track: Track) -> None:
        """Publish map -> odom, unless there is no pose or another localizer publishes it."""
        settings, fix = self._settings(), track.current
        if not settings.tf_broadcast or settings.initializes or fix is None:
            return
        child = settings.odom_frame_id or settings.base_frame_id
        ahead_ns = round(settings.transform_tolerance * 1e9)
        self._outputs.transform(self._clock.now_ns() + ahead_ns, child, self._shown(fix).map_from_odom)

    def shown(self, answer: RelocalizeAnswer) -> RelocalizeAnswer:
        """Return an answer with its poses as they are published: on a floor as x, y and yaw."""
        fix = None if answer.fix is None else self._shown(answer.fix)
        alternatives = tuple((self._shown(other), inliers) for other, inliers in answer.alternatives)
        return replace(answer, fix=fix, alternatives=alternatives)

    def _shown(self, fix: Fix) -> Fix:
        return planar(fix) if self._settings().on_floor else fix

    def _watch(self, fix: Fix, agreed: int) -> None:
        settings, before, now_ns = self._settings(), self.other, self._clock.now_ns()
        elsewhere = self._transforms.map_from_base(settings.global_frame_id, fix.stamp_ns)
        self.other = compare(before, fix, agreed, elsewhere, settings)
        if self.other.disagrees and not before.disagrees:
            self._outputs.log("warning", str(self.other))
        elif before.disagrees and not self.other.disagrees and self.other.apart is not None:
            self._outputs.log("info", "the other localizer agrees again")
        if is_due(self.other, now_ns, settings):
            self.other = replace(self.other, told_ns=now_ns, begun=False)
            self._outputs.log("info", "the other localizer is told where the robot is")
            self._outputs.initial_pose(to_tell(fix, settings))
