"""What a node made of a stream, held against the stream's truth and against what it ought to say."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import streams
from streams import Stream

from neumap.arrays import FloatArray
from neumap.geometry.se3 import pose_error
from neumap.io.trajectories import poses_at
from neumap.replay.rig import Rig
from neumap.report.replay_report import ReplayLog

WRONG_M, WRONG_RAD = 0.1, np.deg2rad(5.0)


@dataclass(frozen=True)
class Outcome:
    """What the node published and logged. ``errors`` (N, 6) of the published poses: metres, then radians."""

    log: ReplayLog
    log_lines: tuple[str, ...]
    tf_children: frozenset[str]
    errors: FloatArray

    @property
    def states(self) -> list[tuple[str, str]]:
        """State and reason of each status, without repetitions."""
        out: list[tuple[str, str]] = []
        for line in self.log.statuses:
            if not out or out[-1] != (line.state, line.reason):
                out.append((line.state, line.reason))
        return out

    @property
    def processed(self) -> int:
        return self.log.statuses[-1].processed

    @property
    def dropped(self) -> int:
        return self.log.statuses[-1].dropped

    def tells(self, *steps: tuple[str, str]) -> None:
        """Holds the story of states and reasons against ``steps`` of a state and a regular expression that is found in
        its reason ("" for no reason at all): each status fits the step or the next one, and no step is left out.
        """
        told = "\n".join(f"  {state} {reason!r}" for state, reason in self.states)
        at = -1
        for status in self.states:
            if at >= 0 and fits(status, steps[at]):
                continue
            at += 1
            assert at < len(steps), f"after all steps came {status} in\n{told}"
            assert fits(status, steps[at]), f"{status} instead of {steps[at]} in\n{told}"
        assert at == len(steps) - 1, f"{steps[at + 1]} did not come in\n{told}"

    def times_of(self, state: str) -> list[tuple[int, int]]:
        """From when to when the node was in a state; the last time has no end."""
        out, since = [], None
        for line in self.log.statuses:
            if line.state == state and since is None:
                since = line.time_ns
            elif line.state != state and since is not None:
                out.append((since, line.time_ns))
                since = None
        return out if since is None else [*out, (since, 2**63 - 1)]

    def logged(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.log_lines)


def fits(status: tuple[str, str], step: tuple[str, str]) -> bool:
    return status[0] == step[0] and bool(re.search(step[1], status[1]) if step[1] else not status[1])


def same_poses(first: Outcome, second: Outcome) -> bool:
    """Whether the very same poses were published."""
    return np.array_equal(first.log.poses.stamps_ns, second.log.poses.stamps_ns) and np.array_equal(
        first.log.poses.map_from_camera, second.log.poses.map_from_camera
    )


def outcome_of(rig: Rig, stream: Stream) -> Outcome:
    """What was published so far."""
    log = rig.out.replay_log(stream[0].time_ns, rig.clock.now_ns(), None)
    truth, known = poses_at(streams.truth_of(stream), log.poses.stamps_ns)
    assert known.all(), "a pose was published for a time at which there was no image"
    errors = [pose_error(pose, true) for pose, true in zip(log.poses.map_from_camera, truth, strict=True)]
    children = {sent.child_frame for _, sent in rig.out.transforms}
    return Outcome(log, tuple(rig.out.log_lines), frozenset(children), np.array(errors).reshape(-1, 6))


def assert_right(outcome: Outcome) -> None:
    """Poses are published only where they are believed: none of them is wrong, and each says how sure it is."""
    metres, radians = np.linalg.norm(outcome.errors.reshape(-1, 2, 3), axis=2).T
    assert (metres < WRONG_M).all(), metres.round(3)
    assert (radians < WRONG_RAD).all(), np.rad2deg(radians).round(1)
    for covariance in outcome.log.covariances:
        assert np.array_equal(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > 0


def assert_alive(rig: Rig) -> None:
    """The session is active, and nothing went wrong that it did not expect."""
    assert rig.session.active
    assert not [line for line in rig.out.log_lines if line.startswith("ERROR localizing")]
