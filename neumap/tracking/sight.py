"""What the cameras show: whose image is looked at next, where, and what it gives, alone or together with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import isnan
from typing import Protocol

from neumap.arrays import BoolArray, ImageArray
from neumap.errors import CalibrationError, NeumapError
from neumap.geometry.intrinsics import Calibration
from neumap.geometry.se3 import invert_pose
from neumap.localization.query import Near
from neumap.records import PoseEstimate
from neumap.tracking.accumulation import Accumulation, Shown, search_together, wanted
from neumap.tracking.cameras import Cameras, LiveCamera, LiveImage
from neumap.tracking.inspection import Finding, OpenMap, Shot, inspect, voxels_near, where_to_search
from neumap.tracking.mounting import doubt
from neumap.tracking.planar import tilt_doubt
from neumap.tracking.ports import Clock, Inspected, Outputs, RobotPose, Transforms, Worker
from neumap.tracking.rates import Meter
from neumap.tracking.relocalization import Seen
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Fix, Intake, Track, fix_of
from neumap.tracking.transforms import NO_TRANSFORM

# RATE_SLACK: images a camera takes at 5 Hz are not exactly 0.2 s apart; share of the period that is enough.
RATE_SLACK = 0.8
# WARN_EVERY_S: dropped images are told about so often, seconds.
WARN_EVERY_S = 5.0


class Judge(Protocol):
    """Who decides what to believe of what images give."""

    @property
    def track(self) -> Track:
        """What is believed at present."""

    @property
    def asked(self) -> bool:
        """Whether somebody waits for what the whole map says."""

    @property
    def prior(self) -> Fix | None:
        """The pose that somebody claims, if one does."""

    def conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None) -> None:
        """Decide what to believe after an image. What it says of where the robot is tracked, ``by_track``, counts for
        the track only, not for those who ask.
        """

    def no_image(self, refusal: str) -> None:
        """Hear why an image was not looked at."""


class Sight:
    """Takes images, of each camera the newest, and one at a time; what they give goes to the ``judge``."""

    def __init__(
        self,
        judge: Judge,
        opened: OpenMap,
        settings: Callable[[], Settings],
        masks: Mapping[str, BoolArray],
        clock: Clock,
        transforms: Transforms,
        worker: Worker,
        outputs: Outputs,
    ) -> None:
        self._judge, self.map, self._settings = judge, opened, settings
        self._clock, self._transforms, self._worker, self._outputs = clock, transforms, worker, outputs
        self.cameras = Cameras(settings(), masks, clock.now_ns())
        # the stamp of the last image that the whole map was searched for
        self._around_ns = 0
        self._warned_ns: int | None = None
        # results that are on their way when everything starts over belong to the generation before
        self._generation = 0
        self.count_anew()
        self.start_over()

    def count_anew(self) -> None:
        """Count images from now on."""
        now_ns = self._clock.now_ns()
        self.processed = self.dropped = 0
        self.latency_s = 0.0
        self.meter = Meter(now_ns)
        for camera in self.cameras:
            camera.count_anew(now_ns)

    def start_over(self) -> None:
        """Forget all images, what is in work too."""
        self._generation += 1
        self.intake = Intake()
        self.forget_recent()
        for camera in self.cameras:
            camera.forget()

    def forget_recent(self) -> None:
        """Put no image up to now together with those to come."""
        self.recent = Accumulation()

    def time_jumped_back(self) -> None:
        """Forget what belongs to a time that is yet to come."""
        now_ns = self._clock.now_ns()
        self._warned_ns, self.meter = None, Meter(now_ns)
        self.cameras.time_jumped_back(self.intake.newest_ns, now_ns)

    def calibrate(self, stamp_ns: int, calibration: Calibration, camera: str) -> None:
        """Take a camera's calibration."""
        self.cameras[camera].calibrate(stamp_ns, calibration)
        self._next()

    def see(
        self, stamp_ns: int, frame_id: str, read_image: Callable[[], ImageArray], rectified: bool | None, camera: str
    ) -> None:
        """Take an image, as :meth:`~neumap.tracking.session.Session.see` does."""
        now_ns = self._clock.now_ns()
        self.dropped += self.cameras[camera].see(stamp_ns, frame_id, read_image, rectified, now_ns)
        self._next()

    def _next(self) -> None:
        """Take on an image, if none is in work: that of the camera that was looked at longest ago."""
        while not self.intake.busy and (camera := self.cameras.next()) is not None:
            image, now_ns = camera.take(), self._clock.now_ns()
            if refusal := self.cameras.refusal(camera, image.stamp_ns, now_ns):
                self._drop(refusal, now_ns)
                continue
            self.intake = replace(self.intake, newest_ns=max(self.intake.newest_ns or 0, image.stamp_ns))
            if self._judge.asked or self._is_due(camera, image.stamp_ns, now_ns):
                self._take_on(camera, image, now_ns)

    def _is_due(self, camera: LiveCamera, stamp_ns: int, now_ns: int) -> bool:
        """Tell whether an image is to be searched, where nobody asks: in time, and after what is known already.

        What an image costs is counted by the clock: by stamps a camera of 30 Hz would have to wait for its next image
        where the computer is ready for this one.
        """
        settings, track, costs_s = self._settings(), self._judge.track, self.meter.rates(now_ns).cost_s
        if track.has_pose and track.fix is not None and stamp_ns <= track.fix.stamp_ns:
            return False
        share = RATE_SLACK * self.cameras.sharing(camera, now_ns, track, settings.image_timeout)
        rate, taken_ns, begun_ns = settings.max_image_rate, camera.taken_ns, camera.begun_ns
        in_time = taken_ns is None or rate == 0 or (stamp_ns - taken_ns) * 1e-9 >= share / rate
        return in_time and (
            begun_ns is None or isnan(costs_s) or (now_ns - begun_ns) * 1e-9 >= share * costs_s / settings.max_cpu
        )

    def _take_on(self, camera: LiveCamera, image: LiveImage, now_ns: int) -> None:
        """Have an image searched."""
        settings = self._settings()
        camera.taken_ns = image.stamp_ns
        self.intake = replace(self.intake, taken_ns=max(self.intake.taken_ns or 0, image.stamp_ns))
        try:
            shot = camera.shot(image, settings)
        except CalibrationError as error:
            self._cannot_use(camera, image.stamp_ns, str(error))
            return
        if twin := self.cameras.twin(camera):
            self._say(camera, "warning", twin)
        frame_id, sending = shot.frame_id, self.cameras.sending(now_ns, settings.image_timeout)
        if len(sending) > 1 and self._transforms.base_from_camera(frame_id) is None:
            # the others do not wait for what would be searched in vain
            nowhere = f"{NO_TRANSFORM}: /tf does not tell where '{frame_id}' is on the robot"
            self._cannot_use(camera, image.stamp_ns, nowhere, kind="transforms")
            return
        self.intake, camera.begun_ns = replace(self.intake, since_ns=now_ns), now_ns
        judge, prior = self._judge, self._judge.prior
        asked = judge.asked or prior is not None
        due = (image.stamp_ns - self._around_ns) * 1e-9 >= settings.global_search_period
        glance = self.map.may_glance(camera.evidence)
        where = where_to_search(judge.track, prior, asked, frame_id, now_ns, self._transforms, settings, due, glance)
        if where.around:
            self._around_ns = image.stamp_ns
        self._outputs.searched(image.stamp_ns, self.map.map.grid, voxels_near(self.map.map, where.first))
        found = partial(self._found, self._generation, shot, where.first)
        self._worker.submit(partial(inspect, self.map, shot, where), found)

    def _drop(self, refusal: str, now_ns: int) -> None:
        self.dropped += 1
        if self._warned_ns is None or (now_ns - self._warned_ns) * 1e-9 >= WARN_EVERY_S:
            self._warned_ns = now_ns
            self._outputs.log("warning", f"image dropped: {refusal}")
        self._judge.no_image(refusal)

    def _found(
        self, generation: int, shot: Shot, within: Near | None, finding: Finding | Exception, cost_s: float
    ) -> None:
        """The worker is done with an image, which it looked for ``within`` some place, and which cost it ``cost_s``
        seconds.
        """
        if generation != self._generation:
            return
        camera = self.cameras[shot.camera]
        self.processed += 1
        camera.evidence = 0
        self.meter.searched(self._clock.now_ns(), cost_s)
        self._outputs.log("debug", f"an image took {1e3 * cost_s:.0f} ms")
        if isinstance(finding, CalibrationError):
            self._cannot_use(camera, shot.stamp_ns, str(finding))
            return
        if isinstance(finding, Exception):
            if not isinstance(finding, NeumapError):
                self._outputs.log("error", f"localizing an image failed: {finding!r}")
            self._fail(camera, shot.stamp_ns, str(finding) or repr(finding))
            return
        camera.usable = True
        if camera.count(finding):
            self._say(camera, "info", str(finding.frame.lenses[0]))
        self._outputs.inspected(Inspected(finding.frame, finding.pixels, finding.best, camera.name))
        settings, localized = self._settings(), finding.best.localized
        if localized and not shot.frame_id:
            unnamed = "the images have no frame_id: set the parameter camera_frame_id"
            self._cannot_use(camera, shot.stamp_ns, unnamed, finding)
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
        settings, camera, recent = self._settings(), self.cameras[finding.cameras[0]], Accumulation()
        if not isinstance(robot, str):
            shown = Shown(finding.frame.stamp_ns, finding.query, robot, camera.name)
            recent = self.recent = self.recent.followed_by(shown, settings)

        def found(result: Finding | Exception, cost_s: float) -> None:
            if generation != self._generation:
                return
            self.meter.searched_on(cost_s)
            if isinstance(result, Exception) or not result.together:
                self._fail(camera, finding.frame.stamp_ns, finding.estimate.reason, finding)
            else:
                camera.evidence, self.recent = result.best.evidence, Accumulation()
                self._located(generation, result, robot)

        if len(recent.kept) > 1:
            tracked = self._judge.track.has_pose
            self._worker.submit(partial(search_together, self.map, finding, recent, within, tracked, settings), found)
        else:
            self._fail(camera, finding.frame.stamp_ns, finding.estimate.reason, finding)

    def _located(self, generation: int, finding: Finding, robot: RobotPose | str) -> None:
        """The transforms at the image's stamp are known, or will not be."""
        if generation != self._generation:
            return
        frame, pose, camera = finding.frame, finding.best.map_from_camera, self.cameras[finding.cameras[0]]
        kind = "transforms"
        if not isinstance(robot, str) and pose is not None:
            kind = "mounting"
            tilt = tilt_doubt(pose @ invert_pose(robot.base_from_camera)) if self._settings().on_floor else ""
            robot = doubt(pose, robot.base_from_camera, frame.frame_id) or tilt or robot
        if isinstance(robot, str):
            self._cannot_use(camera, frame.stamp_ns, robot, finding, kind)
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
        self, camera: LiveCamera, stamp_ns: int, reason: str, finding: Finding | None = None, kind: str = ""
    ) -> None:
        """No image of a camera can give a pose, for a reason of some ``kind``: others may hide that from the status."""
        self._say(camera, "warning", reason, kind)
        camera.usable = finding is not None
        self._fail(camera, stamp_ns, reason, finding)

    def _say(self, camera: LiveCamera, level: str, text: str, kind: str = "") -> None:
        """Log something of a camera once, whatever else of its ``kind`` is to be said later."""
        if camera.is_news(kind or text):
            self._outputs.log(level, f"{camera}{text}")

    def _conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None = None) -> None:
        """Hand over what an image gave, and go on with the next."""
        now_ns = self._clock.now_ns()
        self.latency_s = (now_ns - seen.stamp_ns) * 1e-9
        self.meter.concluded(now_ns, self.latency_s)
        gave_pose = any(each is not None for each in (seen.fix, seen.near, by_track))
        self.cameras[seen.cameras[0]].told = "" if gave_pose else seen.reason
        self._judge.conclude(seen, finding, by_track)
        if self._judge.track.believed:
            self.forget_recent()
        self.intake = replace(self.intake, since_ns=None)
        self._next()
