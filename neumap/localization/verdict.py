"""The verdict on a pose: whether to accept it, its value in the frame of the mapping poses, and its covariance.

Queries and the images that a map is calibrated on are judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.localization.evidence import MIN_CELLS, MIN_CONFIRMED, Evidence
from neumap.localization.verification import Hypothesis
from neumap.maps.drift import DriftField, apply_deviation
from neumap.maps.neural_map import Calibration


class Corrected(NamedTuple):
    """A pose ``map_from_camera`` (4, 4) in the frame of the mapping poses, and the parts of its covariance.

    In the camera frame: ``unit`` (6, 6), the covariance of the reprojection errors; ``drift_sigma`` (6,), the standard
    deviation of the drift; ``carried`` (6, 6), the covariance from the views' poses on the rig. ``distance_m`` is the
    median distance of the landmarks.
    """

    map_from_camera: FloatArray
    unit: FloatArray
    drift_sigma: FloatArray
    distance_m: float
    carried: FloatArray


@dataclass(frozen=True)
class Verdict:
    """A pose with its covariance, as in :class:`~neumap.records.PoseEstimate`, or the ``reason`` why there is none."""

    reason: str
    map_from_camera: FloatArray | None = None
    covariance: FloatArray | None = None


def judge(found: Hypothesis | None, needed: int, drift: DriftField, calibration: Calibration) -> Verdict:
    """Judge the pose ``found``, given the inliers ``needed``.

    An uncertain pose is not rejected: its covariance is large, and the caller decides which covariance it accepts.
    """
    if found is None:
        return Verdict("no consistent set of matches with the map")
    reason = doubts(found.evidence, needed)
    if not reason and found.rival_m:
        reason = f"two poses {found.rival_m:.2f} m apart explain the image equally well: it shows too little"
    if reason:
        return Verdict(reason)
    corrected = correct(found, drift)
    return Verdict("", corrected.map_from_camera, pose_covariance(corrected, calibration))


def doubts(evidence: Evidence, needed: int) -> str:
    """Return why ``evidence`` does not suffice, given the inliers ``needed``; empty if it does."""
    if evidence.suffices(needed):
        return ""
    if evidence.outside and replace(evidence, outside=False).suffices(needed):
        return f"{evidence.inliers} inliers, but the camera would be outside of all that was mapped: another place"
    least = needed * evidence.chance
    if evidence.inliers >= least and evidence.dissent:
        return f"{evidence.inliers} inliers, but the images do not agree about where they were taken"
    enough = least * evidence.narrowness
    if evidence.inliers >= least and (evidence.cells < MIN_CELLS or evidence.inliers < enough):
        return f"all {evidence.inliers} inliers are in one small part of the image"
    if evidence.inliers >= enough and (
        evidence.inliers * evidence.confirmed < enough or evidence.confirmed < MIN_CONFIRMED
    ):
        against = evidence.contradicting
        return (
            f"{evidence.inliers} inliers, but {against} parts of the image contradict: another place, or much changed"
        )
    return f"only {evidence.inliers} inliers, {evidence.strong} of them certain: not in the map, or seen badly"


def correct(found: Hypothesis, drift: DriftField) -> Corrected:
    """Transform a pose of the adjusted map to the frame of the mapping poses, which includes their drift."""
    adjusted = se3.invert_pose(found.camera_from_map)
    deviation, drift_sigma = drift.predict(adjusted)
    return Corrected(
        apply_deviation(adjusted, deviation), found.covariance, drift_sigma, found.distance_m, found.carried
    )


def pose_covariance(corrected: Corrected, calibration: Calibration) -> FloatArray:
    """Return the covariance (6, 6) of a pose in the convention of :class:`~neumap.records.PoseEstimate`.

    The covariances of reprojection errors, drift, calibrated floors and rig add up in the camera frame, and are rotated
    to the map's axes. The floor of the position is a share of the landmarks' distance: a common error of landmarks
    displaces a camera by millimetres if they are near, and by decimetres if they are far away.
    """
    floor_m = calibration.floor_share * corrected.distance_m
    local = calibration.pixel_sigma**2 * corrected.unit + np.diag(corrected.drift_sigma**2)
    local += np.diag([floor_m**2] * 3 + [calibration.floor_rad**2] * 3)
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = corrected.map_from_camera[:3, :3]
    covariance = calibration.inflation**2 * turn @ local @ turn.T + turn @ corrected.carried @ turn.T
    return np.asarray(0.5 * (covariance + covariance.T))
