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
        self._images: dict[str, str] = {}
        self._depths: dict[str, str] = {}
        self._count = len(source.frames)
        self.source = replace(source, frames=tuple(map(self._noting, source.frames)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how many images and depths could not be read so far, and what is wrong with the first."""
        found = (("images", self._images), ("depth images", self._depths))
        return tuple(
            f"{len(wrong)} of {self._count} {what} cannot be read, and are left out: {next(iter(wrong.values()))}"
            for what, wrong in found
            if wrong
        )

    def _noting(self, frame: Frame) -> Frame:
        depth = None if frame.read_depth is None else partial(self._depth, frame, frame.read_depth)
        return replace(frame, read_image=partial(self._image, frame, frame.read_image), read_depth=depth)

    def _image(self, frame: Frame, read: Callable[[], ImageArray]) -> ImageArray:
        try:
            return read()
        except DataError as error:
            self._note(self._images, frame, error)
            raise UnreadableError(str(error)) from None

    def _depth(self, frame: Frame, read: Callable[[], Float32Array]) -> Float32Array:
        try:
            return read()
        except DataError as error:
            self._note(self._depths, frame, error)
            return np.zeros((frame.camera.height, frame.camera.width), np.float32)

    def _note(self, wrong: dict[str, str], frame: Frame, error: DataError) -> None:
        wrong[frame.name] = str(error)
        if 2 * len(wrong) > self._count:
            raise error
