"""Messages as CDR bytes and as the rosbags library's dataclasses, and back."""

from __future__ import annotations

import struct
from typing import Any

from neumap_ros.simulator.messages.catalogue import is_message_class, message_class, type_name, typestore
from neumap_ros.simulator.messages.classes import Message, checks_fields


class RMWError(RuntimeError):
    """Bytes are not a message of the type that was asked for."""


def to_rosbags(message: Any) -> Any:
    """The same message as a dataclass of the rosbags library; large arrays share their memory.

    Raises TypeError or SystemError for a value that ROS 2 could not send as it is.
    """
    return message._to_wire()


def from_rosbags(wire: Any) -> Any:
    """The same message as one of our classes; shares no memory with ``wire``."""
    return message_class(wire.__msgtype__)._from_wire(wire, checks_fields())


def to_cdr(message: Any) -> bytes:
    """Little endian CDR with a header of four bytes.

    Raises AttributeError for what is no message, TypeError or SystemError for a value that ROS 2 could not send.
    """
    if not isinstance(message, Message):
        raise AttributeError(f"{message!r} is not a message")
    return bytes(typestore().serialize_cdr(to_rosbags(message), message.ABOUT.type_name, little_endian=True))


def from_cdr(data: bytes, cls: Any) -> Any:
    """The message of the class ``cls`` in CDR bytes; a default one if there are none.

    Raises RMWError for bytes that are no such message, AttributeError for a class that is none of a message.
    """
    from rosbags.serde import SerdeError

    if not is_message_class(cls):
        raise AttributeError(f"{cls!r} is not the class of a message")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes are needed, not {type(data).__name__}")
    if not data:
        return cls()
    store = typestore()
    definition = store.get_msgdef(type_name(cls))
    try:
        # Not deserialize_cdr(): it refuses bytes after the end of the message, which ROS 2 ignores.
        read = (definition.deserialize_cdr_be, definition.deserialize_cdr_le)[data[1]]
        wire, end = read(memoryview(data)[4:], 0, definition.cls, store)
    except (SerdeError, struct.error, ValueError, IndexError) as error:
        raise RMWError(f"these bytes are not a {type_name(cls)}: {error}") from error
    if end > len(data) - 4:
        raise RMWError(f"these bytes are not a {type_name(cls)}: {end + 4 - len(data)} bytes are missing")
    return cls._from_wire(wire, checks_fields())


serialize_message = to_cdr
deserialize_message = from_cdr
