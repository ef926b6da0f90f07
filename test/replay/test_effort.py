"""How much is done for an image: least while tracking, and never more than the processor may be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome, assert_right, outcome_of
from streams import Drive, recorded

from neumap.arrays import ImageArray
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query
from neumap.records import Camera
from neumap.replay.rig import Rig

SECONDS = 12.0


@pytest.fixture
def glances(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each image that is searched, whether a glance came first."""
    told: list[bool] = []
    looks = Localizer.looks

    def spy(self: Localizer, image: ImageArray, cameras: Sequence[Camera], glance: bool = False) -> list[Query]:
        told.append(glance)
        return looks(self, image, cameras, glance)

    monkeypatch.setattr(Localizer, "looks", spy)
    return told


def run(
    virtual_map: Path, drive: Drive, change: Callable[[Any], Any] = lambda stream: stream, **parameters: object
) -> Outcome:
    stream = change(recorded(drive.part(0, round(5 * SECONDS))))
    rig = Rig({"map": str(virtual_map)} | parameters, streams.begin_of(stream), 0.1)
    rig.start()
    rig.play(streams.to_play(stream), after_s=0.0)
    outcome = outcome_of(rig, stream)
    assert_right(outcome)
    return outcome


def test_while_tracking_a_glance_comes_first(virtual_map: Path, drive: Drive, glances: list[bool]) -> None:
    outcome = run(virtual_map, drive)
    assert not glances[0]
    assert sum(glances) > 0.7 * outcome.processed
    assert glances.count(False) >= SECONDS / 10
    # and mostly does
    assert 0.3 * outcome.processed < outcome.log.glances <= sum(glances)


def test_the_whole_map_is_searched_at_intervals(virtual_map: Path, drive: Drive, glances: list[bool]) -> None:
    outcome = run(virtual_map, drive, global_search_period=1.0)
    assert glances.count(False) >= SECONDS - 1
    assert sum(glances) > 0.5 * outcome.processed
    glances.clear()
    run(virtual_map, drive, global_search_period=0.0)
    assert not any(glances)


def test_who_does_not_see_where_it_is_does_not_glance(virtual_map: Path, drive: Drive, glances: list[bool]) -> None:
    """After an image that is not found, and until one is found again, everything is looked at."""
    run(virtual_map, drive, lambda stream: streams.covered(stream, 4.0, 6.0))
    covered = glances[22:29]
    assert not any(covered)
    assert any(glances[:18])
    assert any(glances[34:])


@pytest.mark.parametrize(("max_cpu", "rate_hz"), [(1.0, 5.0), (0.25, 2.5), (0.1, 1.0)])
def test_images_take_no_more_of_the_processor_than_they_may(
    virtual_map: Path, drive: Drive, max_cpu: float, rate_hz: float
) -> None:
    """Each takes 0.1 s."""
    outcome = run(virtual_map, drive, max_cpu=max_cpu, max_image_rate=0.0)
    assert outcome.processed / SECONDS <= 1.3 * min(rate_hz, max_cpu / 0.1)
    assert outcome.processed / SECONDS >= 0.7 * rate_hz
    assert [state for state, _ in outcome.states][-1] == "TRACKING"
