"""The recordings that a map was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neumap.records import Frame

# LONGEST_NAME: characters of a recording's name in the map file at most, each of up to seven bytes in its header.
LONGEST_NAME = 30


@dataclass(frozen=True)
class Recording:
    """Mapping images of one source: its ``name``, the stamps of the first and the last image, and the size in pixels
    and the focal length of the first image's camera.
    """

    name: str
    first_ns: int
    last_ns: int
    width: int
    height: int
    focal_px: float


def recording_of(path: Path, frames: Sequence[Frame]) -> Recording:
    """Describe the ``frames`` of the source at ``path``. The name is the last part of the path, with _ for characters
    that cannot be printed.
    """
    stamps, camera = [frame.stamp_ns for frame in frames], frames[0].camera
    name = "".join(c if c.isprintable() else "_" for c in path.resolve().name[:LONGEST_NAME])
    focal_px = round(float(camera.matrix[0, 0]), 1)
    return Recording(name, min(stamps), max(stamps), camera.width, camera.height, focal_px)
