"""The running localizer: images, transforms and requests in, poses and answers out, by events and four ports.

Everything that decides is here, in :mod:`~neumap.tracking.sight` (what images give) or in the pure rules of
:mod:`~neumap.tracking.tracker` (what to believe of it); nothing here knows ROS. All events come on one thread, but what
is handed to the worker.
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
from neumap.tracking.inspection import Finding, OpenMap, open_map
from neumap.tracking.ports import Clock, LocalizerStatus, Outputs, Transforms, Worker
from neumap.tracking.rates import Rates
from neumap.tracking.relocalization import Relocalization, Seen
from neumap.tracking.requests import LoadAnswer, PoseClaim, RelocalizeAnswer, RelocalizeRequest, planar_claim
from neumap.tracking.settings import Settings
from neumap.tracking.sight import Sight
from neumap.tracking.tracker import Fix, State, Track, claim, see, settled, wait

# MAX_TIMEOUT_S: the longest a request may wait, seconds.
MAX_TIMEOUT_S = 600.0
DEACTIVATED = "the localizer was deactivated"


class Session:
    """One localizer between configure and cleanup. ``settings`` is asked anew each time, for parameters may change.

    ``masks`` (H, W), by the name of the camera, tell what of its images shows the place.
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
        self._settings = settings
        self._clock, self._transforms, self._worker, self._outputs = clock, transforms, worker, outputs
        self._announcer = Announcer(settings, clock, transforms, outputs)
        self._requests = Relocalization(clock)
        self.active = False
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
        """Return the status as of now."""
        return self._status_of(self._clock.now_ns(), None, 0.0)

    def disputed(self) -> tuple[str, ...]:
        """Name the links of /tf that have several publishers."""
        return self._transforms.disputed()

    @property
    def rates(self) -> Rates:
        """What the images come at and cost."""
        return self._sight.meter.rates(self._clock.now_ns())

    @property
    def cameras(self) -> tuple[CameraHealth, ...]:
        """How each camera does."""
        return self._sight.cameras.health(self._clock.now_ns(), self._settings().image_timeout)

    @property
    def latency_s(self) -> float:
        """How long after its stamp the last image was decided about."""
        return self._sight.latency_s

    @property
    def other(self) -> str:
        """Say where the other localizer has the robot."""
        return str(self._announcer.other)

    # --- from the lifecycle ---------------------------------------------------------

    def activate(self) -> None:
        """Start: from now on images are searched."""
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
        """Stop the worker and the transform; nothing is published after this, and all requests are answered."""
        if self._loading is not None:
            self._loaded(self._loading, "", DataError(DEACTIVATED), 0.0)
        self._requests.abandon(DEACTIVATED, self.map_id)
        if self.active:
            self._worker.stop()
        self.active = False
        self._forget("not active")

    # --- events ------------------------------------------------------------------------

    def calibrate(self, stamp_ns: int, calibration: Calibration, camera: str = "") -> None:
        """Take a camera's calibration, which is that of the image with its stamp if there is one."""
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

        ``stamp_ns`` and ``frame_id``, that of the camera's optical frame, are those of the image's header;
        ``rectified`` tells what the name of the topic says, None: nothing.
        """
        if self.active:
            self._sight.see(stamp_ns, frame_id, read_image, rectified, camera)

    def claim(self, claimed: PoseClaim) -> None:
        """Take a pose that somebody claims for now, to be checked against the next image."""
        if not self.active:
            self._outputs.log("warning", "initial pose ignored: the localizer is not active")
            return
        try:
            prior = self._prior(claimed)
        except DataError as error:
            refusal = f"initial pose refused: {error}"
            self.track = replace(self.track, reason=refusal)
            self._outputs.log("warning", refusal)
        else:
            self.track = claim(self.track, prior, self._sight.intake.taken_ns)
            self._sight.forget_recent()
        self._publish_status()

    def relocalize(self, request: RelocalizeRequest, done: Callable[[RelocalizeAnswer], None]) -> None:
        """Search the whole map in images that come from now on; ``done`` is called once, with the answer."""
        reason, prior = "" if self.active else "the localizer is not active", None
        timeout_s = request.timeout_s or self._settings().relocalize_timeout
        if not reason and request.prior is not None:
            try:
                prior = self._prior(request.prior)
            except DataError as error:
                reason = f"prior refused: {error}"
        if not reason and not 0 < timeout_s <= MAX_TIMEOUT_S:
            reason = f"a timeout of {timeout_s:g} s: give 0 to {MAX_TIMEOUT_S:g}"
        if reason:
            done(RelocalizeAnswer(None, reason, self.map_id))
        else:
            self._sight.forget_recent()
            newer_than, show = self._sight.intake.taken_ns, self._announcer.shown
            self._requests.begin(prior, newer_than, timeout_s, lambda: self.map_id, lambda given: done(show(given)))

    def load_map(self, path: str, done: Callable[[LoadAnswer], None]) -> None:
        """Load another map and use it; ``done`` is called once. Where it cannot be loaded the old one stays."""
        if self._loading is not None:
            done(LoadAnswer(False, "another map is being loaded", self.map_id, path))
            return
        self._loading = done
        if self.active:
            self._worker.submit(partial(open_map, path), partial(self._loaded, done, path))
            return
        result: OpenMap | Exception
        try:
            result = open_map(path)
        except NeumapError as error:
            result = error
        self._loaded(done, path, result, 0.0)

    def use(self, opened: OpenMap) -> None:
        """Switch to another map: nothing that was found in the old one counts any more."""
        self._sight.map = opened
        self._report_map()
        self.start_over("a new map was loaded")

    def start_over(self, reason: str) -> None:
        """Forget where the robot is, and what is in work."""
        if self.active:
            self._forget(reason)
            self._publish_status()

    def time_jumped_back(self) -> None:
        """Forget what belongs to a time that is yet to come."""
        self._transforms.time_jumped_back()
        self._sight.time_jumped_back()
        # they wait for images after stamps that are yet to come, and their priors lie in another odometry
        self._requests.abandon("time jumped back", self.map_id)
        if self.active:
            self._outputs.log("warning", "time jumped back: starting over")
            self.start_over("time jumped back")

    def tick(self) -> None:
        """Let time pass: to be called at ``tf_publish_rate`` while active."""
        if not self.active:
            return
        settings, track = self._settings(), self.track
        odom = self._transforms.odom_from_base() if track.state is State.DEGRADED else None
        self._set_track(wait(track, self._clock.now_ns(), odom, settings, self._sight.intake))
        self._announcer.transform(self.track)

    # --- images ------------------------------------------------------------------------

    @property
    def asked(self) -> bool:
        """Whether somebody waits for what the whole map says."""
        return self._requests.pending

    @property
    def prior(self) -> Fix | None:
        """The pose that somebody claims, if one does."""
        return self._requests.prior or self.track.prior

    def no_image(self, refusal: str) -> None:
        """Say why no image was looked at so far."""
        if self.track.image_ns is None:
            self._set_track(replace(self.track, reason=refusal))

    def conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None) -> None:
        """Decide what to believe after an image, and publish it. What it says of where the robot is tracked counts for
        the track only, not for those who ask.
        """
        settings = self._settings()
        says = settled(self.track.prior, seen.fix, seen.near, settings) or by_track
        track = see(self.track, seen.stamp_ns, says, seen.reason, settings, seen.cameras)
        track = self._requests.see(seen, self.map_id, settings) or track
        self._set_track(track, publish=False)
        self._announcer.announce(track)
        self._outputs.status(self._status_of(seen.stamp_ns, finding, self.latency_s))

    # --- the rest --------------------------------------------------------------------------

    def _prior(self, claimed: PoseClaim) -> Fix:
        """A claimed pose as of now. Raises :class:`~neumap.errors.DataError` for one that cannot be."""
        pose, covariance = claimed.checked(self._settings().global_frame_id)
        return Fix(self._clock.now_ns(), pose, covariance, self._transforms.odom_from_base())

    def _loaded(
        self, done: Callable[[LoadAnswer], None], path: str, result: OpenMap | Exception, cost_s: float
    ) -> None:
        """A map was loaded, or was not."""
        if self._loading is not done:
            return
        self._loading = None
        if isinstance(result, OpenMap):
            self.use(result)
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
        """Take over a track; a change of state is logged and, unless ``publish`` is off, published."""
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
        apart = other.apart if track.has_pose else None
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
