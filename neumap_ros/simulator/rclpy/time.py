"""Points in time."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.clock_type import ClockType
from neumap_ros.simulator.rclpy.duration import LARGEST_NS, S_TO_NS, Duration


class Time:
    """A point in time of one kind of clock, of whole nanoseconds; times of different kinds do not mix (TypeError).

    Raises ValueError before zero, OverflowError beyond 64 bits.
    """

    def __init__(
        self, *, seconds: float = 0, nanoseconds: float = 0, clock_type: ClockType = ClockType.SYSTEM_TIME
    ) -> None:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        if seconds < 0:
            raise ValueError("Seconds value must not be negative")
        if nanoseconds < 0:
            raise ValueError("Nanoseconds value must not be negative")
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total > LARGEST_NS:
            raise OverflowError("Total nanoseconds value is too large to store in C time point.")
        self._nanoseconds = total
        self._clock_type = clock_type

    @property
    def nanoseconds(self) -> int:
        """Since the epoch of its clock."""
        return self._nanoseconds

    @property
    def clock_type(self) -> ClockType:
        """Which clock it belongs to."""
        return self._clock_type

    def seconds_nanoseconds(self) -> tuple[int, int]:
        """Whole seconds, and what is left in nanoseconds."""
        return divmod(self._nanoseconds, S_TO_NS)

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._nanoseconds}, clock_type={self._clock_type.name})"

    def __add__(self, other: object) -> Time:
        if not isinstance(other, Duration):
            return NotImplemented
        return Time(nanoseconds=self._nanoseconds + other.nanoseconds, clock_type=self._clock_type)

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        if isinstance(other, Time):
            if other._clock_type != self._clock_type:
                raise TypeError("Can't subtract times with different clock types")
            return Duration(nanoseconds=self._nanoseconds - other._nanoseconds)
        if isinstance(other, Duration):
            return Time(nanoseconds=self._nanoseconds - other.nanoseconds, clock_type=self._clock_type)
        return NotImplemented

    def _comparable(self, other: object) -> bool:
        if not isinstance(other, Time):
            return False
        if other._clock_type != self._clock_type:
            raise TypeError("Can't compare times with different clock types")
        return True

    def __eq__(self, other: object) -> bool:
        return self._nanoseconds == other._nanoseconds if self._comparable(other) else NotImplemented  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Time) -> bool:
        return self._nanoseconds < other._nanoseconds if self._comparable(other) else NotImplemented

    def __le__(self, other: Time) -> bool:
        return self._nanoseconds <= other._nanoseconds if self._comparable(other) else NotImplemented

    def __gt__(self, other: Time) -> bool:
        return self._nanoseconds > other._nanoseconds if self._comparable(other) else NotImplemented

    def __ge__(self, other: Time) -> bool:
        return self._nanoseconds >= other._nanoseconds if self._comparable(other) else NotImplemented

    def to_msg(self) -> Any:
        """A builtin_interfaces/Time."""
        seconds, nanoseconds = self.seconds_nanoseconds()
        return message_class("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        """Of a builtin_interfaces/Time; TypeError for anything else."""
        if not isinstance(msg, message_class("builtin_interfaces/msg/Time")):
            raise TypeError("Must pass a builtin_interfaces.msg.Time object")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)
