"""A computer that takes long for an image."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome, assert_right, outcome_of
from streams import Drive, recorded

from neumap.replay.rig import Rig

NO_IMAGE = ("UNINITIALIZED", "no image on 'image' yet")
TOO_SLOW = ("DEGRADED", "an image takes longer than image_timeout .1 s.: lower the images' resolution")


def run(virtual_map: Path, drive: Drive, inference_s: float, **parameters: object) -> Outcome:
    stream = recorded(drive.part(0, 60))
    rig = Rig({"map": str(virtual_map)} | parameters, streams.begin_of(stream), inference_s)
    rig.start()
    rig.play(streams.to_play(stream), after_s=0.0)
    outcome = outcome_of(rig, stream)
    assert_right(outcome)
    return outcome


@pytest.mark.parametrize("inference_s", [0.5, 0.9])
def test_images_that_take_long_are_not_missing(virtual_map: Path, drive: Drive, inference_s: float) -> None:
    outcome = run(virtual_map, drive, inference_s)
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert outcome.processed >= 11.5 / (inference_s + 0.2)
    # how late a pose is can be seen
    assert outcome.log.statuses[-1].latency_s > inference_s


@pytest.mark.parametrize("inference_s", [1.5, 2.5])
def test_who_is_too_slow_is_told_so_and_what_to_lower(virtual_map: Path, drive: Drive, inference_s: float) -> None:
    # the drive goes on meanwhile, further than a pose is usually carried
    outcome = run(virtual_map, drive, inference_s, lost_distance=10.0)
    states = [state for state, _ in outcome.states]
    # every pose is right, and none is given up for the time that the computer takes
    assert "LOST" not in states
    assert not outcome.logged("no image since")
    assert ("UNINITIALIZED", TOO_SLOW[1].replace(".1 s.", "(1 s)")) in [
        (state, reason[: len(TOO_SLOW[1])]) for state, reason in outcome.states
    ]
    assert "TRACKING" in states
    assert states[-1] in ("TRACKING", "DEGRADED")
    assert outcome.logged("TRACKING -> DEGRADED: an image takes longer than image_timeout")


def test_who_takes_longer_than_a_pose_may_go_unconfirmed_is_lost(virtual_map: Path, drive: Drive) -> None:
    outcome = run(virtual_map, drive, 4.0, lost_distance=10.0)
    assert outcome.logged("-> LOST: an image takes longer than image_timeout")
