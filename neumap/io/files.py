"""Reads small text files with errors that name the file, and writes files atomically."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from neumap.errors import DataError

PathLike = str | os.PathLike[str]
Parsed = TypeVar("Parsed")


def read_text(path: PathLike, what: str) -> str:
    """Read a UTF-8 text file; ``what`` names it in errors ("the trajectory").

    Raises :class:`~neumap.errors.DataError` if it is missing, a folder, not readable or not text.
    """
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{what} {path} does not exist: check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give the file of {what} in it") from None
    except UnicodeDecodeError:
        raise DataError(f"{what} {path} is not a text file: give one in UTF-8") from None
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror}") from None


def parse_lines(path: PathLike, what: str, columns: str, parse: Callable[[str], Parsed]) -> list[Parsed]:
    """Parse lines as :func:`parse_most_lines` does; raise :class:`~neumap.errors.DataError` for the first problem."""
    parsed, problems = parse_most_lines(path, what, columns, parse)
    if problems:
        raise DataError(f"{path}, {problems[0]}")
    return parsed


def parse_most_lines(
    path: PathLike, what: str, columns: str, parse: Callable[[str], Parsed], may_be_empty: bool = False
) -> tuple[list[Parsed], list[str]]:
    """Parse the lines that are neither empty nor a ``#`` comment; ``parse`` raises ``ValueError`` for an invalid line.

    Returns the parsed lines, and the problems of the invalid ones with their line numbers. Raises
    :class:`~neumap.errors.DataError` for a file without lines, unless it ``may_be_empty`` (the error names the expected
    ``columns``), and as :func:`read_text` does.
    """
    parsed: list[Parsed] = []
    problems = []
    for number, line in enumerate(read_text(path, what).split("\n"), start=1):
        content = line.strip()
        if content and not content.startswith("#"):
            try:
                parsed.append(parse(content))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    if not (parsed or problems or may_be_empty):
        raise DataError(f"{what} {path} is empty: expected lines of '{columns}'")
    return parsed, problems


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Prefix the message of a :class:`~neumap.errors.DataError` (or its kin) raised in this block with ``what``."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{what}: {error}") from None


@contextmanager
def noting(notes: Iterable[str]) -> Iterator[None]:
    """Prefix the message of a :class:`~neumap.errors.DataError` (or its kin) raised in this block with the notes."""
    try:
        yield
    except DataError as error:
        raise type(error)("; ".join([*notes, str(error)])) from None


def make_folder(path: Path) -> None:
    """Create a folder. Raises :class:`~neumap.errors.DataError` if a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{path} is not a folder: give another one to write to") from None


def check_output(path: PathLike, device: bool = True) -> None:
    """Raise :class:`~neumap.errors.DataError` if ``path`` cannot be written, before the work of making its content.

    ``device`` allows devices and pipes.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: give the name of a file to write")
    if not path.exists() or path.is_file():
        check_may_create(path)
    elif not device:
        raise DataError(f"{path} is a device: give the name of a file to write")


def check_may_create(path: Path) -> None:
    """Raise :class:`~neumap.errors.DataError` if no file or folder can be created at ``path``."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise DataError(f"cannot write {path}: the folder {path.parent} does not exist, create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"cannot write {path}: files cannot be created in {folder}, check its permissions")


def write_atomically(path: PathLike, data: bytes) -> None:
    """Write a file through a temporary one beside it, so that readers see the old or the new content, never a part.

    Writes to a device or pipe (``/dev/stdout``) directly. Raises as :func:`check_output` does, and ``OSError`` for
    other failures such as a full disk.
    """
    path = Path(path)
    check_output(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    # replace the target of a symbolic link, not the link
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # not the temporary file
        raise
