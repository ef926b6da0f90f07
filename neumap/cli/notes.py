"""What the user should know beside the result: lines on stderr, and the refusal of what is damaged."""

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
    """Print the notes where this block fails; else its result is told with them."""
    try:
        yield
    except NeumapError:
        tell(notes)
        raise


def refuse(left_out: Sequence[str]) -> None:
    """Raise :class:`~neumap.errors.DataError` where anything was left out: what ``--strict`` does."""
    if left_out:
        raise DataError(f"{'; '.join(left_out)}: mend them, or leave out --strict")
