"""Reads topics and messages of rosbag2 and, converted to ROS 2 messages, of ROS 1 bags."""

from __future__ import annotations

import os
import struct
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote_from_bytes

from neumap.errors import DataError, NeumapError
from neumap.io.bags.messages import rosbags, typestore
from neumap.io.files import PathLike

ROS2_SUFFIXES, ROS1_SUFFIX = frozenset({".mcap", ".db3"}), ".bag"
# _PACKED: suffixes of files that rosbag2 compressed; they can be read through metadata.yaml only.
_PACKED = (".mcap.zstd", ".db3.zstd")
# _ZSTD: magic number of compressed data, which CDR never begins with. _MCAP: magic at both ends of an MCAP file.
_ZSTD, _MCAP = b"\x28\xb5\x2f\xfd", b"\x89MCAP0\r\n"
# _CHANNEL, _FOOTER: opcodes of MCAP records.
_CHANNEL, _FOOTER = 0x04, 0x02
# _OF_ROS1: ROS 1 types whose fields ROS 2 has in the same order, and their ROS 2 names.
_OF_ROS1 = {
    f"{package}/msg/{name}": f"{package}/msg/{name}"
    for package, names in {
        "sensor_msgs": ("Image", "CompressedImage", "CameraInfo"),
        "geometry_msgs": ("PoseStamped", "PoseWithCovarianceStamped", "TransformStamped"),
        "nav_msgs": ("Odometry", "Path"),
        "tf2_msgs": ("TFMessage",),
    }.items()
    for name in names
} | {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, the type of its messages ("sensor_msgs/msg/Image") and how many there are."""

    name: str
    type: str
    count: int


class Message(NamedTuple):
    """A message as recorded: ``time_ns`` is when the recorder received it, ``data`` its CDR bytes."""

    topic: Topic
    time_ns: int
    data: bytes


def is_bag(path: Path) -> bool:
    """Return whether the path is a recording of ROS: a storage file, or a folder with one or ``metadata.yaml``."""
    if not path.is_dir():
        return _is_storage(path)
    return (path / "metadata.yaml").is_file() or bool(_storage_files(path))


class BagReader(AbstractContextManager["BagReader"]):
    """An open recording, closed at the latest when it is garbage-collected.

    Opens a folder with ``metadata.yaml``, a folder with one ``.mcap``, ``.db3`` or ``.bag`` file, or such a file.
    ``topics`` are sorted by name. Only one iteration may run at a time: a second one disturbs the first.

    Raises, also from its methods, :class:`~neumap.errors.DataError` for a recording that is missing, damaged,
    truncated or of an unknown format, and :class:`~neumap.errors.MissingDependencyError` without rosbags.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        with self._explained():
            storage = _storage(self.path)
            self._is_ros1 = storage.suffix.lower() == ROS1_SUFFIX
            self._reader = _reader_of(storage)
            self._reader.open()
        self.close = weakref.finalize(self, self._reader.close)
        self._damaged: set[tuple[str, int, int]] = set()
        counts: Counter[tuple[str, str]] = Counter()
        for connection in self._reader.connections:
            counts[self._key(connection)] += connection.msgcount
        self.topics = tuple(Topic(*name_and_type, count) for name_and_type, count in sorted(counts.items()))

    def messages(self, topics: Iterable[Topic], start_ns: int | None = None) -> Iterator[Message]:
        """Yield the messages of some topics received at ``start_ns`` or later, in the order of reception."""
        topic_of = {(topic.name, topic.type): topic for topic in topics}
        connections = [c for c in self._reader.connections if self._key(c) in topic_of]
        # rosbags takes an empty list for all connections
        if not connections:
            return
        seen = set()
        found = self._reader.messages(connections, start_ns)
        while True:
            # not around the yield: an abandoned iteration would end in the handler and leave a reference cycle
            with self._explained():
                each = next(found, None)
                if each is None:
                    break
                connection, time_ns, data = each
                topic = topic_of[self._key(connection)]
                data = self._as_cdr(topic, data)
            seen.add(topic)
            yield Message(topic, time_ns, data)
        missing = [topic for topic in topic_of.values() if topic.count and topic not in seen]
        if missing and start_ns is None:
            raise DataError(
                f"the metadata.yaml of the bag {self.path} does not fit its files, which hold no messages on "
                f"{missing[0].name}: run `ros2 bag reindex {self.path}`"
            )

    def first(self, topic: Topic) -> Any:
        """Decode the first message of a topic that can be decoded; None if the topic has no messages."""
        first = None
        for message in self.messages([topic]):
            first = first or message
            if (decoded := self.try_to_decode(message)) is not None:
                return decoded
        return None if first is None else self.decode(first)

    def decode(self, message: Message) -> Any:
        """Decode a message to an object with the fields of its type; arrays may be read-only views of its bytes."""
        with self._explained(f"a message on {message.topic.name} cannot be decoded"):
            return typestore().deserialize_cdr(message.data, message.topic.type)

    def try_to_decode(self, message: Message) -> Any:
        """Decode a message; return None, and count it in :attr:`left_out`, if it cannot be decoded."""
        try:
            return self.decode(message)
        except DataError:
            # counted once, however often the bag is read
            self._damaged.add((message.topic.name, message.time_ns, hash(bytes(message.data))))
            return None

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return how many messages of each topic could not be decoded so far, as sentences."""
        counts = Counter(name for name, *_ in self._damaged)
        return tuple(
            f"{count} messages on {name} cannot be decoded, and are left out" for name, count in sorted(counts.items())
        )

    def _key(self, connection: Any) -> tuple[str, str]:
        """Return topic and type of a connection of rosbags; types of ROS 1 only are marked as such."""
        type_ = connection.msgtype
        return connection.topic, _OF_ROS1.get(type_, f"{type_} of ROS 1") if self._is_ros1 else type_

    def _as_cdr(self, topic: Topic, data: bytes) -> bytes:
        """Return the CDR of a message of any recording; compressed messages occur in files without metadata."""
        if data[: len(_ZSTD)] == _ZSTD:
            data = rosbags("rosbag2.reader").zstd.decompress(data)
        if self._is_ros1 and topic.type in _OF_ROS1:
            data = bytes(typestore().ros1_to_cdr(data, topic.type))
        return data

    @contextmanager
    def _explained(self, what: str = "") -> Iterator[None]:
        try:
            yield
        except NeumapError:
            raise
        except FileNotFoundError:
            raise DataError(f"{self.path} does not exist: check the path") from None
        except OSError as error:
            raise DataError(f"the bag {self.path} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # damaged bytes make rosbags, SQLite and the decompressors raise anything
            text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            if "not supported" in text:
                raise DataError(f"the bag {self.path} cannot be read: {text}") from None
            mend = "`rosbag reindex`" if self._is_ros1 else "`ros2 bag reindex`, or `mcap recover` for MCAP"
            raise DataError(f"the bag {self.path} is damaged or was cut off: {what or text} (try {mend})") from None

    def __exit__(self, *_: object) -> None:
        self.close()


def _reader_of(path: Path) -> Any:
    """Make a reader of rosbags, which gets escaped paths of SQLite files: it puts them into a URI unescaped, so that
    ``%20``, ``#`` and ``?`` would lead to another file.
    """
    if path.suffix.lower() == ROS1_SUFFIX:
        return rosbags("rosbag1").Reader(path)
    if foreign := _foreign(path):
        raise DataError(f"{path} is {foreign}")
    rosbag2 = rosbags("rosbag2")

    def sqlite(file: Path) -> Any:
        return rosbag2.reader.Sqlite3Reader(Path(quote_from_bytes(os.fsencode(file))))

    reader = rosbag2.Reader(path)
    if isinstance(reader.storage, rosbag2.reader.Sqlite3Reader):
        reader.storage = sqlite(path)
    elif path.is_dir():
        # on the instance: the class would change all readers
        reader.storage.STORAGE_PLUGINS = {**reader.storage.STORAGE_PLUGINS, "sqlite3": sqlite}
    return reader


def _storage(path: Path) -> Path:
    """Return the path for rosbags to open: the given one, or the only storage file of a folder without metadata."""
    if path.is_file() and not _is_storage(path):
        raise DataError(f"{path} is no recording of ROS: give a folder of rosbag2, or an .mcap, .db3 or .bag file")
    if not path.is_dir() or (path / "metadata.yaml").is_file():
        return path
    files = _storage_files(path)
    if len(files) != 1:
        raise DataError(
            f"the bag {path} has {len(files)} storage files and no metadata.yaml: run `ros2 bag reindex {path}`, "
            "or give one of the files"
        )
    return files[0]


def _storage_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_storage(file))


def _is_storage(file: Path) -> bool:
    return file.suffix.lower() in ROS2_SUFFIXES | {ROS1_SUFFIX} or file.name.lower().endswith(_PACKED)


def _foreign(path: Path) -> str:
    """Return what a file is, and what to do, if its content is not of ROS 2, as its suffix claims; else empty."""
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        start = file.read(len(_MCAP))
        if start.startswith(_ZSTD):
            return "a compressed file of a bag: give the folder with its metadata.yaml, or unpack it with `zstd -d`"
        if start != _MCAP:
            return ""
        try:
            # the header: a byte, eight of its length, and the profile as a string
            file.seek(len(_MCAP) + 9)
            profile = _string(file)
            encodings = set() if profile == "ros2" else _encodings(file)
        except (struct.error, OSError):
            # truncated: reading it raises the error
            return ""
    if profile == "ros2":
        return ""
    if profile == "ros1" or "ros1" in encodings:
        return "an MCAP file of ROS 1: give the .bag that it was made of, or convert that with `rosbags-convert`"
    held = " and ".join(sorted(encodings)) or "nothing known"
    return f"an MCAP file whose messages are not ROS 2's but {held}: record with `ros2 bag record`"


def _encodings(file: BinaryIO) -> set[str]:
    """Return the message encodings of the channels in the summary of an MCAP file."""
    file.seek(-len(_MCAP) - 20, os.SEEK_END)
    (at,) = struct.unpack("<Q", file.read(8))
    found = set()
    while at:
        file.seek(at)
        kind, length = struct.unpack("<BQ", file.read(9))
        if kind == _CHANNEL:
            file.seek(4, os.SEEK_CUR)
            _string(file)
            found.add(_string(file))
        at = 0 if kind == _FOOTER else at + 9 + length
    return found


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<I", file.read(4))
    return file.read(length).decode(errors="replace")
