"""Reads image, depth and mask files to arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import BoolArray, Float32Array, ImageArray
from neumap.errors import DataError
from neumap.io.files import PathLike

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})

# MASK_SHARE: the share of a mask's pixels that must be nearly black or nearly white; edges may be soft.
MASK_SHARE = 0.9
# JPEG_QUALITY: of images written for viewing, percent.
JPEG_QUALITY = 85


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image file that is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_gray(path: PathLike, size: tuple[int, int] | None = None) -> ImageArray:
    """Read an image file as (H, W) uint8 grey. Ignores an EXIF orientation: the calibration is for the stored pixels.

    Raises :class:`~neumap.errors.DataError` naming the file if it cannot be read, or is not of the given ``size``
    (width, height) in pixels.
    """
    image = _read(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, size)
    return np.asarray(image, dtype=np.uint8)


def read_depth(path: PathLike, units_per_metre: float = 5000.0, size: tuple[int, int] | None = None) -> Float32Array:
    """Read a 16-bit depth image as (H, W) float32 metres along the optical axis, 0 where unknown.

    Raises as :func:`read_gray` does, and if it is not 16-bit single-channel.
    """
    depth = _read(path, cv2.IMREAD_UNCHANGED, size)
    if depth.dtype != np.uint16 or depth.ndim != 2:
        channels = 1 if depth.ndim == 2 else depth.shape[2]
        raise DataError(
            f"the depth image {path} has {channels} channel(s) of {depth.dtype}: give 16-bit single-channel PNG, "
            f"{units_per_metre:g} units to the metre"
        )
    return np.asarray(depth / np.float32(units_per_metre), dtype=np.float32)


def read_mask(path: PathLike) -> BoolArray:
    """Read a mask (H, W), true where the file is white: there images show the place; it is black elsewhere.

    Raises :class:`~neumap.errors.DataError` if it cannot be read, or is not black and white.
    """
    gray = read_gray(os.path.expanduser(path))
    if np.mean((gray < 64) | (gray > 191)) < MASK_SHARE:
        raise DataError(
            f"the mask {path} is not black and white: paint white what images show of the place, else black"
        )
    mask = gray > 127
    if not mask.any():
        raise DataError(f"the mask {path} is all black: paint white (255) what images show of the place")
    return mask


def first_readable(paths: Iterable[Path]) -> Path:
    """Return the first image file that can be read; if none can, the first, so that reading it raises the error."""
    some = list(paths)
    for path in some:
        with suppress(DataError):
            read_gray(path)
            return path
    return some[0]


def decode(data: npt.NDArray[np.uint8], flags: int, what: str) -> npt.NDArray[Any]:
    """Decode an image with cv2.imdecode and its ``flags``.

    Raises :class:`~neumap.errors.DataError`, in which ``what`` names the image, if it cannot be decoded.
    """
    image = None
    # OpenCV raises for empty data, and returns None for most damaged data
    with suppress(cv2.error):
        image = cv2.imdecode(data, flags)
    if image is None:
        raise DataError(f"{what} cannot be decoded: it is damaged, or of a format that OpenCV does not know")
    return np.asarray(image)


def jpeg_of(pixels: ImageArray) -> bytes:
    """Compress a grey image (H, W) for viewing; equal images give equal bytes."""
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _read(path: PathLike, flags: int, size: tuple[int, int] | None) -> npt.NDArray[Any]:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise DataError(f"the image {path} does not exist") from None
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}") from None
    image = decode(data, flags, f"the image {path}")
    height, width = image.shape[:2]
    if size is not None and (width, height) != size:
        raise DataError(
            f"the image {path} is {width}x{height}, the others of its camera are {size[0]}x{size[1]}: "
            "remove it or resize it"
        )
    return image
