"""The lifecycle node: what it acquires and gives back, its parameters, services and diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_updater import DiagnosticStatusWrapper, Updater
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Empty

from neumap.errors import DataError, NeumapError
from neumap.process import set_up
from neumap.tracking.tracker import State
from neumap_ros import parameters
from neumap_ros.engine import Engine, warm_engine
from neumap_ros.relocalization import failure
from neumap_ros.session import Session
from neumap_ros.srv import LoadMap, Relocalize
from neumap_ros.worker import ThreadWorker, Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
# a clock that goes back less than this is unsteady, not another run of a recording
JUMP_BACK_S = 0.5

try:
    from nav2_msgs.srv import SetInitialPose
except ImportError:  # Nav2 is not needed
    SetInitialPose = None


class LocalizerNode(LifecycleNode):
    """Localizes a camera in a map. Nothing is acquired before the configure transition but parameters.

    ``make_worker`` gives the worker that searches images; a simulator gives one of its own.
    """

    def __init__(self, make_worker: Callable[[LifecycleNode], Worker] = ThreadWorker, **node_arguments: Any) -> None:
        super().__init__("neumap_localizer", **node_arguments)
        self._make_worker = make_worker
        self._session: Session | None = None
        self._served: list[Any] = []
        self._updater: Updater | None = None
        self._time_jump: Any = None
        self._loading: Future | None = None
        self._settings: parameters.Settings | None = None
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)

    @property
    def session(self) -> Session | None:
        """What runs between configure and cleanup."""
        return self._session

    # --- lifecycle ------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the map. Fails with one line in the log, and may then be tried again."""
        doubt = parameters.check(self)
        if doubt:
            self.get_logger().error(f"not configured: {doubt}")
            return FAILURE
        settings = self._current_settings()
        set_up(settings.threads or None)
        try:
            engine = warm_engine(settings.map)
        except NeumapError as error:
            self.get_logger().error(f"not configured: {error}")
            return FAILURE
        self._report_map(engine, settings)
        self._session = Session(self, engine, self._current_settings, self._make_worker)
        # a coroutine that waits holds up its callback group, so these two do not wait in the node's own
        apart = ReentrantCallbackGroup()
        self._served = [
            self.create_service(Relocalize, "~/relocalize", self._on_relocalize, callback_group=apart),
            self.create_service(LoadMap, "~/load_map", self._on_load_map, callback_group=apart),
            self.create_service(Empty, "reinitialize_global_localization", self._on_reinitialize),
        ]
        if SetInitialPose is not None:
            self._served.append(self.create_service(SetInitialPose, "set_initial_pose", self._on_set_initial_pose))
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-round(JUMP_BACK_S * 1e9)), on_clock_change=True
        )
        self._time_jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_time_jump)
        if self._updater is None:
            # it declares parameters, which it can do once only
            self._updater = Updater(self)
            self._updater.setHardwareID("none")
            self._updater.add("localization", self._diagnose)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the worker."""
        # publishers first: what the session publishes on starting must not be dropped
        result = super().on_activate(state)
        if self._session is not None:
            self._session.activate()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the worker and the transform."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the map."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup, from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an exception in a transition: back to unconfigured."""
        self._release()
        return SUCCESS

    def _stop(self) -> None:
        self._loaded(DataError("the localizer was deactivated"))
        if self._session is not None:
            self._session.deactivate()

    def _release(self) -> None:
        self._stop()
        if self._time_jump is not None:
            self._time_jump.unregister()
            self._time_jump = None
        served, self._served = self._served, []
        executor = self.executor
        if executor is None:
            self._destroy_services(served)
        else:
            # In the turn after next: calls that wait are answered in the next one, where the newest task goes first.
            # Answers to a service that is gone raise, and their clients wait for ever.
            executor.create_task(lambda: executor.create_task(self._destroy_services, served))
        if self._session is not None:
            self._session.close()
            self._session = None

    def _destroy_services(self, services: list[Any]) -> None:
        for service in services:
            self.destroy_service(service)

    def destroy_node(self) -> None:
        """Stops the worker first, which would else wake a node that is gone."""
        self._release()
        super().destroy_node()

    def _report_map(self, engine: Engine, settings: parameters.Settings) -> None:
        neural_map = engine.map
        self.get_logger().info(
            f"map {engine.path}, id {neural_map.map_id}: {len(neural_map.landmarks)} landmarks in "
            f"{len(neural_map.grid)} voxels, decoder {neural_map.decoder}"
        )
        if neural_map.frame_id != settings.global_frame_id:
            self.get_logger().warning(
                f"the map was made in the frame '{neural_map.frame_id}' and is used as '{settings.global_frame_id}'"
            )

    # --- parameters ------------------------------------------------------------

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        result = parameters.verdict(changes, configured=self._session is not None)
        # the new values are there only after this callback
        self._settings = None
        return result

    def _current_settings(self) -> parameters.Settings:
        if self._settings is None:
            self._settings = parameters.read(self)
        return self._settings

    # --- services ----------------------------------------------------------------

    async def _on_relocalize(self, request: Any, response: Any) -> Any:
        session = self._session
        if session is None or not session.active:
            return failure("the localizer is not active", session.engine.map.map_id if session else "")
        map_id = session.engine.map.map_id
        prior = None
        if request.use_prior:
            try:
                prior = session.prior(request.prior)
            except DataError as error:
                return failure(f"prior refused: {error}", map_id)
        timeout_s = float(request.timeout) or self._current_settings().relocalize_timeout
        if not 0 < timeout_s <= 600:
            return failure(f"a timeout of {timeout_s:g} s: give 0 to 600", map_id)
        return await session.relocalization.begin(prior, session.newest_taken_ns, timeout_s, map_id)

    async def _on_load_map(self, request: Any, response: Any) -> Any:
        session = self._session
        if session is None or self._loading is not None:
            response.reason = "the localizer is not configured" if session is None else "another map is being loaded"
            response.map_id = session.engine.map.map_id if session else ""
            return response
        job = partial(Engine, request.map_path)
        if session.worker is not None:
            loading = self._loading = Future()
            session.worker.submit(job, self._loaded)
            loaded = await loading
            if isinstance(loaded, Engine) and session is not self._session:
                loaded = DataError("the localizer was cleaned up")
        else:
            try:
                loaded = job()
            except NeumapError as error:
                loaded = error
        if isinstance(loaded, Engine):
            self._report_map(loaded, self._current_settings())
            session.use(loaded)
            response.success = True
        else:
            response.reason = str(loaded) or repr(loaded)
            self.get_logger().error(f"map not loaded, the old one stays: {response.reason}")
        response.map_id = session.engine.map.map_id
        return response

    def _loaded(self, result: Any) -> None:
        """Wakes the call that waits for a map, if one does. Nothing here keeps the map."""
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.set_result(result)

    def _on_reinitialize(self, request: Any, response: Any) -> Any:
        if self._session is not None and self._session.active:
            self._session.start_over("global localization was asked for")
        return response

    def _on_set_initial_pose(self, request: Any, response: Any) -> Any:
        if self._session is not None and self._session.active:
            self._session.claim(request.pose)
        return response

    # --- time and diagnostics --------------------------------------------------------

    def _on_time_jump(self, jump: Any) -> None:
        if self._session is not None and self._session.active:
            self.get_logger().warning("time jumped back: starting over")
            self._session.time_jumped_back()

    def _diagnose(self, report: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        session = self._session
        if session is None or not session.active:
            report.summary(DiagnosticStatus.WARN, "not configured" if session is None else "not active")
            return report
        status = session.status()
        level = {
            State.TRACKING: DiagnosticStatus.OK,
            State.LOST: DiagnosticStatus.ERROR,
        }.get(session.track.state, DiagnosticStatus.WARN)
        state = session.track.state.name
        report.summary(level, f"{state}: {status.reason}" if status.reason else state)
        report.add("map", str(session.engine.path))
        report.add("map id", status.map_id)
        report.add("seconds since last fix", f"{status.age:.2f}")
        report.add("images processed", str(status.images_processed))
        report.add("images dropped", str(status.images_dropped))
        return report
