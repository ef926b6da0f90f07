"""Queries: the features of one image, or of several localized together, and the scope of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np
from scipy.spatial import cKDTree

from neumap.arrays import Float32Array, FloatArray, IntArray
from neumap.errors import DataError
from neumap.features.extractor import Features
from neumap.geometry import cameras, se3
from neumap.records import Camera

# USUAL_FOCAL_PX: focal length that thresholds in pixels refer to, that of a VGA camera with a common lens.
# SMALLEST_SCALE: least factor on such thresholds, since the accuracy of keypoints in pixels has a limit in any camera.
USUAL_FOCAL_PX, SMALLEST_SCALE = 525.0, 0.5


@dataclass(frozen=True)
class Query:
    """The features of one look at an image, extracted once for any number of searches.

    ``features`` has N keypoints; ``rays`` (N, 2) are their undistorted normalized coordinates; ``camera`` is scaled to
    the image's size. ``embeddings`` (N, D) are compared with all landmarks, ``looks`` (N, E) with single landmarks near
    their projections (:class:`~neumap.localization.matching.LandmarkIndex`). So a query belongs to the localizer that
    made it, and to others whose maps have the same decoder. ``more`` makes the query of the next longer look, or
    returns None if there are no other features; do not change the image meanwhile. ``glance``: this look was a glance.

    With several ``views`` (empty: this image alone) the keypoints of all are interleaved, the strongest of each first,
    the pose is that of the rig, and ``camera`` is that of the first view.
    """

    features: Features
    rays: FloatArray
    camera: Camera
    embeddings: Float32Array
    looks: Float32Array
    more: Callable[[], Query | None] | None = None
    glance: bool = False
    views: tuple[View, ...] = ()

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def longer(self) -> Query | None:
        """The query of the next longer look, made on first access; None if it has no other features."""
        return self.more() if self.more else None

    @property
    def whole(self) -> Query:
        """The query of the longest look."""
        return self if self.longer is None else self.longer.whole

    @cached_property
    def focal_px(self) -> float:
        """The mean focal length in pixels, which converts normalized coordinates to pixels."""
        return float(np.sqrt(self.camera.matrix[0, 0] * self.camera.matrix[1, 1]))

    @cached_property
    def scale(self) -> float:
        """The factor on thresholds in pixels, so that they are the same angles in any camera."""
        return max(self.focal_px / USUAL_FOCAL_PX, SMALLEST_SCALE)

    @property
    def rig(self) -> tuple[View, ...]:
        """The views of the query; for a single image one view."""
        return self.views or (View(self),)

    @cached_property
    def owner(self) -> IntArray:
        """The index in ``rig`` of the view of each keypoint (N,)."""
        return _taken_in_turn([len(view.query) for view in self.rig])[0]

    def by_view(self, keypoint: IntArray) -> Iterator[tuple[View, IntArray]]:
        """Yield each view with the indices into ``keypoint`` (K,) of the keypoints that are its own."""
        owner = self.owner[keypoint]
        for i, view in enumerate(self.rig):
            yield view, np.flatnonzero(owner == i)

    @cached_property
    def scales(self) -> FloatArray:
        """The ``scale`` of the view of each keypoint (N,)."""
        return np.array([view.query.scale for view in self.rig])[self.owner]

    @cached_property
    def shown(self) -> tuple[IntArray, Float32Array]:
        """The index (N,) of the first view that shows the direction of each keypoint, and its pixels (N, 2) there.

        So views of the same direction share cells: two images of one wall are no more evidence than one.
        """
        first, pixels = self.owner.copy(), self.features.pixels.copy()
        away = np.concatenate([self.rays, np.ones((len(self), 1))], axis=1)
        for i, view in reversed(list(enumerate(self.rig[:-1]))):
            for j, other in enumerate(self.rig[i + 1 :], i + 1):
                mine = np.flatnonzero(self.owner == j)
                seen = away[mine] @ (view.rig_from_camera[:3, :3].T @ other.rig_from_camera[:3, :3]).T
                there = cameras.project(view.query.camera, seen)
                size = view.query.camera.width - 1, view.query.camera.height - 1
                inside = (there >= 0).all(axis=1) & (there <= size).all(axis=1)
                first[mine[inside]], pixels[mine[inside]] = i, there[inside]
        return first, pixels

    @cached_property
    def tree(self) -> cKDTree:
        """A search tree of the rays."""
        return cKDTree(self.rays)


@dataclass(frozen=True)
class View:
    """One of several images localized together: its ``query`` and the pose of its camera on the rig.

    ``rig_from_camera`` (4, 4) transforms points of the camera frame to the rig frame, metres. ``covariance`` (6, 6) is
    that of this pose, in the convention of :class:`~neumap.records.PoseEstimate` with the rig in place of the map;
    zero: exact.
    """

    query: Query
    rig_from_camera: FloatArray = field(default_factory=lambda: np.eye(4))
    covariance: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))

    @property
    def camera_from_rig(self) -> FloatArray:
        """The transform (4, 4) of points of the rig frame to the camera frame."""
        return se3.invert_pose(self.rig_from_camera)

    def moved(self, motion: FloatArray) -> View:
        """Return the view moved by a ``motion`` (4, 4) in the rig frame."""
        return replace(self, rig_from_camera=motion @ self.rig_from_camera)

    @property
    def motion_covariance(self) -> FloatArray:
        """The ``covariance`` (6, 6) as that of a small motion on the left, ``exp(d) @ rig_from_camera``."""
        lever = np.eye(6)
        lever[:3, 3:] = se3.skew(self.rig_from_camera[:3, 3])
        return np.asarray(lever @ self.covariance @ lever.T)


def pooled(views: Sequence[View]) -> Query:
    """Make the query of one or several views, whose pose is that of the rig.

    Raises :class:`~neumap.errors.DataError` for no views.
    """
    if not views:
        raise DataError("there is no view: give at least one")
    queries = [view.query for view in views]
    if len(views) == 1 and np.array_equal(views[0].rig_from_camera, np.eye(4)) and not views[0].covariance.any():
        return queries[0]

    def more() -> Query | None:
        if all(query.longer is None for query in queries):
            return None
        return pooled(
            [replace(view, query=view.query if view.query.longer is None else view.query.longer) for view in views]
        )

    order = _taken_in_turn([len(query) for query in queries])[1]
    return Query(
        features=reduce(Features.followed_by, (query.features for query in queries)).select(order),
        rays=np.concatenate([query.rays for query in queries])[order],
        camera=queries[0].camera,
        embeddings=np.concatenate([query.embeddings for query in queries])[order],
        looks=np.concatenate([query.looks for query in queries])[order],
        more=more,
        glance=any(query.glance for query in queries),
        views=tuple(views),
    )


def _taken_in_turn(counts: Sequence[int]) -> tuple[IntArray, IntArray]:
    """Return the order that interleaves views with the given ``counts`` of keypoints: the view of each keypoint, and
    its index in their concatenation.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    order = np.argsort(np.concatenate([np.arange(count) for count in counts]), kind="stable")
    return owner[order], order


@dataclass(frozen=True)
class Near:
    """A prior of the camera's position: within ``radius_m`` of ``position`` (3,) in the map frame."""

    position: FloatArray
    radius_m: float


@dataclass(frozen=True)
class Scope:
    """Where to search for a query: in ``voxels`` (V,), indices into the map's grid (None: all), and ``near`` a position
    (None: anywhere). Poses elsewhere are neither returned nor rivals.

    The search itself sets ``beside``: voxels whose landmarks are not matched for a first pose, but must fit it.
    """

    voxels: IntArray | None = None
    near: Near | None = None
    beside: IntArray | None = None

    def within(self, voxels: IntArray, beside: IntArray | None = None) -> Scope:
        """Return the scope with other voxels and the same position."""
        return replace(self, voxels=voxels, beside=beside)

    def allows(self, camera_from_map: FloatArray) -> bool:
        """Return whether a pose (4, 4) is near the given position, if there is one."""
        if self.near is None:
            return True
        position = se3.invert_pose(camera_from_map)[:3, 3]
        return bool(np.linalg.norm(position - self.near.position) <= self.near.radius_m)


EVERYWHERE = Scope()
