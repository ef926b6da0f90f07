"""Clocks, and callbacks for those who must know when one jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from neumap_ros.simulator import SimulatorError, virtual_time
from neumap_ros.simulator.rclpy.clock_type import ClockType
from neumap_ros.simulator.rclpy.context import Context
from neumap_ros.simulator.rclpy.duration import Duration
from neumap_ros.simulator.rclpy.exceptions import NotInitializedException
from neumap_ros.simulator.rclpy.time import Time
from neumap_ros.simulator.rclpy.utilities import get_default_context

__all__ = ["Clock", "ClockChange", "ClockType", "JumpHandle", "JumpThreshold", "ROSClock", "TimeJump"]


class ClockChange(Enum):
    """Whether the source of time changed."""

    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """Which jumps somebody wants to hear of. ValueError where that is none or a sign is wrong."""

    def __init__(
        self, *, min_forward: Duration | None, min_backward: Duration | None, on_clock_change: bool = True
    ) -> None:
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError("min_forward must be a positive non-zero duration")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError("min_backward must be a negative non-zero duration")
        if min_forward is None and min_backward is None and not on_clock_change:
            raise ValueError("At least one jump threshold must be enabled")
        self.min_forward = min_forward
        self.min_backward = min_backward
        self.on_clock_change = on_clock_change

    def _is_met(self, change: ClockChange, delta_ns: int) -> bool:
        if self.on_clock_change and change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return True
        if delta_ns < 0:
            return self.min_backward is not None and delta_ns <= self.min_backward.nanoseconds
        return delta_ns > 0 and self.min_forward is not None and delta_ns >= self.min_forward.nanoseconds


EVERY_JUMP = JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1))


class TimeJump:
    """What happened to a clock."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        self._clock_change = clock_change
        self._delta = delta

    @property
    def clock_change(self) -> ClockChange:
        """Whether the source of time changed."""
        return self._clock_change

    @property
    def delta(self) -> Duration:
        """By how much time jumped; zero where its source changed."""
        return self._delta


@dataclass(eq=False)
class _Listener:
    threshold: JumpThreshold
    pre: Callable[[], None] | None
    post: Callable[[TimeJump], None] | None


class JumpHandle:
    """Keeps jump callbacks registered until ``unregister()``."""

    def __init__(self, clock: Clock, listener: _Listener) -> None:
        self._clock = clock
        self._listener: _Listener | None = listener

    def unregister(self) -> None:
        """No more callbacks."""
        if self._listener is not None:
            self._clock._listeners.remove(self._listener)
            self._listener = None

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.unregister()


class Clock:
    """Reads virtual time."""

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Any:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        return super().__new__(ROSClock if clock_type is ClockType.ROS_TIME else cls)

    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> None:
        self._clock_type = clock_type
        self._listeners: list[_Listener] = []

    @property
    def clock_type(self) -> ClockType:
        """Which kind of time it tells."""
        return self._clock_type

    def __repr__(self) -> str:
        return f"Clock(clock_type={self.clock_type.name})"

    def _now_ns(self) -> int:
        return virtual_time.now_ns()

    @property
    def _follows_messages(self) -> bool:
        return False

    def now(self) -> Time:
        """The present."""
        return Time(nanoseconds=self._now_ns(), clock_type=self.clock_type)

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], None] | None = None,
        post_callback: Callable[[TimeJump], None] | None = None,
    ) -> JumpHandle:
        """Calls back around each jump that meets ``threshold``. ValueError without a callback."""
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        listener = _Listener(threshold, pre_callback, post_callback)
        self._listeners.append(listener)
        return JumpHandle(self, listener)

    def sleep_until(self, until: Time, context: Context | None = None) -> bool:
        """Advances virtual time to ``until``; False where the context was shut down meanwhile.

        Raises SimulatorError on a clock that follows /clock: nobody could publish there while the only thread sleeps.
        """
        context = get_default_context() if context is None else context
        if not context.ok():
            raise NotInitializedException
        if until.clock_type != self.clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        if self._follows_messages:
            raise SimulatorError("sleeping on simulated time never ends in a single thread: use a timer instead")
        virtual_time.advance_to(until.nanoseconds)
        return context.ok()

    def sleep_for(self, rel_time: Duration, context: Context | None = None) -> bool:
        """As ``sleep_until(now() + rel_time)``."""
        return self.sleep_until(self.now() + rel_time, context)


class ROSClock(Clock):
    """Virtual time, or what /clock says once that is active."""

    def __new__(cls) -> Any:
        return super().__new__(cls, clock_type=ClockType.ROS_TIME)

    def __init__(self, *, clock_type: ClockType = ClockType.ROS_TIME) -> None:
        super().__init__(clock_type=ClockType.ROS_TIME)
        self._active = False
        self._override_ns = 0

    def _now_ns(self) -> int:
        return self._override_ns if self._active else virtual_time.now_ns()

    @property
    def _follows_messages(self) -> bool:
        return self._active

    @property
    def ros_time_is_active(self) -> bool:
        """Whether it follows /clock."""
        return self._active

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED

        def switch() -> None:
            self._active = enabled

        self._jump(change, 0, switch)

    def set_ros_time_override(self, time: Time) -> None:
        """What it shows while ROS time is active. TypeError for anything but a Time."""
        if not isinstance(time, Time):
            raise TypeError("Time must be specified as rclpy.time.Time")

        def move() -> None:
            self._override_ns = time.nanoseconds

        if self._active:
            self._jump(ClockChange.ROS_TIME_NO_CHANGE, time.nanoseconds - self._override_ns, move)
        else:
            move()

    def _jump(self, change: ClockChange, delta_ns: int, apply: Callable[[], None]) -> None:
        concerned = [listener for listener in self._listeners if listener.threshold._is_met(change, delta_ns)]
        for listener in concerned:
            if listener.pre is not None:
                listener.pre()
        apply()
        jump = TimeJump(change, Duration(nanoseconds=delta_ns))
        for listener in concerned:
            if listener.post is not None:
                listener.post(jump)
