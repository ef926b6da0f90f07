"""Views of a virtual room: exact planes in a depth buffer, antialiased textures, and what a sensor makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.geometry.cameras import normalize
from neumap.geometry.se3 import invert_pose, rotation_log
from neumap.records import Camera
from neumap.virtual.scene import Room

# _NEAR: near plane, metres: avoids division by depths near 0.
_NEAR = 0.05
# _STRIP: number of rows processed at a time: the scratch arrays of one strip stay in the processor's cache.
_STRIP = 48
# _SHUTTER: exposure time as a fraction of the time between two frames: a few ms, as indoors on a robot.
_SHUTTER = 0.03
# JPEG: OpenCV's options for compression, with the usual quality of cameras.
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


class _Rays(NamedTuple):
    """Normalized image coordinates of a grid of samples.

    ``x`` and ``y`` broadcast to (H, W): a lens without distortion needs only (1, W) and (H, 1). The bounds give the
    least and greatest x of each column and y of each row. ``sample_area`` is that of one sample in the plane z = 1.
    """

    x: Float32Array
    y: Float32Array
    x_bounds: Float32Array
    y_bounds: Float32Array
    sample_area: float


class _Plane(NamedTuple):
    """A rectangle in view: its number, its linear ``forms`` (3, 3), and where in the image it may be.

    For a ray r = (x, y, 1), forms @ r is (1/z, u/z, v/z): the inverse depth, and the texture coordinates (0 to 1 inside
    the rectangle) times it. ``bounds`` (4,): least and greatest x, then y.
    """

    number: int
    forms: Float32Array
    bounds: FloatArray


def render(
    room: Room, camera: Camera, map_from_camera: FloatArray, *, supersample: int = 2
) -> tuple[ImageArray, Float32Array]:
    """Return the (H, W, 3) uint8 BGR image and the (H, W) float32 depth that a camera at ``map_from_camera`` sees.

    The depth is in metres along the optical axis, exact at the pixel centres, 0 where the lens model has no ray.
    The image is averaged from ``supersample`` x ``supersample`` samples a pixel of textures at a fitting resolution.
    """
    planes = _planes_in_view(room.geometry, map_from_camera)
    matrix, distortion = (np.asarray(a, np.float64).tobytes() for a in (camera.matrix, camera.distortion))
    lens = camera.width, camera.height, matrix, camera.distortion_model, distortion
    inverse, _ = _trace(planes, _rays(*lens, 1), None)
    depth = np.divide(1, inverse, out=np.zeros_like(inverse), where=inverse > 0)
    _, place = _trace(planes, _rays(*lens, supersample), room.levels)
    image = cv2.remap(room.atlas, place[0], place[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if supersample > 1:
        image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(image, dtype=np.uint8), depth


@lru_cache(maxsize=8)
def _rays(width: int, height: int, matrix: bytes, model: str, distortion: bytes, samples: int) -> _Rays:
    """Return the rays of ``samples`` x ``samples`` points a pixel; cached, since undistorting takes seconds."""
    k = np.frombuffer(matrix).reshape(3, 3)
    camera = Camera(width, height, k, model, np.frombuffer(distortion))
    columns = (np.arange(width * samples) + 0.5) / samples - 0.5
    rows = (np.arange(height * samples) + 0.5) / samples - 0.5
    if k[0, 1] == 0 and model != "equidistant" and not camera.distortion.any():
        x = normalize(camera, np.stack([columns, np.zeros_like(columns)], axis=1))[:, 0][None, :]
        y = normalize(camera, np.stack([np.zeros_like(rows), rows], axis=1))[:, 1][:, None]
    else:
        # in strips: undistorting takes half a kilobyte a point
        strips = (rows[top : top + _STRIP] for top in range(0, len(rows), _STRIP))
        grids = (np.stack(np.meshgrid(columns, strip), axis=-1).reshape(-1, 2) for strip in strips)
        rays = np.concatenate([normalize(camera, grid) for grid in grids]).reshape(len(rows), len(columns), 2)
        x, y = rays[..., 0], rays[..., 1]
    # without the NaN of points that have no ray; nothing lies between the bounds of a column that has none
    x_bounds, y_bounds = (
        np.stack([np.fmin.reduce(values, axis), np.fmax.reduce(values, axis)]).astype(np.float32)
        for axis, values in enumerate((x, y))
    )
    area = 1 / (k[0, 0] * k[1, 1] * samples**2)
    return _Rays(x.astype(np.float32), y.astype(np.float32), x_bounds, y_bounds, area)


def _planes_in_view(geometry: FloatArray, map_from_camera: FloatArray) -> list[_Plane]:
    """Return the rectangles in view, nearest first, since hidden parts cost less."""
    camera_from_map = invert_pose(map_from_camera)
    origin = geometry[:, 0] @ camera_from_map[:3, :3].T + camera_from_map[:3, 3]
    right, down = (geometry[:, k] @ camera_from_map[:3, :3].T for k in (1, 2))
    away = np.cross(right, down)
    side = np.einsum("ij,ij->i", away, origin)
    corners = origin[:, None] + np.stack([0 * right, right, right + down, down], axis=1)
    facing = side > 1e-6 * np.linalg.norm(away, axis=1)
    index = np.flatnonzero(facing & (corners[..., 2].max(axis=1) > _NEAR))
    index = index[np.argsort(corners[index, :, 2].mean(axis=1), kind="stable")]
    origin, right, down, away, side = (a[index] for a in (origin, right, down, away, side))
    inverse = away / side[:, None]
    forms = [inverse]
    for edge in (right, down):
        unit = edge / np.einsum("ij,ij->i", edge, edge)[:, None]
        forms.append(unit - np.einsum("ij,ij->i", origin, unit)[:, None] * inverse)
    of_all = index, np.stack(forms, axis=1).astype(np.float32), _bounds(corners[index])
    return [_Plane(int(number), *of_one) for number, *of_one in zip(*of_all, strict=True)]


def _bounds(corners: FloatArray) -> FloatArray:
    """Return least and greatest x/z, then y/z, (R, 4) of the polygons (R, 4, 3) beyond the near plane."""
    following = np.roll(corners, -1, axis=1)
    z, next_z = corners[..., 2], following[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = corners + ((_NEAR - z) / (next_z - z))[..., None] * (following - corners)
        points = np.concatenate([corners, cut], axis=1)
        seen = np.concatenate([z >= _NEAR, (z < _NEAR) != (next_z < _NEAR)], axis=1)
        image = np.where(seen[..., None], points[..., :2] / points[..., 2:], np.nan)
    return np.stack([np.nanmin(image, axis=1), np.nanmax(image, axis=1)], axis=-1).reshape(-1, 4)


def _trace(planes: Sequence[_Plane], rays: _Rays, levels: Float32Array | None) -> tuple[Float32Array, Float32Array]:
    """Return the inverse depth (H, W) of each ray's first hit, 0 for none, and its position in the atlas.

    Positions (2, H, W) are columns and rows in pixels, far outside for no hit; empty without ``levels``.
    """
    shape = len(rays.y), rays.x.shape[1]
    nearest = np.zeros(shape, dtype=np.float32)
    place = np.full((2, *shape) if levels is not None else (2, 0, 0), -9, dtype=np.float32)
    for number, forms, (x_low, x_high, y_low, y_high) in planes:
        columns = np.flatnonzero((rays.x_bounds[1] >= x_low) & (rays.x_bounds[0] <= x_high))
        rows = np.flatnonzero((rays.y_bounds[1] >= y_low) & (rays.y_bounds[0] <= y_high))
        if not len(columns) or not len(rows):
            continue
        across = slice(columns[0], columns[-1] + 1)
        for top in range(rows[0], rows[-1] + 1, _STRIP):
            along = slice(top, min(top + _STRIP, rows[-1] + 1))
            x = rays.x[along if rays.x.shape[0] > 1 else slice(None), across]
            y = rays.y[along, across if rays.y.shape[1] > 1 else slice(None)]
            here = nearest[along, across]
            w = forms[0, 0] * x + (forms[0, 1] * y + forms[0, 2])
            seen = w > here
            if not seen.any():
                continue
            u, v = (form[0] * x + (form[1] * y + form[2]) for form in forms[1:])
            for coordinate in (u, v):
                seen &= coordinate >= 0
                seen &= coordinate <= w
            if not seen.any():
                continue
            np.copyto(here, w, where=seen)
            if levels is not None:
                corner, size = _choose_levels(levels[number], forms, w, rays.sample_area)
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    np.reciprocal(w, out=w)
                    for axis, coordinate in enumerate((u, v)):
                        coordinate *= w
                        coordinate *= size[axis]
                        coordinate += corner[axis]
                        np.copyto(place[axis, along, across], coordinate, where=seen)
    return nearest, place


def _choose_levels(
    levels: Float32Array, forms: Float32Array, inverse_depth: Float32Array, sample_area: float
) -> tuple[Float32Array, Float32Array]:
    """Return corner and size (2, ...) in the atlas of the mip level for each sample, or one for all if they are equal.

    The area of the texture that a sample covers is proportional to z cubed, its stretch by 1/cos of the angle to the
    normal to z. The level fits a width between the geometric mean of the area's two sides and the longer one, so that
    it depends on the depth alone.
    """
    area = abs(float(np.linalg.det(forms.astype(np.float64)))) * float(levels[0, 2] * levels[0, 3]) * sample_area
    at_unit_depth = 0.5 * np.log2(area + 1e-30) + 0.25 * np.log2(float(np.linalg.norm(forms[0])))
    switches = np.exp2((at_unit_depth - (np.arange(1, len(levels)) - 0.5)) / 1.75).astype(np.float32)
    ends = inverse_depth[:: max(1, len(inverse_depth) - 1), :: max(1, inverse_depth.shape[1] - 1)]
    # all levels if one of the ends has no ray, and is NaN
    first, last = int((switches > ends.max()).sum()), len(switches) - int((switches <= ends.min()).sum())
    level = np.full(inverse_depth.shape if first < last else (), first, dtype=np.intp)
    for switch in switches[first:last]:
        level += inverse_depth < switch
    chosen = np.moveaxis(levels[level], -1, 0)
    return chosen[:2] - np.float32(0.5), chosen[2:]


@dataclass(frozen=True)
class Light:
    """The variation of exposure, noise and blur among the images of a drive.

    ``gain`` and ``gamma``: standard deviation about 1, least and greatest value. ``noise``: least and greatest standard
    deviation in grey levels. ``shake_px``: standard deviation of the motion during the exposure along each axis.
    """

    gain: tuple[float, float, float]
    gamma: tuple[float, float, float]
    noise: tuple[float, float]
    shake_px: float

    def expose(self, image: ImageArray, rng: np.random.Generator, motion_px: npt.ArrayLike = (0.0, 0.0)) -> ImageArray:
        """Expose an image at random; ``motion_px`` (x, y) is added to the shaking."""
        moved = np.asarray(motion_px) + rng.normal(0, self.shake_px, 2)
        gain, gamma = _about_one(rng, *self.gain), _about_one(rng, *self.gamma)
        return expose(image, rng, gain=gain, gamma=gamma, noise_sigma=rng.uniform(*self.noise), motion_px=moved)


def _about_one(rng: np.random.Generator, sigma: float, least: float, greatest: float) -> float:
    return float(np.clip(rng.normal(1.0, sigma), least, greatest))


# _STEADY: a camera with automatic exposure under lamps.
_STEADY = Light(gain=(0.07, 0.8, 1.15), gamma=(0.05, 0.88, 1.12), noise=(1.2, 2.4), shake_px=0.3)


def photograph(room: Room, camera: Camera, poses: FloatArray, index: int, seed: int) -> tuple[ImageArray, Float32Array]:
    """Render the image of a camera moving along ``poses`` (N, 4, 4) at ``index``, and its exact depth.

    It has mild changes of exposure, noise, and blur from the camera's rotation, which follow from seed and index.
    """
    image, depth = render(room, camera, poses[index])
    first, last = max(0, index - 1), min(len(poses) - 1, index + 1)
    turn = rotation_log(poses[first, :3, :3].T @ poses[last, :3, :3]) / max(1, last - first)
    motion = _SHUTTER * camera.matrix[0, 0] * np.array([-turn[1], turn[0]])
    return _STEADY.expose(image, np.random.default_rng([seed, index]), motion), depth


def covered_lens(rng: np.random.Generator, shape: tuple[int, ...]) -> ImageArray:
    """Return an image of ``shape`` of a covered camera: noise in the dark."""
    return np.clip(rng.normal(3, 1.5, shape), 0, 255).astype(np.uint8)


def expose(
    image: ImageArray,
    rng: np.random.Generator,
    *,
    gain: float = 1.0,
    gamma: float = 1.0,
    noise_sigma: float = 2.0,
    motion_px: npt.ArrayLike = (0.0, 0.0),
) -> ImageArray:
    """Apply motion blur, exposure, tone curve and noise, in this order.

    ``image`` is (H, W) or (H, W, 3) uint8; ``motion_px`` (x, y) the scene's motion during the exposure; ``noise_sigma``
    the noise's standard deviation in grey levels at middle grey, less in the dark.
    """
    moved, (x, y) = image, np.asarray(motion_px)
    if np.hypot(x, y) > 0.3:
        blurred = cv2.filter2D(image, -1, _motion_kernel(x, y), borderType=cv2.BORDER_REPLICATE)
        moved = np.asarray(blurred, dtype=np.uint8)
    curve = np.clip(gain * (np.arange(256) / 255), 0, 1) ** gamma * 255
    toned = np.asarray(cv2.LUT(moved, curve.astype(np.float32)), dtype=np.float32)
    if noise_sigma > 0:
        spread = noise_sigma * np.sqrt(0.25 + 1.5 * curve / 255)
        sigma = np.asarray(cv2.LUT(moved, spread.astype(np.float32)), dtype=np.float32)
        toned += sigma * rng.standard_normal(toned.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(toned), 0, 255), dtype=np.uint8)


def _motion_kernel(across: float, along: float) -> Float32Array:
    """Return an odd-sized kernel with a line of weight 1 through its centre, drawn with linear interpolation."""
    half = int(np.ceil(max(abs(across), abs(along)) / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    for t in np.linspace(-0.5, 0.5, 8 * half + 1):
        x, y = half + t * across, half + t * along
        column, row = int(x), int(y)
        right, low = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer([1 - low, low], [1 - right, right]).astype(np.float32)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)
