"""Computes errors of estimated poses against the truth. Both are in the frame of the map; nothing is aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import ConfigError, DataError
from neumap.geometry.se3 import pose_error
from neumap.io.stamps import nearest, span
from neumap.io.trajectories import poses_at
from neumap.records import Trajectory

# THRESHOLDS: metres and degrees: two of indoor benchmarks, then two with which a navigation stack can start.
THRESHOLDS = ((0.02, 2.0), (0.05, 5.0), (0.25, 10.0), (0.5, 10.0))
# SAME_IMAGE_NS: largest difference of the stamps of one image, nanoseconds: other programs write fewer digits.
SAME_IMAGE_NS = 1_000_000


@dataclass(frozen=True)
class Statistics:
    """Of errors in metres or degrees; NaN where there are none."""

    median: float
    mean: float
    rmse: float
    max: float


@dataclass(frozen=True)
class Recall:
    """The share (0 to 1) of poses within ``metres`` and ``degrees`` of the truth, both at once."""

    metres: float
    degrees: float
    share: float


@dataclass(frozen=True)
class Evaluation:
    """Errors of the estimated poses whose truth is known.

    ``estimate`` and ``truth`` are these N poses and the true ones at the same stamps; ``translation_m`` (N,) and
    ``rotation_deg`` (N,) their errors. ``without_truth`` counts the other estimates. ``queries`` is the number of query
    images, localized or not, or None if unknown; recall is then relative to the N poses.
    """

    estimate: Trajectory
    truth: Trajectory
    translation_m: FloatArray
    rotation_deg: FloatArray
    translation: Statistics
    rotation: Statistics
    recall: tuple[Recall, ...]
    without_truth: int
    queries: int | None

    @property
    def poses(self) -> int:
        return len(self.estimate)

    @property
    def localized(self) -> float | None:
        """Return the share of the query images that have a pose; None if their number is unknown."""
        return None if self.queries is None else self.poses / self.queries


def evaluate(estimate: Trajectory, truth: Trajectory, queries: int | None = None) -> Evaluation:
    """Compare an estimated trajectory with the truth, which is interpolated at the estimate's stamps.

    ``queries`` is the number of images that were to be localized; where it is known, the estimate may be empty. Raises
    :class:`~neumap.errors.DataError` where no estimate has a true pose at its time,
    :class:`~neumap.errors.ConfigError` for fewer queries than poses.
    """
    true_poses, known = poses_at(truth, estimate.stamps_ns)
    count = int(known.sum())
    if not len(truth):
        raise DataError("there are no true poses to compare with")
    if not len(estimate) and not queries:
        raise DataError("there are no estimated poses, and it is not known of how many images: nothing to compare")
    if len(estimate) and count == 0:
        spans = f"they are {span(estimate.stamps_ns)}, the truth {span(truth.stamps_ns)}"
        raise DataError(
            f"none of the {len(estimate)} estimated poses has a true pose at its time: {spans}; are they of the same "
            "recording and clock?"
        )
    if queries is not None and queries < count:
        raise ConfigError(f"{queries} query images cannot have {count} estimated poses: give the number of all queries")
    estimate_known = Trajectory(estimate.stamps_ns[known], estimate.map_from_camera[known])
    truth_known = Trajectory(estimate.stamps_ns[known], true_poses[known])
    errors = pose_error(estimate_known.map_from_camera, truth_known.map_from_camera)
    translation_m = np.linalg.norm(errors[:, :3], axis=1)
    rotation_deg = np.rad2deg(np.linalg.norm(errors[:, 3:], axis=1))
    recall = tuple(
        Recall(m, deg, float(np.sum((translation_m <= m) & (rotation_deg <= deg)) / (queries or count)))
        for m, deg in THRESHOLDS
    )
    return Evaluation(
        estimate_known,
        truth_known,
        translation_m,
        rotation_deg,
        _statistics(translation_m),
        _statistics(rotation_deg),
        recall,
        len(estimate) - count,
        queries,
    )


def _statistics(errors: FloatArray) -> Statistics:
    if not len(errors):
        return Statistics(*4 * (float("nan"),))
    rmse = np.sqrt(np.mean(errors**2))
    return Statistics(float(np.median(errors)), float(errors.mean()), float(rmse), float(errors.max()))


def count_queries(image_stamps_ns: IntArray, estimate: Trajectory, truth: Trajectory) -> int:
    """Count the query images whose true pose is known, for :func:`evaluate`.

    Raises :class:`~neumap.errors.DataError` if an estimated pose has no image within 1 ms.
    """
    _, distance = nearest(np.sort(image_stamps_ns), estimate.stamps_ns)
    strangers = int(np.sum(distance > SAME_IMAGE_NS))
    if strangers:
        raise DataError(
            f"{strangers} of the {len(estimate)} estimated poses are not of the listed images: "
            "give the list of the images that were localized"
        )
    _, known = poses_at(truth, np.unique(image_stamps_ns))
    return int(known.sum())


def lost_poses(image_stamps_ns: IntArray, estimate: Trajectory, truth: Trajectory) -> FloatArray:
    """Return the true poses (L, 4, 4) of the query images, given by stamps (N,), without an estimated pose."""
    poses, known = poses_at(truth, np.unique(image_stamps_ns))
    if not len(estimate):
        return poses[known]
    _, distance = nearest(np.sort(estimate.stamps_ns), np.unique(image_stamps_ns))
    return poses[known & (distance > SAME_IMAGE_NS)]


def as_dict(evaluation: Evaluation) -> dict[str, object]:
    """Return an evaluation for JSON: metres, degrees, shares from 0 to 1; null where unknown."""
    return {
        "poses": evaluation.poses,
        "without_truth": evaluation.without_truth,
        "queries": evaluation.queries,
        "localized": evaluation.localized,
        "translation_m": vars(evaluation.translation) if evaluation.poses else None,
        "rotation_deg": vars(evaluation.rotation) if evaluation.poses else None,
        "recall_of": "estimated poses" if evaluation.queries is None else "queries",
        "recall": [vars(recall) for recall in evaluation.recall],
    }


def as_text(evaluation: Evaluation) -> str:
    """Return an evaluation as a small table."""
    poses, queries, localized = evaluation.poses, evaluation.queries, evaluation.localized
    cm = {name: 100 * value for name, value in vars(evaluation.translation).items()}
    deg = vars(evaluation.rotation)
    lines = [
        f"poses        {poses}" if localized is None else f"localized    {poses} of {queries} images ({localized:.1%})"
    ]
    lines += [
        "translation  median {median:.2f} cm, mean {mean:.2f}, rmse {rmse:.2f}, max {max:.2f}".format(**cm),
        "rotation     median {median:.2f} deg, mean {mean:.2f}, rmse {rmse:.2f}, max {max:.2f}".format(**deg),
    ] * (poses > 0)
    for index, recall in enumerate(evaluation.recall):
        limits = f"{100 * recall.metres:.0f} cm, {recall.degrees:.0f} deg"
        lines.append(f"{'within' if index == 0 else '':13}{limits:14}{recall.share:6.1%}")
    if queries is None:
        lines.append("The shares are of the estimated poses; --images or --queries gives those of all query images.")
    if evaluation.without_truth:
        lines.append(f"{evaluation.without_truth} more estimated pose(s) have no true pose at their time: left out.")
    return "\n".join(lines)
