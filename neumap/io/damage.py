"""Images among many that turn out damaged when they are read: left out and counted, not the end of the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from neumap.arrays import Float32Array, ImageArray
from neumap.errors import DataError, UnreadableError
from neumap.records import Frame, Source

Pixels = TypeVar("Pixels", ImageArray, Float32Array)


class Damage:
    """Counts what of a source cannot be read, and says what to do without it."""

    def __init__(self, source: Source) -> None:
        """Count in ``source``; :attr:`source` is the same with frames that tell here what is wrong with them.

        Where an image cannot be read they raise :class:`~neumap.errors.UnreadableError`, for it to be left out, or
        what they raised before, where that is so for more than half of all. Depth that cannot be read is unknown.
        """
        self._images = _Wrong("images", len(source.frames))
        self._depths = _Wrong("depth images", sum(frame.read_depth is not None for frame in source.frames))
        self.source = replace(source, frames=tuple(map(self._noting, enumerate(source.frames))))

    @property
    def unreadable(self) -> int:
        """How many images could not be read so far."""
        return len(self._images.found)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how many images and depths could not be read so far, and what is wrong with the first."""
        return tuple(wrong.text for wrong in (self._images, self._depths) if wrong.found)

    def _noting(self, numbered: tuple[int, Frame]) -> Frame:
        number, frame = numbered
        depth = None if frame.read_depth is None else partial(self._depth, number, frame, frame.read_depth)
        return replace(frame, read_image=partial(self._image, number, frame.read_image), read_depth=depth)

    def _image(self, number: int, read: Callable[[], ImageArray]) -> ImageArray:
        self._images.looked_at.add(number)
        try:
            return read()
        except DataError as error:
            self._images.note(number, error)
            raise UnreadableError(str(error)) from None

    def _depth(self, number: int, frame: Frame, read: Callable[[], Float32Array]) -> Float32Array:
        self._depths.looked_at.add(number)
        try:
            return read()
        except DataError as error:
            self._depths.note(number, error)
            return np.zeros((frame.camera.height, frame.camera.width), np.float32)


class _Wrong:
    """Which of ``count`` images that may be ``looked_at`` cannot be read, and why."""

    def __init__(self, what: str, count: int) -> None:
        self.looked_at: set[int] = set()
        self.found: dict[int, str] = {}
        self._what, self._count = what, count

    @property
    def text(self) -> str:
        first = next(iter(self.found.values()))
        seen = len(self.looked_at)
        return f"{len(self.found)} of {seen} {self._what} cannot be read, and are left out: {first}"

    def note(self, number: int, error: DataError) -> None:
        """Count one of them, however often it is read; raise its error where that is more than half."""
        self.found[number] = str(error)
        if 2 * len(self.found) > self._count:
            raise error
