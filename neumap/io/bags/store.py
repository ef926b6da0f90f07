"""Reads messages of a bag by position, for several threads and mostly in order, without loading the bag into memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from threading import Lock
from typing import NamedTuple

from neumap.errors import DataError
from neumap.io.bags.reader import BagReader, Message, Topic

# AHEAD_NS: a message further ahead is found faster by seeking than by reading on, nanoseconds.
AHEAD_NS = 2_000_000_000
# KEPT_BYTES: of messages passed while reading on, kept for other threads: some forty images with their depth.
KEPT_BYTES = 64_000_000


class Position(NamedTuple):
    """A message's position: its topic, time of reception, and number among those of its topic at that time."""

    topic: Topic
    time_ns: int
    ordinal: int


def numbered(messages: Iterable[Message]) -> Iterator[tuple[Position, Message]]:
    """Yield the messages with their positions."""
    last: dict[Topic, Position] = {}
    for message in messages:
        topic, time_ns, _ = message
        before = last.get(topic)
        ordinal = before.ordinal + 1 if before is not None and before.time_ns == time_ns else 0
        last[topic] = Position(topic, time_ns, ordinal)
        yield last[topic], message


class MessageStore:
    """Reads messages of some topics by position; may be called from several threads.

    Reading in the order of the recording costs one pass over it with any storage: one iteration goes on from message to
    message, and restarts if the wanted one is behind it or far ahead.
    """

    def __init__(self, bag: BagReader, topics: Collection[Topic], most_kept_bytes: int = KEPT_BYTES) -> None:
        self._bag = bag
        self._topics = tuple(topics)
        self._lock = Lock()
        self._kept: OrderedDict[Position, Message] = OrderedDict()
        self._kept_bytes = 0
        self._most_kept_bytes = most_kept_bytes
        self._rest: Iterator[tuple[Position, Message]] | None = None
        self._time_ns = 0
        # the last position of each topic that the iteration has passed
        self._passed: dict[Topic, Position] = {}

    def read(self, position: Position) -> Message:
        """Read the message at a position. Raises :class:`~neumap.errors.DataError` if it is no longer there."""
        with self._lock:
            kept = self._kept.pop(position, None)
            if kept is None:
                return self._find(position)
            self._kept_bytes -= len(kept.data)
            return kept

    def _find(self, wanted: Position) -> Message:
        rest, self._rest = self._rest, None
        passed = self._passed.get(wanted.topic)
        is_near = self._time_ns <= wanted.time_ns <= self._time_ns + AHEAD_NS
        if rest is None or not is_near or (passed is not None and passed[1:] >= wanted[1:]):
            self._passed.clear()
            rest = numbered(self._bag.messages(self._topics, wanted.time_ns))
        for position, message in rest:
            self._time_ns = message.time_ns
            self._passed[position.topic] = position
            if position == wanted:
                self._rest = rest
                return message
            self._keep(position, message)
        raise DataError(f"the bag {self._bag.path} has changed while it was read: run again")

    def _keep(self, position: Position, message: Message) -> None:
        if position in self._kept:
            return
        self._kept[position] = message
        self._kept_bytes += len(message.data)
        while self._kept_bytes > self._most_kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.data)
