"""The lifecycle node: its resources, topics, services, parameters and diagnostics.

It connects the session (``neumap/tracking/session.py``), which makes all decisions, to ROS 2.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from cv_bridge import CvBridge, CvBridgeError
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Empty
from tf2_msgs.msg import TFMessage

from neumap.arrays import ImageArray
from neumap.errors import NeumapError
from neumap.io.image_messages import gray_of
from neumap.io.live import LiveInputs, claim_of, read_masks
from neumap.process import set_up
from neumap.tracking.cameras import topic_of
from neumap.tracking.diagnosis import diagnose
from neumap.tracking.inspection import open_warm_map
from neumap.tracking.requests import LoadAnswer, RelocalizeAnswer, RelocalizeRequest
from neumap.tracking.session import Session
from neumap.tracking.settings import Settings
from neumap_ros import parameters
from neumap_ros.conversions import diagnostics_message, fill_relocalize
from neumap_ros.ports import TF_QUEUE, RosClock, RosOutputs, ThreadWorker
from neumap_ros.srv import LoadMap, Relocalize
from neumap_ros.transforms import RosTransforms

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
# JUMP_BACK_NS: smaller backward jumps are jitter of the clock, not a restarted recording; nanoseconds.
JUMP_BACK_NS = 500_000_000
# HEARTBEAT_S: bond period of Nav2's own nodes, seconds; its lifecycle manager waits 2 s for the first heartbeat.
HEARTBEAT_S = 0.25
NEWEST = copy.copy(qos_profile_sensor_data)
NEWEST.depth = 1
# TF_STATIC: QoS of tf2_ros.
TF_STATIC = QoSProfile(depth=TF_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# NOT_CONFIGURED: response to requests that arrive while the node is cleaned up.
NOT_CONFIGURED = "the localizer is not configured"

try:
    from bondpy.bondpy import Bond
except ImportError:  # part of ROS since Jazzy; PyPI's bondpy is unrelated
    Bond = None
try:
    from nav2_msgs.srv import SetInitialPose
except ImportError:  # Nav2 is optional
    SetInitialPose = None


class LocalizerNode(LifecycleNode):
    """Localizes cameras in a map. Before it is configured, the node only declares parameters."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("neumap_localizer", **node_arguments)
        self._session: Session | None = None
        self._outputs: RosOutputs | None = None
        self._transforms: RosTransforms | None = None
        self._subscriptions_made: list[Any] = []
        self._served: list[Any] = []
        self._tick_timer: Any = None
        self._diagnostics: Any = None
        self._time_jump: Any = None
        self._bond: Any = None
        self._settings: Settings | None = None
        self._sets_map = False
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._answer_impossible_transitions()

    # --- lifecycle ------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the map. On failure log one line; configuring can be repeated."""
        doubt = parameters.check(self)
        settings = self._current_settings()
        try:
            if doubt:
                raise NeumapError(doubt)
            set_up(settings.threads or None)
            opened = open_warm_map(settings.map)
            masks = read_masks(settings)
        except NeumapError as error:
            self.get_logger().error(f"not configured: {error}")
            return FAILURE
        clock = RosClock(self)
        transforms = RosTransforms(self, clock, settings.base_frame_id, settings.odom_frame_id)
        self._transforms = transforms
        self._outputs = RosOutputs(self, settings.global_frame_id, settings.initializes)
        worker = ThreadWorker(self)
        self._session = Session(opened, self._current_settings, clock, transforms, worker, self._outputs, masks)
        self._subscribe(self._session, transforms, settings)
        self._serve(settings)
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-JUMP_BACK_NS), on_clock_change=True
        )
        self._time_jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_time_jump)
        if self._diagnostics is None:
            publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
            # on a steady clock, so that diagnostics continue while simulated time stands still
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            timer = self.create_timer(settings.diagnostics_period, self._diagnose, clock=steady)
            self._diagnostics = publisher, timer
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker, and the bond with Nav2's lifecycle manager, identified by the node's name."""
        # publishers first, or the session's first messages would be dropped
        result = super().on_activate(state)
        if self._session is not None:
            self._session.activate()
            self._tick_timer = self.create_timer(1 / self._current_settings().tf_publish_rate, self._tick)
            if Bond is not None:
                self._bond = Bond("bond", self.get_name(), self)
                self._bond.heartbeat_period = HEARTBEAT_S
                self._bond.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the worker and the transform publisher."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the map."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up, from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after an exception in a transition."""
        self._release()
        return SUCCESS

    def _stop(self) -> None:
        bond, self._bond = self._bond, None
        # shutdown sends a message, which raises if the context is already shut down
        with contextlib.suppress(Exception):
            if bond is not None:
                bond.shutdown()
        if self._tick_timer is not None:
            self.destroy_timer(self._tick_timer)
            self._tick_timer = None
        if self._session is not None:
            self._session.deactivate()

    def _release(self) -> None:
        self._stop()
        if self._time_jump is not None:
            self._time_jump.unregister()
            self._time_jump = None
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._subscriptions_made = []
        served, self._served = self._served, []
        executor = self.executor
        if executor is None:
            self._destroy_services(served)
        else:
            # Two executor cycles later: pending calls are answered in the next, where the newest task runs first.
            # Responses from a destroyed service raise, and their clients would wait forever.
            executor.create_task(lambda: executor.create_task(self._destroy_services, served))
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = self._session = None

    def _destroy_services(self, services: list[Any]) -> None:
        for service in services:
            self.destroy_service(service)

    def destroy_node(self) -> None:
        """Stop the worker first, which would otherwise wake a destroyed node."""
        self._release()
        super().destroy_node()

    def _answer_impossible_transitions(self) -> None:
        """Answer requests for invalid transitions with a failure: rclpy raises in its callback without a response, and
        clients such as Nav2's lifecycle manager would wait forever.
        """
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                service.callback = self._guarded(service.callback)

    def _guarded(self, change_state: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except Exception as error:  # RCLError is not public
                self.get_logger().error(f"impossible transition: {' '.join(str(error).split())}")
                response.success = False
                return response

        return answer

    # --- topics and services -----------------------------------------------------

    def _subscribe(self, session: Session, transforms: RosTransforms, settings: Settings) -> None:
        compressed = settings.image_transport == "compressed"
        kind, name = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        topics = {camera: topic_of(camera, name) for camera in settings.camera_names}
        # after remapping
        resolved = {camera: self.resolve_topic_name(topic) for camera, topic in topics.items()}
        inputs = LiveInputs(session, transforms, resolved, gray_by_cv_bridge(CvBridge()))
        # an initializer must not receive the initialpose that it publishes
        claims = "~/claim" if settings.initializes else "initialpose"
        # rclpy handles messages that are ready together in this order: images after the data needed to use them
        self._subscriptions_made = [
            self.create_subscription(TFMessage, "/tf_static", inputs.tf_static, TF_STATIC),
            *(
                self.create_subscription(
                    CameraInfo,
                    topic_of(camera, "camera_info"),
                    partial(inputs.camera_info, camera=camera),
                    qos_profile_sensor_data,
                )
                for camera in topics
            ),
            self.create_subscription(PoseWithCovarianceStamped, claims, inputs.initial_pose, 1),
            *(
                self.create_subscription(kind, topic, partial(inputs.image, camera=camera), NEWEST)
                for camera, topic in topics.items()
            ),
        ]

    def _serve(self, settings: Settings) -> None:
        # beside AMCL the public names are AMCL's
        space = "~/" if settings.initializes else ""
        # an awaiting coroutine blocks its callback group, so these two have their own
        apart = ReentrantCallbackGroup()
        self._served = [
            self.create_service(Relocalize, "~/relocalize", self._on_relocalize, callback_group=apart),
            self.create_service(LoadMap, "~/load_map", self._on_load_map, callback_group=apart),
            self.create_service(Empty, f"{space}reinitialize_global_localization", self._on_reinitialize),
        ]
        if SetInitialPose is not None:
            name = f"{space}set_initial_pose"
            self._served.append(self.create_service(SetInitialPose, name, self._on_set_initial_pose))

    async def _on_relocalize(self, request: Any, response: Any) -> Any:
        session, frame_id = self._session, self._current_settings().global_frame_id
        if session is None:
            return fill_relocalize(response, RelocalizeAnswer(None, NOT_CONFIGURED, ""), frame_id)
        prior = claim_of(request.prior) if request.use_prior else None
        found = Future()
        session.relocalize(RelocalizeRequest(prior, float(request.timeout)), found.set_result)
        return fill_relocalize(response, await found, frame_id)

    async def _on_load_map(self, request: Any, response: Any) -> Any:
        session, loaded = self._session, Future()
        if session is None:
            loaded.set_result(LoadAnswer(False, NOT_CONFIGURED, "", request.map_path))
        else:
            session.load_map(request.map_path, loaded.set_result)
        answer = await loaded
        if answer.success and session is self._session:
            self._set_map(answer.path)
        response.success, response.reason, response.map_id = answer.success, answer.reason, answer.map_id
        return response

    def _on_reinitialize(self, request: Any, response: Any) -> Any:
        if self._session is not None:
            self._session.start_over("global localization was asked for")
        return response

    def _on_set_initial_pose(self, request: Any, response: Any) -> Any:
        if self._session is not None:
            self._session.claim(claim_of(request.pose))
        return response

    # --- parameters ------------------------------------------------------------

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        result = parameters.verdict(changes, configured=self._session is not None and not self._sets_map)
        # the new values take effect only after this callback
        self._settings = None
        return result

    def _current_settings(self) -> Settings:
        if self._settings is None:
            self._settings = parameters.read(self)
        return self._settings

    def _set_map(self, path: str) -> None:
        """Set the parameter to the current map, so that the next configure does not return to the old one."""
        self._sets_map = True
        try:
            self.set_parameters([Parameter("map", value=path)])
        finally:
            self._sets_map = False

    # --- time and diagnostics --------------------------------------------------------

    def _tick(self) -> None:
        if self._session is not None and self._transforms is not None:
            self._transforms.fetch()
            self._session.tick()
            set_period(self._tick_timer, 1 / self._current_settings().tf_publish_rate)

    def _on_time_jump(self, jump: Any) -> None:
        if self._session is not None:
            self._session.time_jumped_back()

    def _diagnose(self) -> None:
        publisher, timer = self._diagnostics
        if self._transforms is not None:
            self._transforms.fetch()
        stamp_ns = self.get_clock().now().nanoseconds
        publisher.publish(diagnostics_message(diagnose(self._session), stamp_ns, self.get_name()))
        set_period(timer, self._current_settings().diagnostics_period)


def set_period(timer: Any, seconds: float) -> None:
    """Change the period of a timer, if it differs."""
    period_ns = round(seconds * 1e9)
    if timer.timer_period_ns != period_ns:
        timer.timer_period_ns = period_ns


def gray_by_cv_bridge(bridge: CvBridge) -> Callable[[Any], ImageArray]:
    """Return a reader of image messages: cv_bridge where it is reliable, else ours, with equal results."""

    def read(message: Any) -> ImageArray:
        # some versions of cv_bridge mishandle padding and byte order: use it for unpadded rows of these encodings only
        plain = not isinstance(message, CompressedImage) and message.encoding in ("mono8", "bgr8", "rgb8")
        width = message.width * (1 if message.encoding == "mono8" else 3) if plain else 0
        if not plain or message.is_bigendian or message.step != width or len(message.data) != width * message.height:
            return gray_of(message)
        try:
            return bridge.imgmsg_to_cv2(message, "mono8")
        except CvBridgeError:
            return gray_of(message)

    return read
