"""A work folder caches features and matches, so that an interrupted run can be resumed.

Each file is named by a hash of everything its content depends on (pixels, camera, settings, version). So drives and
settings cannot be confused, and no locks are needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import get_ident
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from neumap import __version__
from neumap.arrays import IntArray
from neumap.errors import DataError

# SUFFIX: of the files. READ_AHEAD: arrays that stay in memory, some half a megabyte each: neighbours in a drive are
# compared with the same ones.
SUFFIX, READ_AHEAD = ".safetensors", 64

Arrays = Mapping[str, np.ndarray]


class Rows(Protocol):
    """What is used of an array (N, D), wherever it lies."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class Work:
    """Keeps arrays in a ``folder``, or nothing where that is None. Any thread may use it."""

    def __init__(self, folder: Path | None = None) -> None:
        """The folder is made when there is something to keep. Raises :class:`~neumap.errors.DataError` for a file."""
        self.folder = folder
        self._found: set[str] = set()
        self._made: set[str] = set()
        if folder is not None and folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is not a folder: give another one to keep work in")

    def recall(self, follows_from: Iterable[Any], make: Callable[[], Arrays]) -> tuple[str, Arrays]:
        """Return what ``make`` makes, from the folder if it was made before, and its key there, "" without a folder.

        It ``follows_from`` arrays and what ``str`` tells apart, which is not asked for without a folder.
        """
        if self.folder is None:
            return "", make()
        key = _key(follows_from)
        try:
            arrays = self._read(key)
            self._found.add(key)
        except (FileNotFoundError, SafetensorError):
            # a file that a power cut left half is made anew as well
            arrays = dict(make())
            self._write(key, arrays)
            self._made.add(key)
        return key, arrays

    def keep(self, follows_from: Iterable[Any], make: Callable[[], Arrays]) -> tuple[Arrays, Callable[[], Arrays]]:
        """Return the arrays of :meth:`recall`, and a function that returns them again, from the folder if there is
        one.
        """
        key, arrays = self.recall(follows_from, make)
        return arrays, (lambda: self._read(key)) if key else (lambda: arrays)

    def rows(self, name: str, keys: Sequence[str], offsets: IntArray, width: int) -> Rows:
        """Return the rows (N, ``width``) of arrays ``name`` under ``keys``, which begin at ``offsets`` (F + 1,)."""
        if self.folder is None:
            raise ValueError("nothing was kept")
        return _KeptRows([self._path(key) for key in keys], name, offsets, width)

    def __str__(self) -> str:
        """Tell what the folder holds, and how much of it is of this run."""
        used = self._found | self._made
        files = [] if self.folder is None else [*self.folder.glob(f"[!.]*{SUFFIX}")]
        mine, others = ([f for f in files if (f.stem in used) is ours] for ours in (True, False))
        megabytes, idle = (sum(f.stat().st_size for f in some) / 1e6 for some in (mine, others))
        text = f"{self.folder}, {megabytes:.0f} MB; {len(self._found)} of {len(used)} parts were there already"
        return f"{text}; {idle:.0f} MB in it are of other drives or settings" if others else text

    def _read(self, key: str) -> Arrays:
        with safe_open(self._path(key), "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}{SUFFIX}"

    def _write(self, key: str, arrays: Arrays) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{os.getpid()}-{get_ident()}.{path.name}")
        try:
            half.write_bytes(save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
            half.replace(path)
        except BaseException:
            half.unlink(missing_ok=True)
            raise


# NOWHERE: keeps nothing.
NOWHERE = Work()


class _KeptRows:
    """Rows of arrays in files, one for each image; what is asked for is read, and hardly any of it stays in memory."""

    def __init__(self, paths: Sequence[Path], name: str, offsets: IntArray, width: int) -> None:
        self._offsets, self.shape = offsets, (int(offsets[-1]), width)

        def read(image: int) -> np.ndarray:
            with safe_open(paths[image], "np") as file:
                return np.asarray(file.get_tensor(name))

        self._read = lru_cache(READ_AHEAD)(read)

    def __getitem__(self, rows: slice | IntArray, /) -> np.ndarray:
        index = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else rows
        image = np.searchsorted(self._offsets, index, side="right") - 1
        images = np.unique(image)
        if len(images) == 1:
            return np.asarray(self._read(int(images[0]))[index - self._offsets[images[0]]])
        out = np.empty((len(index), self.shape[1]), np.float16)
        for each in images:
            here = image == each
            out[here] = self._read(int(each))[index[here] - self._offsets[each]]
        return out


def _key(follows_from: Iterable[Any]) -> str:
    whole = hashlib.blake2b(__version__.encode(), digest_size=16)
    for part in follows_from:
        if isinstance(part, np.ndarray):
            whole.update(f"|{part.dtype}{part.shape}".encode())
            whole.update(np.ascontiguousarray(part).data)
        else:
            whole.update(f"|{part}".encode())
    return whole.hexdigest()
