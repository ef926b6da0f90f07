"""What the user should know beside the result: lines on stderr, and the refusal of what is damaged."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from neumap.errors import DataError


def tell(notes: Iterable[str]) -> None:
    """Print each note as a line."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def refuse(left_out: Sequence[str]) -> None:
    """Raise :class:`~neumap.errors.DataError` where anything was left out: what ``--strict`` does."""
    if left_out:
        raise DataError(f"{'; '.join(left_out)}: mend them, or leave out --strict")
