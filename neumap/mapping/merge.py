"""Merge maps of one frame, so that rooms are added to a map without mapping it again.

Landmarks are laid out in one new grid and duplicates dropped, drift fields are joined, and the more cautious
calibration is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from neumap.arrays import BoolArray, Float32Array, FloatArray
from neumap.errors import ConfigError
from neumap.features.extractor import joint_descriptors
from neumap.localization.matching import landmark_descriptors
from neumap.mapping.calibration import more_cautious
from neumap.mapping.selection import TWIN_RADIUS_M
from neumap.maps.drift import DriftField, thin_field
from neumap.maps.map_file import VIEWPOINT_LIMIT
from neumap.maps.neural_map import (
    MIN_VOXEL_LANDMARKS,
    VOXEL_M,
    ExpectedAccuracy,
    NeuralMap,
    lay_out,
)
from neumap.model.codebooks import Codes

# TWINS: nearest landmarks of the other map within TWIN_RADIUS_M that a landmark is compared with. TWIN_SIMILARITY:
# least dot product of the decoded descriptors of duplicates.
TWINS, TWIN_SIMILARITY = 8, 0.9
# SHARED_CELL_M: edge of a cube, metres; two maps share the cubes that hold landmarks of both. FEWEST_SHARED: with fewer
# landmarks of either there, maps only touch. MOST_SHARED: landmarks of each that are compared.
SHARED_CELL_M, FEWEST_SHARED, MOST_SHARED = 0.5, 100, 4000
# SAME_PLACE_M: distance of one point in two recordings at most, metres. SAME_SHARE, CHANCES: maps are of one place if
# the share of mutual nearest neighbours in descriptors that are this near exceeds SAME_SHARE plus CHANCES times the
# share by chance. Halves of recordings have 8 to 95 %; unrelated rooms 1 %, or some eight times the chance, since both
# have walls and floors.
SAME_PLACE_M, SAME_SHARE, CHANCES = 0.1, 0.03, 10


def merge_maps(first: NeuralMap, second: NeuralMap, apart: bool = False) -> NeuralMap:
    """Merge two maps. Of duplicate landmarks that of ``first`` is kept.

    Raises :class:`~neumap.errors.ConfigError` for maps of different frames or settings, and, unless ``apart``, for maps
    that share space but no landmarks there.
    """
    return merge_all([first, second], apart)


def merge_all(maps: Sequence[NeuralMap], apart: bool = False, names: Sequence[str] = ()) -> NeuralMap:
    """Merge one or more ``maps`` as :func:`merge_maps`.

    For many maps this is faster than pairwise merging, and thins their drift fields alike. ``names`` of the maps are
    for error messages.
    """
    first = maps[0]
    for other in maps[1:]:
        check_alike(first, other)
    if len(maps) == 1:
        return first
    parts = [_held_by(one) for one in maps]
    if not apart:
        _check_shared_space(parts, names or [f"map {number}" for number in range(1, len(maps) + 1)])
    held = reduce(_with, parts)
    # each map's most useful landmarks first
    order = np.argsort(held.rank, kind="stable")
    grid, codes = lay_out(
        held.points[order],
        held.descriptors[order],
        held.coarse[order],
        first.landmarks.anchor_bits,
        VOXEL_M,
        MIN_VOXEL_LANDMARKS,
    )
    return replace(
        first,
        grid=grid,
        landmarks=codes,
        drift=join_drift([one.drift for one in maps]),
        calibration=reduce(more_cautious, [one.calibration for one in maps]),
        expected=reduce(average_accuracy, [one.expected for one in maps]),
        mapping_images=sum(one.mapping_images for one in maps),
        recordings=tuple(dict.fromkeys(recording for one in maps for recording in one.recordings)),
        map_id="",
    )


def check_alike(first: NeuralMap, second: NeuralMap) -> None:
    """Raise :class:`~neumap.errors.ConfigError` if two maps cannot be merged, with the reason."""
    if first.frame_id != second.frame_id:
        raise ConfigError(
            f"the maps are in the frames '{first.frame_id}' and '{second.frame_id}': give --align to find how they lie "
            "to each other, or call one otherwise with 'neumap transform --to' if they are the same"
        )
    differences = [
        ("decoder", first.decoder, second.decoder),
        ("frozen decoder", first.decoder_id, second.decoder_id),
        ("feature settings", first.features, second.features),
        (
            "bytes of a landmark",
            (first.landmarks.descriptors.shape[1], first.landmarks.coarse.shape[1]),
            (second.landmarks.descriptors.shape[1], second.landmarks.coarse.shape[1]),
        ),
    ]
    for what, one, other in differences:
        if one != other:
            raise ConfigError(
                f"the maps differ in their {what} ({one} and {other}): map one of them again with the options of the "
                "other, or add its recording with 'neumap map --extend'"
            )


@dataclass(frozen=True)
class _Held:
    """Landmarks to lay out in a new grid. ``rank`` (L,) is relative in the voxel, from 0, the most useful."""

    points: FloatArray
    descriptors: Codes
    coarse: Codes
    looks: Float32Array
    rank: FloatArray

    def select(self, chosen: BoolArray) -> _Held:
        return _Held(*(getattr(self, f.name)[chosen] for f in fields(self)))


def _held_by(neural_map: NeuralMap) -> _Held:
    codes = neural_map.landmarks
    return _Held(
        points=codes.points(neural_map.grid),
        descriptors=codes.descriptors,
        coarse=codes.coarse,
        looks=joint_descriptors(*landmark_descriptors(neural_map)),
        rank=codes.rank,
    )


def _check_shared_space(parts: Sequence[_Held], names: Sequence[str]) -> None:
    """Raise :class:`~neumap.errors.ConfigError` for two maps that share space but no landmarks, directly or through
    other maps.
    """
    group, strangers = list(range(len(parts))), []
    for one, other in combinations(range(len(parts)), 2):
        same = _share_landmarks(parts[one], parts[other])
        if same:
            group = [group[one] if each == group[other] else each for each in group]
        elif same is False:
            strangers.append((one, other))
    for one, other in strangers:
        if group[one] != group[other]:
            raise ConfigError(
                f"{names[one]} and {names[other]} share space but no landmarks there, as if of two places or frames: "
                "map both in one frame, or give --apart if they are side by side or above each other"
            )


def _share_landmarks(one: _Held, other: _Held) -> bool | None:
    """Return whether two maps hold the same landmarks in the space they share; None if that is too small to decide."""
    cells = np.floor(np.concatenate([one.points, other.points]) / SHARED_CELL_M).astype(np.int64)
    cell = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)
    cell_of_one, cell_of_other = cell[: len(one.points)], cell[len(one.points) :]
    common = np.random.default_rng(0).permutation(np.intersect1d(cell_of_one, cell_of_other))
    held = [np.bincount(each, minlength=len(cells))[common] for each in (cell_of_one, cell_of_other)]
    if not len(common) or min(each.sum() for each in held) < FEWEST_SHARED:
        return None
    common = common[: 1 + np.searchsorted(np.cumsum(np.maximum(*held)), MOST_SHARED)]
    a, b = one.select(np.isin(cell_of_one, common)), other.select(np.isin(cell_of_other, common))
    alike = a.looks @ b.looks.T
    best, back = alike.argmax(axis=1), alike.argmax(axis=0)
    mutual = np.flatnonzero(back[best] == np.arange(len(best)))
    first, second = a.points[mutual], b.points[best[mutual]]
    near = (np.linalg.norm(first - second, axis=1) < SAME_PLACE_M).mean()
    chance = cKDTree(first).count_neighbors(cKDTree(second), SAME_PLACE_M) / len(mutual) ** 2
    return bool(near > SAME_SHARE + CHANCES * chance)


def _with(held: _Held, added: _Held) -> _Held:
    """Return the landmarks of ``held``, and those of ``added`` that it does not hold."""
    new = added.select(~already_in(held.points, held.looks, added.points, added.looks))
    return _Held(*(np.concatenate([getattr(held, f.name), getattr(new, f.name)]) for f in fields(_Held)))


def already_in(points: FloatArray, looks: Float32Array, new_points: FloatArray, new_looks: Float32Array) -> BoolArray:
    """Return which landmarks ``new_points`` (M, 3) with unit descriptors ``new_looks`` (M, D) duplicate one of
    ``points`` (N, 3) with ``looks`` (N, D): near it and similar.
    """
    _, near = cKDTree(points).query(new_points, k=TWINS, distance_upper_bound=TWIN_RADIUS_M)
    row, column = np.nonzero(near < len(points))
    alike = np.einsum("ij,ij->i", looks[near[row, column]], new_looks[row]) > TWIN_SIMILARITY
    found = np.zeros(len(new_points), dtype=bool)
    found[row[alike]] = True
    return found


def join_drift(parts: Sequence[DriftField]) -> DriftField:
    """Join the viewpoints of all ``parts`` in one field, thinned to ``VIEWPOINT_LIMIT``.

    It takes the most cautious parameters of all: the widest prior, the shortest length scales, the most noise.
    """
    joined = DriftField(
        poses=np.concatenate([part.poses for part in parts]),
        deviations=np.concatenate([part.deviations for part in parts]),
        scale=np.max([part.scale for part in parts], axis=0),
        length_m=min(part.length_m for part in parts),
        angle_rad=min(part.angle_rad for part in parts),
        noise=max(part.noise for part in parts),
    )
    return thin_field(joined, VIEWPOINT_LIMIT)


def average_accuracy(first: ExpectedAccuracy, second: ExpectedAccuracy) -> ExpectedAccuracy:
    """Average two accuracies, weighted by the images that each was measured on, or that were localized.

    The weighted mean of the medians stands for the unknown common median.
    """
    if not first.images or not second.images:
        return first if first.images else second

    def mean(name: str, weights: tuple[float, float]) -> float:
        known = [(getattr(e, name), w) for e, w in zip((first, second), weights, strict=True) if w > 0]
        return sum(value * weight for value, weight in known) / sum(w for _, w in known) if known else float("nan")

    images = (float(first.images), float(second.images))
    localized = (first.images * first.localized, second.images * second.localized)
    return ExpectedAccuracy(
        images=first.images + second.images,
        localized=mean("localized", images),
        median_m=mean("median_m", localized),
        median_deg=mean("median_deg", localized),
        within_5cm_5deg=mean("within_5cm_5deg", images),
        within_25cm_10deg=mean("within_25cm_10deg", images),
        in_90_percent_ellipsoid=mean("in_90_percent_ellipsoid", localized),
    )
