"""What is known of an image, or of several that are searched for together, and where they are looked for."""

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

# USUAL_FOCAL_PX: the focal length that thresholds in pixels are meant for; of a VGA camera with a usual lens.
# SMALLEST_SCALE: what such thresholds are multiplied by at least; keypoints are exact to some pixels in every camera.
USUAL_FOCAL_PX, SMALLEST_SCALE = 525.0, 0.5


@dataclass(frozen=True)
class Query:
    """What one look at an image showed, made once however often it is searched for.

    ``features`` of N keypoints; ``rays`` (N, 2), their undistorted normalized coordinates; ``camera`` at the image's
    size. ``embeddings`` (N, D) and ``looks`` (N, E) are what the map compares keypoints by
    (:class:`~neumap.localization.matching.LandmarkIndex`): with all its landmarks, and with one landmark where a pose
    says that it is. So a query belongs to the localizer that made it, and to others whose maps have the same decoder.
    ``more`` makes the query of the next longer look, None where that shows nothing else: the image must stay as it is.
    ``glance``: this look was but a glance.

    The keypoints may be those of several ``views`` (empty: of this image alone), the strongest of each first, and the
    pose is that of the rig; ``camera`` is the first one's.
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
        """The query of the next longer look, made when it is first asked for; None where that shows nothing else."""
        return self.more() if self.more else None

    @property
    def whole(self) -> Query:
        """The query of all that the image shows; this one if that is no more."""
        return self if self.longer is None else self.longer.whole

    @cached_property
    def focal_px(self) -> float:
        """The mean focal length in pixels: what turns a normalized coordinate into pixels."""
        return float(np.sqrt(self.camera.matrix[0, 0] * self.camera.matrix[1, 1]))

    @cached_property
    def scale(self) -> float:
        """What thresholds in pixels are multiplied by in this image, so that they are the same angles in any camera."""
        return max(self.focal_px / USUAL_FOCAL_PX, SMALLEST_SCALE)

    @property
    def rig(self) -> tuple[View, ...]:
        """The views that the keypoints are of; of one image it alone."""
        return self.views or (View(self),)

    @cached_property
    def owner(self) -> IntArray:
        """Which of the rig's views each keypoint (N,) is of."""
        return _taken_in_turn([len(view.query) for view in self.rig])[0]

    def by_view(self, keypoint: IntArray) -> Iterator[tuple[View, IntArray]]:
        """Tell of each of the rig's views which of ``keypoint`` (K,) are its own, as indices into that."""
        owner = self.owner[keypoint]
        for i, view in enumerate(self.rig):
            yield view, np.flatnonzero(owner == i)

    @cached_property
    def scales(self) -> FloatArray:
        """The ``scale`` of the view that each keypoint (N,) is of."""
        return np.array([view.query.scale for view in self.rig])[self.owner]

    @cached_property
    def shown(self) -> tuple[IntArray, Float32Array]:
        """Which is the first of the rig's views (N,) that shows the direction that a keypoint is seen in, and where in
        its image (N, 2), in pixels: images of the same wall are not more of it.
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
        """The rays, for whoever looks for those around a place in the image."""
        return cKDTree(self.rays)


@dataclass(frozen=True)
class View:
    """One of several images that are searched for together: its ``query``, and where its camera was.

    ``rig_from_camera`` (4, 4) takes a point in the frame of this camera to that of the rig, metres. ``covariance``
    (6, 6) tells how far that may be off, as that of :class:`~neumap.records.PoseEstimate` with the rig for the map;
    zero: it is known.
    """

    query: Query
    rig_from_camera: FloatArray = field(default_factory=lambda: np.eye(4))
    covariance: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))

    @property
    def camera_from_rig(self) -> FloatArray:
        """The transform (4, 4) of the rig's points to this camera."""
        return se3.invert_pose(self.rig_from_camera)

    def moved(self, motion: FloatArray) -> View:
        """Return the view elsewhere on the rig, by a ``motion`` (4, 4) of the rig."""
        return replace(self, rig_from_camera=motion @ self.rig_from_camera)

    @property
    def motion_covariance(self) -> FloatArray:
        """The ``covariance`` (6, 6) as that of a small motion on the left, ``exp(d) @ rig_from_camera``."""
        lever = np.eye(6)
        lever[:3, 3:] = se3.skew(self.rig_from_camera[:3, 3])
        return np.asarray(lever @ self.covariance @ lever.T)


def pooled(views: Sequence[View]) -> Query:
    """Make the query of one or several views, whose pose is that of the rig.

    Raises :class:`~neumap.errors.DataError` where there is none.
    """
    if not views:
        raise DataError("there is no view: give one at least")
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
    """Tell of keypoints, so many of each view, taken in turn, of which view each is, and which of all one after the
    other.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    order = np.argsort(np.concatenate([np.arange(count) for count in counts]), kind="stable")
    return owner[order], order


@dataclass(frozen=True)
class Near:
    """Where the camera is said to be: within ``radius_m`` of a ``position`` (3,) in the map frame."""

    position: FloatArray
    radius_m: float


@dataclass(frozen=True)
class Scope:
    """Where to look for a query: in ``voxels`` (V,), indices into the map's grid (None: in all), and ``near`` where the
    camera is said to be (None: anywhere). Poses elsewhere are neither answers nor reasons to doubt one.

    ``beside`` is the search's own: voxels whose landmarks are not asked for a pose but must fit it.
    """

    voxels: IntArray | None = None
    near: Near | None = None
    beside: IntArray | None = None

    def within(self, voxels: IntArray, beside: IntArray | None = None) -> Scope:
        """Return other voxels, near the same place."""
        return replace(self, voxels=voxels, beside=beside)

    def allows(self, camera_from_map: FloatArray) -> bool:
        """Tell whether a pose (4, 4) is near where the camera is said to be; so is any, where nothing is said."""
        if self.near is None:
            return True
        position = se3.invert_pose(camera_from_map)[:3, 3]
        return bool(np.linalg.norm(position - self.near.position) <= self.near.radius_m)


EVERYWHERE = Scope()
