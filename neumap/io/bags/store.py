"""Messages of a bag read again later, by several threads and mostly in order, without a copy of the bag in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from threading import Lock
from typing import NamedTuple

from neumap.errors import DataError
from neumap.io.bags.reader import BagReader, Message, Topic

# Beyond this it is faster to look for a message than to read everything up to it.
AHEAD_NS = 2_000_000_000
# What was read on the way to a message is kept for the other threads: some forty images with their depth.
KEPT_BYTES = 64_000_000


class Position(NamedTuple):
    """Where a message is: its topic, when it was received, and how many of its topic came before at that time."""

    topic: Topic
    time_ns: int
    ordinal: int


def numbered(messages: Iterable[Message]) -> Iterator[tuple[Position, Message]]:
    """Yield the messages with their positions."""
    last: dict[Topic, Position] = {}
    for message in messages:
        before = last.get(message.topic)
        same_time = before is not None and before.time_ns == message.time_ns
        ordinal = before.ordinal + 1 if before is not None and same_time else 0
        last[message.topic] = position = Position(message.topic, message.time_ns, ordinal)
        yield position, message


class MessageStore:
    """Reads messages of some topics by position; may be called from several threads.

    Reading in the order of the recording costs one pass over it, whatever the storage: one iteration goes on from
    message to message, and starts anew where the wanted one is behind it or far ahead.
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
        """Read the message at a position.

        Raises :class:`~neumap.errors.DataError` where it is no longer there.
        """
        with self._lock:
            kept = self._kept.pop(position, None)
            if kept is not None:
                self._kept_bytes -= len(kept.data)
                return kept
            if not self._is_ahead(position):
                self._start(position.time_ns)
            return self._advance(position)

    def _is_ahead(self, position: Position) -> bool:
        passed = self._passed.get(position.topic)
        return (
            self._rest is not None
            and self._time_ns <= position.time_ns <= self._time_ns + AHEAD_NS
            and (passed is None or passed[1:] < position[1:])
        )

    def _start(self, time_ns: int) -> None:
        self._passed.clear()
        self._time_ns = time_ns
        self._rest = numbered(self._bag.messages(self._topics, time_ns))

    def _advance(self, wanted: Position) -> Message:
        rest, self._rest = self._rest, None
        for position, message in rest or ():
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
