"""Opens a source of images, whatever it is."""

from __future__ import annotations

from pathlib import Path

from neumap_ros.errors import ConfigError, DataError
from neumap_ros.io.colmap import find_model, read_colmap
from neumap_ros.io.files import PathLike
from neumap_ros.io.folders import read_images
from neumap_ros.io.images import is_image
from neumap_ros.io.tum import read_tum
from neumap_ros.records import Source

BAG_SUFFIXES = frozenset({".mcap", ".db3"})


def open_source(path: PathLike, *, poses: bool, depth: bool = True, images: PathLike | None = None) -> Source:
    """The frames of a TUM RGB-D folder or a COLMAP model or, without ``poses``, of an image or a folder of images.

    With ``poses`` every frame has one; without, none has, and ground truth is not looked at. ``depth`` allows depth
    images; ``images`` is the image folder of a COLMAP model.

    Raises :class:`~neumap_ros.errors.DataError` (or its kin) that says what is missing or, for a path that is none of
    these, what is understood; :class:`~neumap_ros.errors.ConfigError` for ``images`` with another kind of source.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    is_tum = (path / "rgb.txt").exists()
    is_model = path.is_dir() and find_model(path) is not None
    if is_model and (images is not None or not is_tum):
        return read_colmap(path, images, poses=poses)
    if images is not None:
        raise ConfigError(f"an image folder was given, but {path} is not a COLMAP model: leave that option out")
    if is_tum:
        return read_tum(path, depth=depth, poses=poses)
    if _is_bag(path):
        raise DataError(f"{path} is a rosbag2 recording, which this version does not read: extract a TUM RGB-D folder")
    if is_image(path) if path.is_file() else any(is_image(file) for file in path.iterdir()):
        if poses:
            raise DataError(
                f"{path} holds images without poses: a map needs a TUM RGB-D folder (rgb.txt and groundtruth.txt) "
                "or a COLMAP model"
            )
        return read_images(path)
    raise DataError(f"{path} is no source of images: {_understood(path, poses)}")


def _is_bag(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in BAG_SUFFIXES
    return (path / "metadata.yaml").is_file() or any(file.suffix.lower() in BAG_SUFFIXES for file in path.iterdir())


def _understood(path: Path, poses: bool) -> str:
    if path.is_dir():
        inside = sorted(child for child in path.iterdir() if (child / "rgb.txt").is_file())
        if inside:
            return f"did you mean {inside[0]}?"
    kinds = "give a TUM RGB-D folder (with rgb.txt) or a COLMAP model (cameras and images, .bin or .txt)"
    return kinds if poses else f"{kinds}, a folder of images or an image"
