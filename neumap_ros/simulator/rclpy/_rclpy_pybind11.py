"""Errors that real rclpy raises from its compiled half, under the name of that half."""

from __future__ import annotations


class RCLError(RuntimeError):
    """What the layers below rclpy refuse."""


class UnknownROSArgsError(RuntimeError):
    """An argument after --ros-args that nobody knows."""


class InvalidHandle(RuntimeError):  # noqa: N818
    """What is used was destroyed before."""
