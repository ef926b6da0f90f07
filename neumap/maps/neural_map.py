"""The map in memory: landmarks with codes in a grid of voxels, the drift field, and the calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from neumap.arrays import FloatArray, IntArray
from neumap.features.extractor import FeatureSettings
from neumap.maps import DESCRIPTOR, LATENT
from neumap.maps.drift import DriftField, evenly
from neumap.maps.recording import Recording
from neumap.model.codebooks import CODEBOOK_EXTRACTOR, Codes
from neumap.model.weights import shipped_weights

# VOXEL_M: edge of a voxel, metres; a room has few enough voxels to search all of them.
VOXEL_M = 5.0
# MIN_VOXEL_LANDMARKS: voxels with fewer landmarks are dropped, since isolated landmarks are outliers. MOST_LEFT_OUT:
# share of the landmarks dropped at most: in a small map every voxel may hold few.
MIN_VOXEL_LANDMARKS, MOST_LEFT_OUT = 20, 0.05
# LEAST_SIGHT_M: least sight_m, metres, longer than a room. DIRECTION: width in normalized coordinates, 5 degrees, of a
# viewing direction; the nearest landmark in it occludes others, such as those of the next room. SIGHT_SHARE: share of
# the directions whose nearest landmark is within sight_m. ASKED: mapping cameras that it is computed from at most.
LEAST_SIGHT_M, DIRECTION, SIGHT_SHARE, ASKED = 8.0, 0.0875, 0.9, 16
# SMALL_ANCHOR_BITS, ANCHOR_BITS: bits of a coordinate in a small map and in others; 5 m in 1024 steps are accurate to
# 2.5 mm.
SMALL_ANCHOR_BITS, ANCHOR_BITS = 10, 16


@dataclass(frozen=True)
class VoxelGrid:
    """The occupied cells of a regular grid. ``cells`` (V, 3) int: cell c begins at ``origin + c * size_m`` and is
    ``size_m`` wide; ``origin`` (3,) is in metres in the map frame.
    """

    cells: IntArray
    size_m: float
    origin: FloatArray

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def corners(self) -> FloatArray:
        """The lowest corner (V, 3) of each voxel, metres in the map frame."""
        return np.asarray(self.origin + self.cells * self.size_m)

    def holding(self, points: FloatArray) -> IntArray:
        """Return the index (N,) of the voxel that holds each of ``points`` (N, 3) in the map frame; -1 for none."""
        low = self.cells.min(axis=0)
        shape = self.cells.max(axis=0) - low + 1
        at = np.floor((points - self.origin) / self.size_m).astype(np.int64) - low
        inside = ((at >= 0) & (at < shape)).all(axis=1)
        order = np.argsort(np.ravel_multi_index(tuple((self.cells - low).T), tuple(shape)))
        flat = np.ravel_multi_index(tuple((self.cells[order] - low).T), tuple(shape))
        wanted = np.ravel_multi_index(tuple(np.where(inside[:, None], at, 0).T), tuple(shape))
        found = np.minimum(np.searchsorted(flat, wanted), len(flat) - 1)
        return np.asarray(np.where(inside & (flat[found] == wanted), order[found], -1))

    def beside(self, voxels: IntArray) -> IntArray:
        """Return the indices of ``voxels`` and of those that touch one of them, corners included."""
        apart = np.abs(self.cells[:, None] - self.cells[voxels]).max(axis=2)
        return np.flatnonzero((apart <= 1).any(axis=1))

    def within(self, position: FloatArray, radius_m: float) -> IntArray:
        """Return the indices of voxels within ``radius_m`` of a ``position`` (3,) in the map frame."""
        beyond = np.maximum(np.maximum(self.corners - position, position - self.corners - self.size_m), 0)
        return np.flatnonzero(np.linalg.norm(beyond, axis=1) <= radius_m)


def group_into_voxels(points: FloatArray, size_m: float, min_points: int) -> tuple[VoxelGrid, IntArray]:
    """Return the grid of the voxels that hold ``points`` (N, 3), and the voxel (N,) of each point.

    The grid is centred on the bulk of the points, in as few voxels as it needs. Voxels of fewer than ``min_points`` are
    dropped, the emptiest first, with a share of ``MOST_LEFT_OUT`` of the points at most; the voxel of these is -1.
    """
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    count = np.maximum(np.ceil((high - low) / size_m), 1)
    # single precision, as the map file stores it
    origin = ((low + high) / 2 - count * size_m / 2).astype(np.float32).astype(np.float64)
    cells = np.floor((points - origin) / size_m).astype(np.int64)
    unique, inverse, held = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    ascending = np.sort(held)
    kept = held >= min(min_points, ascending[(np.cumsum(ascending) <= MOST_LEFT_OUT * len(points)).sum()])
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    return VoxelGrid(unique[kept], size_m, origin), number[inverse.reshape(-1)]


@dataclass(frozen=True)
class LandmarkCodes:
    """L codes ordered by voxel, most useful first within a voxel.

    ``anchors`` (L, 3) uint16: the position in the voxel in steps of its size / (2 ** ``anchor_bits`` - 1).
    ``descriptors`` (L, P) and ``coarse`` (L, Q) are product-quantized; in a map of latents ``descriptors`` are these,
    and Q is 0. ``offsets`` (V + 1,): the codes of voxel v are ``offsets[v]:offsets[v + 1]``.
    """

    anchors: npt.NDArray[np.uint16]
    descriptors: Codes
    coarse: Codes
    offsets: IntArray
    anchor_bits: int = ANCHOR_BITS

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def rank(self) -> FloatArray:
        """The relative rank (L,) of each landmark in its voxel, from 0, the most useful, to less than 1."""
        counts = np.diff(self.offsets)
        within = np.arange(len(self)) - np.repeat(self.offsets[:-1], counts)
        return np.asarray(within / np.repeat(np.maximum(counts, 1), counts))

    def points(self, grid: VoxelGrid) -> FloatArray:
        """Return the anchors (L, 3) in metres in the map frame."""
        corner = np.repeat(grid.corners, np.diff(self.offsets), axis=0)
        return np.asarray(corner + self.anchors * (grid.size_m / (2**self.anchor_bits - 1)))


def encode_anchors(
    points: FloatArray, voxel: IntArray, grid: VoxelGrid, bits: int = ANCHOR_BITS
) -> npt.NDArray[np.uint16]:
    """Encode points (L, 3) as anchors (L, 3) in their voxels (L,)."""
    most = 2**bits - 1
    steps = np.rint((points - grid.corners[voxel]) * (most / grid.size_m))
    return np.asarray(np.clip(steps, 0, most), dtype=np.uint16)


def lay_out(
    points: FloatArray, descriptors: Codes, coarse: Codes, anchor_bits: int, size_m: float, min_points: int
) -> tuple[VoxelGrid, LandmarkCodes]:
    """Make the grid and the codes of landmarks at ``points`` (N, 3) with ``descriptors`` (N, P) and ``coarse`` (N, Q).

    Voxels are of ``size_m``; those with fewer than ``min_points`` are dropped, see :func:`group_into_voxels`. Landmarks
    keep their order within a voxel.
    """
    grid, voxel = group_into_voxels(points, size_m, min_points)
    order = np.argsort(voxel, kind="stable")
    order = order[voxel[order] >= 0]
    points, voxel = points[order], voxel[order]
    codes = LandmarkCodes(
        anchors=encode_anchors(points, voxel, grid, anchor_bits),
        descriptors=descriptors[order],
        coarse=coarse[order],
        offsets=np.concatenate([[0], np.cumsum(np.bincount(voxel, minlength=len(grid)))]),
        anchor_bits=anchor_bits,
    )
    return grid, codes


@dataclass(frozen=True)
class Calibration:
    """Parameters of the covariance and the verdict, fitted on images set aside from mapping.

    ``pixel_sigma`` multiplies the standard deviation from reprojection errors; ``floor_share`` times the distance of
    the landmarks, and ``floor_rad``, are added in quadrature; ``inflation`` multiplies the whole standard deviation.
    ``min_inliers`` is the evidence that a pose needs (:attr:`neumap.localization.evidence.Evidence.weight`): more than
    in any of 660 images of other virtual rooms, of which one had 14, on a door that stands in both.
    """

    pixel_sigma: float = 1.5
    floor_share: float = 0.0005
    floor_rad: float = 0.0005
    inflation: float = 1.1
    min_inliers: int = 15


@dataclass(frozen=True)
class ExpectedAccuracy:
    """The accuracy on images set aside from mapping; shares are of all ``images``, which is 0 if there were none."""

    images: int = 0
    localized: float = float("nan")
    median_m: float = float("nan")
    median_deg: float = float("nan")
    within_5cm_5deg: float = float("nan")
    within_25cm_10deg: float = float("nan")
    in_90_percent_ellipsoid: float = float("nan")


@dataclass(frozen=True)
class NeuralMap:
    """All that a query needs. ``map_id`` is the hash of the content, set when the map is saved or loaded.

    ``decoder_id`` is that of the frozen decoder for a map of latents; empty for a map of descriptors. ``recordings``
    are the sources of the mapping images, as far as known.
    """

    features: FeatureSettings
    grid: VoxelGrid
    landmarks: LandmarkCodes
    drift: DriftField
    calibration: Calibration = field(default_factory=Calibration)
    expected: ExpectedAccuracy = field(default_factory=ExpectedAccuracy)
    frame_id: str = "map"
    mapping_images: int = 0
    seed: int = 0
    decoder_id: str = ""
    map_id: str = ""
    recordings: tuple[Recording, ...] = ()

    @property
    def decoder(self) -> str:
        """The kind of codes, one of :data:`~neumap.maps.DECODERS`."""
        return LATENT if self.decoder_id else DESCRIPTOR

    @property
    def bounds(self) -> FloatArray:
        """Lowest and highest landmark coordinates (2, 3) in metres in the map frame."""
        points = self.landmarks.points(self.grid)
        return np.stack([points.min(axis=0), points.max(axis=0)])

    @cached_property
    def sight_m(self) -> float:
        """How far cameras see, metres: some metres in a room, the distance of the facades in a courtyard."""
        points, nearest = self.landmarks.points(self.grid), [LEAST_SIGHT_M]
        for camera in self.drift.poses[evenly(len(self.drift.poses), ASKED)]:
            seen = (points - camera[:3, 3]) @ camera[:3, :3]
            seen = seen[seen[:, 2] > np.abs(seen[:, :2]).max(axis=1)]
            distance = np.linalg.norm(seen, axis=1)
            order = np.argsort(distance)
            _, first = np.unique((seen[:, :2] / seen[:, 2:])[order] // DIRECTION, axis=0, return_index=True)
            nearest += distance[order][first].tolist()
        return max(float(np.quantile(nearest, SIGHT_SHARE)), LEAST_SIGHT_M)


def mismatch(decoder: str, features: FeatureSettings) -> str:
    """Return why a decoder, one of :data:`~neumap.maps.DECODERS`, cannot read features; empty if it can."""
    reads = shipped_weights().extractor if decoder == LATENT else CODEBOOK_EXTRACTOR
    if features.extractor == reads:
        return ""
    return (
        f"the {decoder} decoder of this neumap reads {reads} features, not {features.extractor}: "
        f"map with {reads} features, or train another with 'neumap pretrain --extractor {features.extractor}'"
    )
