"""Opens a source of images, whatever it is."""

from __future__ import annotations

from pathlib import Path

from neumap.errors import ConfigError, DataError
from neumap.io.bags.reader import is_bag
from neumap.io.bags.source import open_bag
from neumap.io.bags.topics import BagOptions
from neumap.io.colmap import find_model, read_colmap
from neumap.io.files import PathLike
from neumap.io.folders import read_images
from neumap.io.images import is_image
from neumap.io.tum import read_tum
from neumap.records import Source


def open_source(
    path: PathLike,
    *,
    poses: bool,
    depth: bool = True,
    images: PathLike | None = None,
    bag: BagOptions | None = None,
) -> Source:
    """The frames of a TUM RGB-D folder, a COLMAP model or a rosbag2 or, without ``poses``, of images.

    With ``poses`` every frame has one; without, none has, and ground truth is not looked at. ``depth`` allows depth
    images; ``images`` is the image folder of a COLMAP model; ``bag`` names topics and frames of a rosbag2.

    Raises :class:`~neumap.errors.DataError` (or its kin) that says what is missing or, for a path that is none of
    these, what is understood; :class:`~neumap.errors.ConfigError` for ``images`` or ``bag`` with another kind of
    source; :class:`~neumap.errors.MissingDependencyError` where the reader needs a package that is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    is_tum = (path / "rgb.txt").exists()
    is_model = path.is_dir() and find_model(path) is not None
    is_recording = not is_tum and not is_model and is_bag(path)
    if bag not in (None, BagOptions()) and not is_recording:
        raise ConfigError(f"topics or frames of a bag were given, but {path} is not a rosbag2: leave these options out")
    if is_model and (images is not None or not is_tum):
        return read_colmap(path, images, poses=poses)
    if images is not None:
        raise ConfigError(f"an image folder was given, but {path} is not a COLMAP model: leave that option out")
    if is_tum:
        return read_tum(path, depth=depth, poses=poses)
    if is_recording:
        return open_bag(path, poses=poses, depth=depth, options=bag)
    if is_image(path) if path.is_file() else any(is_image(file) for file in path.iterdir()):
        if poses:
            raise DataError(
                f"{path} holds images without poses: a map needs a TUM RGB-D folder (rgb.txt and groundtruth.txt), "
                "a COLMAP model or a rosbag2"
            )
        return read_images(path)
    raise DataError(f"{path} is no source of images: {_understood(path, poses)}")


def _understood(path: Path, poses: bool) -> str:
    if path.is_dir():
        names = ("rgb.txt", "metadata.yaml")
        inside = sorted(child for child in path.iterdir() if any((child / name).is_file() for name in names))
        if inside:
            return f"did you mean {inside[0]}?"
    kinds = (
        "give a TUM RGB-D folder (with rgb.txt), a COLMAP model (cameras and images, .bin or .txt) or a rosbag2 "
        "(its folder, .mcap or .db3)"
    )
    return kinds if poses else f"{kinds}, a folder of images or an image"
