"""Carries messages between the nodes of this process, as bytes. Nothing here waits or knows of time's passing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from neumap_ros.simulator import Published, virtual_time
from neumap_ros.simulator.rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    incompatibility,
    resolved,
)


class EndpointType(IntEnum):
    """What stands at an end of a topic or service."""

    INVALID = 0
    PUBLISHER = 1
    SUBSCRIPTION = 2
    SERVICE = 3
    CLIENT = 4


@dataclass(frozen=True)
class Sample:
    """A message under way. Numbers count from 1."""

    cdr: bytes
    stamp_ns: int
    publication_number: int
    reception_number: int


@dataclass(eq=False)
class Endpoint:
    """Base of the ends. ``owner`` is the node's entry."""

    owner: NodeEntry
    name: str
    type_name: str


@dataclass(eq=False)
class NodeEntry:
    """A node as others see it; ``context`` is what it lives and dies with."""

    context: Any
    name: str
    namespace: str


@dataclass(eq=False)
class TopicEnd(Endpoint):
    """A publisher or a subscription; ``on_incompatible`` hears of partners that it cannot talk to."""

    qos: QoSProfile
    on_incompatible: Callable[[QoSPolicyKind], None] | None


@dataclass(eq=False)
class Writer(TopicEnd):
    """The end that sends. ``kept`` is what late subscriptions get."""

    sent: int = 0
    kept: deque[Sample] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.qos = resolved(self.qos, of_publisher=True)
        kept = _capacity(self.qos) if self.qos.durability is DurabilityPolicy.TRANSIENT_LOCAL else 0
        self.kept = deque(maxlen=kept)


@dataclass(eq=False)
class Reader(TopicEnd):
    """The end that receives. ``waiting`` loses its oldest where it is full."""

    received: int = 0
    waiting: deque[Sample] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.qos = resolved(self.qos, of_publisher=False)
        self.waiting = deque(maxlen=_capacity(self.qos))

    def accept(self, sample: Sample) -> None:
        self.received += 1
        self.waiting.append(Sample(sample.cdr, sample.stamp_ns, sample.publication_number, self.received))


def _capacity(qos: QoSProfile) -> int | None:
    return None if qos.history is HistoryPolicy.KEEP_ALL else max(1, qos.depth)


@dataclass(eq=False)
class Caller(Endpoint):
    """A client; ``answers`` are numbers of requests and responses."""

    answers: deque[tuple[int, bytes]] = field(default_factory=deque)


@dataclass(eq=False)
class Server(Endpoint):
    """A service; ``requests`` are who asked, the number of the request, and the request."""

    requests: deque[tuple[Caller, int, bytes]] = field(default_factory=deque)


class Middleware:
    """All nodes and all ends."""

    def __init__(self) -> None:
        self.nodes: list[NodeEntry] = []
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self.servers: list[Server] = []
        self.callers: list[Caller] = []
        self.taps: list[Callable[[Published], object]] = []

    def ends(self) -> Iterator[Endpoint]:
        """All of them."""
        for ends in (self.writers, self.readers, self.servers, self.callers):
            yield from ends

    def add_writer(self, writer: Writer) -> None:
        self.writers.append(writer)
        for reader in self.readers:
            self._match(writer, reader)

    def add_reader(self, reader: Reader) -> None:
        self.readers.append(reader)
        for writer in self.writers:
            if self._match(writer, reader) and reader.qos.durability is DurabilityPolicy.TRANSIENT_LOCAL:
                for sample in writer.kept:
                    reader.accept(sample)

    def partners(self, end: Writer | Reader) -> list[Any]:
        """The subscriptions that a publisher reaches, or the publishers that reach a subscription."""
        if isinstance(end, Writer):
            return [reader for reader in self.readers if _meet(end, reader) and _problem(end, reader) is None]
        return [writer for writer in self.writers if _meet(writer, end) and _problem(writer, end) is None]

    def publish(self, writer: Writer, cdr: bytes) -> None:
        """Hands out a message to all who listen."""
        writer.sent += 1
        sample = Sample(cdr, virtual_time.now_ns(), writer.sent, 0)
        writer.kept.append(sample)
        for reader in self.partners(writer):
            reader.accept(sample)
        for tap in list(self.taps):
            tap(Published(writer.name, writer.type_name, cdr, sample.stamp_ns))

    def servers_for(self, caller: Caller) -> list[Server]:
        return [server for server in self.servers if _meet(server, caller)]

    def remove(self, end: Endpoint) -> None:
        """Takes an end away, with all that waits there."""
        for ends in (self.writers, self.readers, self.servers, self.callers):
            if end in ends:
                ends.remove(end)  # type: ignore[arg-type]

    def remove_node(self, node: NodeEntry) -> None:
        """Takes a node away, with all its ends."""
        for end in [end for end in self.ends() if end.owner is node]:
            self.remove(end)
        if node in self.nodes:
            self.nodes.remove(node)

    def forget(self, context: Any) -> None:
        """Takes away what belongs to a context that was shut down."""
        for node in [node for node in self.nodes if node.context is context]:
            self.remove_node(node)

    def _match(self, writer: Writer, reader: Reader) -> bool:
        if not _meet(writer, reader):
            return False
        problem = _problem(writer, reader)
        if problem is None:
            return True
        for end in (writer, reader):
            if end.on_incompatible is not None:
                end.on_incompatible(problem)
        return False


def _meet(one: Endpoint, other: Endpoint) -> bool:
    return one.name == other.name and one.type_name == other.type_name


def _problem(writer: Writer, reader: Reader) -> QoSPolicyKind | None:
    return incompatibility(writer.qos, reader.qos)


middleware = Middleware()
