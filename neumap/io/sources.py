"""Opens any kind of source of images, and thins sources by motion.

To add a kind of source, add a module beside this one and a row to KINDS. Plain image files, without poses, are read
here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neumap.errors import ConfigError, DataError
from neumap.geometry.se3 import kept_by_motion
from neumap.io.bags.reader import is_bag
from neumap.io.bags.source import open_bag
from neumap.io.bags.topics import BagOptions
from neumap.io.camera_info import UNTOLD, Told, lenses_of_image
from neumap.io.colmap import find_model, read_colmap
from neumap.io.files import PathLike
from neumap.io.images import first_readable, is_image, read_gray
from neumap.io.nerfstudio import is_nerfstudio, read_nerfstudio
from neumap.io.stamps import COUNTED, stamps_from_names
from neumap.io.streams import posed
from neumap.io.trajectories import read_trajectory, spacing_of
from neumap.io.tum import is_tum, read_tum
from neumap.maps.map_file import is_map
from neumap.records import Frame, Source, by_camera, stamps_of

# CALIBRATION_LEVELS: folders above the images to search: of rgb/ in a TUM folder, that folder and its parent.
CALIBRATION_LEVELS = 2


def image_files(path: Path) -> list[Path]:
    """List the image files of a folder; of the path of an image, that one."""
    return sorted(filter(is_image, path.iterdir() if path.is_dir() else [path]))


def read_images(path: PathLike, told: Told = UNTOLD) -> Source:
    """Read one image file, or the images of a folder, as frames without poses.

    ``camera_info.yaml`` is beside them or up to two folders above; it is fitted to the first image and to ``told``.
    Stamps follow :func:`~neumap.io.stamps.stamps_from_names`. Raises :class:`~neumap.errors.DataError` (or its kin) if
    there is no image, or no calibration that fits.
    """
    files = image_files(Path(path))
    if not files:
        raise DataError(f"the folder {path} holds no image")
    stamps, stamp_notes = stamps_from_names([file.name for file in files])
    lenses = lenses_of_image(files[0].parent, first_readable(files), told, CALIBRATION_LEVELS)
    camera = lenses[0].camera
    size = (camera.width, camera.height)
    pairs = sorted(zip(stamps, files, strict=True))
    frames = [Frame(file.name, stamp, camera, partial(read_gray, file, size), lenses=lenses) for stamp, file in pairs]
    kind = "image" if files == [Path(path)] else "folder of images"
    return Source(f"{kind} {path}", tuple(frames), tuple(stamp_notes))


class Kind(NamedTuple):
    """A kind of source: its name for messages, a test whether an existing path is one, and its reader.

    The arguments of the reader are the path, whether poses and depth are wanted, ``told``, and the value of ``option``,
    the argument of :func:`open_source` that only this kind supports. ``misplaced`` is the error for that argument with
    another kind.
    """

    name: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, bool, bool, Told, Any], Source]
    option: str = ""
    misplaced: str = ""
    has_poses: bool = True


# VIDEOS: suffixes of files whose error explains how to use a video.
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")

# KINDS: the first that recognises a path takes it.
KINDS = (
    Kind(
        "a TUM RGB-D folder (with rgb.txt)",
        is_tum,
        lambda path, poses, depth, told, _: read_tum(path, depth, poses, told),
    ),
    Kind(
        "a nerfstudio folder (with transforms.json)",
        is_nerfstudio,
        lambda path, poses, _depth, told, _bag: read_nerfstudio(path, poses, told),
    ),
    Kind(
        "a COLMAP model (cameras and images, .bin or .txt)",
        lambda path: find_model(path) is not None,
        lambda path, poses, depth, told, images: read_colmap(path, images, poses, told),
        option="images",
        misplaced="an image folder was given, but {} is not a COLMAP model: leave that option out",
    ),
    Kind(
        "a rosbag (its folder, .mcap, .db3 or, of ROS 1, .bag)",
        is_bag,
        lambda path, poses, depth, told, bag: open_bag(path, poses=poses, depth=depth, told=told, options=bag),
        option="bag",
        misplaced="topics or frames of a bag were given, but {} is not a rosbag: leave these options out",
    ),
    Kind(
        "a folder of images or an image",
        lambda path: bool(image_files(path)),
        lambda path, poses, depth, told, _: read_images(path, told),
        has_poses=False,
    ),
)


def open_source(
    path: PathLike,
    *,
    poses: bool,
    depth: bool = True,
    told: Told = UNTOLD,
    images: PathLike | None = None,
    bag: BagOptions | None = None,
    odometry: bool = False,
    trajectory: PathLike | None = None,
) -> Source:
    """Open the frames of a TUM RGB-D or nerfstudio folder, a COLMAP model or a rosbag or, without ``poses``, of images.

    With ``poses`` every frame has one; without, none has, and ground truth is not read. ``depth`` allows depth images;
    ``told`` is what the user states about the images; ``images`` is the image folder of a COLMAP model; ``bag`` names
    topics and frames of a rosbag. A ``trajectory`` (a TUM file of the optical frame of the first camera or, with a bag,
    of its ``base_frame``) replaces the poses of any source with stamps. With ``odometry`` the poses are those of
    odometry, which drifts: for a bag those of its odometry, even if it holds poses in the map; for other sources
    those given.

    Raises :class:`~neumap.errors.DataError` (or its kin) that states what is missing, or which sources are supported;
    :class:`~neumap.errors.ConfigError` for ``images`` or ``bag`` with another kind of source.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    if trajectory is not None and is_bag(path):
        bag = replace(bag or BagOptions(), trajectory=str(trajectory))
    given = {"images": images, "bag": None if bag == BagOptions() else bag}
    found = [kind for kind in KINDS if kind.recognise(path)]
    for kind in KINDS:
        if given.get(kind.option) is not None:
            found = [each for each in found if each is kind]
            if not found:
                raise ConfigError(kind.misplaced.format(path))
    if not found and is_map(path):
        raise DataError(
            f"{path} is a map, not a source of images: give the recording there, and the map where one is due"
        )
    if not found:
        raise DataError(f"{path} is no source of images: {_understood(path, poses)}")
    kind, option = found[0], given.get(found[0].option)
    if odometry and kind.option == "bag":
        option = replace(bag or BagOptions(), odometry=True)
    if poses and trajectory is not None and not is_bag(path):
        source = _posed(kind.read(path, False, depth, told, option), Path(trajectory))
    elif poses and not kind.has_poses:
        raise DataError(
            f"{path} holds images without poses: a map needs {_listed()}; or give their poses as --trajectory"
        )
    else:
        source = kind.read(path, poses, depth, told, option)
    return replace(source, drifts=True) if odometry else source


def _posed(source: Source, path: Path) -> Source:
    if COUNTED in source.notes:
        raise DataError(f"no pose of {path} can be told of {source.description}: name its images by their stamps")
    trajectory = read_trajectory(path)
    return posed(source, trajectory, path, spacing_of(trajectory, stamps_of(source.frames)))


def _understood(path: Path, poses: bool) -> str:
    if path.suffix.lower() in VIDEOS:
        return (
            "a video tells no poses; take images from it and let COLMAP find these ('ns-process-data video' of "
            "nerfstudio does both), and give the folder that holds them"
        )
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


def thin(source: Source, every_m: float | None = None, every_deg: float | None = None) -> Source:
    """Keep the frames that moved ``every_m`` metres or turned ``every_deg`` degrees since the last kept frame of their
    camera.

    Returns the source unchanged if neither is given, else with a note of how many frames were kept. Raises
    :class:`~neumap.errors.DataError` if fewer than two frames are left, or one has no pose.
    """
    if every_m is None and every_deg is None:
        return source
    poses = [frame.map_from_camera for frame in source.frames]
    if any(pose is None for pose in poses):
        raise DataError(f"{source.description}: frames without poses cannot be thinned by motion")
    known, kept = np.array(poses).reshape(-1, 4, 4), []
    for images in by_camera(source.frames):
        kept += [images[i] for i in kept_by_motion(known[images], every_m, every_deg)]
    limits = [] if every_m is None else [f"moved {every_m:g} m"]
    limits += [] if every_deg is None else [f"turned {every_deg:g} deg"]
    what = f"{len(kept)} of {len(poses)} frames {' or '.join(limits)} since the one before"
    if len(kept) < 2:
        raise DataError(f"{source.description}: only {what}, two are needed at least: ask for less motion")
    frames = tuple(source.frames[i] for i in sorted(kept))
    return replace(source, frames=frames, notes=(*source.notes, f"{what}: the others are left out"))
