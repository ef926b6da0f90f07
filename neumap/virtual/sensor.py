"""What a camera's sensor makes of a rendered image: motion blur, exposure, tone curve and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.geometry.se3 import rotation_log
from neumap.records import Camera

# _SHUTTER: share of the time between two frames for which the shutter is open: a few ms, as indoors on a robot.
_SHUTTER = 0.03
# JPEG: how images are compressed, as cameras do by default.
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


@dataclass(frozen=True)
class Light:
    """How far the images of a drive may be from the usual.

    ``gain`` and ``gamma`` are about 1: by what standard deviation, and their least and greatest value. ``noise`` is the
    least and greatest standard deviation in grey levels, ``shake_px`` how far the image moves during the exposure along
    each axis (standard deviation).
    """

    gain: tuple[float, float, float]
    gamma: tuple[float, float, float]
    noise: tuple[float, float]
    shake_px: float

    def expose(self, image: ImageArray, rng: np.random.Generator, motion_px: npt.ArrayLike = (0.0, 0.0)) -> ImageArray:
        """Expose an image at random; ``motion_px`` (x, y) comes to the shaking."""
        moved = np.asarray(motion_px) + rng.normal(0, self.shake_px, 2)
        gain, gamma = _about_one(rng, *self.gain), _about_one(rng, *self.gamma)
        noise = float(rng.uniform(*self.noise))
        return expose(
            image, rng, gain=gain, gamma=gamma, noise_sigma=noise, motion_px=(float(moved[0]), float(moved[1]))
        )


def _about_one(rng: np.random.Generator, sigma: float, least: float, greatest: float) -> float:
    return float(np.clip(rng.normal(1.0, sigma), least, greatest))


# _STEADY: of a camera with automatic exposure under lamps.
_STEADY = Light(gain=(0.07, 0.8, 1.15), gamma=(0.05, 0.88, 1.12), noise=(1.2, 2.4), shake_px=0.3)


def sensor_image(image: ImageArray, camera: Camera, poses: FloatArray, index: int, seed: int) -> ImageArray:
    """Return what a camera on the way along ``poses`` (N, 4, 4) takes at ``index`` of the rendered ``image``.

    Mild changes of exposure, noise, and the blur of the camera's own turning; the same for the same seed and index.
    """
    first, last = max(0, index - 1), min(len(poses) - 1, index + 1)
    turn = rotation_log(poses[first, :3, :3].T @ poses[last, :3, :3]) / max(1, last - first)
    motion = _SHUTTER * camera.matrix[0, 0] * np.array([-turn[1], turn[0]])
    return _STEADY.expose(image, np.random.default_rng([seed, index]), motion)


def covered_lens(rng: np.random.Generator, shape: tuple[int, ...]) -> ImageArray:
    """Return an image of ``shape`` that a camera takes in the dark."""
    return np.clip(rng.normal(3, 1.5, shape), 0, 255).astype(np.uint8)


def expose(
    image: ImageArray,
    rng: np.random.Generator,
    *,
    gain: float = 1.0,
    gamma: float = 1.0,
    noise_sigma: float = 2.0,
    motion_px: tuple[float, float] = (0.0, 0.0),
) -> ImageArray:
    """Apply motion blur, exposure, tone curve and noise, in this order.

    ``image`` is (H, W) or (H, W, 3) uint8; ``motion_px`` is how far (x, y) the scene moves during the exposure;
    ``noise_sigma`` is the noise's standard deviation in grey levels at middle grey, less in the dark.
    """
    moved = image
    if np.hypot(*motion_px) > 0.3:
        blurred = cv2.filter2D(image, -1, _motion_kernel(motion_px), borderType=cv2.BORDER_REPLICATE)
        moved = np.asarray(blurred, dtype=np.uint8)
    curve = np.clip(gain * (np.arange(256) / 255), 0, 1) ** gamma * 255
    toned = np.asarray(cv2.LUT(moved, curve.astype(np.float32)), dtype=np.float32)
    if noise_sigma > 0:
        spread = noise_sigma * np.sqrt(0.25 + 1.5 * curve / 255)
        sigma = np.asarray(cv2.LUT(moved, spread.astype(np.float32)), dtype=np.float32)
        toned += sigma * rng.standard_normal(toned.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(toned), 0, 255), dtype=np.uint8)


def _motion_kernel(motion_px: tuple[float, float]) -> Float32Array:
    """A line of weight 1 through the middle of an odd-sized kernel, drawn with linear interpolation."""
    half = int(np.ceil(max(abs(motion_px[0]), abs(motion_px[1])) / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    for t in np.linspace(-0.5, 0.5, 8 * half + 1):
        x, y = half + t * motion_px[0], half + t * motion_px[1]
        column, row = int(x), int(y)
        right, low = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer([1 - low, low], [1 - right, right]).astype(np.float32)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)
