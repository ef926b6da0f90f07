"""Loop closures of a drive: later images are localized in submaps of earlier stretches.

Within a short stretch odometry is accurate enough for a map, the submap. Images that may have been taken near it are
localized in it like any query. A loop closure is accepted if several images agree on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import MappingError
from neumap.features.extractor import Features
from neumap.geometry import cameras, se3
from neumap.localization.localizer import Localizer
from neumap.localization.query import Query
from neumap.mapping.build import compose
from neumap.mapping.encoding import encode, form_for
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.pose_graph import CHI2_99, Measurements, Solution, solve, together
from neumap.mapping.selection import by_usefulness
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey_keyframes
from neumap.maps.drift import DriftField
from neumap.progress import Step, ignore

# SUBMAP: images of a submap. LANDMARKS: of it, at most.
SUBMAP, LANDMARKS = 24, 2000
# ASKED: every ASKED-th image is localized, in the TRIED submaps that are most similar by KEYPOINTS keypoints.
ASKED, TRIED, KEYPOINTS = 2, 2, 256
# REACH_M: distance from which an image may show a submap, metres, plus SURE standard deviations of its position.
REACH_M, SURE = 4.0, 2.0
# SOLVED_AT_ONCE: stretches whose covariances are computed together.
SOLVED_AT_ONCE = 32
# KNOWN_M: standard deviation of the relative position below which a loop closure adds nothing, metres.
KNOWN_M = 0.005
# CLEAR: factor on the inliers that a pose needs: seven in ten images of another room with the furniture of the submap's
# room had enough for a pose, and one of thirteen had this many. AGREEING: images that must agree on a loop closure, at
# most WITHIN images apart.
CLEAR, AGREEING, WITHIN = 3.0, 3, 12
# LOOP_M, LOOP_RAD: additional standard deviations of a loop closure, metres and radians, since errors of a submap's
# landmarks are correlated.
LOOP_M, LOOP_RAD = 0.01, np.deg2rad(0.2)


@dataclass(frozen=True)
class Submap:
    """A map of the ``images`` (S,) of a stretch of the drive, where these are in it (S, 4, 4), and what localizes."""

    images: IntArray
    poses: FloatArray
    localizer: Localizer


@dataclass
class _Search:
    """The state of the search: all ``measurements``, the poses that follow from them, and loop closures ``waiting`` for
    others that agree.
    """

    keyframes: Keyframes
    settings: MappingSettings
    measurements: Measurements
    solution: Solution
    waiting: list[Measurements] = field(default_factory=list)
    submaps: dict[int, Submap | None] = field(default_factory=dict)
    # of the stretch that is looked at, how uncertain the place of each one before it is, metres
    sigmas_m: FloatArray = field(default_factory=lambda: np.zeros(0))

    def submap(self, number: int) -> Submap | None:
        """Return the submap of a stretch, made when it is first asked for, as straight as it is known by then."""
        if number not in self.submaps:
            images = np.arange(number * SUBMAP, (number + 1) * SUBMAP)
            picked = replace(self.keyframes, map_from_camera=self.solution.poses).pick(images)
            self.submaps[number] = _map_of(picked, images, self.settings)
        return self.submaps[number]


def close_loops(
    keyframes: Keyframes,
    steps: Measurements,
    settings: MappingSettings,
    progress: Step = ignore,
) -> tuple[Solution, Measurements]:
    """Return the poses estimated from ``steps`` and loop closures, and the loop closures that are no outliers.

    The poses of ``keyframes`` are those of odometry.
    """
    search = _Search(keyframes, settings, steps, solve(keyframes.map_from_camera, steps))
    for j in range(len(keyframes)):
        progress(1)
        if j % SUBMAP == 0:
            search.sigmas_m = _sigmas_m(search.solution, j)
        if j % ASKED == 0:
            _ask(search, j)
        if j % SUBMAP == SUBMAP - 1 or j == len(keyframes) - 1:
            _take(search, j)
    loops = search.measurements.select(np.arange(len(steps), len(search.measurements)))
    return search.solution, loops.select(loops.squared(search.solution.poses) < CHI2_99)


def _map_of(keyframes: Keyframes, images: IntArray, settings: MappingSettings) -> Submap | None:
    """Make the submap of some images; None where they share too little for one."""
    try:
        place = survey_keyframes(keyframes)
    except MappingError:
        return None
    # poses are wanted among the adjusted ones: nothing is to be moved to where odometry was
    flat = DriftField(place.adjusted, np.zeros((len(images), 6)), np.full(6, 1e-5), 1.0, 1.0, 0.1)
    chosen = by_usefulness(place.candidates, LANDMARKS, ignore)
    form = form_for(replace(settings, quick=True))
    neural_map = compose(place, encode(place, chosen, form), form, flat, settings)
    return Submap(images, place.adjusted, Localizer(neural_map))


def _ask(search: _Search, j: int) -> None:
    """Localize an image in earlier submaps, and keep the loop closures found."""
    far = [submap for n in _may_show(search, j) if (submap := search.submap(n)) is not None]
    if not far:
        return
    query = _query(far[0].localizer, search.keyframes, j)
    best = sorted(far, key=lambda s: -s.localizer.likeness(query, KEYPOINTS))[:TRIED]
    found = [loop for submap in best if (loop := _loop(search, submap, query, j)) is not None]
    # an image that shows two places tells neither
    if found and all(_agree(search.solution, together(found[0], other), 0, 1) for other in found[1:]):
        search.waiting += found


def _loop(search: _Search, submap: Submap, query: Query, j: int) -> Measurements | None:
    """Return the loop closure of an image and a submap; None without clear evidence, or if odometry excludes it."""
    found = submap.localizer.locate(query)
    if found.map_from_camera is None or found.covariance is None:
        return None
    if found.evidence < CLEAR * submap.localizer.needed():
        return None
    near = int(np.argmin(np.linalg.norm(submap.poses[:, :3, 3] - found.map_from_camera[:3, 3], axis=1)))
    turn = np.kron(np.eye(2), found.map_from_camera[:3, :3])
    covariance = turn.T @ found.covariance @ turn + np.diag([LOOP_M**2] * 3 + [LOOP_RAD**2] * 3)
    loop = Measurements(
        np.array([submap.images[near]]),
        np.array([j]),
        (se3.invert_pose(submap.poses[near]) @ found.map_from_camera)[None],
        np.linalg.inv(covariance)[None],
        np.ones(1, dtype=bool),
    )
    known = search.solution.covariance_between(int(loop.first[0]), loop.second)[0]
    error = loop.errors(search.solution.poses)[0]
    return loop if error @ np.linalg.solve(known + covariance, error) < SURE**2 * CHI2_99 else None


def _sigmas_m(solution: Solution, j: int) -> FloatArray:
    """Return how uncertain the places of the stretches before an image, but not right before it, are as seen from
    there, (S,) metres.
    """
    middles = np.arange(j // SUBMAP - 1 if j >= SUBMAP else 0) * SUBMAP + SUBMAP // 2
    # in parts: of a long drive all together are gigabytes
    parts = np.array_split(middles, len(middles) // SOLVED_AT_ONCE + 1)
    known = np.concatenate([solution.covariance_between(j, part) for part in parts])
    return np.asarray(np.sqrt(np.linalg.eigvalsh(known[:, :3, :3])[:, -1]))


def _may_show(search: _Search, j: int) -> list[int]:
    """Return the stretches before an image whose place it may show, where that would tell something new."""
    count, poses, sigmas_m = len(search.sigmas_m), search.solution.poses, search.sigmas_m
    places = poses[: count * SUBMAP, :3, 3].reshape(count, SUBMAP, 3)
    away = np.linalg.norm(places - poses[j, :3, 3], axis=2).min(axis=1)
    return [int(n) for n in np.flatnonzero((sigmas_m > KNOWN_M) & (away < REACH_M + SURE * sigmas_m))]


def _query(localizer: Localizer, keyframes: Keyframes, j: int) -> Query:
    """Make the query of an image whose features are known."""
    rows, lens = keyframes.slice(j), keyframes.frames[j].camera
    rays = keyframes.rays[rows]
    names = ("size", "angle", "descriptors", "coarse")
    each = {name: getattr(keyframes, name)[rows].astype(np.float32) for name in names}
    pixels = cameras.project(lens, keyframes.rays3(rows)).astype(np.float32)
    features = Features(pixels=pixels, response=np.ones(len(rays), np.float32), **each)
    return localizer.query(features, rays, lens)


def _take(search: _Search, j: int) -> None:
    """Accept the loop closures that enough others agree with, and solve for the poses."""
    waiting = together(*search.waiting) if search.waiting else None
    if waiting is None:
        return
    agrees = np.eye(len(waiting), dtype=bool)
    for a in range(len(waiting)):
        for b in range(a):
            if abs(waiting.second[a] - waiting.second[b]) <= WITHIN:
                agrees[a, b] = agrees[b, a] = _agree(search.solution, waiting, a, b)
    # images, not poses: one that two submaps show is one
    images = np.array([len(np.unique(waiting.second[row])) for row in agrees])
    taken = images >= AGREEING
    later = np.flatnonzero(~taken & (waiting.second > j - WITHIN))
    search.waiting = [waiting.select(later[i : i + 1]) for i in range(len(later))]
    if taken.any():
        search.measurements = together(search.measurements, waiting.select(taken))
        given, so_far = search.keyframes.map_from_camera, search.solution.poses
        search.solution = solve(given, search.measurements, so_far)


def _agree(solution: Solution, loops: Measurements, a: int, b: int) -> bool:
    """Tell whether two loops agree about where the one stretch of the drive is in the other."""
    poses = solution.poses

    def between(one: int, other: int) -> FloatArray:
        return np.asarray(se3.invert_pose(poses[one]) @ poses[other])

    first, second = loops.first, loops.second
    # the second camera of a, by b: what each part may be wrong by is carried to its end
    by_other = between(first[a], first[b]) @ loops.motion[b] @ between(second[b], second[a])
    step = se3.invert_pose(loops.motion[a]) @ by_other
    error = np.r_[step[:3, 3], se3.rotation_log(step[:3, :3])]
    carry = se3.adjoint(between(second[a], second[b]))
    covariance = np.linalg.inv(loops.information[a]) + carry @ np.linalg.inv(loops.information[b]) @ carry.T
    lever = se3.adjoint(se3.invert_pose(loops.motion[b] @ between(second[b], second[a])))
    covariance += lever @ solution.covariance_between(int(first[a]), first[[b]])[0] @ lever.T
    covariance += solution.covariance_between(int(second[b]), second[[a]])[0]
    return bool(error @ np.linalg.solve(covariance, error) < CHI2_99)
