"""Errors that a user can act on. Each message is one sentence that states what is wrong and what to do.

The command line prints that sentence on stderr and exits with 1; anything else that is raised is a bug.
"""


class NeumapError(Exception):
    """Base of all errors caused by the input."""


class DataError(NeumapError):
    """A source of images, poses or calibration is missing, empty, unreadable or contradicts itself."""


class UnreadableError(DataError):
    """An image cannot be read; callers with many images skip it."""


class CalibrationError(DataError):
    """A camera calibration cannot be used: zero focal length, unknown lens model, another image size."""


class MapFileError(NeumapError):
    """A map file is missing, truncated, altered, foreign or newer than this program."""


class ConfigError(NeumapError):
    """A configuration or option has an unknown name or a value out of range."""


class MappingError(NeumapError):
    """The images are readable, but do not make a map."""


class MissingDependencyError(NeumapError):
    """An optional package is needed; the message names the pip extra."""
