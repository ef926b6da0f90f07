"""The running localizer: images, transforms and requests in, poses and answers out, by events and four ports.

Everything that decides is here or in the pure rules of :mod:`~neumap.tracking.tracker`; nothing here knows ROS. All
events come on one thread, but what is handed to the worker. Of several images the newest is taken; one is in work at a
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import isnan

from neumap.arrays import BoolArray, FloatArray, ImageArray
from neumap.errors import CalibrationError, DataError, NeumapError
from neumap.geometry.intrinsics import MOST_KEPT, Calibration, Calibrations, lenses_of
from neumap.geometry.se3 import invert_pose
from neumap.localization.lens import Vote
from neumap.records import Frame, Intrinsics, PoseEstimate
from neumap.tracking.accumulation import Accumulation, Shown, search_together, wanted
from neumap.tracking.announcer import Announcer
from neumap.tracking.inspection import Finding, OpenMap, Shot, inspect, open_map, voxels_near, where_to_search
from neumap.tracking.mounting import doubt
from neumap.tracking.planar import tilt_doubt
from neumap.tracking.ports import Clock, Inspected, LocalizerStatus, Outputs, RobotPose, Transforms, Worker
from neumap.tracking.rates import Meter, Rates
from neumap.tracking.relocalization import Relocalization, Seen
from neumap.tracking.requests import LoadAnswer, PoseClaim, RelocalizeAnswer, RelocalizeRequest, planar_claim
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import (
    Fix,
    Intake,
    State,
    Track,
    claim,
    fix_of,
    see,
    settled,
    wait,
)
from neumap.tracking.transforms import LapGuard

# RATE_SLACK: images a camera takes at 5 Hz are not exactly 0.2 s apart; share of the period that is enough.
RATE_SLACK = 0.8
# OTHER_CLOCK_S: stamps this far from the clock are of another clock, seconds: somebody forgot use_sim_time.
OTHER_CLOCK_S = 10.0
# WARN_EVERY_S: dropped images are told about so often, seconds.
WARN_EVERY_S = 5.0
# RECTIFIED: what the parameter of that name tells.
RECTIFIED = {"always": True, "never": False}
# MAX_TIMEOUT_S: the longest a request may wait, seconds.
MAX_TIMEOUT_S = 600.0
DEACTIVATED = "the localizer was deactivated"


@dataclass(frozen=True)
class _Image:
    """A live image whose calibration is not looked up yet."""

    stamp_ns: int
    frame_id: str
    read_image: Callable[[], ImageArray]
    rectified: bool | None


class Session:
    """One localizer between configure and cleanup. ``settings`` is asked anew each time, for parameters may change.

    ``mask`` (H, W) tells what of the images shows the place; None: all.
    """

    def __init__(
        self,
        opened: OpenMap,
        settings: Callable[[], Settings],
        clock: Clock,
        transforms: Transforms,
        worker: Worker,
        outputs: Outputs,
        mask: BoolArray | None = None,
    ) -> None:
        self._mask = mask
        self.map, self._settings = opened, settings
        self._clock, self._transforms, self._worker, self._outputs = clock, transforms, worker, outputs
        self._announcer = Announcer(settings, clock, transforms, outputs)
        self._requests = Relocalization(clock)
        self.active = False
        self._calibrations, self._vote = Calibrations(MOST_KEPT), Vote()
        # what was said of camera_info, once each
        self._said: set[str] = set()
        # the stamp of the last image that the whole map was searched for, and the evidence of the last
        self._around_ns = self._evidence = 0
        self._loading: Callable[[LoadAnswer], None] | None = None
        self._guard = LapGuard()
        self._warned_ns: int | None = None
        self.latency_s = 0.0
        self.images_processed = self.images_dropped = 0
        self._meter = Meter(clock.now_ns())
        # results that are on their way when everything starts over belong to the generation before
        self._generation = 0
        self.track = Track(reason="not active")
        self._newest: _Image | None = None
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
        self._forget(f"no image on '{topic}' yet")
        self.images_processed = self.images_dropped = 0
        self.latency_s = 0.0
        self._meter = Meter(self._clock.now_ns())
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

    def calibrate(self, stamp_ns: int, calibration: Calibration) -> None:
        """Take the camera's calibration, which is that of the image with its stamp if there is one."""
        self._calibrations.add(stamp_ns, calibration)
        self._next_image()

    def see(
        self, stamp_ns: int, frame_id: str, read_image: Callable[[], ImageArray], rectified: bool | None = None
    ) -> None:
        """Take an image; ``read_image`` returns its grey pixels (H, W), and is called on the worker.

        ``frame_id`` is that of the camera's optical frame, as the image's header has it; ``rectified`` tells what the
        name of the topic says, None: nothing.
        """
        if not self.active:
            return
        self._meter.came(self._clock.now_ns())
        if self._newest is not None:
            self.images_dropped += 1
        self._newest = _Image(stamp_ns, frame_id, read_image, rectified)
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
        self._calibrations.time_jumped_back()
        self._warned_ns, self._meter = None, Meter(self._clock.now_ns())
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
        """Take on the newest image, if none is in work."""
        image = self._newest
        if self._intake.busy or image is None or self._calibrations.awaits(image.stamp_ns):
            return
        self._newest = None
        now_ns, settings = self._clock.now_ns(), self._settings()
        refusal = self._refusal(image.stamp_ns, now_ns)
        if refusal:
            self._drop(refusal, now_ns)
            return
        rate, taken_ns = settings.max_image_rate, self._intake.taken_ns
        self._intake = replace(self._intake, newest_ns=image.stamp_ns)
        costs_s = self._meter.rates(now_ns).cost_s
        period_s = max(1 / rate if rate > 0 else 0.0, 0.0 if isnan(costs_s) else costs_s / settings.max_cpu)
        too_early = taken_ns is not None and (image.stamp_ns - taken_ns) * 1e-9 < RATE_SLACK * period_s
        if too_early and not self._requests.pending:
            return
        self._intake = replace(self._intake, taken_ns=image.stamp_ns)
        lenses = self._lenses(image, settings)
        if isinstance(lenses, str):
            self._conclude(Seen(image.stamp_ns, None, lenses), None)
            return
        self._intake = replace(self._intake, since_ns=now_ns)
        frame_id = (settings.camera_frame_id or image.frame_id).lstrip("/")
        shot = Shot(image.stamp_ns, frame_id, image.read_image, lenses)
        asked = self._requests.pending or self.track.prior is not None
        prior = self._requests.prior or self.track.prior
        due = (image.stamp_ns - self._around_ns) * 1e-9 >= settings.global_search_period
        glance = self.map.may_glance(self._evidence)
        where = where_to_search(self.track, prior, asked, frame_id, now_ns, self._transforms, settings, due, glance)
        if where.around:
            self._around_ns = image.stamp_ns
        self._outputs.searched(image.stamp_ns, self.map.map.grid, voxels_near(self.map.map, where.first))
        self._worker.submit(partial(inspect, self.map, shot, where), partial(self._found, self._generation, shot))

    def _lenses(self, image: _Image, settings: Settings) -> Callable[[tuple[int, int]], tuple[Intrinsics, ...]] | str:
        """What the camera of an image may be, by the size that it turns out to have; or why that is not known."""
        calibration, mask, decided = self._calibrations.at(image.stamp_ns), self._mask, self._vote.decided
        if calibration is None:
            return "no camera_info yet"
        rectified = RECTIFIED.get(settings.rectified, image.rectified)
        try:
            lenses_of(calibration, None, rectified)
        except CalibrationError as error:
            unusable = f"camera_info cannot be used: {error}"
            self._say("warning", unusable)
            return unusable

        def lenses(size: tuple[int, int]) -> tuple[Intrinsics, ...]:
            found = lenses_of(calibration, size, rectified, mask)
            return tuple(lens for lens in found if lens.origin == decided) or found

        return lenses

    def _say(self, level: str, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._outputs.log(level, text)

    def _refusal(self, stamp_ns: int, now_ns: int) -> str:
        """Why an image of this stamp is not looked at; empty if it is."""
        if self._guard.is_stale(stamp_ns, now_ns):
            return "it was taken before time jumped back"
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if abs(ahead_s) > OTHER_CLOCK_S:
            return f"the images are stamped {ahead_s:+.0f} s from this clock: is use_sim_time right?"
        if self._intake.taken_ns is not None and stamp_ns <= self._intake.taken_ns:
            return "its stamp is not after that of the image before"
        return ""

    def _drop(self, refusal: str, now_ns: int) -> None:
        self.images_dropped += 1
        if self._warned_ns is None or (now_ns - self._warned_ns) * 1e-9 >= WARN_EVERY_S:
            self._warned_ns = now_ns
            self._outputs.log("warning", f"image dropped: {refusal}")
        if self.track.image_ns is None:
            self._set_track(replace(self.track, reason=refusal))

    def _found(self, generation: int, shot: Shot, finding: Finding | Exception, cost_s: float) -> None:
        """The worker is done with an image, which cost it ``cost_s`` seconds."""
        if generation != self._generation:
            return
        self.images_processed += 1
        self._evidence = 0
        self._meter.searched(self._clock.now_ns(), cost_s)
        self._outputs.log("debug", f"an image took {1e3 * cost_s:.0f} ms")
        if isinstance(finding, Exception):
            if not isinstance(finding, NeumapError):
                self._outputs.log("error", f"localizing an image failed: {finding!r}")
            self._conclude(Seen(shot.stamp_ns, None, str(finding) or repr(finding)), None)
            return
        frame, self._evidence = finding.frame, finding.best.evidence
        if len(finding.through) > 1 and not self._vote.decided:
            self._vote = self._vote.counted(finding.through)
        if len(finding.through) == 1 or frame.lenses[0].origin == self._vote.decided:
            self._say("info", str(frame.lenses[0]))
        self._outputs.inspected(Inspected(frame, finding.pixels, finding.best))
        settings = self._settings()
        if not finding.best.localized and self.track.state is not State.TRACKING and wanted(finding, settings):
            add = partial(self._accumulate, generation, finding)
            self._transforms.when_known(frame.stamp_ns, frame.frame_id, settings.transform_timeout, add)
        elif not finding.best.localized:
            self._conclude(Seen(frame.stamp_ns, None, finding.estimate.reason), finding)
        elif not frame.frame_id:
            unnamed = "the images have no frame_id: set the parameter camera_frame_id"
            self._conclude(Seen(frame.stamp_ns, None, unnamed), finding)
        else:
            located = partial(self._located, generation, frame, finding)
            self._transforms.when_known(frame.stamp_ns, frame.frame_id, settings.transform_timeout, located)

    def _accumulate(self, generation: int, finding: Finding, robot: RobotPose | str) -> None:
        """Search for an image that gave no pose together with those before it, if it is known how the robot moved."""
        if generation != self._generation:
            return
        settings, views = self._settings(), []
        if not isinstance(robot, str) and robot.odom_from_base is not None:
            shown = Shown(finding.frame.stamp_ns, finding.query, robot)
            self._recent = self._recent.followed_by(shown, settings)
            views = self._recent.views(settings)

        def found(result: Finding | Exception, cost_s: float) -> None:
            if generation != self._generation:
                return
            self._meter.searched_on(cost_s)
            if isinstance(result, Exception) or not result.together:
                self._conclude(alone, finding)
            else:
                self._evidence, self._recent = result.best.evidence, Accumulation()
                self._located(generation, finding.frame, result, robot)

        alone = Seen(finding.frame.stamp_ns, None, finding.estimate.reason)
        if len(views) > 1:
            self._worker.submit(partial(search_together, self.map, finding, views, settings), found)
        else:
            self._conclude(alone, finding)

    def _located(self, generation: int, frame: Frame, finding: Finding, robot: RobotPose | str) -> None:
        """The transforms at the image's stamp are known, or will not be."""
        if generation != self._generation:
            return
        stamp_ns, pose = frame.stamp_ns, finding.best.map_from_camera
        if not isinstance(robot, str) and pose is not None:
            robot = doubt(pose, robot.base_from_camera, frame.frame_id) or self._tilted(pose, robot) or robot
        if isinstance(robot, str):
            self._conclude(Seen(stamp_ns, None, robot), finding)
            return

        def fix(estimate: PoseEstimate | None) -> Fix | None:
            if estimate is None or estimate.map_from_camera is None or estimate.covariance is None:
                return None
            sure = finding.together or self.map.is_sure(estimate.evidence)
            return fix_of(estimate.map_from_camera, estimate.covariance, stamp_ns, *at, sure)

        at = robot.base_from_camera, robot.odom_from_base
        others = tuple(
            (fix_of(other.map_from_camera, other.covariance, stamp_ns, *at, sure=False), other.evidence)
            for other in finding.alternatives
        )
        found, near, by_track = fix(finding.estimate), fix(finding.by_claim), fix(finding.by_track)
        seen = Seen(stamp_ns, found, finding.estimate.reason, near, finding.best.evidence, others)
        self._conclude(seen, finding, by_track)

    def _tilted(self, map_from_camera: FloatArray, robot: RobotPose) -> str:
        on_floor = self._settings().on_floor
        return tilt_doubt(map_from_camera @ invert_pose(robot.base_from_camera)) if on_floor else ""

    def _conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None = None) -> None:
        """Decide what to believe after an image, and publish it. What it says of where the robot is tracked counts for
        the track only, not for those who ask.
        """
        settings = self._settings()
        says = settled(self.track.prior, seen.fix, seen.near, settings) or by_track
        track = see(self.track, seen.stamp_ns, says, seen.reason, settings)
        track = self._requests.see(seen, self.map_id, settings) or track
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
        self._newest, self._intake, self._recent = None, Intake(), Accumulation()
        self._announcer.start_over()
