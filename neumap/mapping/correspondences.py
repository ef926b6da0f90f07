"""Pairs mapping images that overlap, and matches their keypoints.

The poses are known: images are paired by the overlap of their views, and a keypoint of known depth is projected into
the other image and compared with the few keypoints around its projection. That costs a hundredth of comparing all
descriptors of two images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.verification import mutual_best
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.work import Arrays
from neumap.maps.drift import evenly
from neumap.progress import Step, ignore

# SEARCH_RADIUS_PX: how far from its projection a keypoint is looked for: given poses are off by some centimetres.
# NEAREST_KEYPOINTS: compared at most, of those within a radius of a projection.
SEARCH_RADIUS_PX, NEAREST_KEYPOINTS = 5.0, 4
# TREES: of the keypoints of so many images are kept, as neighbours in a drive are compared with the same ones.
TREES = 64
# MIN_OVERLAP: share of what one image sees that the other must see for a pair.
MIN_OVERLAP = 0.3
# REACH: images that look the same way and overlap are at most half as far apart as they see, and those that look across
# each other's view about as far as both see. MOST_OTHERS: looked at for each image, evenly taken by how far they are.
REACH, MOST_OTHERS = 1.5, 256
# MAX_LOG_SCALE: by how much, as a logarithm, the size of a keypoint may differ from what its distance asks for.
MAX_LOG_SCALE = 0.4
# DEPTH_M, DEPTH_RATIO: by how much depths of one point may differ, in metres and for each metre of depth.
DEPTH_M, DEPTH_RATIO = 0.05, 0.03
# MAX_EPIPOLAR_PX: how far from its epipolar line a match may be; MAX_DISTANCE_RATIO: of the distances of descriptors of
# the best and the second best, as Lowe's.
MAX_EPIPOLAR_PX, MAX_DISTANCE_RATIO = 2.0, 0.85
# BY_LOOKS_RATIO: the same, where looks alone tell.
BY_LOOKS_RATIO = 0.8


@dataclass(frozen=True)
class Matches:
    """Matches between keypoints of the first image of pairs and of the second, ``count`` in all, as indices.

    They come in parts (M, 2) int32, one for each first image, as often as they are asked for: from memory or the work
    folder, since all of a long drive at once would take gigabytes.
    """

    parts: tuple[Callable[[], IntArray], ...]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[IntArray]:
        return (part() for part in self.parts)


def match_by_looks(keyframes: Keyframes, i: int, j: int, most: int) -> tuple[IntArray, IntArray]:
    """Return keypoints (M,) of image ``i`` and (M,) of image ``j`` that look alike, of the ``most`` strongest of each,
    the most distinct first; no pose is asked.
    """
    here, there = (np.arange(*keyframes.slice(k).indices(len(keyframes.image)))[:most] for k in (i, j))
    if min(len(here), len(there)) < 2:
        return here[:0], there[:0]
    a, b = (torch.from_numpy(keyframes.descriptors[each]).float() for each in (here, there))
    similarity = a @ b.T
    value, index = similarity.topk(2, dim=1)
    mutual = (similarity.argmax(dim=0)[index[:, 0]] == torch.arange(len(a))).numpy()
    distance = (2 - 2 * value).clamp_min(1e-9).sqrt()
    ratio = (distance[:, 0] / distance[:, 1]).numpy()
    order = np.argsort(ratio, kind="stable")
    good = order[(mutual & (ratio < BY_LOOKS_RATIO))[order]]
    return here[good], there[index[:, 0].numpy()[good]]


def median_depths(keyframes: Keyframes, default: float) -> FloatArray:
    """Return the median known depth (F,) of each image; the median of all, or ``default``, where an image has none."""
    known = keyframes.depth > 0
    overall = float(np.median(keyframes.depth[known])) if known.any() else default
    out = np.full(len(keyframes), overall)
    for i in range(len(keyframes)):
        depth = keyframes.depth[keyframes.slice(i)].astype(np.float64)
        if (depth > 0).sum() >= 10:
            out[i] = np.median(depth[depth > 0])
    return out


def pair_by_overlap(
    map_from_camera: FloatArray,
    depths: FloatArray,
    view: FloatArray,
    nearest: int,
    spread: int,
    step: Step = ignore,
) -> IntArray:
    """Return pairs (P, 2) of images i < j that see the same part of a scene at about ``depths`` (F,) metres.

    For each image the ``nearest`` others by viewpoint, for precise matches, and ``spread`` more evenly taken from the
    rest, for long tracks. The overlap is that of a grid of pixels moved to the image's median depth. Of images further
    apart than ``REACH`` times how far both see there is none, and of many others in reach ``MOST_OTHERS`` are looked
    at. ``step`` is called with 1 after each image.
    """
    camera_from_map = se3.invert_pose(map_from_camera)
    u, v = np.meshgrid(np.linspace(view[0], view[2], 9), np.linspace(view[1], view[3], 7))
    rays = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=1)
    # what each image sees of the scene
    patches = np.einsum("nij,nmj->nmi", map_from_camera[:, :3, :3], rays * depths[:, None, None])
    patches += map_from_camera[:, None, :3, 3]
    centres, forward = map_from_camera[:, :3, 3], map_from_camera[:, :3, 2]
    pairs: set[tuple[int, int]] = set()
    for i in range(len(map_from_camera)):
        away = np.linalg.norm(centres - centres[i], axis=1)
        others = np.flatnonzero((away <= REACH * (depths + depths[i])) & (np.arange(len(away)) != i))
        distance = away[others] / depths[i] + np.arccos(np.clip(forward[others] @ forward[i], -1, 1))
        others = others[np.argsort(distance, kind="stable")]
        others = others[np.union1d(np.arange(min(4 * nearest, len(others))), evenly(len(others), MOST_OTHERS))]
        here = _inside(patches[others], np.broadcast_to(camera_from_map[i], (len(others), 4, 4)), view)
        there = _inside(np.broadcast_to(patches[i], (len(others), *patches[i].shape)), camera_from_map[others], view)
        others = others[np.minimum(here, there) >= MIN_OVERLAP]
        chosen = list(others[:nearest])
        rest = others[nearest:]
        if len(rest):
            chosen += list(rest[np.unique(np.rint(np.linspace(0, len(rest) - 1, spread)).astype(int))])
        pairs.update((min(i, int(j)), max(i, int(j))) for j in chosen)
        step(1)
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _inside(points: FloatArray, camera_from_map: FloatArray, view: FloatArray) -> FloatArray:
    """Return the share (K,) of points (K, M, 3) that cameras at ``camera_from_map`` (K, 4, 4) have in view."""
    seen = points @ np.swapaxes(camera_from_map[:, :3, :3], 1, 2) + camera_from_map[:, None, :3, 3]
    z = np.maximum(seen[..., 2], 1e-6)
    x, y = seen[..., 0] / z, seen[..., 1] / z
    inside = (seen[..., 2] > 0.1) & (x > view[0]) & (x < view[2]) & (y > view[1]) & (y < view[3])
    return np.asarray(inside.mean(axis=1))


def agree_in_depth(known: FloatArray, expected: FloatArray) -> BoolArray:
    """Tell where depths in metres agree, or are not ``known`` (0)."""
    return np.asarray((known <= 0) | (np.abs(known - expected) < DEPTH_M + DEPTH_RATIO * expected))


def match_with_depth(keyframes: Keyframes, pairs: IntArray, step: Step = ignore) -> Matches:
    """Match the images of ``pairs`` (P, 2), which are ordered by the first.

    A keypoint with depth is looked for within ``SEARCH_RADIUS_PX`` of its projection; a match must look alike, have the
    scale its distance asks for, agree in depth where both are known, and be the best of both ends. ``step`` is called
    with how many more pairs are done.
    """
    tree_of = lru_cache(TREES)(lambda j: cKDTree(keyframes.rays[keyframes.slice(j)]))
    return _match_by_image(keyframes, pairs, lambda i, j: _with_depth(keyframes, tree_of, i, j), "depth", step)


def _with_depth(keyframes: Keyframes, tree_of: Callable[[int], cKDTree], i: int, j: int) -> IntArray:
    here, there = keyframes.slice(i), keyframes.slice(j)
    source = np.flatnonzero(keyframes.depth[here] > 0) + here.start
    rays = np.column_stack([keyframes.rays[source], np.ones(len(source))])
    moved = se3.transform_points(_motion(keyframes, i, j), rays * keyframes.depth[source, None])
    front = moved[:, 2] > 0.1
    source, moved = source[front], moved[front]
    if there.stop == there.start or not len(source):
        return np.zeros((0, 2), np.int64)
    radius, tree = SEARCH_RADIUS_PX / keyframes.focal_px[j], tree_of(j)
    _, near = tree.query(moved[:, :2] / moved[:, 2:], k=NEAREST_KEYPOINTS, distance_upper_bound=radius)
    row, column = np.nonzero(near < tree.n)
    a, b = source[row], near[row, column] + there.start
    z_here, z_there, z_moved = keyframes.depth[a], keyframes.depth[b], moved[row, 2]
    scale = np.log(keyframes.size[b] * z_moved / keyframes.focal_px[j])
    scale -= np.log(keyframes.size[a] * z_here / keyframes.focal_px[i])
    agree = (np.abs(scale) < MAX_LOG_SCALE) & agree_in_depth(z_there, z_moved)
    a, b = a[agree], b[agree]
    looks = (keyframes.descriptors[k].astype(np.float32) for k in (a, b))
    similarity = np.einsum("ij,ij->i", *looks)
    alike = similarity > keyframes.similarities.expected
    a, b, similarity = a[alike], b[alike], similarity[alike]
    best = mutual_best(a, b, similarity)
    return np.stack([a[best], b[best]], axis=1)


def off_epipolar_px(motion: FloatArray, a: FloatArray, b: FloatArray, focal_px: float) -> FloatArray:
    """Return how far rays (M, 3) of one image and of another, whose pose in the first is ``motion``, are from each
    other's epipolar lines, pixels (M,).
    """
    essential = se3.skew(motion[:3, 3]) @ motion[:3, :3]
    line_a, line_b = b @ essential.T, a @ essential
    norm = np.sqrt((line_a[:, :2] ** 2).sum(axis=1) + (line_b[:, :2] ** 2).sum(axis=1) + 1e-18)
    return np.asarray((a * line_a).sum(axis=1) / norm * focal_px)


def match_along_epipolar_lines(keyframes: Keyframes, pairs: IntArray, step: Step = ignore) -> Matches:
    """Match the images of ``pairs`` (P, 2) where depth is not known: descriptors of all keypoints are compared, mutual
    and by Lowe's ratio, and must lie on each other's epipolar line within ``MAX_EPIPOLAR_PX``.
    """
    # Made once: ten megabytes allocated anew for each pair, between small results that stay, can break up the heap
    # until it holds thousands of them.
    largest = int(np.diff(keyframes.offsets).max())
    one, other = (torch.empty(largest, keyframes.descriptors.shape[1]) for _ in range(2))
    table = torch.empty(largest * largest)

    def match(i: int, j: int) -> IntArray:
        first, second = keyframes.slice(i), keyframes.slice(j)
        a = one[: first.stop - first.start].copy_(torch.from_numpy(keyframes.descriptors[first]))
        b = other[: second.stop - second.start].copy_(torch.from_numpy(keyframes.descriptors[second]))
        if len(a) < 2 or len(b) < 2:
            return np.zeros((0, 2), np.int64)
        similarity = torch.mm(a, b.T, out=table[: len(a) * len(b)].view(len(a), len(b)))
        value, index = (t.numpy() for t in similarity.topk(2, dim=1))
        back = similarity.argmax(dim=0).numpy()
        best = index[:, 0]
        distance = np.sqrt(np.maximum(2 - 2 * value, 1e-9))
        mutual = back[best] == np.arange(len(best))
        alike = value[:, 0] > keyframes.similarities.anywhere
        here = np.flatnonzero(mutual & (distance[:, 0] < MAX_DISTANCE_RATIO * distance[:, 1]) & alike)
        k, m = here + first.start, best[here] + second.start
        ray_i, ray_j = keyframes.rays3(k), keyframes.rays3(m)
        off_px = off_epipolar_px(_motion(keyframes, i, j), ray_j, ray_i, float(keyframes.focal_px[j]))
        fits = np.abs(off_px) < MAX_EPIPOLAR_PX
        return np.stack([k[fits], m[fits]], axis=1)

    return _match_by_image(keyframes, pairs, match, "epipolar", step)


def _motion(keyframes: Keyframes, i: int, j: int) -> FloatArray:
    """Return camera j from camera i (4, 4)."""
    return np.asarray(se3.invert_pose(keyframes.map_from_camera[j]) @ keyframes.map_from_camera[i])


def _match_by_image(
    keyframes: Keyframes, pairs: IntArray, match: Callable[[int, int], IntArray], how: str, step: Step
) -> Matches:
    """Return the matches of all pairs; those that the work folder holds are not made anew."""

    def follows_from(i: int, others: IntArray) -> Iterator[Any]:
        yield f"{how} matches"
        for k in (i, *others.tolist()):
            yield from (keyframes.keys[k], keyframes.depth[keyframes.slice(k)], keyframes.focal_px[k])
            yield _motion(keyframes, i, k)

    def make(i: int, others: IntArray) -> Arrays:
        found = [match(i, int(j)) - keyframes.offsets[[i, j]] for j in others]
        return {"counts": np.array([len(each) for each in found]), "matches": np.concatenate(found).astype(np.int32)}

    def of_image(i: int, others: IntArray, again: Callable[[], Arrays]) -> IntArray:
        firsts = np.column_stack([np.full(len(others), keyframes.offsets[i]), keyframes.offsets[others]])
        found = again()
        return np.asarray((found["matches"] + np.repeat(firsts, found["counts"], axis=0)).astype(np.int32))

    parts, count = [], 0
    starts = np.searchsorted(pairs[:, 0], np.arange(len(keyframes) + 1))
    for i in np.flatnonzero(np.diff(starts)).tolist():
        others = pairs[starts[i] : starts[i + 1], 1]
        found, again = keyframes.work.keep(follows_from(i, others), partial(make, i, others))
        parts.append(partial(of_image, i, others, again))
        count += len(found["matches"])
        step(len(others))
    return Matches(tuple(parts), count)
