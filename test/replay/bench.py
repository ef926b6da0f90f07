"""A session to which a stream is played piece by piece, with somebody beside it who asks, claims and listens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streams
from streams import START_NS, Stream, ns

from neumap.arrays import FloatArray
from neumap.geometry.se3 import quat_from_matrix
from neumap.replay.recorder import SentTransform
from neumap.replay.rig import Rig, Timed
from neumap.tracking.fix import Fix
from neumap.tracking.ports import LocalizerStatus
from neumap.tracking.requests import LoadAnswer, PoseClaim, RelocalizeAnswer, RelocalizeRequest


class Answer:
    """What a request was answered, and when, once it is."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._given: list[tuple[float, Any]] = []

    def __call__(self, answer: RelocalizeAnswer | LoadAnswer) -> None:
        self._given.append((self._bench.now_s, answer))

    @property
    def done(self) -> bool:
        """Whether it is answered; it must not be twice."""
        assert len(self._given) <= 1
        return bool(self._given)

    @property
    def result(self) -> Any:
        """The answer."""
        assert self.done, "there is no answer yet"
        return self._given[0][1]

    @property
    def at_s(self) -> float:
        """When it came."""
        return self._given[0][0]


class Bench:
    """Seconds are those of streams. Time begins a moment before the stream."""

    def __init__(self, virtual_map: Path, stream: Stream, **parameters: Any) -> None:
        self._rest = list(stream)
        self.rig = Rig({"map": str(virtual_map)} | parameters, streams.begin_of(stream))
        self.session, self.out = self.rig.session, self.rig.out

    @property
    def now_s(self) -> float:
        """The present."""
        return (self.rig.clock.now_ns() - START_NS) * 1e-9

    def until(self, seconds: float) -> None:
        """Play the stream, and let time pass, up to then."""
        end = ns(seconds)
        part = [each for each in self._rest if each.time_ns <= end]
        self._rest = self._rest[len(part) :]
        self.rig.play(self.to_play(part), after_s=0)
        self.rig.clock.advance_to(end)

    def to_play(self, part: Stream) -> list[Timed]:
        """What of a part of the stream the session hears."""
        return streams.to_play(part)

    def skip(self, seconds: float) -> None:
        """Leave out the stream up to then."""
        self._rest = [each for each in self._rest if each.time_ns > ns(seconds)]

    def drop(self, topic: str) -> None:
        """Leave out a topic."""
        self._rest = [each for each in self._rest if each.topic != topic]

    # --- what somebody asks for ---------------------------------------------------

    def relocalize(self, prior: PoseClaim | None = None, timeout_s: float = 0.0) -> Answer:
        """Ask for a search of the whole map."""
        answer = Answer(self)
        self.session.relocalize(RelocalizeRequest(prior, timeout_s), answer)
        return answer

    def load_map(self, path: object) -> Answer:
        """Ask for another map."""
        answer = Answer(self)
        self.session.load_map(str(path), answer)
        return answer

    def reinitialize(self) -> None:
        """Ask to begin anew."""
        self.session.start_over("global localization was asked for")

    # --- what the session says ----------------------------------------------------------

    def poses(self, since_s: float = -np.inf) -> list[Fix]:
        """The poses published after a time."""
        return [fix for time_ns, fix in self.out.poses if time_ns > _since(since_s)]

    def transforms(self, since_s: float = -np.inf) -> list[SentTransform]:
        """The transforms published after a time."""
        return [sent for time_ns, sent in self.out.transforms if time_ns > _since(since_s)]

    def statuses(self, since_s: float = -np.inf) -> list[LocalizerStatus]:
        """The statuses published after a time."""
        return [status for time_ns, status in self.out.statuses if time_ns > _since(since_s)]

    def said(self) -> int:
        """How much was published so far."""
        return len(self.out.poses) + len(self.out.transforms) + len(self.out.statuses)

    def told(self, since_s: float = -np.inf) -> list[tuple[str, str]]:
        """States and reasons, without repetitions."""
        out: list[tuple[str, str]] = []
        for status in self.statuses(since_s):
            if not out or out[-1] != (status.state.name, status.reason):
                out.append((status.state.name, status.reason))
        return out

    @property
    def state(self) -> str:
        """The last state."""
        return self.statuses()[-1].state.name

    def lines(self, level: str) -> list[str]:
        """The lines of the log of a level."""
        return [line for line in self.out.log_lines if line.startswith(level)]


def _since(seconds: float) -> int:
    return -1 if seconds == -np.inf else ns(seconds)


def claimed(pose: FloatArray, frame: str = "map", covariance: Sequence[float] = (0.0,) * 36) -> PoseClaim:
    """The claim of a pose (4, 4), which says nothing about its covariance unless told."""
    return PoseClaim(frame, pose[:3, 3].tolist(), quat_from_matrix(pose[:3, :3]).tolist(), covariance)
