"""Timers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy._rclpy_pybind11 import RCLError
from neumap_ros.simulator.rclpy.callback_groups import CallbackGroup
from neumap_ros.simulator.rclpy.clock import EVERY_JUMP, Clock, ClockChange, TimeJump
from neumap_ros.simulator.rclpy.clock_type import ClockType
from neumap_ros.simulator.rclpy.task import await_or_execute


class Timer(Entity):
    """Runs its callback once per period of its clock; after a long pause once, on the old grid.

    A clock that jumps back by more than the last period starts a new one.
    """

    def __init__(
        self,
        callback: Callable[[], Any],
        callback_group: CallbackGroup,
        timer_period_ns: int,
        clock: Clock,
        *,
        autostart: bool = True,
    ) -> None:
        super().__init__(callback_group)
        if timer_period_ns < 0:
            raise RCLError("timer period must be non-negative")
        self.callback = callback
        self._clock = clock
        self._period = timer_period_ns
        self._canceled = not autostart
        self._last = clock._now_ns()
        self._next = self._last + timer_period_ns
        self._left: int | None = None
        self._jumps = None
        if clock.clock_type is ClockType.ROS_TIME:
            self._jumps = clock.create_jump_callback(
                EVERY_JUMP, pre_callback=self._before_jump, post_callback=self._after_jump
            )

    def destroy(self) -> None:
        super().destroy()
        if self._jumps is not None:
            self._jumps.unregister()

    @property
    def clock(self) -> Clock:
        """Whose time counts."""
        return self._clock

    @property
    def timer_period_ns(self) -> int:
        """The period, in nanoseconds; a new one counts from the next call on."""
        self._check()
        return self._period

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        self._check()
        self._period = int(value)

    def is_ready(self) -> bool:
        """Whether the callback is due."""
        self._check()
        return self._is_ready()

    def is_canceled(self) -> bool:
        """Whether it stands still."""
        self._check()
        return self._canceled

    def cancel(self) -> None:
        """Stops it."""
        self._check()
        self._canceled = True

    def reset(self) -> None:
        """Starts it, with a whole period ahead."""
        self._check()
        self._canceled = False
        self._next = self._clock._now_ns() + self._period

    def time_since_last_call(self) -> int:
        """Nanoseconds since the last call, or since it was made."""
        self._check()
        return self._clock._now_ns() - self._last

    def time_until_next_call(self) -> int | None:
        """Nanoseconds until the next call; None where it stands still."""
        self._check()
        return None if self._canceled else self._next - self._clock._now_ns()

    def _due_ns(self) -> int | None:
        return None if self._destroyed or self._canceled else self._next

    def _is_ready(self) -> bool:
        return not self._canceled and self._next <= self._clock._now_ns()

    def _take(self) -> Callable[[], Awaitable[Any]] | None:
        now = self._clock._now_ns()
        self._last = now
        self._next += self._period
        if self._next <= now:
            self._next = now + self._period - ((now - self._next) % self._period if self._period else 0)
        return lambda: await_or_execute(self.callback)

    def _before_jump(self) -> None:
        # Kept for a change of the clock's source only: the part of the period that is left goes on in the new time.
        now = self._clock._now_ns()
        self._left = self._next - now if now else None

    def _after_jump(self, jump: TimeJump) -> None:
        now = self._clock._now_ns()
        if jump.clock_change is not ClockChange.ROS_TIME_NO_CHANGE:
            if now and self._left is not None:
                # What real timers do: the part that is left counts as the part that has passed.
                self._last = now - self._left
                self._next = self._last + self._period
        elif now < self._last and self._next > now:
            self._last = now
            self._next = now + self._period


class Rate:
    """Sleeps between turns of a loop, which nothing in a single thread can do."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def sleep(self) -> None:
        """Raises NotImplementedError."""
        raise NotImplementedError("a rate sleeps while another thread spins; the simulator has only one: use a timer")

    def destroy(self) -> None:
        """Ends its use."""
        self._timer.destroy()
