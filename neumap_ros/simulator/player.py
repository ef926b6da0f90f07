"""Plays recorded messages to nodes, on the recording's own time.

As ``ros2 bag play --clock`` does, but /clock is published for exactly the moments at which something happens: a
message, a timer, the end of an inference. So a replay is as exact as it is repeatable, and waiting takes no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from neumap_ros.simulator import virtual_time
from neumap_ros.simulator.messages import message_class
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.qos import DurabilityPolicy, QoSProfile

QUEUE = 100


class Timed(NamedTuple):
    """A message as recorded: when, on which topic, its type ("tf2_msgs/msg/TFMessage") and its CDR bytes."""

    time_ns: int
    topic: str
    type: str
    cdr: bytes


class Event(NamedTuple):
    """Something to do at a time of the recording."""

    time_ns: int
    action: Callable[[], object]


class Player:
    """Plays to the nodes of an executor, all of which must use simulated time."""

    def __init__(self, executor: Any, remaps: Sequence[str] = ()) -> None:
        """``remaps`` are rules "from:=to" for the topics of what is played."""
        rules = [word for rule in remaps for word in ("-r", rule)]
        self._executor = executor
        self.node = Node("player", cli_args=["--ros-args", *rules] if rules else None)
        self._clock = self.node.create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 1)
        self._publishers: dict[str, Any] = {}
        self.now_ns = 0
        # when the last message was played
        self.last_ns = 0
        # true while the player itself publishes, for those who listen to what the nodes publish
        self.publishing = False

    def play(self, messages: Iterable[Timed], events: Sequence[Event] = (), after_s: float = 1.0) -> None:
        """Plays the messages in their order, even where their times go back, then lets ``after_s`` more pass.

        Each of the ``events`` happens before the first message that is not earlier, or at the end.
        """
        waiting = sorted(events, key=lambda event: event.time_ns)
        for message in messages:
            while waiting and waiting[0].time_ns <= message.time_ns:
                self._happen(waiting.pop(0))
            self.advance_to(message.time_ns)
            self._publish(self._publisher(message), message.cdr)
            self.last_ns = message.time_ns
            self._executor.spin_until_idle()
        end_ns = self.now_ns + round(after_s * 1e9)
        for event in waiting:
            self._happen(event)
        self.advance_to(max(end_ns, self.now_ns))

    def advance_to(self, time_ns: int) -> None:
        """Lets time pass, or jump back; what is due on the way is done when it is due."""
        # before the first /clock no time passes: it jumps to that
        while self.now_ns and (due := self._executor.next_due_ns()) is not None and due < time_ns:
            self._tick(max(due, self.now_ns))
        self._tick(time_ns)

    def close(self) -> None:
        """Takes the player's topics away."""
        self.node.destroy_node()

    def _happen(self, event: Event) -> None:
        if event.time_ns > self.now_ns:
            self.advance_to(event.time_ns)
        event.action()
        self._executor.spin_until_idle()

    def _tick(self, time_ns: int) -> None:
        virtual_time.advance_by(time_ns - self.now_ns if self.now_ns else 0)
        self.now_ns = time_ns
        clock = message_class("rosgraph_msgs/msg/Clock")()
        clock.clock.sec, clock.clock.nanosec = divmod(time_ns, 1_000_000_000)
        self._publish(self._clock, clock)
        self._executor.spin_until_idle()

    def _publish(self, publisher: Any, message: Any) -> None:
        self.publishing = True
        try:
            publisher.publish(message)
        finally:
            self.publishing = False

    def _publisher(self, message: Timed) -> Any:
        if message.topic not in self._publishers:
            latched = message.topic.endswith("tf_static")
            durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            self._publishers[message.topic] = self.node.create_publisher(
                message_class(message.type), message.topic, QoSProfile(depth=QUEUE, durability=durability)
            )
        return self._publishers[message.topic]
