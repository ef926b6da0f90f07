from __future__ import annotations

import argparse

import pytest

from neumap_ros.cli import options


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100KB", 100_000),
        ("1.2MB", 1_200_000),
        ("80000", 80_000),
        (80000, 80_000),
        ("90 kb", 90_000),
        ("0.1M", 100_000),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "KB", "-5KB", "1,5MB", "100KiB", "nan", "1e5", True, None, [1]])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        options.size(text)


def test_seeds_are_what_numpy_takes() -> None:
    assert options.seed("4294967295") == 2**32 - 1
    with pytest.raises(argparse.ArgumentTypeError):
        options.seed("4294967296")
