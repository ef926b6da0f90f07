from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neumap.io.stamps import LIMIT_NS, format_stamp, nearest, parse_stamp, stamps_from_names

stamps = st.integers(-LIMIT_NS + 1, LIMIT_NS - 1)


@given(stamps)
def test_round_trip_is_exact(stamp: int) -> None:
    assert parse_stamp(format_stamp(stamp)) == stamp


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("1305031229.528748", 1305031229528748000),
        ("1403636579.763555584", 1403636579763555584),
        ("1.403636579763555584e+09", 1403636579763555584),
        ("1403636579763555584E-9", 1403636579763555584),
        ("5", 5_000_000_000),
        (".25", 250_000_000),
        ("3.", 3_000_000_000),
        ("-1.5", -1_500_000_000),
        ("0.0000000014", 1),
        ("1e-9999", 0),
        ("0.1234567890000000000000000000000000000000000000000000000001", 123456789),
    ],
)
def test_parsing(text: str, stamp: int) -> None:
    assert parse_stamp(text) == stamp


@pytest.mark.parametrize("text", ["nan", "inf", "1_0", "", "x", "1,5", "0x10", "1e99999", "٣"])
def test_not_a_stamp(text: str) -> None:
    with pytest.raises(ValueError, match="is not a timestamp"):
        parse_stamp(text)


@pytest.mark.parametrize("text", ["1403636579763555584", "1e9999", "-4611686018.427387904"])
def test_too_large_to_be_seconds(text: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_stamp(text)


def test_stamps_from_names() -> None:
    assert stamps_from_names(["a/1.5.jpg", "10.png"]) == ([1_500_000_000, 10_000_000_000], ())
    assert stamps_from_names(["1403636579763555584.png"]) == ([1403636579763555584], ())
    # two cameras may have images of the same name
    for names in (["1.jpg", "b.jpg"], ["left/1.jpg", "right/1.jpg"]):
        stamps, (note,) = stamps_from_names(names)
        assert stamps == [0, 1_000_000_000]
        assert "the file names are not stamps" in note


@given(st.lists(stamps, min_size=1, unique=True), st.lists(stamps, min_size=1))
def test_nearest_is_the_nearest(samples: list[int], wanted: list[int]) -> None:
    samples.sort()
    index, distance = nearest(np.array(samples, dtype=np.int64), np.array(wanted, dtype=np.int64))
    for stamp, i, away in zip(wanted, index, distance, strict=True):
        assert away == abs(samples[i] - stamp) == min(abs(sample - stamp) for sample in samples)
