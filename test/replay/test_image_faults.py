"""Images in all encodings, damaged ones, and calibrations that do not fit them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome
from streams import COMPRESSED, IMAGE, INFO, Drive, Stream, changed, compressed, recorded, reencoded, without

from neumap.records import Camera
from neumap.virtual.world import SMALL

Replayed = Callable[..., Outcome]

NO_IMAGE = ("UNINITIALIZED", "no image on 'image' yet")
NO_COMPRESSED = ("UNINITIALIZED", "no image on 'image/compressed' yet")
LARGE = replace(
    SMALL.camera,
    width=640,
    height=480,
    matrix=SMALL.camera.matrix * [[2, 1, 2], [1, 2, 2], [1, 1, 1]] + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]],
)
# encoding, big-endian, bytes of padding after each row
ENCODINGS = (
    ("mono8", False, 24),
    ("mono8", True, 0),
    ("mono16", False, 0),
    ("mono16", True, 0),
    ("mono16", True, 6),
    ("8UC1", False, 0),
    ("8UC3", False, 0),
    ("bgr8", False, 0),
    ("bgr8", True, 64),
    ("rgb8", False, 0),
    ("bgra8", False, 0),
    ("rgba8", False, 5),
)
# suffix, the message's format, and whether the pixels are the same; what the format says may be wrong
FORMATS = (
    (".png", "png", True),
    (".png", "mono8; png compressed ", True),
    (".jpg", "jpeg", False),
    (".jpg", "bgr8; jpeg compressed bgr8", False),
    (".png", "", True),
    (".jpg", "png", False),
)


@pytest.fixture(scope="module")
def gray(replayed: Replayed, drive: Drive) -> Outcome:
    """What the images give as mono8."""
    outcome = replayed(recorded(drive.part(0, len(ENCODINGS))))
    assert len(outcome.log.poses) == len(ENCODINGS)
    return outcome


def by_turns(variants: Sequence[Stream]) -> Stream:
    """The first image of the first variant of a stream, the second of the second, and so on."""
    images = [streams.on(variant, IMAGE, COMPRESSED)[index] for index, variant in enumerate(variants)]
    return streams.in_order([*without(variants[0], IMAGE, COMPRESSED), *images])


# --- encodings --------------------------------------------------------------------------------------------------------


def test_encodings(replayed: Replayed, drive: Drive, gray: Outcome) -> None:
    stream = recorded(drive.part(0, len(ENCODINGS)))
    outcome = replayed(by_turns([reencoded(stream, *encoding) for encoding in ENCODINGS]))
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert len(outcome.log.poses) == len(ENCODINGS)
    for encoding, pose, same in zip(
        ENCODINGS, outcome.log.poses.map_from_camera, gray.log.poses.map_from_camera, strict=True
    ):
        assert pose == pytest.approx(same, abs=1e-6), encoding


def test_compressed(replayed: Replayed, drive: Drive, gray: Outcome) -> None:
    stream = recorded(drive.part(0, len(FORMATS)))
    variants = [compressed(stream, suffix, format_) for suffix, format_, _ in FORMATS]
    outcome = replayed(by_turns(variants), image_transport="compressed")
    outcome.tells(NO_COMPRESSED, ("TRACKING", ""))
    assert len(outcome.log.poses) == len(FORMATS)
    expected = gray.log.poses.map_from_camera[: len(FORMATS)]
    for format_, pose, same in zip(FORMATS, outcome.log.poses.map_from_camera, expected, strict=True):
        # a pose is averaged with those before it
        assert pose == pytest.approx(same, abs=1e-3 if format_[2] else 0.02), format_


def test_unknown_encodings(replayed: Replayed, drive: Drive) -> None:
    names = iter(("32FC1", "64FC1", "bgr9", ""))

    def change(image: Any) -> Any:
        image.encoding = next(names)
        return image

    outcome = replayed(changed(recorded(drive.part(0, 4)), IMAGE, change))
    reason = "^images of the encoding '{}' are not understood: mono8, "
    outcome.tells(
        NO_IMAGE, *(("UNINITIALIZED", reason.format(encoding)) for encoding in ("32FC1", "64FC1", "bgr9", ""))
    )
    assert outcome.processed == 4


def test_encoding_changes(replayed: Replayed, drive: Drive) -> None:
    """One image of an encoding that is not understood among others."""

    def change(image: Any) -> Any:
        image.encoding = "32FC1"
        return image

    outcome = replayed(changed(recorded(drive.part(0, 7)), IMAGE, change, 0.5, 0.7))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", "encoding '32FC1' are not understood"), ("TRACKING", ""))


# --- damage -----------------------------------------------------------------------------------------------------------


def garbled(image: Any) -> Any:
    """A JPEG whose beginning was overwritten."""
    image.data = bytes(200) + bytes(image.data)[200:]
    return image


def emptied(image: Any) -> Any:
    image.data = b""
    return image


def cut(image: Any) -> Any:
    image.data = bytes(image.data)[: len(image.data) // 3]
    return image


@pytest.mark.parametrize("damage", [garbled, emptied])
def test_one_damaged_jpeg(replayed: Replayed, drive: Drive, damage: Callable[[Any], Any]) -> None:
    stream = changed(compressed(recorded(drive.part(0, 7))), COMPRESSED, damage, 0.5, 0.7)
    outcome = replayed(stream, image_transport="compressed")
    reason = "^the compressed image of [0-9]+ bytes cannot be decoded: it is damaged"
    outcome.tells(NO_COMPRESSED, ("TRACKING", ""), ("DEGRADED", reason), ("TRACKING", ""))
    assert len(outcome.log.poses) == 6


def test_cut_jpegs(replayed: Replayed, drive: Drive) -> None:
    """OpenCV decodes what there is of it: a pose or none, but no wrong one."""
    stream = changed(compressed(recorded(drive.part(0, 8))), COMPRESSED, cut, 0.5, 1.1)
    outcome = replayed(stream, image_transport="compressed")
    assert outcome.states[:2] == [("UNINITIALIZED", NO_COMPRESSED[1]), ("TRACKING", "")]
    assert outcome.states[-1] == ("TRACKING", "")
    assert {state for state, _ in outcome.states[1:]} <= {"TRACKING", "DEGRADED"}


def test_all_jpegs_damaged(replayed: Replayed, drive: Drive) -> None:
    stream = changed(compressed(recorded(drive.part(0, 5))), COMPRESSED, garbled)
    outcome = replayed(stream, image_transport="compressed")
    outcome.tells(NO_COMPRESSED, ("UNINITIALIZED", "cannot be decoded: it is damaged"))
    assert len(outcome.log.poses) == len(outcome.log.transform_ns) == 0
    assert outcome.processed == 5


def test_damaged_until_lost(replayed: Replayed, drive: Drive) -> None:
    stream = changed(compressed(recorded(drive.part(0, 12))), COMPRESSED, garbled, 0.5, 1.9)
    outcome = replayed(stream, image_transport="compressed", lost_after=1.0)
    reason = "cannot be decoded: it is damaged"
    outcome.tells(NO_COMPRESSED, ("TRACKING", ""), ("DEGRADED", reason), ("LOST", reason), ("TRACKING", ""))


def test_truncated(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(changed(recorded(drive.part(0, 7)), IMAGE, cut, 0.5, 0.7))
    reason = "^the image holds 25600 bytes instead of 76800$"
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", reason), ("TRACKING", ""))


def test_impossible_sizes(replayed: Replayed, drive: Drive) -> None:
    sizes = [(0, 240, 320), (320, 0, 320), (320, 240, 300), (320, 240, 0)]
    left = iter(sizes)

    def change(image: Any) -> Any:
        image.width, image.height, image.step = next(left)
        return image

    outcome = replayed(changed(recorded(drive.part(0, len(sizes))), IMAGE, change))
    outcome.tells(
        NO_IMAGE,
        *(("UNINITIALIZED", f"an image of {w}x{h} pixels with rows of {step} bytes is none") for w, h, step in sizes),
    )


# --- calibration ------------------------------------------------------------------------------------------------------


def calibrated(camera: Camera) -> Callable[[Any], Any]:
    return lambda info: streams.camera_info_message(streams.stamp_of(info), camera)


def zeroed(info: Any) -> Any:
    """As drivers publish it that have none."""
    info.k, info.d = [0.0] * 9, []
    return info


def test_no_camera_info(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(without(recorded(drive.part(0, 4)), INFO))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "^no camera_info yet$"))
    assert len(outcome.log.poses) == len(outcome.log.transform_ns) == 0


def test_camera_info_comes_late_and_once(replayed: Replayed, drive: Drive) -> None:
    stream = changed(
        recorded(drive.part(0, 6)), INFO, lambda info: info if streams.stamp_of(info) == streams.ns(0.4) else None
    )
    outcome = replayed(stream)
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "no camera_info yet"), ("TRACKING", ""))
    # it had the stamp of an image, so the next image waits for its own, until another image comes
    assert len(outcome.log.poses) == 3
    assert outcome.dropped == 1


def test_zero_calibration(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(changed(recorded(drive.part(0, 4)), INFO, zeroed))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "^camera_info cannot be used: "))
    # every image comes with another camera_info, which says the same
    assert sum("WARN camera_info cannot be used: " in line for line in outcome.log_lines) == 1
    assert len(outcome.log.poses) == 0


def test_zero_calibration_on_the_way(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(changed(recorded(drive.part(0, 8)), INFO, zeroed, 0.5, 0.9))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", "^camera_info cannot be used: "), ("TRACKING", ""))
    assert len(outcome.log.poses) == 6


def test_calibration_of_another_shape(replayed: Replayed, drive: Drive) -> None:
    wide = replace(SMALL.camera, width=640)
    outcome = replayed(changed(recorded(drive.part(0, 8)), INFO, calibrated(wide), 0.5, 0.9))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", "640x240"), ("TRACKING", ""))
    assert len(outcome.log.poses) == 6


def test_calibration_at_another_resolution(replayed: Replayed, drive: Drive, gray: Outcome) -> None:
    """The images are scaled down, their calibration is not."""
    outcome = replayed(changed(recorded(drive.part(0, 6)), INFO, calibrated(LARGE), from_s=0.3))
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert outcome.log.poses.map_from_camera == pytest.approx(gray.log.poses.map_from_camera[:6], abs=1e-3)


def test_wrong_calibration(replayed: Replayed, drive: Drive) -> None:
    """Of another lens: what does not fit is not believed, whichever of three doubts says so."""
    long = replace(SMALL.camera, matrix=SMALL.camera.matrix * [[2, 1, 1], [1, 2, 1], [1, 1, 1]])
    outcome = replayed(changed(recorded(drive.part(0, 8)), INFO, calibrated(long), from_s=0.5))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", "from where odometry does|not in the map|equally well"))
    assert len(outcome.log.poses) == 3
