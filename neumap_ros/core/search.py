"""Searching one image's pose in a map: decode, PnP, refine on landmarks, and count what speaks for the result.

In a map for the frozen decoder its encoder embeds all keypoints before anything else. The strongest ones are decoded
first; only where they do not settle the pose are all of them, by all decoders the map has codes for, and pooled in one
PnP. A pose that little speaks for must be better than its rivals, to which other samples lead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from neumap_ros.core import geometry
from neumap_ros.core.decoders import (
    AttentionDecoder,
    Decoder,
    Hypotheses,
    NearestDecoder,
    TransformerDecoder,
    pool,
    rows_of_voxels,
)
from neumap_ros.core.features import Features
from neumap_ros.core.frozen import shipped_decoder
from neumap_ros.core.keyframes import BoolArray, IntArray
from neumap_ros.core.matching import mutual_best
from neumap_ros.core.neural_map import NeuralMap
from neumap_ros.core.pose import RansacSettings, ransac_pose, refine_pose, residuals_px
from neumap_ros.core.voxels import LARGE, MORE_VOXELS, MOST_VOXELS, VOTERS, Comparison, VoxelIndex
from neumap_ros.records import Camera, Float32Array, FloatArray

FIRST_KEYPOINTS = 512
# the first keypoints settle it when this many times the inliers a pose needs agree
SETTLED = 2.0
# with so many times the inliers needed in the likeliest voxels of a large map no others are searched
FOUND = 2.0
# with less than so many times the inliers needed, another pose may be as good: small or flat things look alike from
# two sides. Other samples look for such a rival; how far from each other rivals are, and how much speaks for one
RIVALRY, RIVAL_SEEDS = 10.0, (1, 2)
RIVAL_M, RIVAL_RAD, RIVAL_SHARE = 0.15, 0.1, 0.8
# of the inliers this share must be matches that are far better than their runner-up: chance rarely makes those
STRONG_CONFIDENCE, STRONG_SHARE = 0.3, 0.35
# so many cells of the image, cut into this many columns and rows, must hold two or more inliers: a pose from a single
# poster far away is anything but certain, however many inliers the poster has
CELL_COLUMNS, CELL_ROWS, MIN_CELLS = 6, 4, 3
# pixels as of a camera of this focal length: the same angles in any other, but not less than keypoints are exact to
FOCAL_PX, SMALLEST_SCALE = 525.0, 0.5
CHECK_RADIUS_PX = 5.0
SEARCH_RADII_PX = (12.0, 6.0)
SEARCH_CANDIDATES = 4
SAME_POINT_M = 0.01
# around a pose landmarks are looked for in the voxels that were searched, and in those that come so near to the camera
AROUND_M = 2.5
# so many landmarks agree by chance with some pose or other; an alternative has more
MIN_ALTERNATIVE = 8


@dataclass(frozen=True)
class View:
    """One image as the search sees it: features, their undistorted rays (N, 2), the camera at the image's size, and
    the voxels to search (None: all) with how the features compare with all others.
    """

    features: Features
    rays: FloatArray
    camera: Camera
    voxels: IntArray | None = None
    comparison: Comparison | None = None

    @property
    def focal_px(self) -> float:
        """The mean focal length: what turns a normalized coordinate into pixels."""
        return float(np.sqrt(self.camera.matrix[0, 0] * self.camera.matrix[1, 1]))

    @property
    def scale(self) -> float:
        """What thresholds in pixels are multiplied by in this image."""
        return max(self.focal_px / FOCAL_PX, SMALLEST_SCALE)


@dataclass(frozen=True)
class Evidence:
    """How many different landmarks, matched without knowing the pose, agree with it: all of them, those matched
    confidently, and in how many parts of the image. Matches found by looking where a pose says are no evidence for it.
    """

    inliers: int
    strong: int
    cells: int

    def suffices(self, needed: int) -> bool:
        """Whether this is more than chance, where ``needed`` inliers are."""
        return self.inliers >= needed and self.strong >= STRONG_SHARE * needed and self.cells >= MIN_CELLS


@dataclass(frozen=True)
class Solution:
    """A pose in the adjusted map, before it is corrected and judged.

    ``information`` (6, 6) as of :func:`~neumap_ros.core.pose.refine_pose`; ``keypoint`` (M,), ``points`` (M, 3) and
    ``error_px`` (M,) are the matches it was refined on. ``rival_m`` is how far away another pose is that explains the
    image about as well; 0 where none was found.
    """

    camera_from_map: FloatArray
    information: FloatArray
    evidence: Evidence
    keypoint: IntArray
    points: FloatArray
    error_px: FloatArray
    rival_m: float = 0.0


class PoseSearch:
    """Searches in one map; where not to ``choose`` voxels, in all that are given, however many."""

    def __init__(self, neural_map: NeuralMap, choose: bool = True) -> None:
        self._grid = neural_map.grid
        self._index = _voxel_index(neural_map) if choose else None
        self._needed = neural_map.calibration.min_inliers
        self._nearest = NearestDecoder(neural_map)
        self._learned = _learned_decoder(neural_map, self._nearest)
        self._only_learned = neural_map.only_network
        self._trusted = bool(neural_map.decoder_id)
        self._ransac = RansacSettings()

    def __call__(self, view: View, voxels: IntArray | None, times: dict[str, float]) -> Solution | None:
        """The pose with the most evidence; None where no two guesses agree. ``times`` collects milliseconds per stage.

        Of many ``voxels`` (None: all) those are searched that the image shows most likely.
        """
        view = self._described(view, times)
        found: Solution | None = None
        for attempt in self._attempts(view, voxels, times):
            solution = self._solve(attempt, times)
            found = solution or found if found is None or solution is None else better_of(found, solution)
            if found is not None and found.evidence.suffices(round(FOUND * self._needed)):
                break
        return found

    def _attempts(self, view: View, voxels: IntArray | None, times: dict[str, float]) -> Iterator[View]:
        """What to search: the likeliest of the voxels, and then more of them; or all at once where they are few."""
        count = len(self._grid) if voxels is None else len(voxels)
        if self._index is None or count <= MOST_VOXELS:
            yield replace(view, voxels=voxels)
            return
        comparison = Comparison(self._index, view.features.descriptors)
        for voters, most in ((VOTERS, MOST_VOXELS), (len(view.features), MORE_VOXELS)):
            started = time.perf_counter()
            chosen = self._index.rank(comparison.first(min(voters, len(view.features))), voxels)[:most]
            times["decode"] = times.get("decode", 0.0) + (time.perf_counter() - started) * 1e3
            yield replace(view, voxels=chosen, comparison=comparison)

    def _solve(self, view: View, times: dict[str, float]) -> Solution | None:
        """The pose with the most evidence in the view's voxels; None where no two guesses agree.

        A network trained on one scene is sure of itself in any other, so that only what the nearest decoder finds bears
        witness there. The frozen decoder's attention was trained where most keypoints show nothing of the map.
        """
        voxels = view.voxels
        count = len(view.features)
        split = min(FIRST_KEYPOINTS, count)
        settled = round(SETTLED * self._needed)
        witness = guesses = self._decode(self._nearest, view, 0, split, voxels, times)
        if self._learned is not None and self._only_learned:
            guesses = self._decode(self._learned, view, 0, split, voxels, times)
        poses = self._guess(guesses, view, times, self._ransac)
        more = split < count or (self._learned is not None and not self._only_learned)
        if more and not any(count_evidence(pose, witness, view).suffices(settled) for pose in poses):
            if split < count:
                rest = self._decode(self._nearest, view, split, count, voxels, times)
                witness = pool([witness, rest])
                if not self._only_learned:
                    guesses = witness
                    poses += self._guess(guesses, view, times, self._ransac)
            enough = any(count_evidence(pose, witness, view).suffices(self._needed) for pose in poses)
            if self._learned is not None and (self._only_learned or not enough):
                learned = self._decode(self._learned, view, 0, count, voxels, times)
                guesses = learned if self._only_learned else pool([witness, learned])
                if self._trusted:
                    witness = guesses
                poses += self._guess(guesses, view, times, self._ransac)
        if not poses:
            return None
        best = max(poses, key=lambda pose: count_evidence(pose, witness, view).inliers)
        solution = self._refine(best, witness, view, times)
        if solution is not None and self._needed <= solution.evidence.inliers < RIVALRY * self._needed:
            return self._against_rivals(solution, guesses, witness, view, times)
        return solution

    def _against_rivals(
        self, solution: Solution, guesses: Hypotheses, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution:
        """The better of the solution and of what other samples lead to, with how far away the other one is."""
        for seed in RIVAL_SEEDS:
            settings = replace(self._ransac, by_confidence=False, seed=seed)
            for pose in self._guess(guesses, view, times, settings):
                enough = RIVAL_SHARE * solution.evidence.inliers
                if not apart(pose, solution.camera_from_map) or count_evidence(pose, witness, view).inliers < enough:
                    continue
                rival = self._refine(pose, witness, view, times)
                if rival is None or not apart(rival.camera_from_map, solution.camera_from_map):
                    continue
                worse, better = sorted((rival, solution), key=lambda one: len(one.keypoint))
                alike = len(worse.keypoint) > RIVAL_SHARE * len(better.keypoint)
                distance = geometry.invert_pose(worse.camera_from_map) - geometry.invert_pose(better.camera_from_map)
                rival_m = float(np.linalg.norm(distance[:3, 3])) if alike else 0.0
                solution = replace(better, rival_m=max(solution.rival_m, rival_m))
        return solution

    def alternatives(
        self, view: View, known: Sequence[FloatArray], voxels: IntArray | None, most: int
    ) -> list[Solution]:
        """Up to ``most`` poses that agree with what of the image does not agree with the poses ``known``
        (``camera_from_map``), nor with each other.
        """
        view = self._described(view, {})
        *_, view = self._attempts(view, voxels, {})
        rest = self._nearest.decode(view.features, view.voxels)
        poses = list(known)
        found: list[Solution] = []
        for _ in range(most):
            for pose in poses[-1:] if found else poses:
                rest = rest.select(~agreeing(pose, rest, view))
            guessed = self._guess(rest, view, {}, self._ransac)
            solution = self._refine(guessed[0], rest, view, {}) if guessed else None
            if solution is None or solution.evidence.inliers < MIN_ALTERNATIVE:
                break
            poses.append(solution.camera_from_map)
            found.append(solution)
        return found

    def _described(self, view: View, times: dict[str, float]) -> View:
        """The view with its features as the map compares them."""
        started = time.perf_counter()
        view = replace(view, features=self._nearest.describe(view.features))
        times["decode"] = times.get("decode", 0.0) + (time.perf_counter() - started) * 1e3
        return view

    def _decode(
        self, decoder: Decoder, view: View, first: int, last: int, voxels: IntArray | None, times: dict[str, float]
    ) -> Hypotheses:
        """Hypotheses for the keypoints from ``first`` to ``last``; of a large map only those that hold for no other
        part of it: rooms look alike, and the likeliest voxels need not hold all that do.
        """
        started = time.perf_counter()
        found = decoder.decode(view.features.select(np.arange(first, last)), voxels, view.rays[first:last])
        found = replace(found, keypoint=found.keypoint + first)
        if view.comparison is not None:
            found = found.select(view.comparison.distinct(found.keypoint, self._grid.holding(found.points)))
        times["decode"] = times.get("decode", 0.0) + (time.perf_counter() - started) * 1e3
        return found

    def _guess(
        self, guesses: Hypotheses, view: View, times: dict[str, float], settings: RansacSettings
    ) -> list[FloatArray]:
        """The pose ``camera_from_map`` that most guesses agree with; empty where no two do."""
        started = time.perf_counter()
        settings = replace(settings, max_error_px=view.scale * settings.max_error_px)
        found = ransac_pose(view.rays[guesses.keypoint], guesses.points, view.focal_px, settings)
        times["pnp"] = times.get("pnp", 0.0) + (time.perf_counter() - started) * 1e3
        return [] if found is None else [found[0]]

    def _refine(
        self, camera_from_map: FloatArray, witness: Hypotheses, view: View, times: dict[str, float]
    ) -> Solution | None:
        """The pose refined on landmarks, with the ``witness`` guesses that agree; None where too few landmarks do."""
        started = time.perf_counter()
        solution = self._refined(camera_from_map, witness, view)
        times["refine"] = times.get("refine", 0.0) + (time.perf_counter() - started) * 1e3
        return solution

    def _refined(self, camera_from_map: FloatArray, witness: Hypotheses, view: View) -> Solution | None:
        """Refine on landmarks looked for around their projections, in two rounds of narrowing search."""
        keypoints, landmarks, alike = self._candidates(camera_from_map, view)
        pose, information = camera_from_map, np.eye(6)
        chosen = np.zeros(0, np.int64)
        for radius in SEARCH_RADII_PX:
            error = self._errors(pose, view, keypoints, landmarks)
            near = np.flatnonzero(error < view.scale * radius)
            score = alike[near] - 0.01 * error[near] / (view.scale * radius)
            chosen = near[mutual_best(keypoints[near], landmarks[near], score)]
            if len(chosen) < 6:
                return None
            rays, points = view.rays[keypoints[chosen]], self._nearest.points[landmarks[chosen]]
            pose, information = refine_pose(pose, rays, points, view.focal_px)
        error = self._errors(pose, view, keypoints[chosen], landmarks[chosen])
        fits = error < view.scale * CHECK_RADIUS_PX
        return Solution(
            camera_from_map=pose,
            information=information,
            evidence=count_evidence(pose, witness, view),
            keypoint=keypoints[chosen][fits],
            points=self._nearest.points[landmarks[chosen]][fits],
            error_px=error[fits],
        )

    def _errors(self, pose: FloatArray, view: View, keypoints: IntArray, landmarks: IntArray) -> FloatArray:
        points = self._nearest.points[landmarks]
        return np.asarray(np.linalg.norm(residuals_px(pose, view.rays[keypoints], points, view.focal_px), axis=1))

    def _candidates(self, camera_from_map: FloatArray, view: View) -> tuple[IntArray, IntArray, Float32Array]:
        """Keypoints, landmarks and their similarity, of all pairs that look alike and are close in the image."""
        rows = self._rows_around(camera_from_map, view)
        seen = geometry.transform_points(camera_from_map, self._nearest.points[rows])
        in_front = np.flatnonzero(seen[:, 2] > 0.1)
        where = seen[in_front, :2] / seen[in_front, 2:]
        inside = ((where > view.rays.min(axis=0)) & (where < view.rays.max(axis=0))).all(axis=1)
        visible, where = in_front[inside], where[inside]
        visible = visible if isinstance(rows, slice) else rows[visible]
        if not len(visible):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        radius = view.scale * SEARCH_RADII_PX[0] / view.focal_px
        _, near = cKDTree(view.rays).query(where, k=SEARCH_CANDIDATES, distance_upper_bound=radius, workers=-1)
        row, column = np.nonzero(near < len(view.rays))
        keypoint, landmark = near[row, column], visible[row]
        alike = np.einsum("ij,ij->i", view.features.descriptors[keypoint], self._nearest.descriptors[landmark])
        good = alike > self._nearest.min_similarity
        return keypoint[good], landmark[good], alike[good]

    def _rows_around(self, camera_from_map: FloatArray, view: View) -> slice | IntArray:
        """The landmarks to look for: of a large map only those of the voxels searched, and around the camera."""
        if view.voxels is None:
            return slice(None)
        around = self._grid.within(geometry.invert_pose(camera_from_map)[:3, 3], AROUND_M)
        return rows_of_voxels(self._nearest.offsets, np.concatenate([view.voxels, around]))


def _voxel_index(neural_map: NeuralMap) -> VoxelIndex | None:
    """What chooses voxels of a large map; None for any other, and where there are no latents."""
    if not neural_map.decoder_id or len(neural_map.grid) <= MOST_VOXELS or len(neural_map.landmarks) < LARGE:
        return None
    codes, codebook, cells = neural_map.landmarks, shipped_decoder().codebook, neural_map.grid.cells
    return VoxelIndex(codes.descriptors, codebook.decode(codes.descriptors), codebook.words[0], codes.offsets, cells)


def _learned_decoder(neural_map: NeuralMap, nearest: NearestDecoder) -> Decoder | None:
    """What guesses besides the nearest decoder, where the map has it."""
    if neural_map.decoder_id:
        return AttentionDecoder(nearest)
    return TransformerDecoder(neural_map) if neural_map.network is not None else None


def better_of(one: Solution, other: Solution) -> Solution:
    """The one with more evidence; where the other is elsewhere and has about as much, it is a rival."""
    worse, better = sorted((one, other), key=lambda solution: solution.evidence.inliers)
    alike = worse.evidence.inliers > RIVAL_SHARE * better.evidence.inliers
    if not alike or not apart(worse.camera_from_map, better.camera_from_map):
        return better
    distance = geometry.invert_pose(worse.camera_from_map) - geometry.invert_pose(better.camera_from_map)
    return replace(better, rival_m=max(better.rival_m, float(np.linalg.norm(distance[:3, 3]))))


def apart(one: FloatArray, other: FloatArray) -> bool:
    """Whether two poses ``camera_from_map`` are two."""
    error = geometry.pose_error(geometry.invert_pose(one), geometry.invert_pose(other))
    return bool(np.linalg.norm(error[:3]) > RIVAL_M or np.linalg.norm(error[3:]) > RIVAL_RAD)


def agreeing(camera_from_map: FloatArray, guesses: Hypotheses, view: View) -> BoolArray:
    """Which of the guesses (M,) a pose projects to where their keypoints are."""
    error = residuals_px(camera_from_map, view.rays[guesses.keypoint], guesses.points, view.focal_px)
    return np.asarray(np.linalg.norm(error, axis=1) < view.scale * CHECK_RADIUS_PX)


def count_evidence(camera_from_map: FloatArray, guesses: Hypotheses, view: View) -> Evidence:
    """What of ``guesses``, made without knowing the pose, agrees with it."""
    agree = agreeing(camera_from_map, guesses, view)

    def different(chosen: BoolArray) -> int:
        places = np.unique(np.rint(guesses.points[chosen] / SAME_POINT_M).astype(np.int64), axis=0)
        return min(len(places), len(np.unique(guesses.keypoint[chosen])))

    pixels = view.features.pixels[guesses.keypoint[agree]]
    column = np.clip(pixels[:, 0] * CELL_COLUMNS // view.camera.width, 0, CELL_COLUMNS - 1)
    row = np.clip(pixels[:, 1] * CELL_ROWS // view.camera.height, 0, CELL_ROWS - 1)
    held = np.bincount((row * CELL_COLUMNS + column).astype(np.int64), minlength=1)
    return Evidence(
        inliers=different(agree),
        strong=different(agree & (guesses.confidence > STRONG_CONFIDENCE)),
        cells=int((held >= 2).sum()),
    )
