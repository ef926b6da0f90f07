from __future__ import annotations

import argparse

import pytest

from neumap.cli import options


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100KB", 100_000),
        ("1.2MB", 1_200_000),
        ("80000", 80_000),
        (80000, 80_000),
        ("90 kb", 90_000),
        ("0.1M", 100_000),
        ("best", "best"),
    ],
)
def test_sizes(text: object, size: object) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "KB", "-5KB", "1,5MB", "100KiB", "nan", "1e5", "bestKB", True, None, [1]])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        options.size(text)


def test_seeds_are_what_numpy_takes() -> None:
    assert options.seed("4294967295") == 2**32 - 1
    with pytest.raises(argparse.ArgumentTypeError):
        options.seed("4294967296")


def test_frames_have_no_leading_slash() -> None:
    assert options.frame_id("/map") == options.frame_id("map") == "map"
    assert options.frame_id("robot1/map") == options.frame_id("/robot1/map") == "robot1/map"
    for name in ("", "/", "//map", "a b", None, 3):
        with pytest.raises(argparse.ArgumentTypeError, match=r"is not a frame name such as map \(without spaces\)"):
            options.frame_id(name)


def test_topics_have_full_names() -> None:
    assert options.topic("/camera/image_raw") == options.topic("camera/image_raw") == "/camera/image_raw"
    for name in ("", "/", "a//b", "a b", "/a/", None, 3):
        with pytest.raises(argparse.ArgumentTypeError, match="is not the name of a topic"):
            options.topic(name)


def test_distances_and_angles() -> None:
    assert options.metres("0.1") == options.metres(0.1) == 0.1
    assert options.degrees(180) == 180.0
    for value in ("0", "-1", "nan", "inf", "far", None, True, [1]):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a distance in metres above 0"):
            options.metres(value)
    with pytest.raises(argparse.ArgumentTypeError, match="is not an angle in degrees above 0 and up to 180"):
        options.degrees(181)


def test_times() -> None:
    assert options.seconds("12.5") == 12.5
    assert options.seconds(0) == 0.0
    for value in ("-0.1", "nan", "inf", "1e400", "soon", True):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds, 0 or more"):
            options.seconds(value)
