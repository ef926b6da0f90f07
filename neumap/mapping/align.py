"""Aligns the frames of two maps of one place by their landmarks: ``--align`` of merge and map.

The most similar landmarks are paired, and rigid transforms with many inliers are searched. One is accepted if inliers
are spread over nearly all of the space that the maps then share: furniture that stands in two rooms fits in both, but
the walls around it do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from neumap.arrays import BoolArray, Float32Array, FloatArray, IntArray
from neumap.errors import ConfigError
from neumap.geometry.se3 import fit_rigid, transform_points
from neumap.localization.matching import SHORTLISTED, LandmarkIndex
from neumap.mapping.merge import SAME_PLACE_M, check_alike, merge_all
from neumap.maps.moving import transformed
from neumap.maps.neural_map import LEAST_SIGHT_M, NeuralMap
from neumap.model.transformer import SAME_PLACE_M as ELSEWHERE_M

# MOST_PAIRS: most distinct pairs used to search transforms; their distances take quadratic memory. SEEDED: pairs of an
# initial transform. TRIED: different transforms that are judged.
MOST_PAIRS, SEEDED, TRIED = 1000, 30, 5
# APART: factor on the radius of the same place beyond which another place begins.
APART = 4
# EDGES_M: of the cells that the shared space is judged by, metres; those are taken by which most cells are heard, as
# maps are dense or sparse. HEARD: landmarks of either map in a cell, from which on it has something to say; it confirms
# where more than so large a share of the fewer ones agrees.
EDGES_M, HEARD, CONFIRMING = 0.25 * 2.0 ** np.arange(0.0, 4.5, 0.5), 8, 0.05
# CONFIRMED: share of the cells that must confirm, and how many at least, as no single piece of furniture fills. Of two
# drives through one place 93 to 100 % confirm, 80 % where maps hold but 500 landmarks; of rooms with the same furniture
# up to 67 %, of strangers up to 8 %.
CONFIRMED, FEWEST_CONFIRMING = 0.8, 12
# UNMOVED_M: displacement of inliers below which a transform is drift of the recordings, not another frame, metres.
UNMOVED_M = 0.05


class Alignment(NamedTuple):
    """How a second map lies to a first: the transform ``first_from_second`` (4, 4), how many landmarks agree with it
    and how far it moves these at most, metres, and in how many of the ``heard`` cells of the shared space they do.
    """

    first_from_second: FloatArray
    agreeing: int
    moved_m: float
    confirming: int
    heard: int

    @property
    def holds(self) -> bool:
        """Whether this is more than things that are in both."""
        return self.confirming >= max(FEWEST_CONFIRMING, CONFIRMED * self.heard)

    def __str__(self) -> str:
        return f"{self.agreeing} landmarks agree, in {self.confirming} of {self.heard} parts of the space they share"


class _Pairs(NamedTuple):
    """Where landmarks are in either map (N, 3) that look most like each other, the clearest first."""

    first: FloatArray
    second: FloatArray

    def off(self, first_from_second: FloatArray) -> FloatArray:
        """Return how far apart (N,) they are by a transform, metres."""
        return np.asarray(np.linalg.norm(transform_points(first_from_second, self.second) - self.first, axis=1))


def aligned(maps: Sequence[NeuralMap], names: Sequence[str]) -> list[tuple[NeuralMap, Alignment | None]]:
    """Move all ``maps`` into the frame of the first, which is not moved; in the order given.

    Each must share space with the first or with others that do. Raises :class:`~neumap.errors.ConfigError` where one
    does not, by its name, or where maps were not made alike.
    """
    placed: dict[int, tuple[NeuralMap, Alignment | None]] = {0: (maps[0], None)}
    for other in maps[1:]:
        check_alike(maps[0], replace(other, frame_id=maps[0].frame_id))
    while len(placed) < len(maps):
        whole = merge_all([one for one, _ in placed.values()], apart=True)
        refused: ConfigError | None = None
        for index in (index for index in range(len(maps)) if index not in placed):
            try:
                found = find_alignment(whole, maps[index], (_before(len(placed), names), names[index]))
            except ConfigError as error:
                refused = refused or error
                continue
            placed[index] = transformed(maps[index], found.first_from_second, maps[0].frame_id), found
            break
        else:
            assert refused is not None
            raise refused
    return [placed[index] for index in range(len(maps))]


def find_alignment(first: NeuralMap, second: NeuralMap, names: tuple[str, str]) -> Alignment:
    """Find how the frame of the ``second`` map lies to that of the ``first``, made alike.

    A transform of some centimetres is the identity. Raises :class:`~neumap.errors.ConfigError` that says by their
    ``names`` where they share too little, or fit together in several ways.
    """
    tried = _tried(first, second)
    found = sorted((each for each in tried if each.holds), key=lambda each: -each.agreeing)
    what = f"{names[1]} cannot be joined to {names[0]}"
    instead = "tell it with 'neumap transform --by' or '--points'"
    if not found:
        best = max(tried, key=lambda each: each.agreeing, default=None)
        how_far = f" (at best, {best})" if best is not None and best.confirming else ""
        raise ConfigError(
            f"{what}: they share too little to tell how their frames lie to each other{how_far}: drive through more of "
            f"what is mapped, or {instead}"
        )
    if len(found) > 1:
        raise ConfigError(
            f"{what}: they fit together in several ways ({found[0]}, and elsewhere {found[1]}), as where rooms are "
            f"alike: drive through more of what is mapped, or {instead}"
        )
    return found[0] if found[0].moved_m > UNMOVED_M else found[0]._replace(first_from_second=np.eye(4))


def check_one_frame(maps: Sequence[NeuralMap], names: Sequence[str]) -> None:
    """Raise :class:`~neumap.errors.ConfigError` where ``maps`` were not made alike, or show one place as if it was two,
    since their frames differ.
    """
    for other in maps[1:]:
        check_alike(maps[0], other)
    for index in range(1, len(maps)):
        found = [each for each in _tried(merge_all(maps[:index], apart=True), maps[index]) if each.holds]
        if found and min(each.moved_m for each in found) > APART * SAME_PLACE_M:
            raise ConfigError(
                f"{names[index]} shows the same as {_before(index, names)}, but elsewhere ({found[0]}): give --align "
                "if their frames differ, or --apart if these are two places that look alike"
            )


def _before(index: int, names: Sequence[str]) -> str:
    return names[0] if index == 1 else "the maps before it"


def _tried(first: NeuralMap, second: NeuralMap) -> list[Alignment]:
    # what is seen from further away is less exact
    near_m = SAME_PLACE_M * min(first.sight_m, second.sight_m) / LEAST_SIGHT_M
    one, other = LandmarkIndex(first), LandmarkIndex(second)
    pairs = _pair_up(one, other)
    return [_judged(pose, pairs, one, other, near_m) for pose in _transforms(pairs, near_m)]


def _pair_up(first: LandmarkIndex, second: LandmarkIndex) -> _Pairs:
    (best, ratio), (back, back_ratio) = _nearest(first.embeddings, second), _nearest(second.embeddings, first)
    mutual = np.flatnonzero(back[best] == np.arange(len(best)))
    order = mutual[np.argsort(np.maximum(ratio, back_ratio[best])[mutual], kind="stable")]
    return _Pairs(first.points[order], second.points[best[order]])


def _nearest(looks: Float32Array, landmarks: LandmarkIndex) -> tuple[IntArray, FloatArray]:
    """Return the landmark most like each of ``looks`` (N, D), and how its distance compares with that of the best one
    elsewhere, 0 to 1 (N,).
    """
    found = landmarks.shortlist(looks, None, min(SHORTLISTED, len(landmarks.points)))
    if found is None:
        return np.zeros(len(looks), np.int64), np.ones(len(looks))
    distance = np.sqrt(np.maximum(2 - 2 * found[0], 1e-9))
    points = landmarks.points[found[1]]
    elsewhere = np.linalg.norm(points - points[:, :1], axis=2) > ELSEWHERE_M
    second = np.where(elsewhere, distance, np.inf).min(axis=1)
    return found[1][:, 0], distance[:, 0] / np.where(np.isfinite(second), second, distance[:, -1])


def _transforms(pairs: _Pairs, near_m: float) -> Iterator[FloatArray]:
    """Find rigid transforms that many pairs agree with, each by those that agree with none before it."""
    left = pairs
    for _ in range(TRIED):
        if len(left.first) < FEWEST_CONFIRMING:
            return
        chosen = _consistent(_Pairs(left.first[:MOST_PAIRS], left.second[:MOST_PAIRS]), near_m)
        if len(chosen) < FEWEST_CONFIRMING:
            return
        pose = _refined(fit_rigid(left.second[chosen], left.first[chosen]), pairs, near_m)
        remaining = np.ones(len(left.first), dtype=bool)
        remaining[chosen] = False
        if pose is not None:
            yield pose
            remaining &= left.off(pose) > APART * near_m
        left = _Pairs(left.first[remaining], left.second[remaining])


def _refined(pose: FloatArray, pairs: _Pairs, near_m: float) -> FloatArray | None:
    """Fit a transform to all that agrees with it, then to what does so as well as most; None where hardly any does."""
    for share in (1.0, 1.0, 0.5, 0.5):
        off = pairs.off(pose)
        agree = off < near_m
        if agree.sum() < FEWEST_CONFIRMING:
            return None
        agree = off <= np.quantile(off[agree], share)
        pose = fit_rigid(pairs.second[agree], pairs.first[agree])
    return pose


def _consistent(pairs: _Pairs, near_m: float) -> IntArray:
    """Find pairs that keep their distances to each other: of the one that most others vote for, those that vote most,
    by how many keep their distance to both (Chen et al., "SC2-PCR", CVPR 2022).
    """
    # about their middle, since distances are made of squares in single precision
    first, second = (torch.from_numpy((each - each.mean(axis=0)).astype(np.float32)) for each in pairs)
    far, as_far = torch.cdist(first, first), torch.cdist(second, second)
    # what is together in both keeps its distance by any transform
    kept = (((far - as_far).abs() < near_m) & (far > APART * near_m)).float()
    votes = kept * (kept @ kept)
    of_best = votes[votes.sum(dim=1).argmax()]
    chosen = of_best.topk(min(SEEDED, len(votes)))
    return np.asarray(chosen.indices[chosen.values > 0].numpy())


def _judged(pose: FloatArray, pairs: _Pairs, first: LandmarkIndex, second: LandmarkIndex, near_m: float) -> Alignment:
    """Count what agrees with a transform, and where."""
    agree: BoolArray = pairs.off(pose) < near_m
    places = first.points, transform_points(pose, second.points), pairs.first[agree]
    confirming, heard = max((_cells(*places, edge_m) for edge_m in EDGES_M), key=lambda counts: counts[1])
    moved = np.linalg.norm(pairs.second[agree] - transform_points(pose, pairs.second[agree]), axis=1)
    return Alignment(pose, int(agree.sum()), float(moved.max(initial=0.0)), confirming, heard)


def _cells(first: FloatArray, second: FloatArray, agreeing: FloatArray, edge_m: float) -> tuple[int, int]:
    """Count the cells in which landmarks of two maps agree, and all in which they might, by their places (N, 3)."""
    cells = np.floor(np.concatenate([first, second, agreeing]) / edge_m).astype(np.int64)
    cell = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)
    of_first, of_second, of_both = (
        np.bincount(each, minlength=cell.max() + 1) for each in np.split(cell, [len(first), len(first) + len(second)])
    )
    due = np.minimum(of_first, of_second)
    heard = due >= HEARD
    return int((heard & (of_both > CONFIRMING * due)).sum()), int(heard.sum())
