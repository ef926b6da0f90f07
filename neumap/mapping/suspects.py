"""Whether poses, depth and images belong together, before a map is made of them; and if not, what they look like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import MappingError
from neumap.geometry import se3
from neumap.mapping.correspondences import match_by_looks
from neumap.mapping.keyframes import Keyframes

# LAGS: how far apart in the recording the images are that are compared; PAIRS: how many of each. KEYPOINTS: of an
# image, the strongest.
LAGS, PAIRS, KEYPOINTS = (1, 3, 8), 12, 600
# MIN_MOTION: what moved less, in normalized coordinates, fits any motion.
MIN_MOTION = 0.05
# MAX_ERROR_PX: of a match from its epipolar line, with poses as good as they come.
MAX_ERROR_PX = 6.0
# FEWEST, SHARE, TIMES: another reading of the poses is believed where so many matches, this share of all and this many
# times those of the given ones fit it.
FEWEST, SHARE, TIMES = 60, 0.5, 2.0
# MIN_PARALLAX_RAD: angle between rays from which on depth follows from them. SAME_SCALE: ratios of it to the measured
# one that agree with their median, and that are a scale of 1. NEAREST_M, FURTHEST_M: what a place is usually seen from.
MIN_PARALLAX_RAD, SAME_SCALE, NEAREST_M, FURTHEST_M = 0.03, 1.3, 0.1, 150.0

_BODY_FROM_OPTICAL = se3.make_pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def _by_scalar_first(poses: FloatArray) -> FloatArray:
    quaternion = se3.quat_from_matrix(poses[:, :3, :3])
    return np.asarray(se3.make_pose(se3.matrix_from_quat(np.roll(quaternion, -1, axis=1)), poses[:, :3, 3]))


# READINGS: what poses are taken for wrongly, how these become poses of the optical frame in the map, and what to do.
READINGS: tuple[tuple[str, Callable[[FloatArray], FloatArray], str], ...] = (
    (
        "of a frame whose x axis points forward, as body frames have it",
        lambda poses: poses @ _BODY_FROM_OPTICAL,
        "give those of the camera's optical frame (x right, y down, z forward; of a bag by --camera-frame)",
    ),
    (
        "of a camera as OpenGL has it, with y up and z backward",
        lambda poses: poses @ np.diag([1.0, -1.0, -1.0, 1.0]),
        "turn them to the optical frame (x right, y down, z forward)",
    ),
    ("of the map in the camera", se3.invert_pose, "give those of the camera in the map"),
    ("written with qw first", _by_scalar_first, "write qx qy qz qw"),
)


def check(keyframes: Keyframes) -> None:
    """Raise :class:`~neumap.errors.MappingError` where the images fit the poses in another reading, or the depth in
    another scale, and not as they are given.
    """
    first, second = _matches(keyframes)
    if len(first) < FEWEST:
        return
    fitting = _fits(keyframes, keyframes.map_from_camera, first, second)
    for what, reading, remedy in READINGS:
        fit = _fits(keyframes, reading(keyframes.map_from_camera), first, second)
        if fit.sum() >= FEWEST and fit.mean() > max(SHARE, TIMES * fitting.mean()):
            raise MappingError(f"the images fit the poses if these are {what}: {remedy}")
    depth, measured = _depths(keyframes, first[fitting], second[fitting])
    if len(depth) < FEWEST:
        return
    ratio = depth[measured > 0] / measured[measured > 0]
    scale = float(np.median(ratio)) if len(ratio) >= FEWEST else 1.0
    agree = np.abs(np.log(ratio / scale)) < np.log(SAME_SCALE)
    if abs(np.log(scale)) > np.log(SAME_SCALE) and agree.mean() > SHARE:
        times = f"{_rounded(scale)} times larger" if scale > 1 else f"{_rounded(1 / scale)} times smaller"
        raise MappingError(
            f"the images fit the poses if depth is {times} than it is read: are depth images in millimetres (those of "
            "a TUM folder have 5000 units to the metre), or poses not in metres? Mend that, or map with --no-depth"
        )
    away = float(np.median(depth))
    if not NEAREST_M < away < FURTHEST_M:
        raise MappingError(
            f"what the images show is {_rounded(away)} m away (median) by their poses, and places of {NEAREST_M:g} to "
            f"{FURTHEST_M:g} m can be mapped: give poses in metres"
        )


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _matches(keyframes: Keyframes) -> tuple[IntArray, IntArray]:
    """Return keypoints (M,) and (M,) of other images that look alike and have moved, by their looks alone."""
    count = len(keyframes)
    starts = [(i, i + lag) for lag in LAGS for i in np.unique(np.linspace(0, count - 1, PAIRS).astype(int))]
    found: list[IntArray] = [np.zeros((2, 0), np.int64)]
    for i, j in starts:
        if j >= count:
            continue
        pair = np.stack(match_by_looks(keyframes, i, int(j), KEYPOINTS))
        moved = np.linalg.norm(keyframes.rays[pair[0]] - keyframes.rays[pair[1]], axis=1) > MIN_MOTION
        found.append(pair[:, moved])
    first, second = np.concatenate(found, axis=1)
    return first, second


def _motions(keyframes: Keyframes, poses: FloatArray, first: IntArray, second: IntArray) -> tuple[FloatArray, ...]:
    """Return rays (M, 3) of matches, and rotations (M, 3, 3) and translations (M, 3) of second from first."""
    rays = keyframes.rays3()
    motion = se3.invert_pose(poses)[keyframes.image[second]] @ poses[keyframes.image[first]]
    return rays[first], rays[second], motion[:, :3, :3], motion[:, :3, 3]


def _fits(keyframes: Keyframes, poses: FloatArray, first: IntArray, second: IntArray) -> np.ndarray:
    """Tell which matches (M,) lie on each other's epipolar lines by ``poses`` (F, 4, 4), in front of both cameras."""
    a, b, rotation, translation = _motions(keyframes, poses, first, second)
    turned = np.einsum("nij,nj->ni", rotation, a)
    line_b = np.cross(translation, turned)
    line_a = -np.einsum("nji,nj->ni", rotation, np.cross(translation, b))
    norm = np.sqrt((line_a[:, :2] ** 2).sum(axis=1) + (line_b[:, :2] ** 2).sum(axis=1)) + 1e-18
    error = np.abs((b * line_b).sum(axis=1)) / norm * keyframes.focal_px[keyframes.image[second]]
    normal = np.cross(b, turned)
    depth_a = -(normal * np.cross(b, translation)).sum(axis=1)
    depth_b = -(normal * np.cross(turned, translation)).sum(axis=1)
    return np.asarray((error < MAX_ERROR_PX) & (depth_a > 0) & (depth_b > 0))


def _depths(keyframes: Keyframes, first: IntArray, second: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the depths (K,) of the keypoints ``first`` that follow from matches and poses, and those measured, 0 where
    they are not; of matches whose rays are far enough from parallel.
    """
    a, b, rotation, translation = _motions(keyframes, keyframes.map_from_camera, first, second)
    turned = np.einsum("nij,nj->ni", rotation, a)
    normal = np.cross(b, turned)
    size = (normal**2).sum(axis=1)
    usable = size > MIN_PARALLAX_RAD**2 * (b**2).sum(axis=1) * (turned**2).sum(axis=1)
    depth = -(normal * np.cross(b, translation)).sum(axis=1)[usable] / size[usable]
    return np.asarray(depth), np.asarray(keyframes.depth[first][usable])
