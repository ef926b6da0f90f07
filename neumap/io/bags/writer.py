"""Writes a rosbag2 recording (MCAP) atomically."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from neumap.errors import DataError
from neumap.io.bags.messages import rosbags, typestore
from neumap.io.bags.reader import ROS2_SUFFIXES
from neumap.io.files import PathLike, check_may_create


class BagWriter(AbstractContextManager["BagWriter"]):
    """Writes a folder with an MCAP file and ``metadata.yaml``.

    The folder appears under its name when the context ends, and not at all after an exception. With ``overwrite`` it
    replaces a bag of that name, but never a folder that holds anything else.

    Raises :class:`~neumap.errors.DataError` if the path cannot be written to,
    :class:`~neumap.errors.MissingDependencyError` without rosbags, and ``OSError`` for a full disk.
    """

    def __init__(self, path: PathLike, overwrite: bool = False) -> None:
        rosbag2 = rosbags("rosbag2")
        self.path = Path(path)
        check_may_create(self.path)
        if self.path.exists() and not (overwrite and _is_only_a_bag(self.path)):
            raise DataError(f"{self.path} exists already: remove it or give another name")
        self._target = self.path.resolve()
        self._workplace = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
        # left by a killed process with the same id
        self._clean()
        # rosbags names the MCAP file after the folder, so the temporary folder has the final name
        self._new = self._workplace / "new" / self._target.name
        self._writer = rosbag2.Writer(self._new, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP)
        self._connections: dict[str, Any] = {}

    def write(self, topic: str, type_: str, stamp_ns: int, message: Any, latched: bool = False) -> None:
        """Add a message of ``type_`` ("tf2_msgs/msg/TFMessage"): its CDR bytes, or an object of the typestore.

        ``stamp_ns`` is the time of reception. ``latched``, read with the first message of a topic, makes the topic
        transient local, like /tf_static: late subscribers get its last message.
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic, type_, typestore=typestore(), offered_qos_profiles=_latched() if latched else ()
            )
            self._connections[topic] = connection
        if not isinstance(message, (bytes, bytearray, memoryview)):
            message = typestore().serialize_cdr(message, type_)
        self._writer.write(connection, stamp_ns, message)

    def __enter__(self) -> BagWriter:
        try:
            self._writer.open()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            self._writer.__exit__(kind, *error)
            if kind is None:
                self._publish()
        except OSError as failure:
            failure.filename = str(self.path)  # not the temporary one
            raise
        finally:
            self._clean()

    def _publish(self) -> None:
        replaced = self._workplace / "replaced"
        if self._target.exists():
            self._target.rename(replaced)
        try:
            self._new.rename(self._target)
        except BaseException:
            if replaced.exists():
                replaced.rename(self._target)
            raise

    def _clean(self) -> None:
        shutil.rmtree(self._workplace, ignore_errors=True)


def _latched() -> list[Any]:
    ros2 = rosbags("interfaces")
    never = ros2.QosTime(2147483647, 4294967295)  # as rosbag2 writes it
    return [
        ros2.Qos(
            history=ros2.QosHistory.KEEP_LAST,
            depth=1,
            reliability=ros2.QosReliability.RELIABLE,
            durability=ros2.QosDurability.TRANSIENT_LOCAL,
            deadline=never,
            lifespan=never,
            liveliness=ros2.QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=never,
            avoid_ros_namespace_conventions=False,
        )
    ]


def _is_only_a_bag(path: Path) -> bool:
    return path.is_dir() and all(
        file.is_file() and (file.name == "metadata.yaml" or file.suffix in ROS2_SUFFIXES) for file in path.iterdir()
    )
