"""What the camera sees is not what it ought to see: another place, nothing, another building."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome
from streams import Drive, covered, joined, recorded, with_noise, with_pixels

Replayed = Callable[..., Outcome]

NO_IMAGE = ("UNINITIALIZED", "no image on 'image' yet")
NOT_IN_MAP = (
    "not in the map, or seen badly|no consistent set of matches|in one small part|another place, or much changed"
    "|outside of all that was mapped"
)


def test_nothing_is_wrong(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(recorded(drive.part(0, 15)))
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert len(outcome.log.poses) == outcome.processed == 15
    assert outcome.dropped == 0


def test_kidnapped(replayed: Replayed, drive: Drive, elsewhere: Drive) -> None:
    stream = joined(recorded(drive.part(0, 8)), recorded(elsewhere.part(0, 8)))
    outcome = replayed(stream)
    outcome.tells(
        NO_IMAGE,
        ("TRACKING", ""),
        ("DEGRADED", r"the image says \d.* m, .* deg from where odometry does \(1 of 3 images\)"),
        ("DEGRADED", r"from where odometry does \(2 of 3 images\)"),
        ("TRACKING", r"jumped \d.* m, .* deg: 3 images agreed"),
        ("TRACKING", ""),
    )
    assert len(outcome.log.poses) == 14
    # the transform goes along: with odometry it makes the pose
    odometry = streams.odometry_of(stream)
    last = outcome.log.map_from_odom[-1] @ odometry.map_from_camera[-1]
    assert last[:3, 3] == pytest.approx(streams.truth_of(stream).map_from_camera[-1][:3, 3], abs=0.05)


def test_kidnapped_for_a_moment(replayed: Replayed, drive: Drive, elsewhere: Drive) -> None:
    """Two images from elsewhere are no jump; these do not even agree with each other, for odometry did not turn."""
    shown = elsewhere.images
    stream = with_pixels(recorded(drive.part(0, 12)), lambda index: shown[index], 1.0, 1.4)
    outcome = replayed(stream)
    outcome.tells(
        NO_IMAGE,
        ("TRACKING", ""),
        ("DEGRADED", r"from where odometry does \(1 of 3 images\)"),
        ("TRACKING", ""),
    )
    assert len(outcome.log.poses) == 10


def test_covered_for_ten_seconds(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(covered(recorded(drive), 1.0, 11.0))
    blank = "only 0 keypoints: blank, dark or blurred image"
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", blank), ("LOST", blank), ("TRACKING", ""))
    ((lost, found),) = outcome.times_of("LOST")
    # three seconds after the last pose that an image confirmed
    assert 0 < (lost - streams.ns(0.8)) * 1e-9 - 3.0 < 0.3
    shown = outcome.log.transform_ns
    assert not ((shown > lost) & (shown < found)).any()
    assert ((shown > streams.ns(1.2)) & (shown < lost)).sum() > 40
    assert (shown > found).any()
    assert not ((outcome.log.published_ns > lost) & (outcome.log.published_ns < found)).any()
    assert outcome.logged("WARN DEGRADED -> LOST: only 0 keypoints")


def test_another_building(replayed: Replayed, other_drive: Drive) -> None:
    outcome = replayed(recorded(other_drive))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", NOT_IN_MAP))
    assert len(outcome.log.poses) == len(outcome.log.transform_ns) == 0
    assert outcome.processed == 10


def test_noise(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(with_noise(recorded(drive.part(0, 4)), 0.0))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", NOT_IN_MAP))
    assert len(outcome.log.poses) == len(outcome.log.transform_ns) == 0


def test_into_another_building(replayed: Replayed, drive: Drive, other_drive: Drive) -> None:
    """As if the camera of another robot was heard."""
    seen = other_drive.images
    stream = with_pixels(recorded(drive.part(0, 16)), lambda index: seen[index % len(seen)], 1.0)
    outcome = replayed(stream, lost_after=1.5)
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", NOT_IN_MAP), ("LOST", NOT_IN_MAP))
    assert len(outcome.log.poses) == 5
    ((lost, _),) = outcome.times_of("LOST")
    assert outcome.log.transform_ns.max() <= lost


def test_driven_far_while_covered(replayed: Replayed, drive: Drive) -> None:
    """Lost by the way that was driven, sooner than by time."""
    outcome = replayed(covered(recorded(drive.part(0, 14)), 1.0), lost_distance=0.5)
    blank = "only 0 keypoints"
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", blank), ("LOST", blank))
    ((lost, _),) = outcome.times_of("LOST")
    since_s = (lost - streams.ns(0.8)) * 1e-9
    assert 0.6 < since_s < 1.4
