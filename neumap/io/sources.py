"""Opens a source of images, whatever it is. Another kind of source is a module beside this one and a row of KINDS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neumap.errors import ConfigError, DataError
from neumap.io.bags.reader import is_bag
from neumap.io.bags.source import open_bag
from neumap.io.bags.topics import BagOptions
from neumap.io.colmap import find_model, read_colmap
from neumap.io.files import PathLike
from neumap.io.folders import holds_images, read_images
from neumap.io.tum import is_tum, read_tum
from neumap.records import Source


@dataclass(frozen=True)
class SourceOptions:
    """What :func:`open_source` is told; ``images`` and ``bag`` are understood by one kind of source only."""

    poses: bool
    depth: bool = True
    images: PathLike | None = None
    bag: BagOptions | None = None


class Kind(NamedTuple):
    """A kind of source: as the user is told of it, whether a path that exists is one, and its reader.

    ``option`` is the one of :class:`SourceOptions` that only this kind understands.
    """

    name: str
    recognise: Callable[[Path], bool]
    open: Callable[[Path, SourceOptions], Source]
    option: str = ""
    has_poses: bool = True


# the first that recognises a path takes it
KINDS = (
    Kind("a TUM RGB-D folder (with rgb.txt)", is_tum, lambda p, o: read_tum(p, depth=o.depth, poses=o.poses)),
    Kind(
        "a COLMAP model (cameras and images, .bin or .txt)",
        lambda p: find_model(p) is not None,
        lambda p, o: read_colmap(p, o.images, poses=o.poses),
        option="images",
    ),
    Kind(
        "a rosbag2 (its folder, .mcap or .db3)",
        is_bag,
        lambda p, o: open_bag(p, poses=o.poses, depth=o.depth, options=o.bag),
        option="bag",
    ),
    Kind("a folder of images or an image", holds_images, lambda p, o: read_images(p), has_poses=False),
)
# what is said where an option is given with another kind of source
_MISPLACED = {
    "bag": "topics or frames of a bag were given, but {} is not a rosbag2: leave these options out",
    "images": "an image folder was given, but {} is not a COLMAP model: leave that option out",
}


def open_source(
    path: PathLike,
    *,
    poses: bool,
    depth: bool = True,
    images: PathLike | None = None,
    bag: BagOptions | None = None,
) -> Source:
    """Open the frames of a TUM RGB-D folder, a COLMAP model or a rosbag2 or, without ``poses``, of images.

    With ``poses`` every frame has one; without, none has, and ground truth is not looked at. ``depth`` allows depth
    images; ``images`` is the image folder of a COLMAP model; ``bag`` names topics and frames of a rosbag2.

    Raises :class:`~neumap.errors.DataError` (or its kin) that says what is missing or, for a path that is none of
    these, what is understood; :class:`~neumap.errors.ConfigError` for ``images`` or ``bag`` with another kind of
    source; :class:`~neumap.errors.MissingDependencyError` where the reader needs a package that is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    options = SourceOptions(poses, depth, images, None if bag == BagOptions() else bag)
    given = [name for name in _MISPLACED if getattr(options, name) is not None]
    found = [kind for kind in KINDS if kind.recognise(path)]
    for option in given:
        found = [kind for kind in found if kind.option == option]
        if not found:
            raise ConfigError(_MISPLACED[option].format(path))
    if not found:
        raise DataError(f"{path} is no source of images: {_understood(path, poses)}")
    if poses and not found[0].has_poses:
        raise DataError(f"{path} holds images without poses: a map needs {_listed()}")
    return found[0].open(path, options)


def _understood(path: Path, poses: bool) -> str:
    if path.is_dir():
        with_poses = [kind for kind in KINDS if kind.has_poses]
        children = sorted(child for child in path.iterdir() if child.is_dir())
        inside = next((child for child in children if any(kind.recognise(child) for kind in with_poses)), None)
        if inside is not None:
            return f"did you mean {inside}?"
    others = [] if poses else [kind.name for kind in KINDS if not kind.has_poses]
    return f"give {', '.join([_listed(), *others])}"


def _listed() -> str:
    *names, last = (kind.name for kind in KINDS if kind.has_poses)
    return f"{', '.join(names)} or {last}"
