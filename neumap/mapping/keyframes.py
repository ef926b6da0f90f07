"""The mapping images as arrays: every keypoint of every image in one structure, images told apart by an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from threading import local
from typing import Any, TypeVar

import numpy as np
import torch

from neumap.arrays import BoolArray, Float32Array, FloatArray, ImageArray, IntArray
from neumap.errors import MappingError, UnreadableError
from neumap.features import extractor_class, make_extractor
from neumap.features.extractor import Extractor, FeatureSettings, Similarities
from neumap.geometry import cameras
from neumap.mapping.work import NOWHERE, Arrays, Rows, Work
from neumap.process import usable_cores
from neumap.records import Camera, Frame

Result = TypeVar("Result")

# DEPTH_SPREAD_M, DEPTH_SPREAD_RATIO: a depth whose 5x5 surroundings spread more, in metres and for each metre of depth,
# is at an edge, where colour and depth do not agree.
DEPTH_SPREAD_M, DEPTH_SPREAD_RATIO = 0.03, 0.03
# FEWEST_KEYPOINTS: an image with fewer is blank, dark or blurred.
FEWEST_KEYPOINTS = 20
# MEASURED_SHARE: of keypoints with depth from which on it counts as measured.
MEASURED_SHARE = 0.05


@dataclass(frozen=True)
class Keyframes:
    """F images with N keypoints in all, ordered by image.

    ``map_from_camera`` (F, 4, 4); ``focal_px`` (F,); ``offsets`` (F + 1,): keypoints of image i are
    ``offsets[i]:offsets[i + 1]``; ``image`` (N,) int32; ``rays`` (N, 2) undistorted normalized coordinates;
    ``depth`` (N,) metres, 0 where unknown; ``size`` and ``angle`` (N,) as in Features; ``descriptors`` and ``coarse``
    (N, D) and (N, C) float16, compared by the extractor's ``similarities``, in memory or in the folder of ``work``,
    where ``keys`` are those of the images, if it has one; ``quick`` (N,), which of them a quick look shows. ``frames``
    are those that the images are of, where they were read. ``view`` (4,) is the field of view all images share: x and
    y of the left, top, right and bottom edge in normalized coordinates.
    """

    map_from_camera: FloatArray
    focal_px: FloatArray
    offsets: IntArray
    image: IntArray
    rays: FloatArray
    depth: Float32Array
    size: Float32Array
    angle: Float32Array
    descriptors: Rows
    coarse: Rows
    quick: BoolArray
    view: FloatArray
    depth_measured: bool
    similarities: Similarities
    work: Work = NOWHERE
    keys: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()

    def __len__(self) -> int:
        return len(self.map_from_camera)

    def slice(self, i: int) -> slice:
        """Tell where the keypoints of image ``i`` are."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))

    def pick(self, images: IntArray) -> Keyframes:
        """Return these images alone, in this order."""
        of_image = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in images]
        rows, counts = np.concatenate(of_image), np.diff(self.offsets)[images]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        keys = tuple(self.keys[i] for i in images) if self.keys else ()
        each: dict[str, Any] = {n: getattr(self, n)[rows] for n in ("rays", "depth", "size", "angle", "quick")}
        for name in IN_WORK:
            looks = getattr(self, name)
            each[name] = self.work.rows(name, keys, offsets, looks.shape[1]) if keys else looks[rows]
        return replace(
            self,
            map_from_camera=self.map_from_camera[images],
            focal_px=self.focal_px[images],
            offsets=offsets,
            image=np.repeat(np.arange(len(images), dtype=np.int32), counts),
            keys=keys,
            frames=tuple(self.frames[i] for i in images) if self.frames else (),
            **each,
        )

    def rays3(self, rows: Any = np.s_[:]) -> FloatArray:
        """Return homogeneous rays (N, 3), of all keypoints or of some."""
        rays = self.rays[rows]
        return np.concatenate([rays, np.ones((len(rays), 1))], axis=1)

    def points(self, map_from_camera: FloatArray, rows: Any = np.s_[:]) -> FloatArray:
        """Return the points (N, 3) of all keypoints or of some, by depth, from cameras at ``map_from_camera``
        (F, 4, 4).
        """
        pose = map_from_camera[self.image[rows]]
        points = self.rays3(rows) * self.depth[rows, None]
        return np.asarray(np.einsum("nij,nj->ni", pose[:, :3, :3], points) + pose[:, :3, 3])


def depth_at(depth: Float32Array, pixels: Float32Array) -> Float32Array:
    """Return depths (N,), metres, at pixels (N, 2): the median of 5x5, 0 at depth edges and where half is unknown."""
    height, width = depth.shape
    if height < 5 or width < 5:
        return np.zeros(len(pixels), np.float32)
    x = np.clip(np.rint(pixels[:, 0]).astype(np.int64), 2, width - 3)
    y = np.clip(np.rint(pixels[:, 1]).astype(np.int64), 2, height - 3)
    around = np.arange(-2, 3)
    window = depth[y[:, None, None] + around[:, None], x[:, None, None] + around].reshape(len(pixels), 25)
    known = np.sort(np.where(window > 0, window, np.inf), axis=1)
    count = np.isfinite(known).sum(axis=1)
    row, last = np.arange(len(pixels)), np.maximum(count - 1, 0)
    median = known[row, last // 2]
    with np.errstate(invalid="ignore"):
        spread = known[row, last * 9 // 10] - known[row, last // 10]
        good = (count >= 13) & (spread < DEPTH_SPREAD_M + DEPTH_SPREAD_RATIO * median)
    return np.where(good, median, 0).astype(np.float32)


def ordered_map(function: Callable[[Frame], Result], frames: Sequence[Frame], workers: int) -> Iterator[Result]:
    """Map over threads, in order, never more than a few results ahead of the consumer."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[Result]] = []
        try:
            for frame in frames:
                waiting.append(pool.submit(function, frame))
                if len(waiting) > 2 * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


# IN_WORK: what is left in the work folder of what is kept of an image: most of it by far.
IN_WORK = ("descriptors", "coarse")


def extract_keyframes(
    frames: Sequence[Frame],
    settings: FeatureSettings,
    use_depth: bool,
    progress: Callable[[int], object] = lambda done: None,
    work: Work = NOWHERE,
) -> Keyframes:
    """Extract features (and depths) of posed frames; those that are in the folder of ``work`` are taken from there.

    ``progress`` is called with 1 after each image; those that are unreadable are left out. Raises
    :class:`~neumap.errors.MappingError` where fewer than two images have features, and what the frames' readers raise.
    """
    if any(frame.map_from_camera is None for frame in frames):
        raise MappingError("a frame without a pose cannot be mapped")
    per_thread = local()

    def one(frame: Frame) -> tuple[str, dict[str, np.ndarray]] | None:
        if not hasattr(per_thread, "extractor"):
            per_thread.extractor = make_extractor(settings)
        try:
            image = frame.read_image()
        except UnreadableError:
            return None
        depth = frame.read_depth() if use_depth and frame.read_depth is not None else None
        follows_from = ("features", settings.extractor, settings, *astuple(frame.camera), image, depth)
        key, arrays = work.recall(follows_from, lambda: _seen(per_thread.extractor, frame.camera, image, depth))
        return key, {name: value for name, value in arrays.items() if not key or name not in IN_WORK}

    tried = []
    # as many as torch was told to take: the one limit of the process
    for each in ordered_map(one, frames, min(torch.get_num_threads(), usable_cores())):
        tried.append(each)
        progress(1)
    frames = [frame for frame, each in zip(frames, tried, strict=True) if each is not None]
    keys, seen = zip(*(each for each in tried if each is not None), strict=True) if frames else ((), ())
    counts = np.array([len(each["rays"]) for each in seen], dtype=np.int64)
    if (counts >= FEWEST_KEYPOINTS).sum() < 2:
        raise MappingError(
            f"fewer than two images have {FEWEST_KEYPOINTS} or more keypoints: they are blank, dark or blurred"
        )
    kind, offsets = extractor_class(settings.extractor), np.concatenate([[0], np.cumsum(counts)])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([each.pop(name) for each in seen])

    widths = dict(zip(IN_WORK, (kind.descriptor_size, kind.coarse_size), strict=True))
    looks = {name: work.rows(name, keys, offsets, widths[name]) if keys[0] else joined(name) for name in IN_WORK}
    depth = joined("depth")
    return Keyframes(
        map_from_camera=np.array([frame.map_from_camera for frame in frames], dtype=np.float64),
        focal_px=np.array([focal(frame) for frame in frames]),
        offsets=offsets,
        image=np.repeat(np.arange(len(frames), dtype=np.int32), counts),
        rays=joined("rays"),
        depth=depth,
        size=joined("size"),
        angle=joined("angle"),
        **looks,
        quick=joined("quick"),
        view=field_of_view(frames[0]),
        depth_measured=bool((depth > 0).mean() > MEASURED_SHARE),
        similarities=kind.similarities,
        work=work,
        keys=keys if keys[0] else (),
        frames=tuple(frames),
    )


def _seen(extractor: Extractor, camera: Camera, image: ImageArray, depth: Float32Array | None) -> Arrays:
    """Return what is kept of one image, named as in :class:`Keyframes`: not its pixels, nor descriptors at full
    precision, which would be most of the memory that mapping takes.
    """
    first = extractor.quick(image)
    features = extractor.whole(image, first)
    quick = np.arange(len(features)) < len(first)
    rays = cameras.normalize(camera, features.pixels)
    good = np.asarray(np.isfinite(rays).all(axis=1))
    features, rays, quick = features.select(good), rays[good], quick[good]
    return {
        "rays": rays,
        "depth": np.zeros(len(features), np.float32) if depth is None else depth_at(depth, features.pixels),
        "size": features.size,
        "angle": features.angle,
        "descriptors": features.descriptors.astype(np.float16),
        "coarse": features.coarse.astype(np.float16),
        "quick": quick,
    }


def focal(frame: Frame) -> float:
    """Return the mean focal length in pixels: what turns a normalized coordinate into an error in pixels."""
    return float(np.sqrt(frame.camera.matrix[0, 0] * frame.camera.matrix[1, 1]))


def field_of_view(frame: Frame) -> FloatArray:
    """Return left, top, right and bottom edge (4,) of an image, normalized coordinates, at the middle of each side."""
    c = frame.camera
    middle = np.array([[0, c.height / 2], [c.width / 2, 0], [c.width, c.height / 2], [c.width / 2, c.height]])
    edges = cameras.normalize(replace(c, mask=None), middle)
    pinhole = (middle - c.matrix[:2, 2]) / c.matrix[[0, 1], [0, 1]]
    edges = np.where(np.isfinite(edges), edges, pinhole)
    return np.array([edges[0, 0], edges[1, 1], edges[2, 0], edges[3, 1]])
