"""What becomes of what is believed: pose, transform, and what another localizer is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from neumap.tracking.beside import Other, compare, is_due, to_tell
from neumap.tracking.planar import MeanTilt, planar
from neumap.tracking.ports import Clock, Outputs, Transforms
from neumap.tracking.requests import RelocalizeAnswer
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Fix, Track


class Announcer:
    """Hands fixes to the outputs as the settings want them."""

    def __init__(
        self, settings: Callable[[], Settings], clock: Clock, transforms: Transforms, outputs: Outputs
    ) -> None:
        self._settings, self._clock, self._transforms, self._outputs = settings, clock, transforms, outputs
        self.start_over()

    def start_over(self) -> None:
        """Forget what the other localizer was told, and how the map seems to be tilted."""
        self.other, self._tilt = Other(), MeanTilt()

    def announce(self, track: Track) -> None:
        """Publish what an image gave, if it is believed."""
        if track.believed and track.fix is not None:
            self._outputs.pose(self._shown(track.fix))
            self.transform(track)
            if self._settings().on_floor and (doubt := self._tilt.doubt(track.fix.map_from_base)):
                self._outputs.log("warning", doubt)
            if self._settings().initializes:
                self._watch(track.fix, track.agreed)

    def transform(self, track: Track) -> None:
        """Publish the transform of the map, where there is a pose and the transform is ours."""
        settings = self._settings()
        if not settings.tf_broadcast or settings.initializes or not track.has_pose or track.fix is None:
            return
        child = settings.odom_frame_id or settings.base_frame_id
        ahead_ns = round(settings.transform_tolerance * 1e9)
        self._outputs.transform(self._clock.now_ns() + ahead_ns, child, self._shown(track.fix).map_from_odom)

    def shown(self, answer: RelocalizeAnswer) -> RelocalizeAnswer:
        """Return an answer with its poses as they are published."""
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
