"""Shared parts of the benchmarks: localizing a scene's queries in several maps at once, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neumap.arrays import BoolArray, FloatArray
from neumap.geometry import se3
from neumap.io.sources import open_source
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query
from neumap.mapping.calibration import CHI2_90
from neumap.progress import Progress
from neumap.records import Frame

# standard deviation of the ground truth per axis, allowed for in the coverage: the kitchen's is stated as 2 cm and 0.7
# degrees, about this on each of three axes
TRUTH_SIGMA_M, TRUTH_SIGMA_DEG = 0.01, 0.4
# a pose (4, 4) with or without a covariance (6, 6), or no pose
Answer = tuple[FloatArray | None, FloatArray | None]
# BOUNDS: bounds of pose errors by their name in tables, metres and degrees. WRONG: the bound beyond which a pose is
# wrong.
BOUNDS = {"2 cm, 2°": (0.02, 2.0), "5 cm, 5°": (0.05, 5.0), "25 cm, 10°": (0.25, 10.0)}
WRONG = "25 cm, 10°"
# COMPARED_SIGMA_M: poses less certain than this, metres, count as none: of such poses one in ten is beyond 25 cm.
COMPARED_SIGMA_M = 0.15
# LOST: the errors of an image without a pose
LOST = (np.inf, np.inf)


def metres_and_degrees(pose: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Return the error of a pose (4, 4): metres and degrees."""
    metres, radians = np.linalg.norm(se3.pose_error(pose, truth).reshape(2, 3), axis=1)
    return float(metres), float(np.rad2deg(radians))


def within(errors: FloatArray, bound: str) -> BoolArray:
    """Return which ``errors`` (N, 2), metres and degrees, infinite without a pose, are within one of the ``BOUNDS``."""
    return np.asarray((errors < BOUNDS[bound]).all(axis=1))


def are_wrong(errors: FloatArray) -> BoolArray:
    """Return which ``errors`` (N, 2) are those of wrong poses."""
    return np.isfinite(errors).all(axis=1) & ~within(errors, WRONG)


def score(answers: Sequence[Answer], truth: Sequence[FloatArray | None]) -> dict[str, Any]:
    """Shares of all images in percent, medians, how many poses are wrong, and the metres and degrees of each image,
    None where it has no pose.
    """
    errors = np.full((len(truth), 2), LOST)
    inside, inside_allowed = [], []
    allowed = np.diag([TRUTH_SIGMA_M**2] * 3 + [np.deg2rad(TRUTH_SIGMA_DEG) ** 2] * 3)
    for i, ((pose, covariance), true) in enumerate(zip(answers, truth, strict=True)):
        if pose is None or true is None:
            continue
        errors[i] = metres_and_degrees(pose, true)
        if covariance is not None:
            error = se3.pose_error(pose, true)
            inside.append(error @ np.linalg.solve(covariance, error) < CHI2_90)
            inside_allowed.append(error @ np.linalg.solve(covariance + allowed, error) < CHI2_90)
    near, fair, known = (100 * float(within(errors, bound).mean()) for bound in BOUNDS)
    found = np.isfinite(errors).all(axis=1)
    return {
        "median_cm": 100 * float(np.median(errors[:, 0])),
        "median_deg": float(np.median(errors[:, 1])),
        "within_2cm_2deg": near,
        "within_5cm_5deg": fair,
        "within_25cm_10deg": known,
        "localized": 100 * float(found.mean()),
        "wrong": int(are_wrong(errors).sum()),
        "in_ellipsoid": 100 * float(np.mean(inside)) if inside else None,
        "in_ellipsoid_allowing": 100 * float(np.mean(inside_allowed)) if inside else None,
        "errors": [error.tolist() if one else None for error, one in zip(errors, found, strict=True)],
    }


def score_all(
    localizers: Mapping[str, Localizer], scene: Path, others: Sequence[Path], progress: Progress
) -> dict[str, dict[str, Any]]:
    """The figures of several maps of one scene, with how many images of other scenes were given a pose.

    Each image is looked at once. Maps are small and features are not, so all maps are there at once and one image is.
    """
    queries = open_source(scene / "query", poses=True).frames
    foreign = [frame for other in others for frame in open_source(other / "query", poses=False).frames]
    answers = localize_all(localizers, queries, "queries", progress)
    wrong = localize_all(localizers, foreign, "foreign images", progress)
    truth = [query.map_from_camera for query in queries]
    return {
        name: score(answers[name], truth)
        | {"foreign_images": len(foreign), "foreign_with_pose": sum(pose is not None for pose, _ in wrong[name])}
        for name in localizers
    }


def localize_all(
    localizers: Mapping[str, Localizer], frames: Sequence[Frame], stage: str, progress: Progress
) -> dict[str, list[Answer]]:
    """Localize all frames with each localizer; all must have the same feature settings."""
    answers: dict[str, list[Answer]] = {name: [] for name in localizers}
    anyone = next(iter(localizers.values()))
    for i, frame in enumerate(frames):
        seen = anyone.look(frame.read_image(), frame.camera)
        for name, localizer in localizers.items():
            estimate = localizer.locate(embedded_by(localizer, seen)).certain(COMPARED_SIGMA_M)
            answers[name].append((estimate.map_from_camera, estimate.covariance))
        progress(stage, i + 1, len(frames))
    return answers


def embedded_by(localizer: Localizer, query: Query) -> Query:
    """Return the query of an image for another localizer: decoders differ in their embeddings."""

    def of(one: Query) -> Query:
        return localizer.query(one.features, one.rays, one.camera)

    return replace(of(query), more=lambda: None if query.whole is query else of(query.whole))


def named(name: str, progress: Progress) -> Progress:
    """Prefix progress messages with the name of the map."""
    return lambda stage, done, total: progress(f"{name}, {stage}", done, total)


def median_text(row: Mapping[str, Any]) -> str:
    """Format the median error; none if less than half of the images have a pose."""
    return f"{row['median_cm']:.1f} cm, {row['median_deg']:.2f}°" if np.isfinite(row["median_cm"]) else "-"


def ellipsoid_text(row: Mapping[str, Any]) -> str:
    """Format the share of true poses inside the 90 % ellipsoid, in brackets allowing for the ground truth's error."""
    if row["in_ellipsoid"] is None:
        return "-"
    return f"{row['in_ellipsoid']:.0f} ({row['in_ellipsoid_allowing']:.0f}) %"


def foreign_text(row: Mapping[str, Any]) -> str:
    """Count the images of other scenes with a pose."""
    return f"{row['foreign_with_pose']} of {row['foreign_images']}" if row.get("foreign_images") else "-"


def markdown(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with a title."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([f"### {title}", "", lines[0], "|" + "---|" * len(head), *lines[1:], ""])
