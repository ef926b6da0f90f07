"""Which mapping images see the same things, and which of their keypoints are the same point.

Poses are known, so neither is searched for blindly: images are paired by the overlap of what they see, and a keypoint
of known depth is projected into the other image and compared with the few keypoints around that spot only. That costs
a hundredth of comparing all descriptors of two images with each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial import cKDTree

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.geometry import se3
from neumap.localization.verification import mutual_best
from neumap.mapping.keyframes import Keyframes

# SEARCH_RADIUS_PX: how far from its projection a keypoint is looked for: given poses are off by some centimetres.
# NEAREST_KEYPOINTS: compared at most, of those within a radius of a projection.
SEARCH_RADIUS_PX, NEAREST_KEYPOINTS = 5.0, 4
# MIN_OVERLAP: share of what one image sees that the other must see for a pair.
MIN_OVERLAP = 0.3
# MAX_LOG_SCALE: by how much, as a logarithm, the size of a keypoint may differ from what its distance asks for.
MAX_LOG_SCALE = 0.4
# DEPTH_M, DEPTH_RATIO: by how much depths of one point may differ, in metres and for each metre of depth.
DEPTH_M, DEPTH_RATIO = 0.05, 0.03
# MAX_EPIPOLAR_PX: how far from its epipolar line a match may be; MAX_DISTANCE_RATIO: of the distances of descriptors of
# the best and the second best, as Lowe's.
MAX_EPIPOLAR_PX, MAX_DISTANCE_RATIO = 2.0, 0.85
# BY_LOOKS_RATIO: the same, where looks alone tell.
BY_LOOKS_RATIO = 0.8


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
        depth = keyframes.depth[keyframes.slice(i)]
        if (depth > 0).sum() >= 10:
            out[i] = np.median(depth[depth > 0])
    return out


def pair_by_overlap(
    map_from_camera: FloatArray,
    depths: FloatArray,
    view: FloatArray,
    nearest: int,
    spread: int,
) -> IntArray:
    """Return pairs (P, 2) of images i < j that see the same part of a scene at about ``depths`` (F,) metres.

    For each image the ``nearest`` others by viewpoint, for precise matches, and ``spread`` more evenly taken from the
    rest, for long tracks. The overlap is that of a grid of pixels moved to the image's median depth.
    """
    n = len(map_from_camera)
    camera_from_map = se3.invert_pose(map_from_camera)
    u, v = np.meshgrid(np.linspace(view[0], view[2], 9), np.linspace(view[1], view[3], 7))
    rays = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=1)
    overlap = np.zeros((n, n), np.float32)
    for i in range(n):
        points = se3.transform_points(map_from_camera[i], rays * depths[i])
        seen = np.einsum("nij,mj->nmi", camera_from_map[:, :3, :3], points) + camera_from_map[:, None, :3, 3]
        z = np.maximum(seen[..., 2], 1e-6)
        x, y = seen[..., 0] / z, seen[..., 1] / z
        inside = (seen[..., 2] > 0.1) & (x > view[0]) & (x < view[2]) & (y > view[1]) & (y < view[3])
        overlap[i] = inside.mean(axis=1)
    overlap = np.minimum(overlap, overlap.T)
    centres, forward = map_from_camera[:, :3, 3], map_from_camera[:, :3, 2]
    pairs: set[tuple[int, int]] = set()
    for i in range(n):
        turned = np.arccos(np.clip(forward @ forward[i], -1, 1))
        distance = np.linalg.norm(centres - centres[i], axis=1) / depths[i] + turned
        others = np.flatnonzero((overlap[i] >= MIN_OVERLAP) & (np.arange(n) != i))
        others = others[np.argsort(distance[others], kind="stable")]
        chosen = list(others[:nearest])
        rest = others[nearest:]
        if len(rest):
            chosen += list(rest[np.unique(np.rint(np.linspace(0, len(rest) - 1, spread)).astype(int))])
        pairs.update((min(i, int(j)), max(i, int(j))) for j in chosen)
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def agree_in_depth(known: FloatArray, expected: FloatArray) -> BoolArray:
    """Tell where depths in metres agree, or are not ``known`` (0)."""
    return np.asarray((known <= 0) | (np.abs(known - expected) < DEPTH_M + DEPTH_RATIO * expected))


def match_with_depth(
    keyframes: Keyframes, pairs: IntArray, progress: Callable[[int], object] = lambda done: None
) -> IntArray:
    """Return matches (M, 2), as indices of keypoints, between the images of ``pairs`` (P, 2).

    A keypoint with depth is looked for within ``SEARCH_RADIUS_PX`` of its projection; a match must look alike, have the
    scale its distance asks for, agree in depth where both are known, and be the best of both ends.
    """
    camera_from_map = se3.invert_pose(keyframes.map_from_camera)
    trees = [
        cKDTree(keyframes.rays[keyframes.slice(i)]) if np.diff(keyframes.offsets)[i] else None
        for i in range(len(keyframes))
    ]
    points = keyframes.rays3() * keyframes.depth[:, None]
    out = []
    for i, j in pairs:
        progress(1)
        tree = trees[j]
        source = np.flatnonzero(keyframes.depth[keyframes.slice(i)] > 0) + keyframes.offsets[i]
        moved = se3.transform_points(camera_from_map[j] @ keyframes.map_from_camera[i], points[source])
        front = moved[:, 2] > 0.1
        source, moved = source[front], moved[front]
        if tree is None or not len(source):
            continue
        radius = SEARCH_RADIUS_PX / keyframes.focal_px[j]
        _, near = tree.query(moved[:, :2] / moved[:, 2:], k=NEAREST_KEYPOINTS, distance_upper_bound=radius)
        row, column = np.nonzero(near < tree.n)
        a, b = source[row], near[row, column] + keyframes.offsets[j]
        z_here, z_there, z_moved = keyframes.depth[a], keyframes.depth[b], moved[row, 2]
        scale = np.log(keyframes.size[b] * z_moved / keyframes.focal_px[j])
        scale -= np.log(keyframes.size[a] * z_here / keyframes.focal_px[i])
        agree = (np.abs(scale) < MAX_LOG_SCALE) & agree_in_depth(z_there, z_moved)
        a, b = a[agree], b[agree]
        similarity = np.einsum(
            "ij,ij->i", keyframes.descriptors[a].astype(np.float32), keyframes.descriptors[b].astype(np.float32)
        )
        alike = similarity > keyframes.similarities.expected
        a, b, similarity = a[alike], b[alike], similarity[alike]
        best = mutual_best(a, b, similarity)
        out.append(np.stack([a[best], b[best]], axis=1))
    return np.concatenate(out) if out else np.zeros((0, 2), np.int64)


def match_along_epipolar_lines(
    keyframes: Keyframes,
    pairs: IntArray,
    progress: Callable[[int], object] = lambda done: None,
) -> IntArray:
    """Return matches (M, 2), as indices of keypoints, where depth is not known: descriptors of all keypoints are
    compared, mutual and by Lowe's ratio, and must lie on each other's epipolar line within ``MAX_EPIPOLAR_PX``.
    """
    camera_from_map = se3.invert_pose(keyframes.map_from_camera)
    rays = keyframes.rays3()
    # Made once: ten megabytes allocated anew for each pair, between small results that stay, can break up the heap
    # until it holds thousands of them.
    largest = int(np.diff(keyframes.offsets).max())
    one, other = (torch.empty(largest, keyframes.descriptors.shape[1]) for _ in range(2))
    table = torch.empty(largest * largest)
    out = []
    for i, j in pairs:
        progress(1)
        first, second = keyframes.slice(i), keyframes.slice(j)
        a = one[: first.stop - first.start].copy_(torch.from_numpy(keyframes.descriptors[first]))
        b = other[: second.stop - second.start].copy_(torch.from_numpy(keyframes.descriptors[second]))
        if len(a) < 2 or len(b) < 2:
            continue
        similarity = torch.mm(a, b.T, out=table[: len(a) * len(b)].view(len(a), len(b)))
        value, index = (t.numpy() for t in similarity.topk(2, dim=1))
        back = similarity.argmax(dim=0).numpy()
        best = index[:, 0]
        distance = np.sqrt(np.maximum(2 - 2 * value, 1e-9))
        mutual = back[best] == np.arange(len(best))
        alike = value[:, 0] > keyframes.similarities.anywhere
        good = mutual & (distance[:, 0] < MAX_DISTANCE_RATIO * distance[:, 1]) & alike
        here = np.flatnonzero(good)
        k, m = here + keyframes.offsets[i], best[here] + keyframes.offsets[j]
        j_from_i = camera_from_map[j] @ keyframes.map_from_camera[i]
        essential = se3.skew(j_from_i[:3, 3]) @ j_from_i[:3, :3]
        line_j, line_i = rays[k] @ essential.T, rays[m] @ essential
        norm = np.sqrt((line_j[:, :2] ** 2).sum(axis=1) + (line_i[:, :2] ** 2).sum(axis=1) + 1e-18)
        sampson = np.abs(np.einsum("ij,ij->i", rays[m], line_j)) / norm * keyframes.focal_px[j]
        fits = sampson < MAX_EPIPOLAR_PX
        out.append(np.stack([k[fits], m[fits]], axis=1))
    return np.concatenate(out) if out else np.zeros((0, 2), np.int64)
