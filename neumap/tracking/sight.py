"""The path of an image until it is judged: which image is searched next, where, and alone or together with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ParamSpec, Protocol

from neumap.arrays import BoolArray, ImageArray
from neumap.errors import CalibrationError, NeumapError
from neumap.geometry.intrinsics import Calibration
from neumap.geometry.se3 import invert_pose
from neumap.localization.query import Near
from neumap.records import PoseEstimate
from neumap.tracking.accumulation import Accumulation, Shown, search_together, wanted
from neumap.tracking.cameras import Cameras, LiveCamera, LiveImage
from neumap.tracking.fix import Fix, fix_of
from neumap.tracking.inspection import Finding, OpenMap, Shot, inspect, voxels_near, where_to_search
from neumap.tracking.mounting import doubt
from neumap.tracking.planar import tilt_doubt
from neumap.tracking.ports import Clock, Inspected, Outputs, RobotPose, Transforms, Worker
from neumap.tracking.rates import Meter
from neumap.tracking.relocalization import Seen
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Intake, Track
from neumap.tracking.transforms import NO_TRANSFORM

# WARN_EVERY_S: shortest time between two warnings of dropped images, seconds.
WARN_EVERY_S = 5.0
P = ParamSpec("P")


class Judge(Protocol):
    """Decides which poses of images to accept."""

    @property
    def track(self) -> Track:
        """The tracker's state."""

    @property
    def asked(self) -> bool:
        """Whether a relocalize request is pending, which needs a search of the whole map."""

    @property
    def prior(self) -> Fix | None:
        """The claimed pose, if any."""

    def conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None) -> None:
        """Decide about an image. Its pose near the tracked one, ``by_track``, counts for the track only, not for
        relocalize requests.
        """

    def no_image(self, refusal: str) -> None:
        """Note why an image was dropped."""


class Sight:
    """Searches the newest image of each camera, one at a time, and passes the results to the ``judge``."""

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
        # stamp of the last image that was searched in the whole map
        self._around_ns = 0
        self._warned_ns: int | None = None
        # results of an earlier generation, which arrive after a restart, are dropped
        self._generation = 0
        self.count_anew()
        self.start_over()

    def count_anew(self) -> None:
        """Reset the counters."""
        now_ns = self._clock.now_ns()
        self.processed = self.dropped = 0
        self.latency_s = 0.0
        self.meter = Meter(now_ns)
        for camera in self.cameras:
            camera.count_anew(now_ns)

    def start_over(self) -> None:
        """Drop all images, including the one that is being searched."""
        self._generation += 1
        self.intake = Intake()
        self.forget_recent()
        for camera in self.cameras:
            camera.forget()

    def forget_recent(self) -> None:
        """Exclude all images up to now from later accumulation."""
        self.recent = Accumulation()

    def time_jumped_back(self) -> None:
        """Drop everything with stamps in the future."""
        now_ns = self._clock.now_ns()
        self._warned_ns, self.meter = None, Meter(now_ns)
        self.cameras.time_jumped_back(self.intake.newest_ns, now_ns)

    def calibrate(self, stamp_ns: int, calibration: Calibration, camera: str) -> None:
        """Set a camera's calibration."""
        self.cameras[camera].calibrate(stamp_ns, calibration)
        self._next()

    def see(
        self, stamp_ns: int, frame_id: str, read_image: Callable[[], ImageArray], rectified: bool | None, camera: str
    ) -> None:
        """Take an image; see :meth:`~neumap.tracking.session.Session.see`."""
        now_ns = self._clock.now_ns()
        self.dropped += self.cameras[camera].see(stamp_ns, frame_id, read_image, rectified, now_ns)
        self._next()

    def _next(self) -> None:
        """Start the search of an image, if none is running: that of the camera which waited longest."""
        while not self.intake.busy and (camera := self.cameras.next()) is not None:
            image, now_ns = camera.take(), self._clock.now_ns()
            if refusal := self.cameras.refusal(camera, image.stamp_ns, now_ns):
                self._drop(refusal, now_ns)
                continue
            self.intake = replace(self.intake, newest_ns=max(self.intake.newest_ns or 0, image.stamp_ns))
            cost_s, track = self.meter.rates(now_ns).cost_s, self._judge.track
            due = self.cameras.is_due(camera, image.stamp_ns, now_ns, track, cost_s, self._settings())
            if self._judge.asked or due:
                self._take_on(camera, image, now_ns)

    def _take_on(self, camera: LiveCamera, image: LiveImage, now_ns: int) -> None:
        """Submit an image to the worker, or report why it cannot be searched."""
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
        frame_id = shot.frame_id
        if (
            len(self.cameras.sending(now_ns, settings.image_timeout)) > 1
            and self._transforms.base_from_camera(frame_id) is None
        ):
            # a search would be in vain, and the other cameras would wait for it
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
        found = self._unless_restarted(partial(self._found, shot, where.first))
        self._worker.submit(partial(inspect, self.map, shot, where), found)

    def _unless_restarted(self, callback: Callable[P, None]) -> Callable[P, None]:
        """Return a ``callback`` that does nothing once :meth:`start_over` was called."""
        generation = self._generation

        def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            if generation == self._generation:
                callback(*args, **kwargs)

        return checked

    def _drop(self, refusal: str, now_ns: int) -> None:
        self.dropped += 1
        if self._warned_ns is None or (now_ns - self._warned_ns) * 1e-9 >= WARN_EVERY_S:
            self._warned_ns = now_ns
            self._outputs.log("warning", f"image dropped: {refusal}")
        self._judge.no_image(refusal)

    def _found(self, shot: Shot, within: Near | None, finding: Finding | Exception, cost_s: float) -> None:
        """Take the result of a search ``within`` a region (None: the whole map), which took ``cost_s`` seconds."""
        camera = self.cameras[shot.camera]
        self.processed += 1
        camera.evidence = 0
        self.meter.searched(self._clock.now_ns(), cost_s)
        self._outputs.log("debug", f"an image took {1e3 * cost_s:.0f} ms")
        if isinstance(finding, Exception):
            reason = str(finding) or repr(finding)
            if not isinstance(finding, NeumapError):
                self._outputs.log("error", f"localizing an image failed: {finding!r}")
            give_up = self._cannot_use if isinstance(finding, CalibrationError) else self._fail
            give_up(camera, shot.stamp_ns, reason)
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
            known = self._unless_restarted(partial(ask, finding))
            self._transforms.when_known(shot.stamp_ns, shot.frame_id, settings.transform_timeout, known)
        else:
            self._fail(camera, shot.stamp_ns, finding.estimate.reason, finding)

    def _accumulate(self, within: Near | None, finding: Finding, robot: RobotPose | str) -> None:
        """Search an image without a pose together with earlier images without one."""
        settings, camera, stamp_ns = self._settings(), self.cameras[finding.cameras[0]], finding.frame.stamp_ns
        fail = partial(self._fail, camera, stamp_ns, finding.estimate.reason, finding)
        if isinstance(robot, str):
            fail()
            return
        self.recent = self.recent.followed_by(Shown(stamp_ns, finding.query, robot, camera.name), settings)
        if len(self.recent.kept) < 2:
            fail()
            return

        def found(result: Finding | Exception, cost_s: float) -> None:
            self.meter.searched_on(cost_s)
            if isinstance(result, Exception) or not result.together:
                fail()
            else:
                camera.evidence, self.recent = result.best.evidence, Accumulation()
                self._located(result, robot)

        tracked = self._judge.track.current is not None
        search = partial(search_together, self.map, finding, self.recent, within, tracked, settings)
        self._worker.submit(search, self._unless_restarted(found))

    def _located(self, finding: Finding, robot: RobotPose | str) -> None:
        """Convert the camera's pose to the base's by ``robot``: the transforms at the stamp, or why there are none."""
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
            sure = is_sure(estimate.evidence)
            return fix_of(estimate.map_from_camera, estimate.covariance, frame.stamp_ns, *at, sure)

        is_sure = self.map.is_sure_of_many if finding.together else self.map.is_sure
        at = robot.base_from_camera, robot.odom_from_base
        others = tuple(
            (fix_of(other.map_from_camera, other.covariance, frame.stamp_ns, *at, sure=False), other.evidence)
            for other in finding.alternatives
        )
        found, reason, evidence = fix(finding.estimate), finding.estimate.reason, finding.best.evidence
        seen = Seen(frame.stamp_ns, found, reason, fix(finding.by_claim), evidence, others, finding.cameras)
        self._conclude(seen, finding, fix(finding.by_track))

    def _fail(self, camera: LiveCamera, stamp_ns: int, reason: str, finding: Finding | None = None) -> None:
        """Conclude an image without a pose."""
        self._conclude(Seen(stamp_ns, None, reason, cameras=(camera.name,)), finding)

    def _cannot_use(
        self, camera: LiveCamera, stamp_ns: int, reason: str, finding: Finding | None = None, kind: str = ""
    ) -> None:
        """Conclude an image of an unusable camera, and warn: the status may show another camera's reason."""
        self._say(camera, "warning", reason, kind)
        camera.usable = finding is not None
        self._fail(camera, stamp_ns, reason, finding)

    def _say(self, camera: LiveCamera, level: str, text: str, kind: str = "") -> None:
        """Log a message about a camera, the first of its ``kind`` only."""
        if camera.is_news(kind or text):
            self._outputs.log(level, f"{camera}{text}")

    def _conclude(self, seen: Seen, finding: Finding | None, by_track: Fix | None = None) -> None:
        """Pass the result of an image to the judge, and start the next search."""
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
