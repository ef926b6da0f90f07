"""ROS 2 messages and services without ROS 2: classes that behave as rosidl's, made from the rosbags library's types.

``modules()`` gives what ``install()`` puts into ``sys.modules``. The rest is for those who deliver, read or write
messages. The rosbags library is an extra, and imported only when a function here needs it.
"""

from __future__ import annotations

from neumap_ros.simulator.messages.catalogue import (
    is_message_class,
    is_service_class,
    message_class,
    modules,
    service_class,
    type_name,
    typestore,
)
from neumap_ros.simulator.messages.wire import (
    RMWError,
    deserialize_message,
    from_cdr,
    from_rosbags,
    serialize_message,
    to_cdr,
    to_rosbags,
)

__all__ = [
    "RMWError",
    "deserialize_message",
    "from_cdr",
    "from_rosbags",
    "is_message_class",
    "is_service_class",
    "message_class",
    "modules",
    "serialize_message",
    "service_class",
    "to_cdr",
    "to_rosbags",
    "type_name",
    "typestore",
]
