"""Counts reasons; those that differ only in their numbers count as one."""

from __future__ import annotations

import re
from collections.abc import Iterable

# _NUMBER: a number that is not part of a name.
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)")


def count_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """Count reasons, the most frequent first; numbers that differ are replaced by their range."""
    kinds: dict[str, list[list[str]]] = {}
    for reason in reasons:
        kinds.setdefault(_NUMBER.sub("\0", reason), []).append(_NUMBER.findall(reason))
    counts: dict[str, int] = {}
    for kind, numbers in sorted(kinds.items(), key=lambda each: -len(each[1])):
        ranges = ((min(column, key=float), max(column, key=float)) for column in zip(*numbers, strict=True))
        texts = iter([low if low == high else f"{low} to {high}" for low, high in ranges])
        counts[re.sub("\0", lambda _, texts=texts: next(texts), kind)] = len(numbers)  # type: ignore[misc]
    return counts
