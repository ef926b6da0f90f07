"""Loggers. Lines go to stderr, to whoever asked ``neumap_ros.simulator.on_log``, and those of nodes to /rosout."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from neumap_ros.simulator import LogLine, virtual_time


class LoggingSeverity(IntEnum):
    """How much a line matters."""

    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


@dataclass
class Output:
    """Where lines go. ``rosout`` are senders, while they live, by names of loggers; children of those count too."""

    levels: dict[str, LoggingSeverity]
    listeners: list[Callable[[LogLine], object]]
    rosout: dict[str, weakref.WeakMethod[Callable[[LogLine], None]]]
    to_stderr: bool = True


output = Output({}, [], {})


@dataclass(frozen=True)
class _CallSite:
    function: str
    file: str
    line: int
    instruction: int


@dataclass
class _Filter:
    """What one place in the code asked for, and what became of it."""

    severity: LoggingSeverity
    options: dict[str, Any]
    seen: bool = False
    last_ns: int | None = None

    def passes(self) -> bool:
        if duration := self.options.get("throttle_duration_sec"):
            now = virtual_time.now_ns()
            if self.last_ns is not None and now < self.last_ns + int(duration * 10**9):
                return False
            self.last_ns = now
        first, self.seen = not self.seen, True
        if self.options.get("skip_first") and first:
            return False
        return first or not self.options.get("once")


OPTIONS = ("throttle_duration_sec", "throttle_time_source_type", "skip_first", "once")
STEADY = "RCUTILS_STEADY_TIME"


class RcutilsLogger:
    """Writes lines of one name. One place in the code must always use the same severity and options (ValueError)."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._sites: dict[_CallSite, _Filter] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        """The logger ``name`` below this one. ValueError for an empty name."""
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return RcutilsLogger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: int) -> None:
        """Drops what matters less; UNSET: what its parent drops."""
        set_logger_level(self.name, level)

    def get_effective_level(self) -> LoggingSeverity:
        """The level that counts."""
        return get_logger_effective_level(self.name)

    def is_enabled_for(self, severity: int) -> bool:
        """Whether lines of ``severity`` are written."""
        return LoggingSeverity(severity) >= self.get_effective_level()

    def debug(self, message: str, **kwargs: Any) -> bool:
        """Whether it was written; options as of ``log``."""
        return self._log(message, LoggingSeverity.DEBUG, kwargs, 2)

    def info(self, message: str, **kwargs: Any) -> bool:
        """Whether it was written; options as of ``log``."""
        return self._log(message, LoggingSeverity.INFO, kwargs, 2)

    def warning(self, message: str, **kwargs: Any) -> bool:
        """Whether it was written; options as of ``log``."""
        return self._log(message, LoggingSeverity.WARN, kwargs, 2)

    warn = warning

    def error(self, message: str, **kwargs: Any) -> bool:
        """Whether it was written; options as of ``log``."""
        return self._log(message, LoggingSeverity.ERROR, kwargs, 2)

    def fatal(self, message: str, **kwargs: Any) -> bool:
        """Whether it was written; options as of ``log``."""
        return self._log(message, LoggingSeverity.FATAL, kwargs, 2)

    def log(self, message: str, severity: int, **kwargs: Any) -> bool:
        """Whether it was written. TypeError for an unknown option, or a message that is no text.

        ``throttle_duration_sec``: once per so many seconds. ``skip_first``: not the first time. ``once``: only then.
        """
        return self._log(message, LoggingSeverity(severity), kwargs, 2)

    def _log(self, message: Any, severity: LoggingSeverity, options: dict[str, Any], depth: int) -> bool:
        name = options.pop("name", self.name)
        _check_options(options)
        frame = sys._getframe(depth)
        code = frame.f_code
        site = _CallSite(code.co_name, code.co_filename, frame.f_lineno, frame.f_lasti)
        known = self._sites.setdefault(site, _Filter(severity, options))
        if known.severity is not severity:
            raise ValueError("Logger severity cannot be changed between calls.")
        if known.options != options:
            raise ValueError("Requested logging filters cannot be changed between calls.")
        if not self.is_enabled_for(severity) or not known.passes():
            return False
        if isinstance(message, bytes):
            message = message.decode(errors="replace")
        elif message is not None and not isinstance(message, str):
            raise TypeError(f"a message must be a str, not {type(message).__name__}")
        _write(LogLine(virtual_time.now_ns(), severity.name, name, str(message), site.function, site.file, site.line))
        return True


def _check_options(options: dict[str, Any]) -> None:
    for option in options:
        if option not in OPTIONS:
            raise TypeError(f'parameter "{option}" is not one of the recognized logging options {OPTIONS}')
    if "throttle_time_source_type" in options:
        if "throttle_duration_sec" not in options:
            raise TypeError("throttle_time_source_type needs throttle_duration_sec")
        if options["throttle_time_source_type"] != STEADY:
            raise ValueError(f"throttle_time_source_type must be {STEADY}")


def _write(line: LogLine) -> None:
    if output.to_stderr:
        seconds, nanoseconds = divmod(line.stamp_ns, 10**9)
        print(f"[{line.severity}] [{seconds}.{nanoseconds:09d}] [{line.name}]: {line.text}", file=sys.stderr)
    for listener in list(output.listeners):
        listener(line)
    for name in _family(line.name):
        if name in output.rosout:
            if (send := output.rosout[name]()) is not None:
                send(line)
            return


def _family(name: str) -> list[str]:
    """A logger and those above it, without the root."""
    parts = name.split(".") if name else []
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def get_logger(name: str) -> RcutilsLogger:
    """The logger of this name. ValueError for an empty one."""
    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name)


def set_logger_level(name: str, level: int) -> None:
    """Makes a logger (the root of all for "") and those below it drop what matters less."""
    output.levels[name] = LoggingSeverity(level)


def get_logger_effective_level(name: str) -> LoggingSeverity:
    """Its own level, or that of the next above it which has one."""
    for each in (*_family(name), ""):
        if level := output.levels.get(each, LoggingSeverity.UNSET):
            return level
    return LoggingSeverity.INFO


def get_logging_severity_from_string(log_severity: str) -> LoggingSeverity:
    """By its name. RuntimeError for an unknown one."""
    try:
        return LoggingSeverity[log_severity.upper()]
    except KeyError:
        raise RuntimeError(f"unknown severity {log_severity!r}") from None
