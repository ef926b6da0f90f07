"""Maps of one frame become one: rooms are added to a map without mapping again what it holds.

Points are laid out in one grid anew. What both maps hold is kept once, their drift fields are joined, and of what
they say about covariance the more cautious is believed.
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

# TWINS: of the other map's landmarks within TWIN_RADIUS_M, how many a landmark is compared with; TWIN_SIMILARITY: from
# which dot product of what their codes stand for on they are one.
TWINS, TWIN_SIMILARITY = 8, 0.9
# SHARED_CELL_M: edge of a cube, metres; the space that two maps share is the cubes that hold landmarks of both.
# FEWEST_SHARED: where either has fewer landmarks there, they only touch. MOST_SHARED: so many of each are looked at.
SHARED_CELL_M, FEWEST_SHARED, MOST_SHARED = 0.5, 100, 4000
# SAME_PLACE_M: two recordings of one place drift apart by less. SAME_SHARE, CHANCES: maps are of one place where of the
# landmarks that look most alike more than this share, and this many times what chance brings, are that near. Halves of
# recordings have 8 to 95 %; unrelated rooms 1 %, or some eight times the chance, since both have walls and floors.
SAME_PLACE_M, SAME_SHARE, CHANCES = 0.1, 0.03, 10


def merge_maps(first: NeuralMap, second: NeuralMap, apart: bool = False) -> NeuralMap:
    """Make one map of what both hold. Where a landmark is in both, that of ``first`` is kept.

    Raises :class:`~neumap.errors.ConfigError` where the maps are not of one frame or not made alike and, unless they
    are said to be ``apart``, where they have nothing in common in the space they share.
    """
    return merge_all([first, second], apart)


def merge_all(maps: Sequence[NeuralMap], apart: bool = False, names: Sequence[str] = ()) -> NeuralMap:
    """Make one map of all ``maps``, of which there is at least one; otherwise as :func:`merge_maps`.

    Of many maps this is faster than one after the other, and their drift fields are thinned alike. ``names`` of the
    maps are for errors.
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
    """Raise :class:`~neumap.errors.ConfigError` that says why two maps cannot be merged, if they cannot."""
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
    """Landmarks with all that is needed to lay them out anew. ``rank`` (L,) from 0, the most useful of its voxel."""

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
    """Raise :class:`~neumap.errors.ConfigError` where two maps share space and neither they nor others between them
    share landmarks.
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
    """Tell whether two maps hold the same landmarks in the space they share; None where that is too little to tell."""
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
    """Return all of ``held``, and what of ``added`` it does not hold yet."""
    new = added.select(~already_in(held.points, held.looks, added.points, added.looks))
    return _Held(*(np.concatenate([getattr(held, f.name), getattr(new, f.name)]) for f in fields(_Held)))


def already_in(points: FloatArray, looks: Float32Array, new_points: FloatArray, new_looks: Float32Array) -> BoolArray:
    """Tell which of the points ``new_points`` (M, 3) that look like unit vectors ``new_looks`` (M, D) are among
    ``points`` (N, 3) and ``looks`` (N, D): in the same place, and alike.
    """
    _, near = cKDTree(points).query(new_points, k=TWINS, distance_upper_bound=TWIN_RADIUS_M)
    row, column = np.nonzero(near < len(points))
    alike = np.einsum("ij,ij->i", looks[near[row, column]], new_looks[row]) > TWIN_SIMILARITY
    found = np.zeros(len(new_points), dtype=bool)
    found[row[alike]] = True
    return found


def join_drift(parts: Sequence[DriftField]) -> DriftField:
    """Make one field of the viewpoints of all ``parts``, thinned where they are too many for a map.

    It trusts no part further than the most cautious of them would: the widest prior, the shortest reach, the most
    noise.
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
    """Tell what both say together, each weighing as many images as it was measured on, or localized of them.

    The median of two sets does not follow from theirs; in its place is their mean.
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
