"""Check the poses and the depth against the images before mapping, and detect common mistakes of convention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import MappingError
from neumap.geometry import se3
from neumap.mapping.correspondences import match_by_looks
from neumap.mapping.keyframes import Keyframes

# LAGS: distances, in frames, of compared images; PAIRS: pairs per distance. KEYPOINTS: strongest keypoints of an image
# that are matched.
LAGS, PAIRS, KEYPOINTS = (1, 3, 8), 12, 600
# MIN_MOTION: least motion of a match in normalized coordinates; smaller ones fit any motion.
MIN_MOTION = 0.05
# MAX_ERROR_PX: distance of a match from its epipolar line at most, for usual errors of poses.
MAX_ERROR_PX = 6.0
# FEWEST, SHARE, TIMES: another reading of the poses is accepted if at least this many matches fit it, and more than
# this share of all and this many times those that fit the given poses.
FEWEST, SHARE, TIMES = 60, 0.5, 2.0
# MIN_PARALLAX_RAD: least angle between rays for triangulation. SAME_SCALE: factor within which ratios of triangulated
# to measured depth agree, and count as 1. NEAREST_M, FURTHEST_M: limits of the median depth.
MIN_PARALLAX_RAD, SAME_SCALE, NEAREST_M, FURTHEST_M = 0.03, 1.3, 0.1, 150.0

_BODY_FROM_OPTICAL = se3.make_pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def _by_scalar_first(poses: FloatArray) -> FloatArray:
    quaternion = se3.quat_from_matrix(poses[:, :3, :3])
    return np.asarray(se3.make_pose(se3.matrix_from_quat(np.roll(quaternion, -1, axis=1)), poses[:, :3, 3]))


# READINGS: for each mistaken convention its name, the conversion to poses of the optical frame in the map, and the
# remedy.
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
    """Raise :class:`~neumap.errors.MappingError` if the images fit the poses in another convention, or depth at another
    scale, better than as given, or if the scene is implausibly near or far.
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
    """Match image pairs by descriptors alone; return the keypoints (M,) and (M,) of the matches that moved."""
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
    """Return which matches (M,) fit the epipolar geometry of ``poses`` (F, 4, 4), in front of both cameras.

    The error is the Sampson distance (Hartley and Zisserman 2004, 11.4.3).
    """
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
    """Return the triangulated and the measured depths (K,), 0 if not measured, of the keypoints ``first`` of matches
    with enough parallax.
    """
    a, b, rotation, translation = _motions(keyframes, keyframes.map_from_camera, first, second)
    turned = np.einsum("nij,nj->ni", rotation, a)
    normal = np.cross(b, turned)
    size = (normal**2).sum(axis=1)
    usable = size > MIN_PARALLAX_RAD**2 * (b**2).sum(axis=1) * (turned**2).sum(axis=1)
    depth = -(normal * np.cross(b, translation)).sum(axis=1)[usable] / size[usable]
    return np.asarray(depth), np.asarray(keyframes.depth[first][usable])
