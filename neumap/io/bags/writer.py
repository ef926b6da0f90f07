"""Writing a rosbag2 recording (MCAP) that is there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from neumap.errors import DataError, MissingDependencyError
from neumap.io.bags.reader import SUFFIXES
from neumap.io.files import PathLike

# what a duration of "never" is in the files of rosbag2
_NEVER = (2147483647, 4294967295)


class BagWriter:
    """Writes a folder with an MCAP file and ``metadata.yaml``; a context manager.

    The folder appears under its name when the context ends, and not at all where it ends by an exception. With
    ``overwrite`` a bag of that name is replaced then; a folder that holds anything else never is. ``typestore`` is a
    rosbags typestore that knows all types that are written.

    Raises :class:`~neumap.errors.DataError` for a place that cannot be written to, and
    :class:`~neumap.errors.MissingDependencyError` without rosbags; a full disk stays ``OSError``.
    """

    def __init__(self, path: PathLike, typestore: Any, overwrite: bool = False) -> None:
        self.path = Path(path)
        _check_place(self.path, overwrite)
        self._typestore = typestore
        self._target = self.path.resolve()
        # rosbags names the file of a bag after its folder, so the folder gets its name from the start
        self._workplace = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
        self._connections: dict[str, Any] = {}
        self._new_writer = _import_writer()

    def write(self, topic: str, type_: str, stamp_ns: int, message: Any, latched: bool = False) -> None:
        """Add a message of ``type_`` ("tf2_msgs/msg/TFMessage"): its CDR bytes, or an object of the typestore.

        ``stamp_ns`` is when it was received. ``latched`` marks a topic, with its first message, as one whose last
        message late subscribers get (transient local, as /tf_static).
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic, type_, typestore=self._typestore, offered_qos_profiles=_latched() if latched else ()
            )
            self._connections[topic] = connection
        if not isinstance(message, (bytes, bytearray, memoryview)):
            message = self._typestore.serialize_cdr(message, type_)
        self._writer.write(connection, stamp_ns, message)

    def __enter__(self) -> BagWriter:
        # what a process of the same number may have left when it was killed
        self._clean()
        self._writer = self._new_writer(self._workplace / "new" / self._target.name)
        try:
            self._writer.open()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._writer.__exit__(kind, error, traceback)
            if error is None:
                self._publish()
        except OSError as failure:
            failure.filename = str(self.path)  # the one the user knows
            raise
        finally:
            self._clean()

    def _publish(self) -> None:
        replaced = self._workplace / "replaced"
        if self._target.exists():
            self._target.rename(replaced)
        try:
            (self._workplace / "new" / self._target.name).rename(self._target)
        except BaseException:
            if replaced.exists():
                replaced.rename(self._target)
            raise

    def _clean(self) -> None:
        shutil.rmtree(self._workplace, ignore_errors=True)


def _import_writer() -> Callable[[Path], Any]:
    try:
        from rosbags.rosbag2 import StoragePlugin, Writer
    except ImportError:
        raise MissingDependencyError("writing a rosbag needs rosbags: pip install 'neumap[bags]'") from None
    return partial(Writer, version=9, storage_plugin=StoragePlugin.MCAP)


def _latched() -> list[Any]:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(*_NEVER)
    return [
        Qos(
            history=QosHistory.KEEP_LAST,
            depth=1,
            reliability=QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL,
            deadline=never,
            lifespan=never,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=never,
            avoid_ros_namespace_conventions=False,
        )
    ]


def _check_place(path: Path, overwrite: bool) -> None:
    folder = path.resolve().parent
    if not folder.is_dir():
        raise DataError(f"cannot write {path}: the folder {path.parent} does not exist, create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"cannot write {path}: files cannot be created in {folder}, check its permissions")
    if path.exists() and not (overwrite and _is_only_a_bag(path)):
        raise DataError(f"{path} exists already: remove it or give another name")


def _is_only_a_bag(path: Path) -> bool:
    return path.is_dir() and all(
        file.is_file() and (file.name == "metadata.yaml" or file.suffix in SUFFIXES) for file in path.iterdir()
    )
