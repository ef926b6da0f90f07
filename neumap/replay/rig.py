"""Plays a recording to a session on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from neumap.errors import ConfigError
from neumap.io.live import LiveInputs, read_masks
from neumap.replay.clock import VirtualClock
from neumap.replay.recorder import Recorder
from neumap.replay.worker import ModelledWorker
from neumap.tracking.diagnosis import diagnose
from neumap.tracking.inspection import open_map
from neumap.tracking.session import Session
from neumap.tracking.settings import SPECS, Settings, settings_from
from neumap.tracking.transforms import TransformBuffer

# JUMP_BACK_NS: a smaller step back of the clock is jitter, not a restart of the recording, nanoseconds; as in
# neumap_ros/node.py.
JUMP_BACK_NS = 500_000_000


class Timed(NamedTuple):
    """A message that arrives at a time, for the method ``role`` of :class:`~neumap.io.live.LiveInputs`, and the name of
    its camera, if any.
    """

    time_ns: int
    role: str
    message: Any
    camera: str | None = None


class Event(NamedTuple):
    """An action at a time of the recording."""

    time_ns: int
    action: Callable[[], object]


class Rig:
    """Plays messages to one session, whose ``settings`` may be changed at any time with :meth:`set`.

    A job of the worker takes ``inference_s`` seconds, as in :class:`~neumap.replay.worker.ModelledWorker`. Raises
    :class:`~neumap.errors.ConfigError` for invalid parameters, and :class:`~neumap.errors.DataError` (or its kin) for a
    map or a mask that cannot be used.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        start_ns: int,
        inference_s: float | None = 0.1,
        rate: float = 1.0,
        image_topics: Mapping[str, str] | None = None,
    ) -> None:
        """``image_topics`` gives the image topic of each camera, whose name may mark rectified images."""
        for name, value in parameters.items():
            doubt = SPECS[name].doubt(value) if name in SPECS else f"there is no parameter {name}"
            if doubt:
                raise ConfigError(f"the localizer does not take its parameters: {doubt}")
        self._values = dict(parameters)
        self.settings: Settings = settings_from(self._values)
        if self.settings.doubt:
            raise ConfigError(f"the localizer does not take its parameters: {self.settings.doubt}")
        self.clock = VirtualClock(start_ns)
        self.out = Recorder(self.clock)
        self.worker = ModelledWorker(self.clock, inference_s, rate)
        self.transforms = TransformBuffer(
            self.clock,
            self.settings.base_frame_id,
            self.settings.odom_frame_id,
            warn=lambda text: self.out.log("warning", text),
        )
        self.session = Session(
            open_map(self.settings.map),
            lambda: self.settings,
            self.clock,
            self.transforms,
            self.worker,
            self.out,
            read_masks(self.settings),
        )
        topics = image_topics or dict.fromkeys(self.settings.camera_names, "image")
        self._inputs = LiveInputs(self.session, self.transforms, topics)
        self.last_ns = start_ns
        self._diagnose()

    def start(self) -> None:
        """Activate the session and its periodic tick."""
        self.session.activate()
        self.clock.call_after(1 / self.settings.tf_publish_rate, self._tick)

    def set(self, name: str, value: Any) -> None:
        """Set a parameter at run time. Raises :class:`~neumap.errors.ConfigError` if it is refused."""
        doubt = SPECS[name].doubt(value, configured=True)
        if doubt:
            raise ConfigError(doubt)
        self._values[name] = value
        self.settings = settings_from(self._values)

    def play(self, messages: Iterable[Timed], events: Sequence[Event] = (), after_s: float = 1.0) -> None:
        """Play messages in their order, even if their times go back, then advance by ``after_s`` seconds.

        Each of the ``events`` happens before the first message that is not earlier, or at the end.
        """
        waiting = sorted(events, key=lambda event: event.time_ns)
        for message in messages:
            while waiting and waiting[0].time_ns <= message.time_ns:
                self._happen(waiting.pop(0))
            self._move_to(message.time_ns)
            self.last_ns = message.time_ns
            self.deliver(message)
        for event in waiting:
            self._happen(event)
        self.clock.advance_to(max(self.clock.now_ns(), self.last_ns + round(after_s * 1e9)))

    def deliver(self, message: Timed) -> None:
        """Deliver a message now."""
        of_camera = {} if message.camera is None else {"camera": message.camera}
        getattr(self._inputs, message.role)(message.message, **of_camera)

    def _happen(self, event: Event) -> None:
        self.clock.advance_to(event.time_ns)
        event.action()

    def _move_to(self, time_ns: int) -> None:
        back_ns = self.clock.now_ns() - time_ns
        if back_ns <= 0:
            self.clock.advance_to(time_ns)
            return
        self.clock.jump_back_to(time_ns)
        if back_ns >= JUMP_BACK_NS:
            self.session.time_jumped_back()

    def _tick(self) -> None:
        if self.session.active:
            self.clock.call_after(1 / self.settings.tf_publish_rate, self._tick)
            self.session.tick()

    def _diagnose(self) -> None:
        self.clock.call_after(self.settings.diagnostics_period, self._diagnose)
        self.out.diagnosis(diagnose(self.session))
