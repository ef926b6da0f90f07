"""Reports a replay: the time of the first fix, states, latency, and errors against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.geometry.se3 import pose_error
from neumap.io.stamps import format_stamp
from neumap.io.trajectories import poses_at
from neumap.records import Trajectory
from neumap.report.evaluation import Evaluation, evaluate
from neumap.report.evaluation import as_dict as evaluation_dict
from neumap.report.evaluation import as_text as evaluation_text
from neumap.report.reasons import count_reasons
from neumap.tracking.transforms import NO_TRANSFORM

STATES = ("UNINITIALIZED", "TRACKING", "DEGRADED", "LOST")
# JUMP_M, JUMP_RAD: a larger step of map -> odom is a jump; it usually moves by centimetres from image to image.
# WRONG_M: poses further from the truth are wrong, metres.
JUMP_M, JUMP_RAD = 0.3, 0.2
WRONG_M = 0.25


@dataclass(frozen=True)
class StatusLine:
    """One status message. ``latency_s`` is 0 if no image caused it."""

    time_ns: int
    state: str
    reason: str
    latency_s: float
    processed: int
    dropped: int

    @property
    def is_lost_image(self) -> bool:
        """Return whether it was caused by an image that gave no fix."""
        return self.latency_s > 0 and self.state != "TRACKING"


@dataclass(frozen=True)
class ReplayLog:
    """The messages that the node published during a replay, in order.

    Poses of the base: ``poses`` with their stamps, ``covariances`` (N, 6, 6), ``published_ns`` (N,) times of
    publication. Transforms of the map: ``transform_ns`` (K,) times of publication, ``map_from_odom`` (K, 4, 4).
    ``start_ns`` and ``end_ns`` are those of the messages played, ``first_image_ns`` is the stamp of the first image.
    ``searched`` counts the images that were searched, ``glances`` those settled by a glance; ``costs_s`` are the
    modelled seconds of each. ``notes`` are for the user; ``left_out`` are those of them on data left out.
    """

    start_ns: int
    end_ns: int
    first_image_ns: int | None
    statuses: tuple[StatusLine, ...]
    poses: Trajectory
    covariances: FloatArray
    published_ns: IntArray
    transform_ns: IntArray
    map_from_odom: FloatArray
    searched: int = 0
    glances: int = 0
    costs_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accuracy:
    """Errors against the truth: of the published ``poses``; the share of ``wrong`` ones (beyond 25 cm); their mean
    normalised estimation error squared (6 if the covariance is right); and, of odometry composed with each published
    transform, median and 95th percentile in metres and degrees.
    """

    poses: Evaluation
    wrong: float
    mean_nees: float
    transform_m: tuple[float, float] | None
    transform_deg: tuple[float, float] | None


@dataclass(frozen=True)
class Report:
    """The numbers of one replay; seconds, Hz, shares from 0 to 1.

    ``first_fix_image`` counts processed images from 1; it is None without a fix, for the reason ``why_not``.
    ``glances`` is the share of images settled by a glance, ``cost_s`` the mean modelled time of an image, and
    ``half_as_fast_hz`` the rate of images that a machine half as fast keeps up with. ``reasons`` are those of images
    without a fix, ``notes`` and ``left_out`` those of the log.
    """

    duration_s: float
    images_processed: int
    images_dropped: int
    poses: int
    first_fix_s: float | None
    first_fix_image: int | None
    why_not: str
    state_shares: dict[str, float]
    update_hz: float
    latency_s: tuple[float, float] | None
    glances: float | None
    cost_s: float | None
    half_as_fast_hz: float | None
    jumps: int
    reasons: dict[str, int]
    accuracy: Accuracy | None
    notes: tuple[str, ...]
    left_out: tuple[str, ...]


def report(log: ReplayLog, truth: Trajectory | None = None, odometry: Trajectory | None = None) -> Report:
    """Make the report of a replay, with accuracy if the ``truth``, poses of the base in the map, is given.

    ``odometry`` holds poses of the base in odom, to evaluate the published transform.
    """
    images = [line for line in log.statuses if line.latency_s > 0]
    latencies = [line.latency_s for line in images]
    first = int(log.published_ns[0]) if len(log.published_ns) else None
    cost_s = float(np.mean(log.costs_s)) if log.costs_s else None
    span_s = (log.end_ns - log.start_ns) * 1e-9
    accuracy, notes = None, log.notes
    if truth is not None and len(log.poses):
        try:
            accuracy = _accuracy(log, truth, odometry)
        except DataError as error:  # an unusable truth only prevents the comparison
            notes = (*notes, str(error))
    reasons = count_reasons(line.reason for line in images if line.is_lost_image)
    jumped_m, jumped_rad = _norms(pose_error(log.map_from_odom[1:], log.map_from_odom[:-1]))
    return Report(
        duration_s=span_s,
        images_processed=max((line.processed for line in log.statuses), default=0),
        images_dropped=max((line.dropped for line in log.statuses), default=0),
        poses=len(log.poses),
        first_fix_s=None if first is None or log.first_image_ns is None else (first - log.first_image_ns) * 1e-9,
        first_fix_image=None if first is None else sum(line.time_ns < first for line in images) + 1,
        why_not=_why_not(log, reasons) if first is None else "",
        state_shares=_state_shares(log),
        update_hz=len(log.poses) / span_s if span_s > 0 else 0.0,
        latency_s=(float(np.median(latencies)), float(np.max(latencies))) if latencies else None,
        glances=log.glances / log.searched if log.searched else None,
        cost_s=cost_s,
        half_as_fast_hz=1 / (2 * cost_s) if cost_s else None,
        jumps=int(((jumped_m > JUMP_M) | (jumped_rad > JUMP_RAD)).sum()),
        reasons=reasons,
        accuracy=accuracy,
        notes=notes,
        left_out=log.left_out,
    )


def _why_not(log: ReplayLog, reasons: dict[str, int]) -> str:
    """Return why there was no fix: the most frequent reason of images, else the last reason of a status."""
    if not reasons:
        return next((line.reason for line in reversed(log.statuses) if line.reason), "")
    reason, count = next(iter(reasons.items()))
    doubt = "; is it the right map?" if log.searched and not reason.startswith(NO_TRANSFORM) else ""
    return f"{reason.strip()} ({count} of {sum(reasons.values())} images){doubt}"


def _state_shares(log: ReplayLog) -> dict[str, float]:
    """Measure the share of time in each state; the first status tells the state from the beginning on."""
    share = dict.fromkeys(STATES, 0.0)
    if not log.statuses:
        return share
    times = np.clip([log.start_ns, *(line.time_ns for line in log.statuses[1:]), log.end_ns], log.start_ns, log.end_ns)
    spans = np.maximum(np.diff(times), 0)
    for line, span in zip(log.statuses, spans / max(spans.sum(), 1), strict=True):
        share[line.state] += float(span)
    return share


def _norms(errors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return metres (N,) and radians (N,) of errors (N, 6) of poses."""
    return np.linalg.norm(errors[:, :3], axis=1), np.linalg.norm(errors[:, 3:], axis=1)


def _accuracy(log: ReplayLog, truth: Trajectory, odometry: Trajectory | None) -> Accuracy:
    found = evaluate(log.poses, truth)
    known = poses_at(truth, log.poses.stamps_ns)[1]
    errors = pose_error(found.estimate.map_from_camera, found.truth.map_from_camera)
    nees = np.einsum("ni,ni->n", errors, np.linalg.solve(log.covariances[known], errors[..., None])[..., 0])
    transform_m = transform_deg = None
    if odometry is not None and len(log.transform_ns):
        base, base_known = poses_at(odometry, log.transform_ns)
        true, true_known = poses_at(truth, log.transform_ns)
        both = base_known & true_known
        if both.any():
            metres, radians = _norms(pose_error(log.map_from_odom[both] @ base[both], true[both]))
            transform_m, transform_deg = _median_and_95(metres), _median_and_95(np.rad2deg(radians))
    wrong = float((found.translation_m > WRONG_M).mean())
    return Accuracy(found, wrong, float(nees.mean()), transform_m, transform_deg)


def _median_and_95(values: FloatArray) -> tuple[float, float]:
    return float(np.median(values)), float(np.quantile(values, 0.95))


def as_dict(result: Report) -> dict[str, Any]:
    """Return the report for JSON."""
    content = dict(vars(result))
    if result.accuracy is not None:
        content["accuracy"] = dict(vars(result.accuracy)) | {"poses": evaluation_dict(result.accuracy.poses)}
    return content


def as_text(result: Report) -> str:
    """Return the report as text."""
    r = result
    first = (
        f"never{': ' * bool(r.why_not)}{r.why_not}"
        if r.first_fix_s is None
        else f"{r.first_fix_s:.2f} s after the first image (image {r.first_fix_image})"
    )
    shares = ", ".join(f"{state} {share:.1%}" for state, share in r.state_shares.items() if share)
    lines = [
        f"played       {r.duration_s:.1f} s: {r.images_processed} images processed, {r.images_dropped} dropped",
        f"first fix    {first}",
        f"published    {r.poses} poses, {r.update_hz:.1f} Hz",
        f"states       {shares or 'none was published'}",
        f"jumps        {r.jumps}",
    ]
    if r.latency_s is not None:
        lines.append(f"latency      median {1e3 * r.latency_s[0]:.0f} ms, max {1e3 * r.latency_s[1]:.0f} ms")
    if r.glances is not None:
        lines.append(f"glances      {100 * r.glances:.0f} % of the images were settled by one")
    if r.cost_s is not None and r.half_as_fast_hz is not None:
        keeps = f"a machine half as fast keeps up with {r.half_as_fast_hz:.1f} images a second"
        lines.append(f"cost         {1e3 * r.cost_s:.0f} ms an image, as --inference-ms tells; {keeps}")
    lines += [f"not tracking {count} images: {reason}" for reason, count in list(r.reasons.items())[:5]]
    lines += [f"note         {note}" for note in r.notes]
    if r.accuracy is not None:
        a = r.accuracy
        poses = evaluation_text(a.poses).splitlines()
        lines += poses[1:-1]
        lines.append(f"wrong        {a.wrong:.1%} beyond {100 * WRONG_M:.0f} cm")
        lines.append(f"covariance   normalised error squared {a.mean_nees:.1f} on average (6 is right)")
        if a.transform_m is not None and a.transform_deg is not None:
            lines.append(
                f"map -> odom  median {100 * a.transform_m[0]:.1f} cm, {a.transform_deg[0]:.2f} deg; "
                f"95 % within {100 * a.transform_m[1]:.1f} cm, {a.transform_deg[1]:.2f} deg"
            )
    return "\n".join(lines)


def status_lines(log: ReplayLog) -> str:
    """Return each change of the state on a line: time, state, reason."""
    lines, last = [], ("", "")
    for line in log.statuses:
        if (line.state, line.reason) != last:
            last = (line.state, line.reason)
            lines.append(f"{format_stamp(line.time_ns)} {line.state} {line.reason}".rstrip())
    return "\n".join(lines) + "\n"
