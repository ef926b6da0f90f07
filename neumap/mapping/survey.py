"""Computes everything about a place from posed images that does not depend on the map's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from neumap.arrays import FloatArray
from neumap.errors import MappingError
from neumap.geometry import se3
from neumap.mapping import bundle, correspondences, suspects, tracks
from neumap.mapping.calibration import set_aside
from neumap.mapping.keyframes import Keyframes, extract_keyframes
from neumap.mapping.selection import Candidates, choose_by_coverage, counted, make_candidates
from neumap.mapping.settings import MappingSettings
from neumap.mapping.tracks import Tracks
from neumap.mapping.triangulation import with_triangulated_depth
from neumap.mapping.work import NOWHERE, Work
from neumap.maps.drift import DriftField, evenly, fit_drift
from neumap.maps.moving import check_near_origin
from neumap.progress import Progress, count_up, ignore
from neumap.records import Frame, by_camera

# MANY_FRAMES: longer drives are thinned to images EVERY_M metres or EVERY_DEG degrees apart, or, if those are fewer, to
# MANY_FRAMES images.
MANY_FRAMES, EVERY_M, EVERY_DEG = 1000, 0.1, 5.0
# MIN_VIEWS, MIN_VIEWS_TRIANGULATED: images that must see a point; two where its depth was measured, since where images
# are sparse there are often no more, else three. FEW_FRAMES: fewer images have no third view to spare.
MIN_VIEWS, MIN_VIEWS_TRIANGULATED, FEW_FRAMES = 2, 3, 6
# FEWEST_TRACKS: tracks required.
FEWEST_TRACKS = 50
# ADJUSTED_TRACKS, TRACKS_PER_IMAGE: those that see the images best adjust the poses, in ADJUSTMENTS rounds: so many, or
# so many for each image; all would take minutes for the same poses.
ADJUSTED_TRACKS, TRACKS_PER_IMAGE, ADJUSTMENTS = 8000, 8, 6
# MAX_ERROR_PX, MAX_ADJUSTED_ERROR_PX: observations further from their point's projection are wrong, with the given
# poses and with the adjusted ones.
MAX_ERROR_PX, MAX_ADJUSTED_ERROR_PX = 5.0, 4.0
# DRIFT_M, DRIFT_RAD: how far off given poses usually are, one standard deviation.
DRIFT_M, DRIFT_RAD = 0.03, np.deg2rad(1.0)


@dataclass(frozen=True)
class Survey:
    """A surveyed place: ``keyframes`` with the given poses and the ``adjusted`` ones (F, 4, 4), the ``tracks`` they see
    and the ``candidates`` for landmarks made of them, the field of ``drift``, and the frames set ``aside`` to calibrate
    on.
    """

    keyframes: Keyframes
    adjusted: FloatArray
    tracks: Tracks
    candidates: Candidates
    drift: DriftField
    aside: tuple[Frame, ...]


def survey(
    frames: Sequence[Frame], settings: MappingSettings, progress: Progress = ignore, work: Work = NOWHERE
) -> Survey:
    """Survey the place that posed frames show; maps of all sizes share this part of mapping.

    Raises :class:`~neumap.errors.MappingError` where the images share too little, and what the frames' readers raise.
    """
    aside = set_aside(len(frames))
    mapped = [frame for i, frame in enumerate(frames) if i not in set(aside.tolist())]
    keyframes = extract(mapped, settings, progress, work)
    suspects.check(keyframes)
    return survey_keyframes(keyframes, progress, tuple(frames[i] for i in aside))


def survey_keyframes(keyframes: Keyframes, progress: Progress = ignore, aside: tuple[Frame, ...] = ()) -> Survey:
    """Survey the place that images show whose features are known. Raises as :func:`survey` does."""
    keyframes, found, adjusted = adjust(keyframes, progress)
    drift = fit_drift(adjusted, keyframes.map_from_camera, partial(progress, "drift"))
    candidates = make_candidates(found, keyframes, count_up(progress, "landmarks", len(found.keypoint)))
    return Survey(keyframes, adjusted, found, candidates, drift, aside)


def adjust(keyframes: Keyframes, progress: Progress) -> tuple[Keyframes, Tracks, FloatArray]:
    """Return the keyframes with depth, triangulated where none was measured, tracks of them and adjusted poses (F, 4,
    4). Raises as :func:`survey` does.
    """
    if not keyframes.depth_measured:
        keyframes = with_triangulated_depth(keyframes, progress)
    measured = keyframes.depth_measured or len(keyframes) < FEW_FRAMES
    return keyframes, *find_tracks(keyframes, progress, MIN_VIEWS if measured else MIN_VIEWS_TRIANGULATED)


def used_of(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Return those of the frames of a drive that are used, by the motion of each camera; all where they are not
    many.
    """
    if len(frames) <= MANY_FRAMES:
        return tuple(frames)
    poses, cameras = np.array([frame.map_from_camera for frame in frames]), by_camera(frames)
    kept = [each[i] for each in cameras for i in se3.kept_by_motion(poses[each], EVERY_M, EVERY_DEG)]
    if len(kept) <= MANY_FRAMES:
        kept = [each[i] for each in cameras for i in evenly(len(each), MANY_FRAMES * len(each) // len(frames))]
    return tuple(frames[i] for i in sorted(kept))


def extract(frames: Sequence[Frame], settings: MappingSettings, progress: Progress, work: Work = NOWHERE) -> Keyframes:
    """Extract the features of posed frames, as :func:`~neumap.mapping.keyframes.extract_keyframes` does: mapping begins
    with it. Raises :class:`~neumap.errors.ConfigError` for poses far from the origin of their frame, too.
    """
    at = [frame.map_from_camera[:3, 3] for frame in frames if frame.map_from_camera is not None]
    check_near_origin(np.array(at).reshape(-1, 3), "the poses are")
    np.random.seed(settings.seed)  # noqa: NPY002 (what libraries that mapping uses draw from)
    torch.manual_seed(settings.seed)
    # images are worked on in parallel; threads inside of each would only get in the way
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        step = count_up(progress, "features", len(frames))
        return extract_keyframes(frames, settings.features, settings.use_depth, step, work)
    finally:
        cv2.setNumThreads(threads)


def find_tracks(keyframes: Keyframes, progress: Progress, min_views: int) -> tuple[Tracks, FloatArray]:
    """Find tracks of ``min_views`` images or more with adjusted points, and the adjusted poses (F, 4, 4).

    Raises :class:`~neumap.errors.MappingError` where the images share too little.
    """
    depths = correspondences.median_depths(keyframes, default=2.0)
    step = count_up(progress, "overlap", len(keyframes))
    poses = keyframes.map_from_camera
    pairs = correspondences.pair_by_overlap(poses, depths, keyframes.view, nearest=6, spread=10, step=step)
    matches = correspondences.match_with_depth(keyframes, pairs, count_up(progress, "tracks", len(pairs)))
    label = tracks.group_by_leader(matches, len(keyframes.image), count_up(progress, "grouping", tracks.GROUPING))
    found = tracks.tracks_from_labels(label, partial(keyframes.points, poses), keyframes.depth > 0, min_views)
    del matches, label
    found, error = tracks.refine_points(found, keyframes, poses, step=count_up(progress, "points", len(found)))
    found = tracks.drop_outliers(found, error, MAX_ERROR_PX, min_views)
    if len(found) < FEWEST_TRACKS:
        raise MappingError(
            f"only {len(found)} points are seen in {min_views} or more images: the images share too little, "
            "or poses and images do not belong together"
        )
    step = count_up(progress, "adjust", ADJUSTMENTS)
    widely = _widely_seen(found, keyframes)
    _, adjusted = bundle.adjust_poses(widely, keyframes, DRIFT_M, DRIFT_RAD, ADJUSTMENTS, step)
    step = count_up(progress, "points again", 2 * len(found))
    found, error = tracks.refine_points(found, keyframes, adjusted, step=step)
    before = len(found)
    found = tracks.drop_outliers(found, error, MAX_ADJUSTED_ERROR_PX, min_views)
    step(before - len(found))
    found, _ = tracks.refine_points(found, keyframes, adjusted, iterations=3, step=step)
    return found, adjusted


def _widely_seen(found: Tracks, keyframes: Keyframes) -> Tracks:
    """Return the tracks that the poses are adjusted on."""
    visibility = counted(found.track, keyframes.image[found.keypoint], (len(found), len(keyframes)))
    chosen = np.zeros(len(found), dtype=bool)
    # in batches of one size: the decoder that ships was trained in places whose poses were adjusted so
    count = min(max(ADJUSTED_TRACKS, TRACKS_PER_IMAGE * len(keyframes)), len(found))
    chosen[choose_by_coverage(visibility, count, max(32, count // 40))] = True
    return found.select(chosen)
