"""Frozen records passed between the layers.

Frames and units: metres, pixels, radians, integer nanoseconds. A camera frame is the ROS *optical* frame
(REP-103: x right, y down, z forward). ``map_from_camera`` is the 4x4 float64 matrix that takes a point from the
camera frame to the map frame. Pixel (0, 0) is the centre of the top left pixel, as in OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from neumap.arrays import BoolArray, Float32Array, FloatArray, ImageArray, IntArray


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    ``matrix`` is 3x3 float64; ``distortion`` holds the coefficients of ``distortion_model`` in ROS' and OpenCV's order
    ("plumb_bob" or "rational_polynomial": 5, 8, 12 or 14; "equidistant": 4; all zero or empty: none). ``mask`` (H, W),
    of the image's aspect ratio, is true for pixels to use; None: all. Make a camera with
    :func:`neumap.geometry.cameras.make_camera`, which checks the values.
    """

    width: int
    height: int
    matrix: FloatArray
    distortion_model: str = "plumb_bob"
    distortion: FloatArray = field(default_factory=lambda: np.zeros(5))
    mask: BoolArray | None = None


@dataclass(frozen=True)
class Intrinsics:
    """The ``camera`` of images, its ``origin`` in a calibration, and notes ``about`` its crop, binning and scale."""

    camera: Camera
    origin: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"intrinsics: {'; '.join((self.origin, *self.about))}"


@dataclass(frozen=True)
class Mount:
    """The pose of an image's camera on a rig, and the moment of the image.

    ``rig_from_camera`` (4, 4) transforms points to the frame of the rig's first camera, metres; ``covariance`` (6, 6)
    is that of this pose, in the convention of :class:`PoseEstimate` with the rig in place of the map. ``camera`` is the
    camera's index on the rig. Images with the same ``moment_ns``, the timestamp of the first, are of one moment.
    """

    moment_ns: int
    camera: int
    rig_from_camera: FloatArray = field(default_factory=lambda: np.eye(4))
    covariance: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))


@dataclass(frozen=True)
class Frame:
    """One image of a source; pixels are read on request, so that a source of thousands of images stays small.

    ``read_image`` returns (H, W) uint8 grey. ``read_depth`` (None without depth) returns (H, W) float32 metres along
    the optical axis, registered to the image, 0 where unknown. ``map_from_camera`` is None if the pose is not known (a
    query); ``frame_id`` is the camera's optical frame, if the source has it. ``lenses`` are the possible cameras if the
    calibration is ambiguous, the most likely, which is ``camera``, first. ``mount`` is None for a camera without a rig.
    """

    name: str
    stamp_ns: int
    camera: Camera
    read_image: Callable[[], ImageArray]
    read_depth: Callable[[], Float32Array] | None = None
    map_from_camera: FloatArray | None = None
    frame_id: str = ""
    lenses: tuple[Intrinsics, ...] = ()
    mount: Mount | None = None

    @property
    def moment_ns(self) -> int:
        """The common timestamp of the images of its moment, nanoseconds."""
        return self.stamp_ns if self.mount is None else self.mount.moment_ns

    @property
    def rig_from_camera(self) -> FloatArray:
        """The pose (4, 4) of the camera on the rig; identity without a rig."""
        return np.eye(4) if self.mount is None else self.mount.rig_from_camera

    @property
    def map_from_rig(self) -> FloatArray | None:
        """The pose (4, 4) of the rig in the map, by that of this camera; None if that is not known."""
        return None if self.map_from_camera is None else self.map_from_camera @ np.linalg.inv(self.rig_from_camera)

    def through(self, origin: str) -> Frame:
        """Return the frame with its lens of the given ``origin``, else with the most likely one."""
        if not self.lenses:
            return self
        lens = next((lens for lens in self.lenses if lens.origin == origin), self.lenses[0])
        return replace(self, camera=lens.camera, lenses=(lens,))


def stamps_of(frames: Sequence[Frame]) -> npt.NDArray[np.int64]:
    """Return the stamps (N,) of frames, nanoseconds."""
    return np.array([frame.stamp_ns for frame in frames], dtype=np.int64)


def by_camera(frames: Sequence[Frame]) -> list[list[int]]:
    """Return the indices of the frames of each camera, in their order."""
    cameras: dict[tuple[str, int], list[int]] = {}
    for index, frame in enumerate(frames):
        number = 0 if frame.mount is None else frame.mount.camera
        cameras.setdefault((frame.frame_id, number), []).append(index)
    return list(cameras.values())


@dataclass(frozen=True)
class Source:
    """An ordered set of frames, with ``notes`` for the user on how they were read.

    ``left_out`` are the ``notes`` that count unusable messages or rows. ``drifts``: the poses are from odometry, which
    drifts.
    """

    description: str
    frames: tuple[Frame, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    drifts: bool = False

    @property
    def has_depth(self) -> bool:
        return any(frame.read_depth is not None for frame in self.frames)

    @property
    def moments(self) -> list[tuple[Frame, ...]]:
        """The frames in order, those of one moment of a rig grouped."""
        moments: dict[object, list[Frame]] = {}
        for index, frame in enumerate(self.frames):
            moments.setdefault((index,) if frame.mount is None else frame.moment_ns, []).append(frame)
        return list(map(tuple, moments.values()))


@dataclass(frozen=True)
class Trajectory:
    """Stamped poses: ``stamps_ns`` (N,) int64, ``map_from_camera`` (N, 4, 4) float64.

    ``left_out`` is a note for the user that counts rows without a valid pose; empty if there are none.
    """

    stamps_ns: IntArray
    map_from_camera: FloatArray
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.stamps_ns)


class Status(str, Enum):
    """Whether an image was localized."""

    LOCALIZED = "LOCALIZED"
    LOST = "LOST"


@dataclass(frozen=True)
class PoseEstimate:
    """The answer to one image.

    If ``status`` is LOST, ``reason`` states why, and pose and covariance are None: there is no fallback pose.
    ``covariance`` is 6x6 float64 in ROS' order and convention (REP-103, PoseWithCovariance): x, y, z in metres in the
    map frame, then the rotation about the map frame's fixed X, Y and Z axes in radians, so that the true rotation is
    ``exp(w) @ R`` with ``w`` of that covariance. ``keypoints_px`` (N, 2) float32 and ``points_map`` (N, 3) float32 are
    the inliers. ``times_ms`` gives the time per stage. ``evidence`` is that for the pose found, accepted or not: the
    number of landmarks that agree with it and were matched without knowing it, times the share of the image that
    confirms it. A pose needs some 15, in a large map 20. ``glance``: a glance at the image was enough.
    """

    status: Status
    reason: str
    map_from_camera: FloatArray | None
    covariance: FloatArray | None
    inliers: int
    reprojection_error_px: float
    keypoints_px: Float32Array
    points_map: Float32Array
    times_ms: Mapping[str, float]
    evidence: int = 0
    glance: bool = False

    def __str__(self) -> str:
        """Return the estimate as one line."""
        if self.map_from_camera is None or self.covariance is None:
            return f"lost: {self.reason}"
        x, y, z = self.map_from_camera[:3, 3]
        sigma_deg = np.rad2deg(np.sqrt(np.trace(self.covariance[3:, 3:])))
        where = f"camera at ({x:.3f}, {y:.3f}, {z:.3f}) m of the map"
        return f"{where}, sigma {100 * self.sigma_m:.1f} cm and {sigma_deg:.1f} deg, {self.inliers} inliers"

    @property
    def localized(self) -> bool:
        return self.status is Status.LOCALIZED

    @property
    def sigma_m(self) -> float:
        """The standard deviation of the position, metres; infinite without a pose."""
        return float("inf") if self.covariance is None else float(np.sqrt(np.trace(self.covariance[:3, :3])))

    def certain(self, max_sigma_m: float) -> PoseEstimate:
        """Return the estimate; lost if the position's standard deviation exceeds ``max_sigma_m`` metres."""
        if self.covariance is None or self.sigma_m <= max_sigma_m:
            return self
        reason = f"the pose is uncertain by {self.sigma_m:.2f} m, more than {max_sigma_m:g} m"
        return replace(
            self,
            status=Status.LOST,
            reason=reason,
            map_from_camera=None,
            covariance=None,
            reprojection_error_px=float("nan"),
            keypoints_px=self.keypoints_px[:0],
            points_map=self.points_map[:0],
        )


def lost(reason: str) -> PoseEstimate:
    """Return the estimate of an image that was not searched."""
    nothing = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.float32)
    return PoseEstimate(Status.LOST, reason, None, None, 0, float("nan"), *nothing, {})


@dataclass(frozen=True)
class Alternative:
    """A possible pose of an image with too little evidence to be accepted; fields are as in :class:`PoseEstimate`."""

    map_from_camera: FloatArray
    covariance: FloatArray
    evidence: int
