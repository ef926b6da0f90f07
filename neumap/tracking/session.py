"""The running localizer: takes images, transforms and requests as events, and publishes poses through four ports.

All decisions are made here, in :mod:`~neumap.tracking.sight` (searching images) and in the pure rules of
:mod:`~neumap.tracking.tracker` (accepting poses). Nothing here depends on ROS. All events come on one thread; only jobs
of the worker run elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from neumap.arrays import BoolArray, ImageArray
from neumap.errors import DataError, NeumapError
from neumap.geometry.intrinsics import Calibration
from neumap.tracking.announcer import Announcer
from neumap.tracking.cameras import CameraHealth, topic_of
from neumap.tracking.fix import Fix
from neumap.tracking.inspection import Finding, OpenMap, open_map
from neumap.tracking.ports import Clock, LocalizerStatus, Outputs, Transforms, Worker
from neumap.tracking.rates import Rates
from neumap.tracking.relocalization import Relocalization, Seen
from neumap.tracking.requests import LoadAnswer, PoseClaim, RelocalizeAnswer, RelocalizeRequest, planar_claim
from neumap.tracking.settings import Settings
from neumap.tracking.sight import Sight
from neumap.tracking.tracker import State, Track, claim, see, settled, wait

# MAX_TIMEOUT_S: longest timeout of a request, seconds.
MAX_TIMEOUT_S = 600.0
DEACTIVATED = "the localizer was deactivated"


class Session:
    """One localizer between configure and cleanup.

    ``settings`` is called for each use, since parameters may change. ``masks`` (H, W), by camera name, are true where
    the camera's images show the place.
    """

    def __init__(
        self,
        opened: OpenMap,
        settings: Callable[[], Settings],
        clock: Clock,
        transforms: Transforms,
        worker: Worker,
        outputs: Outputs,
        masks: Mapping[str, BoolArray],
    ) -> None:
        self._settings, self.active = settings, False
        self._clock, self._transforms, self._worker, self._outputs = clock, transforms, worker, outputs
        self._announcer, self._requests = Announcer(settings, clock, transforms, outputs), Relocalization(clock)
        self._sight = Sight(self, opened, settings, masks, clock, transforms, worker, outputs)
        self._loading: Callable[[LoadAnswer], None] | None = None
        self.track = Track(reason="not active")
        self._report_map()

    @property
    def map(self) -> OpenMap:
        """The map in use."""
        return self._sight.map

    @property
    def map_id(self) -> str:
        """The id of the map in use."""
        return self.map.map.map_id

    def status(self) -> LocalizerStatus:
        """Return the current status."""
        return self._status_of(self._clock.now_ns(), None, 0.0)

    def disputed(self) -> tuple[str, ...]:
        """Return messages about the links of /tf that have several publishers."""
        return self._transforms.disputed()

    @property
    def rates(self) -> Rates:
        """The rate, cost and latency of searched images."""
        return self._sight.meter.rates(self._clock.now_ns())

    @property
    def cameras(self) -> tuple[CameraHealth, ...]:
        """The health of each camera."""
        return self._sight.cameras.health(self._clock.now_ns(), self._settings().image_timeout)

    @property
    def latency_s(self) -> float:
        """Time from the last image's stamp until its decision, seconds."""
        return self._sight.latency_s

    @property
    def other(self) -> str:
        """Return how far the other localizer's pose is from this one's, as a message."""
        return str(self._announcer.other)

    def activate(self) -> None:
        """Start searching images."""
        settings = self._settings()
        self._worker.start()
        self.active = True
        topic = "image/compressed" if settings.image_transport == "compressed" else "image"
        topics = " or ".join(f"'{topic_of(camera.name, topic)}'" for camera in self._sight.cameras)
        self._forget(f"no image on {topics} yet")
        self._sight.count_anew()
        if settings.set_initial_pose:
            x, y, z = settings.initial_pose_x, settings.initial_pose_y, settings.initial_pose_z
            self.claim(planar_claim(settings.global_frame_id, x, y, z, settings.initial_pose_yaw))
        self._publish_status()

    def deactivate(self) -> None:
        """Stop the worker, answer all requests, and publish nothing more."""
        if self._loading is not None:
            self._loaded(self._loading, "", DataError(DEACTIVATED), 0.0)
        self._requests.abandon(DEACTIVATED, self.map_id)
        if self.active:
            self._worker.stop()
        self.active = False
        self._forget("not active")

    def calibrate(self, stamp_ns: int, calibration: Calibration, camera: str = "") -> None:
        """Set a camera's calibration, for the image of the same stamp if there is one."""
        self._sight.calibrate(stamp_ns, calibration, camera)

    def see(
        self,
        stamp_ns: int,
        frame_id: str,
        read_image: Callable[[], ImageArray],
        rectified: bool | None = None,
        camera: str = "",
    ) -> None:
        """Take an image; ``read_image`` returns its grey pixels (H, W), and is called on the worker.

        ``stamp_ns`` and ``frame_id`` (the camera's optical frame) come from the image's header; ``rectified`` follows
        from the topic's name, None where the name leaves it open.
        """
        if self.active:
            self._sight.see(stamp_ns, frame_id, read_image, rectified, camera)

    def claim(self, claimed: PoseClaim) -> None:
        """Take a claimed pose of the present, to be checked against the next image."""
        if not self.active:
            self._outputs.log("warning", "initial pose ignored: the localizer is not active")
            return
        try:
            prior = self._prior(claimed, "initial pose refused")
        except DataError as error:
            self.track = replace(self.track, reason=str(error))
            self._outputs.log("warning", str(error))
        else:
            self.track = claim(self.track, prior, self._sight.intake.taken_ns)
            self._sight.forget_recent()
        self._publish_status()

    def relocalize(self, request: RelocalizeRequest, done: Callable[[RelocalizeAnswer], None]) -> None:
        """Search the whole map in the images that follow; ``done`` is called once, with the answer."""
        timeout_s = request.timeout_s or self._settings().relocalize_timeout
        try:
            if not self.active:
                raise DataError("the localizer is not active")
            prior = self._prior(request.prior, "prior refused") if request.prior else None
            if not 0 < timeout_s <= MAX_TIMEOUT_S:
                raise DataError(f"a timeout of {timeout_s:g} s: give 0 to {MAX_TIMEOUT_S:g}")
        except DataError as error:
            done(RelocalizeAnswer(None, str(error), self.map_id))
            return
        self._sight.forget_recent()
        newer_than, show = self._sight.intake.taken_ns, self._announcer.shown
        self._requests.begin(prior, newer_than, timeout_s, lambda: self.map_id, lambda given: done(show(given)))

    def load_map(self, path: str, done: Callable[[LoadAnswer], None]) -> None:
        """Load and use another map; ``done`` is called once. If loading fails the old map stays."""
        if self._loading is not None:
            done(LoadAnswer(False, "another map is being loaded", self.map_id, path))
            return
        self._loading = done
        if self.active:
            self._worker.submit(partial(open_map, path), partial(self._loaded, done, path))
            return
        try:
            opened = open_map(path)
        except NeumapError as error:
            self._loaded(done, path, error, 0.0)
        else:
            self._loaded(done, path, opened, 0.0)

    def start_over(self, reason: str) -> None:
        """Forget the pose, and drop the images that are being searched."""
        if self.active:
            self._forget(reason)
            self._publish_status()

    def time_jumped_back(self) -> None:
        """Drop everything with stamps in the future."""
        self._transforms.time_jumped_back()
        self._sight.time_jumped_back()
        # requests wait for images after stamps in the future, and their priors refer to the old odometry
        self._requests.abandon("time jumped back", self.map_id)
        if self.active:
            self._outputs.log("warning", "time jumped back: starting over")
            self.start_over("time jumped back")

    def tick(self) -> None:
        """Update the track and publish the transform; call this at ``tf_publish_rate`` while active."""
        if not self.active:
            return
        settings, track = self._settings(), self.track
        odom = self._transforms.odom_from_base() if track.state is State.DEGRADED else None
        self._set_track(wait(track, self._clock.now_ns(), odom, settings, self._sight.intake))
        self._announcer.transform(self.track)

    @property
    def asked(self) -> bool:
        """Whether a relocalize request is pending."""
        return self._requests.pending

    @property
    def prior(self) -> Fix | None:
        """The claimed pose, if any."""
        return self._requests.prior or self.track.prior

    def no_image(self, refusal: str) -> None:
        """Set the reason of the status while no image was searched so far."""
        if self.track.image_ns is None:
            self._set_track(replace(self.track, reason=refusal))

    def conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None) -> None:
        """Update the track with the result of an image, and publish it.

        ``by_track``, its pose near the tracked one, counts for the track only, not for relocalize requests.
        """
        settings = self._settings()
        fix = settled(self.track.prior, seen.fix, seen.near, settings) or by_track
        track = see(self.track, seen.stamp_ns, fix, seen.reason, settings, seen.cameras)
        track = self._requests.see(seen, self.map_id, settings) or track
        self._set_track(track, publish=False)
        self._announcer.announce(track)
        self._outputs.status(self._status_of(seen.stamp_ns, finding, self.latency_s))

    def _prior(self, claimed: PoseClaim, refused: str) -> Fix:
        """Return a claimed pose as of now. Raises :class:`~neumap.errors.DataError` for an invalid one."""
        try:
            pose, covariance = claimed.checked(self._settings().global_frame_id)
        except DataError as error:
            raise DataError(f"{refused}: {error}") from error
        return Fix(self._clock.now_ns(), pose, covariance, self._transforms.odom_from_base())

    def _loaded(
        self, done: Callable[[LoadAnswer], None], path: str, result: OpenMap | Exception, cost_s: float
    ) -> None:
        """Use a map that was loaded, or report the error; does nothing if the request was answered meanwhile."""
        if self._loading is not done:
            return
        self._loading = None
        if isinstance(result, OpenMap):
            self._sight.map = result
            self._report_map()
            self.start_over("a new map was loaded")
            done(LoadAnswer(True, "", self.map_id, str(result.path)))
            return
        reason = str(result) or repr(result)
        self._outputs.log("error", f"map not loaded, the old one stays: {reason}")
        done(LoadAnswer(False, reason, self.map_id, path))

    def _report_map(self) -> None:
        self._outputs.uses(self.map.map)
        self._outputs.log("info", str(self.map))
        made_in, used_as = self.map.map.frame_id, self._settings().global_frame_id
        if made_in != used_as:
            self._outputs.log("warning", f"the map was made in the frame '{made_in}' and is used as '{used_as}'")

    def _set_track(self, track: Track, publish: bool = True) -> None:
        """Replace the track; log a change of state and, with ``publish``, publish it."""
        before, self.track = self.track, track
        if (before.state, before.reason) == (track.state, track.reason):
            return
        if before.state is not track.state:
            text = f"{before.state.name} -> {track.state.name}: {track.reason or 'the image agrees'}"
            self._outputs.log("warning" if track.state is State.LOST else "info", text)
        if publish:
            self._publish_status()

    def _publish_status(self) -> None:
        if self.active:
            self._outputs.status(self.status())

    def _status_of(self, stamp_ns: int, finding: Finding | None, latency_s: float) -> LocalizerStatus:
        track, fix, other = self.track, self.track.fix, self._announcer.other
        apart = other.apart if track.current is not None else None
        return LocalizerStatus(
            stamp_ns=stamp_ns,
            state=track.state,
            reason=track.reason,
            inliers=finding.best.evidence if finding else 0,
            reprojection_error_px=float(finding.best.reprojection_error_px) if finding else float("nan"),
            age_s=(stamp_ns - fix.stamp_ns) * 1e-9 if fix else -1.0,
            latency_s=latency_s,
            map_id=self.map_id,
            images_processed=self._sight.processed,
            images_dropped=self._sight.dropped,
            other_disagrees=other.disagrees and apart is not None,
            other_distance_m=apart.metres if apart else -1.0,
            other_angle_rad=apart.radians if apart else -1.0,
        )

    def _forget(self, reason: str) -> None:
        self.track = Track(reason=reason)
        self._sight.start_over()
        self._announcer.start_over()
