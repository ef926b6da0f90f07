"""Detection of faults in the samples of one /tf link: two publishers that disagree, and dropouts of tracking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry.se3 import interpolate, pose_error

# SAME: poses with smaller differences are equal: metres, and entries of a rotation matrix.
SAME = 1e-6
# APART_M, APART_RAD: publishers that differ by less agree, metres and radians.
APART_M, APART_RAD = 0.03, 0.05
# FASTEST_M_S: speed above that of robots indoors, metres per second.
FASTEST_M_S = 5.0
# _BACK: least component of the neighbouring steps against a step, as a share of its length. It is a half or more if two
# publishers alternate, and less in motion with four or more samples between reversals.
_BACK = 0.25
# _ALIKE: steps are of one length if they differ by a smaller share: those of noise vary, those between two publishers
# do not. _ASIDE: the same for steps to one side, as those of a slower publisher away from a faster one.
_ALIKE, _ASIDE = 0.2, 0.5
# _SWAPS: the number of similar steps minus twice the others must reach this plus the logarithm of the number of steps.
# None of 1800 stretches of 30 s of noise at 5 and 20 Hz, uniform, Gaussian or with outliers, reached it.
_SWAPS = 11


@dataclass(frozen=True)
class ToAndFro:
    """Alternation of a link: the rates of its two publishers, Hz, the lower first, and their difference."""

    rates_hz: tuple[float, float]
    metres: float
    radians: float

    def __str__(self) -> str:
        sizes = [f"{100 * self.metres:.0f} cm"] if self.metres >= APART_M else []
        sizes += [f"{np.rad2deg(self.radians):.0f} deg"] if self.radians >= APART_RAD else []
        low, high = (f"{rate:.2g}" if rate < 10 else f"{rate:.0f}" for rate in self.rates_hz)
        return f"goes to and fro by {' and '.join(sizes)}, as if two published it, at {low} and {high} Hz"


def to_and_fro(stamps_ns: IntArray, poses: FloatArray) -> ToAndFro | None:
    """Detect two publishers that disagree in the samples of a link: timestamps (N,), ascending, and poses (N, 4, 4).

    Where two publishers alternate, samples step away from their neighbours and back, repeatedly by the same length.
    Steps of noise vary in length, a correction persists, and no robot reverses from sample to sample. Returns None if
    nothing is detected.
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
    # assign each sample to the nearer publisher; a publisher's path has the swaps to its side and the neighbours of the
    # other swaps
    span = slice(int(swaps[0]), int(swaps[-1]) + 3)
    times = (stamps_ns[span] - stamps_ns[span.start]) * 1e-9
    places, swaps = poses[span, :3].reshape(len(times), 12), swaps + 1 - span.start
    far = [_distance(times, places, np.concatenate([swaps[of], swaps[~of] - 1, swaps[~of] + 1])) for of in (one, ~one)]
    count = int((far[0] < far[1]).sum())
    # a sample at an end counts half
    low, high = ((many - 0.5) / max(float(times[-1]), 1e-9) for many in sorted((count, len(times) - count)))
    return ToAndFro((low, high), float(metres), float(radians))


def _swaps(steps: FloatArray, apart: float) -> IntArray:
    """Return the indices of the steps (M, 3) between two publishers that differ by ``apart`` or more."""
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
            # steps just above the threshold are always similar
            is_apart = np.median(lengths[stretch]) >= 2 * least
            if is_apart and gained[end] >= _SWAPS + np.log(len(swaps)) and len(stretch) > len(found):
                found = stretch
        least *= 2
    return found


def _distance(times: FloatArray, places: FloatArray, of: IntArray) -> FloatArray:
    """Return the distance (N,) of ``places`` (N, D) from the path interpolated through some ``of`` them."""
    of = np.unique(of)
    way = np.stack([np.interp(times, times[of], column[of]) for column in places.T], axis=1)
    return np.asarray(np.linalg.norm(places - way, axis=1))


def dropouts(stamps_ns: IntArray, poses: FloatArray) -> BoolArray:
    """Return which samples (N,) are identity because tracking was lost: no robot goes there and back that fast.

    Motion capture publishes the identity for a body it does not see. Odometry begins there.
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
    """Return the ``pose_error`` (N - 2, 6) of each inner sample from the interpolation of its neighbours."""
    share = (stamps_ns[1:-1] - stamps_ns[:-2]) / np.maximum(stamps_ns[2:] - stamps_ns[:-2], 1)
    return pose_error(poses[1:-1], interpolate(poses[:-2], poses[2:], share))


def same(poses: FloatArray, others: FloatArray) -> BoolArray:
    """Return which of the poses (N, 4, 4) equal the others."""
    return np.asarray(np.abs(poses - others).max(axis=(1, 2)) < SAME)
