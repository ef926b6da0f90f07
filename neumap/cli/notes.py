"""Prints notes for the user on stderr, and refuses damaged data."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from neumap.errors import DataError, NeumapError


def tell(notes: Iterable[str]) -> None:
    """Print each note as a line."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


@contextmanager
def telling(notes: Iterable[str]) -> Iterator[None]:
    """Print the notes if this block fails; otherwise the caller prints them with the result."""
    try:
        yield
    except NeumapError:
        tell(notes)
        raise


def refuse(left_out: Sequence[str]) -> None:
    """Raise :class:`~neumap.errors.DataError` if anything was left out, for ``--strict``."""
    if left_out:
        raise DataError(f"{'; '.join(left_out)}: mend them, or leave out --strict")
