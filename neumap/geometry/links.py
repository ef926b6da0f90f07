"""What the samples of one link of /tf tell of who publishes it: how often, and whether two do that disagree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry.se3 import interpolate, pose_error

# SAME: poses that differ by less are one: metres, and entries of a rotation matrix.
SAME = 1e-6
# APART_M, APART_RAD: two publishers that differ by less agree; metres and radians.
APART_M, APART_RAD = 0.03, 0.05
# FASTEST_M_S: no robot that is localized indoors is as fast, metres a second.
FASTEST_M_S = 5.0
# _BACK: of two publishers that take turns, both neighbours of a step lie to the other side of theirs by half of it or
# more; of motion that takes four samples or more from turn to turn they do not. Share of the step's length.
_BACK = 0.25
# _ALIKE: steps that differ by a smaller share are of one length: noise has all lengths, two publishers have one.
# _ASIDE: the same for steps to one side, as those of a slower publisher away from a faster one.
_ALIKE, _ASIDE = 0.2, 0.5
# _SWAPS: by so many and the logarithm of their number, steps that are alike must outweigh twice the others. Of 1800
# stretches of 30 s of noise at 5 and 20 Hz, uniform, Gaussian or with outliers, in none they did.
_SWAPS = 11


@dataclass(frozen=True)
class ToAndFro:
    """How a link goes to and fro: the rates of its two publishers, Hz, the lower first, and by how much."""

    rates_hz: tuple[float, float]
    metres: float
    radians: float

    def __str__(self) -> str:
        sizes = [f"{100 * self.metres:.0f} cm"] if self.metres >= APART_M else []
        sizes += [f"{np.rad2deg(self.radians):.0f} deg"] if self.radians >= APART_RAD else []
        low, high = (f"{rate:.2g}" if rate < 10 else f"{rate:.0f}" for rate in self.rates_hz)
        return f"goes to and fro by {' and '.join(sizes)}, as if two published it, at {low} and {high} Hz"


def to_and_fro(stamps_ns: IntArray, poses: FloatArray) -> ToAndFro | None:
    """Find motion that no robot makes in the samples of a link: stamps (N,), in order, and poses (N, 4, 4).

    Where two publishers that disagree take turns, samples step away from their neighbours and back, again and again by
    the same length. Noise steps by all lengths, a correction stays, and no robot turns back from sample to sample. None
    where there is no such motion.
    """
    fresh = np.ones(len(poses), dtype=np.bool_)
    fresh[1:] = (np.diff(stamps_ns) > 0) | ~same(poses[1:], poses[:-1])
    stamps_ns, poses = stamps_ns[fresh], poses[fresh]
    if len(poses) <= _SWAPS:
        return None
    steps = deviations(stamps_ns, poses)
    swaps = max(_swaps(steps[:, :3], APART_M), _swaps(steps[:, 3:], APART_RAD), key=len)
    if not len(swaps):
        return None
    metres, radians = np.median(np.linalg.norm(steps[swaps].reshape(-1, 2, 3), axis=2), axis=0)
    turned = np.einsum("ni,ni->n", steps[swaps[1:]], steps[swaps[:-1]]) < 0
    one = np.cumsum(np.concatenate([[0], turned])) % 2 == 0
    # a sample is of the publisher nearer to it, of whom are the swaps to its side and the neighbours of the others
    span = slice(int(swaps[0]), int(swaps[-1]) + 3)
    times = (stamps_ns[span] - stamps_ns[span.start]) * 1e-9
    places, swaps = poses[span, :3].reshape(len(times), 12), swaps + 1 - span.start
    far = [_distance(times, places, np.concatenate([swaps[of], swaps[~of] - 1, swaps[~of] + 1])) for of in (one, ~one)]
    count = int((far[0] < far[1]).sum())
    # a sample at an end stands for half of its time
    low, high = ((many - 0.5) / max(float(times[-1]), 1e-9) for many in sorted((count, len(times) - count)))
    return ToAndFro((low, high), float(metres), float(radians))


def _swaps(steps: FloatArray, apart: float) -> IntArray:
    """Return which of the steps (M, 3) are changes between two publishers that differ by ``apart`` or more."""
    lengths = np.linalg.norm(steps, axis=1)
    along = np.einsum("ni,ni->n", steps[1:], steps[:-1])
    back = np.maximum(along[:-1], along[1:]) <= -_BACK * lengths[1:-1] ** 2
    found = np.zeros(0, dtype=np.int64)
    least = apart / 2
    while (swaps := 1 + np.flatnonzero(back & (lengths[1:-1] >= least))).size > _SWAPS:
        now, before = steps[swaps[1:]], steps[swaps[:-1]]
        longer = np.maximum(lengths[swaps[1:]], lengths[swaps[:-1]])
        aside = np.linalg.norm(now - before, axis=1)
        of_one_length = np.minimum(aside, np.linalg.norm(now + before, axis=1)) <= _ALIKE * longer
        for alike in (of_one_length, aside <= _ASIDE * longer):
            total = np.concatenate([[0], np.cumsum(np.where(alike, 1, -2))])
            gained = total - np.minimum.accumulate(total)
            end = int(gained.argmax())
            stretch = swaps[int(total[: end + 1].argmin()) : end + 1]
            # what only just exceeds a threshold is alike anyway
            is_apart = np.median(lengths[stretch]) >= 2 * least
            if is_apart and gained[end] >= _SWAPS + np.log(len(swaps)) and len(stretch) > len(found):
                found = stretch
        least *= 2
    return found


def _distance(times: FloatArray, places: FloatArray, of: IntArray) -> FloatArray:
    """Return how far each of ``places`` (N, D) is from the way through some ``of`` them, at the same time."""
    of = np.unique(of)
    way = np.stack([np.interp(times, times[of], column[of]) for column in places.T], axis=1)
    return np.asarray(np.linalg.norm(places - way, axis=1))


def dropouts(stamps_ns: IntArray, poses: FloatArray) -> BoolArray:
    """Tell which samples (N,) are zero because what was tracked was lost: no robot goes there and back as fast.

    Motion capture tells the origin, without a turn, for what it does not see. Odometry begins there.
    """
    lost = same(poses, np.eye(4))
    begins, ends = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8))).reshape(-1, 2).T
    inside = (begins > 0) & (ends < len(poses))
    lost[:] = False
    for begin, end in zip(begins[inside], ends[inside], strict=True):
        ways = np.linalg.norm(poses[[begin - 1, end], :3, 3], axis=1)
        times_s = (stamps_ns[[begin, end]] - stamps_ns[[begin - 1, end - 1]]) * 1e-9
        lost[begin:end] = (ways > FASTEST_M_S * times_s).all()
    return lost


def deviations(stamps_ns: IntArray, poses: FloatArray) -> FloatArray:
    """Return how far each sample but the ends is from where its neighbours lead, (N - 2, 6) as of ``pose_error``."""
    share = (stamps_ns[1:-1] - stamps_ns[:-2]) / np.maximum(stamps_ns[2:] - stamps_ns[:-2], 1)
    return pose_error(poses[1:-1], interpolate(poses[:-2], poses[2:], share))


def same(poses: FloatArray, others: FloatArray) -> BoolArray:
    """Tell which of the poses (N, 4, 4) are the same as the others."""
    return np.asarray(np.abs(poses - others).max(axis=(1, 2)) < SAME)
