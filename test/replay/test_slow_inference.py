"""A computer that takes long for an image."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Outcome, outcome_of
from streams import Drive, recorded

from neumap.cli.replay import localizer_rig

NO_IMAGE = ("UNINITIALIZED", "no image on 'image' yet")


def run(virtual_map: Path, drive: Drive, inference_s: float) -> Outcome:
    stream = recorded(drive.part(0, 30))
    with localizer_rig({"map": str(virtual_map)}, inference_s=inference_s) as rig:
        rig.start()
        rig.player.play(stream, after_s=0.0)
        return outcome_of(rig, stream)


@pytest.mark.parametrize("inference_s", [0.5, 0.7])
def test_images_that_take_long_are_not_missing(virtual_map: Path, drive: Drive, inference_s: float) -> None:
    outcome = run(virtual_map, drive, inference_s)
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert outcome.processed >= 5.5 / (inference_s + 0.2)


def test_an_image_that_takes_longer_than_may_pass_without_one_is(virtual_map: Path, drive: Drive) -> None:
    outcome = run(virtual_map, drive, 1.5)
    assert ("DEGRADED", "no image since 1 s") in outcome.states
