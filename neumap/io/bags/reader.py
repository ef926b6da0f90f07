"""A rosbag2 recording as topics and messages."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes

from neumap.errors import DataError, NeumapError
from neumap.io.bags.messages import rosbags, typestore
from neumap.io.files import PathLike

SUFFIXES = frozenset({".mcap", ".db3"})
# _ZSTD: what compressed data begin with, and CDR never.
_ZSTD = b"\x28\xb5\x2f\xfd"


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
    """Tell whether the path is a rosbag2 recording: a storage file, or a folder with one or ``metadata.yaml``."""
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES
    return (path / "metadata.yaml").is_file() or bool(_storage_files(path))


class BagReader(AbstractContextManager["BagReader"]):
    """An open recording; closed at the latest when it is no longer used.

    Takes a folder with ``metadata.yaml``, a folder with one ``.mcap`` or ``.db3`` file, or such a file. ``topics`` are
    sorted by name. One iteration at a time: a second one disturbs the first.

    Raises, also from its methods, :class:`~neumap.errors.DataError` for a recording that is missing, damaged,
    cut off or of an unknown format, and :class:`~neumap.errors.MissingDependencyError` without rosbags.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        with self._explained():
            self._reader = _reader_of(_storage(self.path))
            self._reader.open()
        self.close = weakref.finalize(self, self._reader.close)
        counts: Counter[tuple[str, str]] = Counter()
        for connection in self._reader.connections:
            counts[connection.topic, connection.msgtype] += connection.msgcount
        self.topics = tuple(Topic(*name_and_type, count) for name_and_type, count in sorted(counts.items()))

    def messages(self, topics: Iterable[Topic], start_ns: int | None = None) -> Iterator[Message]:
        """Yield the messages of some topics, received at ``start_ns`` or later, in the order of their receiving."""
        topic_of = {(topic.name, topic.type): topic for topic in topics}
        connections = [c for c in self._reader.connections if (c.topic, c.msgtype) in topic_of]
        # no connections would mean all of them
        if not connections:
            return
        seen = set()
        found = self._reader.messages(connections, start_ns)
        while True:
            # not around the yield: an iteration that is given up would end in the handler and leave a cycle behind
            with self._explained():
                each = next(found, None)
            if each is None:
                break
            connection, time_ns, data = each
            topic = topic_of[connection.topic, connection.msgtype]
            seen.add(topic)
            yield Message(topic, time_ns, data)
        missing = [topic for topic in topic_of.values() if topic.count and topic not in seen]
        if missing and start_ns is None:
            raise DataError(
                f"the metadata.yaml of the bag {self.path} does not fit its files, which hold no messages on "
                f"{missing[0].name}: run `ros2 bag reindex {self.path}`"
            )

    def first(self, topic: Topic) -> Any:
        """Decode the first message of a topic; None where it has none."""
        return next((self.decode(message) for message in self.messages([topic])), None)

    def decode(self, message: Message) -> Any:
        """Decode a message to an object with the fields of its type; arrays may be read-only views of its bytes."""
        if message.data[: len(_ZSTD)] == _ZSTD:
            raise DataError(f"the messages of {self.path} are compressed: give the folder with its metadata.yaml")
        with self._explained(f"a message on {message.topic.name} cannot be decoded"):
            return typestore().deserialize_cdr(message.data, message.topic.type)

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
        except Exception as error:  # whatever damaged bytes led rosbags, SQLite and the decompressors to
            text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise DataError(
                f"the bag {self.path} is damaged or was cut off: {what or text} "
                "(try `ros2 bag reindex`, or `mcap recover` for MCAP)"
            ) from None

    def __exit__(self, *_: object) -> None:
        self.close()


def _reader_of(path: Path) -> Any:
    """Make the reader of rosbags. It puts the path of an SQLite file into a URI as it is, so it is given one that is
    escaped: else ``%20``, ``#`` and ``?`` in it would lead to another file.
    """
    rosbag2 = rosbags("rosbag2")

    def sqlite(file: Path) -> Any:
        return rosbag2.reader.Sqlite3Reader(Path(quote_from_bytes(os.fsencode(file))))

    reader = rosbag2.Reader(path)
    if isinstance(reader.storage, rosbag2.reader.Sqlite3Reader):
        reader.storage = sqlite(path)
    elif path.is_dir():
        # of this reader only
        reader.storage.STORAGE_PLUGINS = {**reader.storage.STORAGE_PLUGINS, "sqlite3": sqlite}
    return reader


def _storage(path: Path) -> Path:
    """Return what rosbags is to open: the path itself, or the one storage file of a folder without metadata."""
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
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
