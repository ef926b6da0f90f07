"""Damaged images of a source: they are left out and counted, and do not end the work."""

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
    """Counts the images and depth images of a source that cannot be read."""

    def __init__(self, source: Source) -> None:
        """Wrap the frames of ``source``; :attr:`source` holds the frames that count.

        A frame whose image cannot be read raises :class:`~neumap.errors.UnreadableError`, so that it can be left out;
        once more than half of all images cannot be read, it raises the original error. Unreadable depth is zero.
        """
        self._images = _Unreadable("images", len(source.frames))
        self._depths = _Unreadable("depth images", sum(frame.read_depth is not None for frame in source.frames))
        self.source = replace(source, frames=tuple(map(self._noting, enumerate(source.frames))))

    @property
    def unreadable(self) -> int:
        """Return how many images could not be read so far."""
        return len(self._images.found)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return how many images and depth images could not be read so far, each with the first error, as sentences."""
        return tuple(each.text for each in (self._images, self._depths) if each.found)

    def _noting(self, numbered: tuple[int, Frame]) -> Frame:
        number, frame = numbered
        depth = None if frame.read_depth is None else partial(self._depth, number, frame, frame.read_depth)
        return replace(frame, read_image=partial(self._images.read, number, frame.read_image), read_depth=depth)

    def _depth(self, number: int, frame: Frame, read: Callable[[], Float32Array]) -> Float32Array:
        try:
            return self._depths.read(number, read)
        except UnreadableError:
            return np.zeros((frame.camera.height, frame.camera.width), np.float32)


class _Unreadable:
    """Counts which of ``count`` images were read and which of them could not be, and why."""

    def __init__(self, what: str, count: int) -> None:
        self._read: set[int] = set()
        self.found: dict[int, str] = {}
        self._what, self._count = what, count

    @property
    def text(self) -> str:
        first = next(iter(self.found.values()))
        return f"{len(self.found)} of {len(self._read)} {self._what} cannot be read, and are left out: {first}"

    def read(self, number: int, read: Callable[[], Pixels]) -> Pixels:
        """Read an image; count it once, however often it is read, and raise as :class:`Damage` states."""
        self._read.add(number)
        try:
            return read()
        except DataError as error:
            self.found[number] = str(error)
            if 2 * len(self.found) > self._count:
                raise
            raise UnreadableError(str(error)) from None
