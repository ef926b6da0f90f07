"""The running localizer: images in, poses and transforms out, between one configure and the next cleanup.

Everything here runs on the node's executor, but what is handed to the worker. Of several images the newest is taken;
one is in work at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from neumap.errors import CalibrationError, DataError, NeumapError
from neumap.localization.query import Near
from neumap.records import Camera, PoseEstimate
from neumap.tracking.tracker import (
    Fix,
    State,
    Track,
    claim,
    claimed_near,
    fix_of,
    predict,
    see,
    settled,
    wait,
)
from neumap_ros.conversions import calibration_of, camera_of, initial_pose, prior_of, set_stamp, stamp_ns
from neumap_ros.engine import Answer, Engine, Where
from neumap_ros.frames import Frames, RobotPose
from neumap_ros.msg import LocalizationStatus
from neumap_ros.outputs import Outputs
from neumap_ros.parameters import Settings
from neumap_ros.relocalization import Relocalization, Seen
from neumap_ros.worker import Worker

ImageMessage: TypeAlias = "Image | CompressedImage"

# images a camera takes at 5 Hz are not exactly 0.2 s apart
RATE_SLACK = 0.8
# stamps this far from the clock are of another clock: one forgot use_sim_time
OTHER_CLOCK_S = 10.0

NEWEST = copy.copy(qos_profile_sensor_data)
NEWEST.depth = 1


class Session:
    """One map being localized in. ``settings`` is asked anew each time, for parameters may change."""

    def __init__(
        self,
        node: LifecycleNode,
        engine: Engine,
        settings: Callable[[], Settings],
        make_worker: Callable[[LifecycleNode], Worker],
    ) -> None:
        self._node, self._settings, self._make_worker = node, settings, make_worker
        fixed = settings()
        self.engine = engine
        self.outputs = Outputs(node, fixed.global_frame_id)
        self._frames = Frames(node, fixed.base_frame_id, fixed.odom_frame_id)
        self.relocalization = Relocalization(node)
        self._camera: Camera | str = "no camera_info yet"
        self._calibration: tuple[object, ...] = ()
        image_type, suffix = (CompressedImage, "/compressed") if fixed.image_transport == "compressed" else (Image, "")
        self._image_topic = f"image{suffix}"
        self._subscriptions = [
            node.create_subscription(image_type, self._image_topic, self._on_image, NEWEST),
            node.create_subscription(CameraInfo, "camera_info", self._on_camera_info, qos_profile_sensor_data),
            node.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 1),
        ]
        self._worker: Worker | None = None
        self._tick_timer: Any = None
        self._newest: ImageMessage | None = None
        self._image_ns: int | None = None
        self._busy = False
        # results that are on their way when everything starts over belong to the generation before
        self._generation = 0
        self._track = Track(reason="not active")
        self.images_processed = self.images_dropped = 0

    # --- from the lifecycle ---------------------------------------------------

    def activate(self) -> None:
        """Starts: from now on images are searched."""
        settings = self._settings()
        self._worker = self._make_worker(self._node)
        self._start_over(f"no image on '{self._image_topic}' yet")
        self.images_processed = self.images_dropped = 0
        self._tick_timer = self._node.create_timer(1 / settings.tf_publish_rate, self._on_tick)
        if settings.set_initial_pose:
            self.claim(initial_pose(settings.initial_xyz_yaw, settings.global_frame_id))
        self._publish_status()

    def deactivate(self) -> None:
        """Stops the worker and the transform; nothing is published after this."""
        self.relocalization.abandon("the localizer was deactivated", self.engine.map.map_id)
        if self._tick_timer is not None:
            self._node.destroy_timer(self._tick_timer)
            self._tick_timer = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        self._start_over("not active")

    def close(self) -> None:
        """Gives everything back."""
        self.deactivate()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._frames.close()
        self.outputs.close()

    @property
    def active(self) -> bool:
        return self._worker is not None

    @property
    def track(self) -> Track:
        """What is believed at present."""
        return self._track

    @property
    def worker(self) -> Worker | None:
        """None while inactive."""
        return self._worker

    @property
    def newest_taken_ns(self) -> int | None:
        """The stamp of the newest image taken into work."""
        return self._image_ns

    def use(self, engine: Engine) -> None:
        """Switches to another map: nothing that was found in the old one counts any more."""
        self.engine = engine
        self.start_over("a new map was loaded")

    def start_over(self, reason: str) -> None:
        """Forgets where the robot is, and what is in work."""
        self._start_over(reason)
        self._publish_status()

    def time_jumped_back(self) -> None:
        """Forgets what belongs to a time that is yet to come."""
        self._frames.clear()
        self.start_over("time jumped back")

    def claim(self, message: PoseWithCovarianceStamped) -> str:
        """Takes a pose somebody claims for now, to be checked against the next image; why not, if it is refused."""
        try:
            prior = self.prior(message)
        except DataError as error:
            self._track = replace(self._track, reason=f"initial pose refused: {error}")
            self._publish_status()
            return str(error)
        self._track = claim(self._track, prior, self._image_ns)
        self._publish_status()
        return ""

    def prior(self, message: PoseWithCovarianceStamped) -> Fix:
        """A claimed pose as of now. Raises :class:`~neumap.errors.DataError` for one that cannot be."""
        pose, covariance = prior_of(message, self._settings().global_frame_id)
        return Fix(self._now_ns(), pose, covariance, self._frames.odom_from_base())

    # --- images -----------------------------------------------------------------

    def _on_camera_info(self, message: CameraInfo) -> None:
        calibration = calibration_of(message)
        if calibration == self._calibration:
            return
        self._calibration = calibration
        try:
            self._camera = camera_of(message)
        except CalibrationError as error:
            self._camera = f"camera_info cannot be used: {error}"
            self._node.get_logger().warning(self._camera)

    def _on_image(self, message: ImageMessage) -> None:
        if self._worker is None:
            return
        if self._newest is not None:
            self.images_dropped += 1
        self._newest = message
        self._next_image()

    def _next_image(self) -> None:
        """Takes on the newest image, if none is in work."""
        message, worker = self._newest, self._worker
        if self._busy or message is None or worker is None:
            return
        self._newest = None
        stamp, settings = stamp_ns(message.header), self._settings()
        refusal = self._refusal(stamp)
        if refusal:
            self.images_dropped += 1
            self._node.get_logger().warning(f"image dropped: {refusal}", throttle_duration_sec=5.0)
            if self._track.image_ns is None:
                self._set_track(replace(self._track, reason=refusal))
            return
        rate = settings.max_image_rate
        early = self._image_ns is not None and rate > 0 and (stamp - self._image_ns) * 1e-9 < RATE_SLACK / rate
        if early and not self.relocalization.pending:
            return
        self._image_ns = stamp
        if isinstance(self._camera, str):
            self._conclude(Seen(stamp, None, self._camera), None)
            return
        self._busy = True
        where = self._where_to_search(self._camera_frame(message, settings), settings)
        self.outputs.voxels(self.engine.map, where.first, stamp)
        job = partial(self.engine.localize, message, self._camera, where)
        worker.submit(job, partial(self._searched, self._generation, message))

    def _refusal(self, stamp: int) -> str:
        """Why an image of this stamp is not looked at; empty if it is."""
        ahead_s = (stamp - self._now_ns()) * 1e-9
        if abs(ahead_s) > OTHER_CLOCK_S:
            return f"the images are stamped {ahead_s:+.0f} s from this clock: is use_sim_time right?"
        if self._image_ns is not None and stamp <= self._image_ns:
            return "its stamp is not after that of the image before"
        return ""

    def _where_to_search(self, camera_frame: str, settings: Settings) -> Where:
        """Near where the robot is tracked to be, and near where somebody claims that it is."""
        track, odom_from_base = self._track, self._frames.odom_from_base()

        def now(fix: Fix) -> Fix:
            return predict(fix, self._now_ns(), odom_from_base, settings.tracker)

        tracked = claimed = None
        if track.state is State.TRACKING and track.fix is not None and settings.voxel_radius > 0:
            tracked = Near(now(track.fix).map_from_base[:3, 3], settings.voxel_radius)
        prior = self.relocalization.prior or track.prior
        base_from_camera = self._frames.base_from_camera(camera_frame) if prior and camera_frame else None
        if prior is not None and base_from_camera is not None:
            claimed = claimed_near(now(prior), base_from_camera)
        return Where(tracked, claimed, asks=self.relocalization.pending or prior is not None)

    def _camera_frame(self, message: ImageMessage, settings: Settings) -> str:
        return (settings.camera_frame_id or message.header.frame_id).lstrip("/")

    def _searched(self, generation: int, message: ImageMessage, answer: Answer | Exception) -> None:
        """The worker is done with an image."""
        if generation != self._generation:
            return
        stamp = stamp_ns(message.header)
        self.images_processed += 1
        if isinstance(answer, Exception):
            if not isinstance(answer, NeumapError):
                self._node.get_logger().error(f"localizing an image failed: {answer!r}")
            self._conclude(Seen(stamp, None, str(answer) or repr(answer)), None)
            return
        self.outputs.image(answer.image, answer.best, message.header)
        settings = self._settings()
        camera_frame = self._camera_frame(message, settings)
        if not answer.best.localized:
            self._conclude(Seen(stamp, None, answer.estimate.reason), answer)
        elif not camera_frame:
            unnamed = "the images have no frame_id: set the parameter camera_frame_id"
            self._conclude(Seen(stamp, None, unnamed), answer)
        else:
            located = partial(self._located, generation, stamp, answer)
            self._frames.when_known(stamp, camera_frame, settings.transform_timeout, located)

    def _located(self, generation: int, stamp: int, answer: Answer, robot: RobotPose | str) -> None:
        """The transforms at the image's stamp are known, or will not be."""
        if generation != self._generation:
            return
        if isinstance(robot, str):
            self._conclude(Seen(stamp, None, robot), answer)
            return

        def fix(estimate: PoseEstimate | None) -> Fix | None:
            if estimate is None or not estimate.localized:
                return None
            sure = self.engine.sure(estimate)
            return fix_of(estimate, stamp, robot.base_from_camera, robot.odom_from_base, sure)

        others = tuple((place, other.evidence) for other in answer.alternatives if (place := fix(other)))
        found, near, by_track = fix(answer.estimate), fix(answer.by_claim), fix(answer.by_track)
        seen = Seen(stamp, found, answer.estimate.reason, near, answer.best.evidence, others)
        self._conclude(seen, answer, by_track)

    def _conclude(self, seen: Seen, answer: Answer | None, by_track: Fix | None = None) -> None:
        """Decides what to believe after an image, and publishes it. What it says of where the robot is tracked counts
        for the track only, not for those who ask.
        """
        settings, stamp = self._settings(), seen.stamp_ns
        says = settled(self._track.prior, seen.fix, seen.near, settings.tracker) or by_track
        track = see(self._track, stamp, says, seen.reason, settings.tracker)
        found = self.relocalization.see(
            seen, self.engine.map.map_id, settings.global_frame_id, self._now_ns(), settings.tracker
        )
        if found is not None:
            track = found
        self._set_track(track, publish=False)
        if track.believed and track.fix is not None:
            self.outputs.pose(track.fix)
            self._publish_transform(settings)
        self._publish_status(stamp, answer)
        self._busy = False
        self._next_image()

    # --- the rest -----------------------------------------------------------------

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        if self._worker is None:
            self._node.get_logger().warning("initial pose ignored: the localizer is not active")
            return
        refusal = self.claim(message)
        if refusal:
            self._node.get_logger().warning(f"initial pose refused: {refusal}")

    def _on_tick(self) -> None:
        settings = self._settings()
        period_ns = round(1e9 / settings.tf_publish_rate)
        if self._tick_timer.timer_period_ns != period_ns:
            self._tick_timer.timer_period_ns = period_ns
        track = self._track
        odom = self._frames.odom_from_base() if track.state is State.DEGRADED else None
        if self._busy and track.image_ns is not None:
            # an image that is looked at for long is not one that is missing
            track = replace(track, image_ns=self._image_ns)
        self._set_track(wait(track, self._now_ns(), odom, settings.tracker))
        self._publish_transform(settings)

    def _publish_transform(self, settings: Settings) -> None:
        track = self._track
        if not settings.tf_broadcast or not track.has_pose or track.fix is None:
            return
        child = settings.odom_frame_id or settings.base_frame_id
        ahead_ns = round(settings.transform_tolerance * 1e9)
        self.outputs.transform(track.fix.map_from_odom, child, self._now_ns() + ahead_ns)

    def _set_track(self, track: Track, publish: bool = True) -> None:
        """Takes over a track; a change of state is logged and, unless ``publish`` is off, published."""
        before, self._track = self._track, track
        if (before.state, before.reason) == (track.state, track.reason):
            return
        if before.state is not track.state:
            text = f"{before.state.name} -> {track.state.name}: {track.reason or 'the image agrees'}"
            if track.state is State.LOST:
                self._node.get_logger().warning(text)
            else:
                self._node.get_logger().info(text)
        if publish:
            self._publish_status()

    def _publish_status(self, image_stamp: int | None = None, answer: Answer | None = None) -> None:
        self.outputs.status(self.status(image_stamp, answer))

    def status(self, image_stamp: int | None = None, answer: Answer | None = None) -> LocalizationStatus:
        """The status as a message: after an image, or as of now."""
        now, track = self._now_ns(), self._track
        stamp = now if image_stamp is None else image_stamp
        message = LocalizationStatus()
        set_stamp(message.header, stamp)
        message.state = track.state.value
        message.reason = track.reason
        message.inliers = answer.best.evidence if answer else 0
        message.reprojection_error_px = float(answer.best.reprojection_error_px) if answer else float("nan")
        message.age = (stamp - track.fix.stamp_ns) * 1e-9 if track.fix else -1.0
        message.latency = 0.0 if image_stamp is None else (now - image_stamp) * 1e-9
        message.map_id = self.engine.map.map_id
        message.images_processed = self.images_processed
        message.images_dropped = self.images_dropped
        return message

    def _start_over(self, reason: str) -> None:
        self._generation += 1
        self._track = Track(reason=reason)
        self._newest = self._image_ns = None
        self._busy = False

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
