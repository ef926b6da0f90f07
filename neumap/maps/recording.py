"""What a map was made of, for who asks later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neumap.records import Frame

# LONGEST_NAME: of a recording, characters that the map file keeps, each of up to seven bytes in its header.
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
    """Tell what the ``frames`` of the source at ``path`` are; of the path the map gets to know its last part only, with
    _ for what cannot be printed, which no map file has.
    """
    stamps, camera = [frame.stamp_ns for frame in frames], frames[0].camera
    name = "".join(c if c.isprintable() else "_" for c in path.resolve().name[:LONGEST_NAME])
    focal_px = round(float(camera.matrix[0, 0]), 1)
    return Recording(name, min(stamps), max(stamps), camera.width, camera.height, focal_px)
