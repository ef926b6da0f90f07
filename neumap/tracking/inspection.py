"""The search of one image: the region to search, and the search itself, which runs on the worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neumap.arrays import ImageArray, IntArray
from neumap.errors import MapFileError
from neumap.localization.lens import fit
from neumap.localization.localizer import Localizer
from neumap.localization.query import Near, Query, Scope
from neumap.maps.map_file import load_map
from neumap.maps.neural_map import NeuralMap
from neumap.records import Alternative, Camera, Frame, Intrinsics, PoseEstimate
from neumap.tracking.fix import Fix, claimed_near, predict
from neumap.tracking.ports import Transforms
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import ONE_CAMERA, UNSURE_IMAGES, State, Track

# SURE: multiple of the inliers that a pose needs with which one image is enough to start tracking.
SURE = 3.0
# GLANCE: multiple of the inliers that a pose needs in the image before, with which a glance mostly suffices.
GLANCE = 4.0


@dataclass(frozen=True)
class OpenMap:
    """A map in use: its file and its localizer."""

    path: Path
    localizer: Localizer

    @property
    def map(self) -> NeuralMap:
        """The map itself."""
        return self.localizer.map

    def is_sure(self, evidence: int) -> bool:
        """Return whether one image with this evidence is enough to start tracking."""
        return evidence >= SURE * self.map.calibration.min_inliers

    def is_sure_of_many(self, evidence: int) -> bool:
        """Return the same of a joint search, which later ones cannot confirm, since they share images with it."""
        return evidence >= UNSURE_IMAGES * self.map.calibration.min_inliers

    def may_glance(self, evidence: int) -> bool:
        """Return whether a glance may suffice for the image after one with this evidence."""
        return evidence >= GLANCE * self.map.calibration.min_inliers

    def __str__(self) -> str:
        held = f"{len(self.map.landmarks)} landmarks in {len(self.map.grid)} voxels"
        return f"map {self.path}, id {self.map.map_id}: {held}, decoder {self.map.decoder}"


def open_map(path: str) -> OpenMap:
    """Load a map. Raises :class:`~neumap.errors.MapFileError` that says what is wrong with it."""
    if not path:
        raise MapFileError("no map is given: set the parameter 'map' to the path of a .neumap file")
    # of an unknown user it leaves ~user as it is, where Path.expanduser raises
    expanded = Path(os.path.expanduser(path))
    return OpenMap(expanded, Localizer(load_map(expanded)))


def open_warm_map(path: str) -> OpenMap:
    """Load a map and search it once, so that the first image of the camera does not pay for what is made on first use.

    In a thread that ends with this: OpenMP keeps a team of threads for each thread that ever asked for one, and a team
    of the caller's, beside that of the worker, would be more threads than cores. Raises as :func:`open_map`.
    """

    def make() -> OpenMap:
        opened = open_map(path)
        noise = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
        voxels_near(opened.map, Near(np.zeros(3), 0.0))
        opened.localizer.localize(noise, Camera(320, 240, np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])))
        return opened

    with ThreadPoolExecutor(1) as passing:
        return passing.submit(make).result()


@dataclass(frozen=True)
class Where:
    """The regions to search: near the ``tracked`` and near the ``claimed`` pose, if any.

    The first search is ``around`` in the whole map, on a request (``asks``) and from time to time, else near the
    tracked pose, with a ``glance`` first if that may suffice. A pose less certain than ``max_sigma_m`` is refused.
    """

    tracked: Near | None = None
    claimed: Near | None = None
    asks: bool = False
    max_sigma_m: float = float("inf")
    around: bool = True
    glance: bool = False

    @property
    def first(self) -> Near | None:
        """The region of the first search; None: the whole map."""
        return None if self.around else self.tracked


def where_to_search(
    track: Track,
    prior: Fix | None,
    asked: bool,
    camera_frame: str,
    now_ns: int,
    transforms: Transforms,
    settings: Settings,
    due: bool = False,
    glance: bool = False,
) -> Where:
    """Return the regions to search now: near the tracked pose, or in the whole map if that is ``due`` or ``asked``.

    And near the claimed ``prior``; ``glance`` permits a glance first.
    """
    odom_from_base = transforms.odom_from_base()
    tracked = claimed = None
    tracking = track.state is State.TRACKING and track.fix is not None
    if tracking and track.fix is not None and settings.voxel_radius > 0:
        expected = predict(track.fix, now_ns, odom_from_base, settings)
        tracked = Near(expected.map_from_base[:3, 3], settings.voxel_radius)
    if prior is not None and camera_frame:
        base_from_camera = transforms.base_from_camera(camera_frame)
        if base_from_camera is not None:
            expected = predict(prior, now_ns, odom_from_base, settings)
            claimed = claimed_near(expected, base_from_camera, settings.max_sigma_m)
    around = asked or due or not tracking
    return Where(tracked, claimed, asked, settings.max_sigma_m, around, glance and not around)


@dataclass(frozen=True)
class Shot:
    """A live image of a ``camera`` before its search; the worker decodes its pixels (H, W).

    ``lenses`` returns the possible camera models for a width and height.
    """

    stamp_ns: int
    frame_id: str
    read_image: Callable[[], ImageArray]
    lenses: Callable[[tuple[int, int]], tuple[Intrinsics, ...]]
    camera: str = ""


@dataclass(frozen=True)
class Finding:
    """The result of searching one image: its frame with pixels (H, W), its ``query`` and the estimate.

    ``through`` holds the estimates with each possible lens by origin, ``alternatives`` other places that look alike, on
    request. An image that looks like several places has no pose in the whole map; it may have one near the claimed pose
    (``by_claim``) or near the tracked one (``by_track``). The estimate may come from a joint search (``together``) of
    several ``cameras``, that of the frame first.
    """

    frame: Frame
    pixels: ImageArray
    query: Query
    estimate: PoseEstimate
    through: Mapping[str, PoseEstimate]
    by_claim: PoseEstimate | None = None
    by_track: PoseEstimate | None = None
    alternatives: tuple[Alternative, ...] = ()
    together: bool = False
    cameras: tuple[str, ...] = ONE_CAMERA

    @property
    def best(self) -> PoseEstimate:
        """The estimate with a pose, if any: near the claim, near the track, or in the whole map."""
        return self.by_claim or self.by_track or self.estimate


def inspect(opened: OpenMap, shot: Shot, where: Where) -> Finding:
    """Search an image in the map.

    Raises :class:`~neumap.errors.DataError` for an image that is damaged or does not fit its calibration.
    """
    localizer = opened.localizer
    pixels = shot.read_image()
    lenses = shot.lenses((pixels.shape[1], pixels.shape[0]))
    queries = localizer.looks(pixels, [lens.camera for lens in lenses], where.glance)

    def locate(query: Query, within: Near | None, near: Near | None = None) -> PoseEstimate:
        return localizer.locate(query, Scope(voxels_near(opened.map, within), near))

    estimates = [locate(query, where.first) for query in queries]
    # the first lens, if none fits
    best = max(range(len(lenses)), key=lambda i: fit(estimates[i]))
    query, lens = queries[best], lenses[best]
    frame = Frame(
        str(shot.stamp_ns), shot.stamp_ns, lens.camera, lambda: pixels, frame_id=shot.frame_id, lenses=(lens,)
    )
    through = {lens.origin: estimate for lens, estimate in zip(lenses, estimates, strict=True)}
    estimate = estimates[best].certain(where.max_sigma_m)
    finding = Finding(frame, pixels, query, estimate, through, cameras=(shot.camera,))
    in_doubt = where.around and not finding.estimate.localized
    if in_doubt and where.claimed is not None:
        seen_from_there = replace(where.claimed, radius_m=where.claimed.radius_m + opened.map.sight_m)
        found = locate(query, seen_from_there, where.claimed).certain(where.max_sigma_m)
        finding = replace(finding, by_claim=found if found.localized else None)
    if in_doubt and where.tracked is not None:
        found = locate(query, where.tracked).certain(where.max_sigma_m)
        finding = replace(finding, by_track=found if found.localized else None)
    if where.asks:
        known = [] if finding.best.map_from_camera is None else [finding.best.map_from_camera]
        finding = replace(finding, alternatives=tuple(localizer.alternatives(query, known)))
    return finding


def voxels_near(neural_map: NeuralMap, near: Near | None) -> IntArray | None:
    """Return the indices of voxels in sight from a region; None if these are all voxels."""
    if near is None:
        return None
    voxels = neural_map.grid.within(near.position, max(near.radius_m, neural_map.sight_m))
    return None if len(voxels) == len(neural_map.grid) else voxels
