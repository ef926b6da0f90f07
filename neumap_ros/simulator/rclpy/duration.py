"""Spans of time."""

from __future__ import annotations

from typing import Any

from neumap_ros.simulator.messages import message_class

S_TO_NS = 10**9
LARGEST_NS = 2**63 - 1


class Duration:
    """A span of time, of whole nanoseconds. Raises OverflowError beyond 64 bits."""

    def __init__(self, *, seconds: float = 0, nanoseconds: float = 0) -> None:
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if not -LARGEST_NS - 1 <= total <= LARGEST_NS:
            raise OverflowError("Total nanoseconds value is too large to store in C duration.")
        self._nanoseconds = total

    @property
    def nanoseconds(self) -> int:
        """All of it."""
        return self._nanoseconds

    def __repr__(self) -> str:
        return f"Duration(nanoseconds={self.nanoseconds})"

    def __str__(self) -> str:
        return "Infinite" if self.nanoseconds == LARGEST_NS else f"{self.nanoseconds} nanoseconds"

    def __eq__(self, other: object) -> bool:
        return self.nanoseconds == other.nanoseconds if isinstance(other, Duration) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: object) -> bool:
        return self.nanoseconds < other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.nanoseconds <= other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.nanoseconds > other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.nanoseconds >= other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def to_msg(self) -> Any:
        """A builtin_interfaces/Duration."""
        seconds, nanoseconds = divmod(self.nanoseconds, S_TO_NS)
        return message_class("builtin_interfaces/msg/Duration")(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any) -> Duration:
        """Of a builtin_interfaces/Duration; TypeError for anything else."""
        if not isinstance(msg, message_class("builtin_interfaces/msg/Duration")):
            raise TypeError("Must pass a builtin_interfaces.msg.Duration object")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec)


Infinite = Duration(nanoseconds=LARGEST_NS)
