"""How signals are handled: by Python alone. Nothing blocks here, so Ctrl-C always raises KeyboardInterrupt."""

from __future__ import annotations

from enum import IntEnum


class SignalHandlerOptions(IntEnum):
    """What rclpy.init() may be told about signals; without effect here."""

    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3
