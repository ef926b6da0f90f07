"""The running localizer: images, transforms and requests in, poses and answers out, by events and four ports.

Everything that decides is here or in the pure rules of :mod:`~neumap.tracking.tracker`; nothing here knows ROS. All
events come on one thread, but what is handed to the worker. Of several images of a camera the newest is taken; one is
in work at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import isnan

from neumap.arrays import BoolArray, FloatArray, ImageArray
from neumap.errors import CalibrationError, DataError, NeumapError
from neumap.geometry.intrinsics import Calibration
from neumap.geometry.se3 import invert_pose
from neumap.localization.query import Near
from neumap.records import PoseEstimate
from neumap.tracking.accumulation import Accumulation, Shown, search_together, wanted
from neumap.tracking.announcer import Announcer
from neumap.tracking.cameras import CameraHealth, Cameras, LiveCamera, LiveImage
from neumap.tracking.inspection import Finding, OpenMap, Shot, inspect, open_map, voxels_near, where_to_search
from neumap.tracking.mounting import doubt
from neumap.tracking.planar import tilt_doubt
from neumap.tracking.ports import Clock, Inspected, LocalizerStatus, Outputs, RobotPose, Transforms, Worker
from neumap.tracking.rates import Meter, Rates
from neumap.tracking.relocalization import Relocalization, Seen
from neumap.tracking.requests import LoadAnswer, PoseClaim, RelocalizeAnswer, RelocalizeRequest, planar_claim
from neumap.tracking.settings import Settings, topic_of
from neumap.tracking.tracker import Fix, Intake, State, Track, claim, fix_of, see, settled, wait
from neumap.tracking.transforms import NO_TRANSFORM, LapGuard

# RATE_SLACK: images a camera takes at 5 Hz are not exactly 0.2 s apart; share of the period that is enough.
RATE_SLACK = 0.8
# OTHER_CLOCK_S: stamps this far from the clock are of another clock, seconds: somebody forgot use_sim_time.
OTHER_CLOCK_S = 10.0
# WARN_EVERY_S: dropped images are told about so often, seconds.
WARN_EVERY_S = 5.0
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
        self.map, self._settings = opened, settings
        self._clock, self._transforms, self._worker, self._outputs = clock, transforms, worker, outputs
        self._announcer = Announcer(settings, clock, transforms, outputs)
        self._requests = Relocalization(clock)
        self.active = False
        self._cameras = Cameras(settings(), masks, clock.now_ns())
        # the stamp of the last image that the whole map was searched for
        self._around_ns = 0
        self._loading: Callable[[LoadAnswer], None] | None = None
        self._guard = LapGuard()
        self._warned_ns: int | None = None
        self.latency_s = 0.0
        self.images_processed = self.images_dropped = 0
        self._meter = Meter(clock.now_ns())
        # results that are on their way when everything starts over belong to the generation before
        self._generation = 0
        self.track = Track(reason="not active")
        self._recent = Accumulation()
        self._intake = Intake()
        self._report_map()

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
        return self._meter.rates(self._clock.now_ns())

    @property
    def cameras(self) -> tuple[CameraHealth, ...]:
        """How each camera does."""
        return self._cameras.health(self._clock.now_ns(), self._settings().image_timeout)

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
        topics = " or ".join(f"'{topic_of(camera.name, topic)}'" for camera in self._cameras)
        self._forget(f"no image on {topics} yet")
        self.images_processed = self.images_dropped = 0
        self.latency_s = 0.0
        now_ns = self._clock.now_ns()
        self._meter = Meter(now_ns)
        for camera in self._cameras:
            camera.count_anew(now_ns)
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
        self._cameras[camera].calibrate(stamp_ns, calibration)
        self._next_image()

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
            now_ns = self._clock.now_ns()
            self.images_dropped += self._cameras[camera].see(stamp_ns, frame_id, read_image, rectified, now_ns)
            self._next_image()

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
            self.track, self._recent = claim(self.track, prior, self._intake.taken_ns), Accumulation()
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
            newer_than, show, self._recent = self._intake.taken_ns, self._announcer.shown, Accumulation()
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
        self.map = opened
        self._report_map()
        self.start_over("a new map was loaded")

    def start_over(self, reason: str) -> None:
        """Forget where the robot is, and what is in work."""
        if self.active:
            self._forget(reason)
            self._publish_status()

    def time_jumped_back(self) -> None:
        """Forget what belongs to a time that is yet to come."""
        if self._intake.newest_ns is not None:
            self._guard.begin(self._intake.newest_ns)
        self._transforms.time_jumped_back()
        now_ns = self._clock.now_ns()
        for camera in self._cameras:
            camera.time_jumped_back(now_ns)
        self._warned_ns, self._meter = None, Meter(now_ns)
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
        self._set_track(wait(track, self._clock.now_ns(), odom, settings, self._intake))
        self._announcer.transform(self.track)

    # --- images ------------------------------------------------------------------------

    def _next_image(self) -> None:
        """Take on an image, if none is in work: that of the camera that was looked at longest ago."""
        while not self._intake.busy and (camera := self._cameras.next()) is not None:
            image, now_ns = camera.take(), self._clock.now_ns()
            if refusal := self._refusal(camera, image.stamp_ns, now_ns):
                self._drop(f"{camera}{refusal}", now_ns)
                continue
            self._intake = replace(self._intake, newest_ns=_later(self._intake.newest_ns, image.stamp_ns))
            if self._requests.pending or self._is_due(camera, image.stamp_ns, now_ns):
                self._take_on(camera, image, now_ns)

    def _is_due(self, camera: LiveCamera, stamp_ns: int, now_ns: int) -> bool:
        """Tell whether an image is to be searched, where nobody asks: in time, and after what is known already.

        All cameras that send share what may be searched, each as much.
        """
        settings, track, costs_s = self._settings(), self.track, self._meter.rates(now_ns).cost_s
        if track.has_pose and track.fix is not None and stamp_ns <= track.fix.stamp_ns:
            return False
        rate, sharing = settings.max_image_rate, len(self._cameras.sending(now_ns, settings.image_timeout))
        period_s = max(1 / rate if rate > 0 else 0.0, 0.0 if isnan(costs_s) else costs_s / settings.max_cpu)
        return camera.taken_ns is None or (stamp_ns - camera.taken_ns) * 1e-9 >= RATE_SLACK * period_s * sharing

    def _take_on(self, camera: LiveCamera, image: LiveImage, now_ns: int) -> None:
        """Have an image searched."""
        settings = self._settings()
        camera.taken_ns = image.stamp_ns
        self._intake = replace(self._intake, taken_ns=_later(self._intake.taken_ns, image.stamp_ns))
        try:
            shot = camera.shot(image, settings)
        except CalibrationError as error:
            self._cannot_use(camera, image.stamp_ns, str(error), str(error))
            return
        frame_id, sending = shot.frame_id, self._cameras.sending(now_ns, settings.image_timeout)
        if len(sending) > 1 and self._transforms.base_from_camera(frame_id) is None:
            # the others do not wait for what would be searched in vain
            nowhere = f"{NO_TRANSFORM}: /tf does not tell where '{frame_id}' is on the robot"
            self._cannot_use(camera, image.stamp_ns, nowhere, "transforms")
            return
        self._intake = replace(self._intake, since_ns=now_ns)
        asked = self._requests.pending or self.track.prior is not None
        prior = self._requests.prior or self.track.prior
        due = (image.stamp_ns - self._around_ns) * 1e-9 >= settings.global_search_period
        glance = self.map.may_glance(camera.evidence)
        where = where_to_search(self.track, prior, asked, frame_id, now_ns, self._transforms, settings, due, glance)
        if where.around:
            self._around_ns = image.stamp_ns
        self._outputs.searched(image.stamp_ns, self.map.map.grid, voxels_near(self.map.map, where.first))
        found = partial(self._found, self._generation, shot, where.first)
        self._worker.submit(partial(inspect, self.map, shot, where), found)

    def _refusal(self, camera: LiveCamera, stamp_ns: int, now_ns: int) -> str:
        """Why an image of this stamp is not looked at; empty if it is."""
        if self._guard.is_stale(stamp_ns, now_ns):
            return "it was taken before time jumped back"
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if abs(ahead_s) > OTHER_CLOCK_S:
            return f"the images are stamped {ahead_s:+.0f} s from this clock: is use_sim_time right?"
        if camera.taken_ns is not None and stamp_ns <= camera.taken_ns:
            return "its stamp is not after that of the image before"
        return ""

    def _drop(self, refusal: str, now_ns: int) -> None:
        self.images_dropped += 1
        if self._warned_ns is None or (now_ns - self._warned_ns) * 1e-9 >= WARN_EVERY_S:
            self._warned_ns = now_ns
            self._outputs.log("warning", f"image dropped: {refusal}")
        if self.track.image_ns is None:
            self._set_track(replace(self.track, reason=refusal))

    def _found(
        self, generation: int, shot: Shot, within: Near | None, finding: Finding | Exception, cost_s: float
    ) -> None:
        """The worker is done with an image, which it looked for ``within`` some place, and which cost it ``cost_s``
        seconds.
        """
        if generation != self._generation:
            return
        camera = self._cameras[shot.camera]
        self.images_processed += 1
        camera.evidence = 0
        self._meter.searched(self._clock.now_ns(), cost_s)
        self._outputs.log("debug", f"an image took {1e3 * cost_s:.0f} ms")
        if isinstance(finding, Exception):
            if not isinstance(finding, NeumapError):
                self._outputs.log("error", f"localizing an image failed: {finding!r}")
            self._fail(camera, shot.stamp_ns, str(finding) or repr(finding))
            return
        if camera.count(finding):
            self._say(camera, "info", str(finding.frame.lenses[0]))
        self._outputs.inspected(Inspected(finding.frame, finding.pixels, finding.best))
        settings, localized = self._settings(), finding.best.localized
        if localized and not shot.frame_id:
            unnamed = "the images have no frame_id: set the parameter camera_frame_id"
            self._cannot_use(camera, shot.stamp_ns, unnamed, unnamed, finding)
        elif localized or wanted(finding, settings):
            ask = self._located if localized else partial(self._accumulate, within)
            known = partial(ask, generation, finding)
            self._transforms.when_known(shot.stamp_ns, shot.frame_id, settings.transform_timeout, known)
        else:
            self._fail(camera, shot.stamp_ns, finding.estimate.reason, finding)

    def _accumulate(self, within: Near | None, generation: int, finding: Finding, robot: RobotPose | str) -> None:
        """Search for an image that gave no pose together with those before it that gave none."""
        if generation != self._generation:
            return
        settings, camera, recent = self._settings(), self._cameras[finding.cameras[0]], Accumulation()
        if not isinstance(robot, str):
            shown = Shown(finding.frame.stamp_ns, finding.query, robot, camera.name)
            recent = self._recent = self._recent.followed_by(shown, settings)

        def found(result: Finding | Exception, cost_s: float) -> None:
            if generation != self._generation:
                return
            self._meter.searched_on(cost_s)
            if isinstance(result, Exception) or not result.together:
                self._fail(camera, finding.frame.stamp_ns, finding.estimate.reason, finding)
            else:
                camera.evidence, self._recent = result.best.evidence, Accumulation()
                self._located(generation, result, robot)

        if len(recent.kept) > 1:
            tracked = self.track.has_pose
            self._worker.submit(partial(search_together, self.map, finding, recent, within, tracked, settings), found)
        else:
            self._fail(camera, finding.frame.stamp_ns, finding.estimate.reason, finding)

    def _located(self, generation: int, finding: Finding, robot: RobotPose | str) -> None:
        """The transforms at the image's stamp are known, or will not be."""
        if generation != self._generation:
            return
        frame, pose, camera = finding.frame, finding.best.map_from_camera, self._cameras[finding.cameras[0]]
        kind = "transforms"
        if not isinstance(robot, str) and pose is not None:
            kind = "mounting"
            robot = doubt(pose, robot.base_from_camera, frame.frame_id) or self._tilted(pose, robot) or robot
        if isinstance(robot, str):
            self._cannot_use(camera, frame.stamp_ns, robot, kind, finding)
            return

        def fix(estimate: PoseEstimate | None) -> Fix | None:
            if estimate is None or estimate.map_from_camera is None or estimate.covariance is None:
                return None
            is_sure = self.map.is_sure_of_many if finding.together else self.map.is_sure
            sure = is_sure(estimate.evidence)
            return fix_of(estimate.map_from_camera, estimate.covariance, frame.stamp_ns, *at, sure)

        at = robot.base_from_camera, robot.odom_from_base
        others = tuple(
            (fix_of(other.map_from_camera, other.covariance, frame.stamp_ns, *at, sure=False), other.evidence)
            for other in finding.alternatives
        )
        found, near, by_track = fix(finding.estimate), fix(finding.by_claim), fix(finding.by_track)
        reason, evidence = finding.estimate.reason, finding.best.evidence
        seen = Seen(frame.stamp_ns, found, reason, near, evidence, others, finding.cameras)
        self._conclude(seen, finding, by_track)

    def _fail(self, camera: LiveCamera, stamp_ns: int, reason: str, finding: Finding | None = None) -> None:
        """An image gave no pose."""
        self._conclude(Seen(stamp_ns, None, reason, cameras=(camera.name,)), finding)

    def _cannot_use(
        self, camera: LiveCamera, stamp_ns: int, reason: str, kind: str, finding: Finding | None = None
    ) -> None:
        """No image of a camera can give a pose, for a reason of some ``kind``: others may hide that from the status."""
        self._say(camera, "warning", reason, kind)
        self._fail(camera, stamp_ns, reason, finding)

    def _say(self, camera: LiveCamera, level: str, text: str, kind: str = "") -> None:
        """Log something of a camera once, whatever else of its ``kind`` is to be said later."""
        if camera.is_news(kind or text):
            self._outputs.log(level, f"{camera}{text}")

    def _tilted(self, map_from_camera: FloatArray, robot: RobotPose) -> str:
        on_floor = self._settings().on_floor
        return tilt_doubt(map_from_camera @ invert_pose(robot.base_from_camera)) if on_floor else ""

    def _conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None = None) -> None:
        """Decide what to believe after an image, and publish it. What it says of where the robot is tracked counts for
        the track only, not for those who ask.
        """
        settings = self._settings()
        says = settled(self.track.prior, seen.fix, seen.near, settings) or by_track
        track = see(self.track, seen.stamp_ns, says, seen.reason, settings, seen.cameras)
        track = self._requests.see(seen, self.map_id, settings) or track
        self._cameras[seen.cameras[0]].told = seen.reason if says is None else ""
        if track.believed:
            self._recent = Accumulation()
        self._set_track(track, publish=False)
        self._announcer.announce(track)
        now_ns = self._clock.now_ns()
        self.latency_s = (now_ns - seen.stamp_ns) * 1e-9
        self._meter.concluded(now_ns, self.latency_s)
        self._outputs.status(self._status_of(seen.stamp_ns, finding, self.latency_s))
        self._intake = replace(self._intake, since_ns=None)
        self._next_image()

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
            images_processed=self.images_processed,
            images_dropped=self.images_dropped,
            other_disagrees=other.disagrees and apart is not None,
            other_distance_m=apart.metres if apart else -1.0,
            other_angle_rad=apart.radians if apart else -1.0,
        )

    def _forget(self, reason: str) -> None:
        self._generation += 1
        self.track = Track(reason=reason)
        self._intake, self._recent = Intake(), Accumulation()
        for camera in self._cameras:
            camera.forget()
        self._announcer.start_over()


def _later(one_ns: int | None, other_ns: int) -> int:
    return other_ns if one_ns is None else max(one_ns, other_ns)
