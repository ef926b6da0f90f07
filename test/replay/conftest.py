"""Plays streams to the session; whatever the stream, what is published must be right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import streams
from outcomes import Outcome, assert_alive, assert_right, outcome_of
from streams import Drive, Stream

from neumap.replay.rig import Event, Rig

Replayed = Callable[..., Outcome]


@pytest.fixture(scope="session")
def drive() -> Drive:
    """Twelve seconds in the room of ``virtual_map``, where each image is localized."""
    return streams.drive_through(0, 20, 60)


@pytest.fixture(scope="session")
def elsewhere() -> Drive:
    """Three seconds in another part of the same room, where each image is localized."""
    return streams.drive_through(0, 106, 15)


@pytest.fixture(scope="session")
def other_drive() -> Drive:
    """Two seconds in another building."""
    return streams.drive_through(1000, 20, 10)


@pytest.fixture(scope="session")
def replayed(virtual_map: Path) -> Replayed:
    """Runs ``replayed(stream, events=..., **parameters)`` in the map of the virtual room and gives the outcome, after
    it has been held against the stream's truth.

    ``events(rig)`` gives the events to happen on the way; ``before(rig)`` is called before the node is started.
    """

    def run(
        stream: Stream,
        events: Callable[[Rig], Sequence[Event]] = lambda _: (),
        before: Callable[[Rig], object] = lambda _: None,
        **parameters: Any,
    ) -> Outcome:
        rig = Rig({"map": str(virtual_map)} | parameters, streams.begin_of(stream))
        before(rig)
        rig.start()
        # less than an image's timeout: that they have ended is not to be noticed
        rig.play(streams.to_play(stream), events(rig), after_s=0.5)
        outcome = outcome_of(rig, stream)
        assert_alive(rig)
        assert_right(outcome)
        return outcome

    return run
