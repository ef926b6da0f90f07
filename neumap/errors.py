"""The errors a user can act on. Each is raised with one sentence that says what is wrong and what to do.

The command line prints that sentence on stderr and exits with 1; anything else that is raised is a bug.
"""


class NeumapError(Exception):
    """Base of all errors that are the input's fault, not the program's."""


class DataError(NeumapError):
    """A source of images, poses or calibration is missing, empty, unreadable or contradicts itself."""


class UnreadableError(DataError):
    """One image of many cannot be read: whoever works on many leaves it out."""


class CalibrationError(DataError):
    """A camera calibration cannot be used: zero focal length, unknown lens model, another image size."""


class MapFileError(NeumapError):
    """A map file is missing, truncated, altered, foreign or newer than this program."""


class ConfigError(NeumapError):
    """A configuration or option has an unknown name or a value out of range."""


class MappingError(NeumapError):
    """The images are readable, but no map can be made of them."""


class MissingDependencyError(NeumapError):
    """An optional package is needed for what was asked; the message names the pip extra."""
