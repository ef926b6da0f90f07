"""Reads folders of the TUM RGB-D benchmark: ``rgb.txt``, ``depth.txt``, ``groundtruth.txt``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from neumap.errors import DataError
from neumap.io.camera_info import UNTOLD, Told, lenses_of_image
from neumap.io.files import PathLike, parse_lines
from neumap.io.images import first_readable, read_depth, read_gray
from neumap.io.stamps import parse_stamp
from neumap.io.streams import depth_of_each, once_each, posed
from neumap.io.trajectories import USUAL_SPACING, read_trajectory
from neumap.records import Frame, Source

# LINE: the format of a line of rgb.txt and depth.txt.
LINE = "timestamp filename"


def is_tum(path: Path) -> bool:
    """Return whether the path is a folder with ``rgb.txt``."""
    return (path / "rgb.txt").exists()


def read_tum(folder: PathLike, depth: bool = True, poses: bool = True, told: Told = UNTOLD) -> Source:
    """Read the frames of a TUM RGB-D folder, sorted by stamp; ``camera_info.yaml`` is in it or in its parent.

    With ``poses`` each frame gets its pose from ``groundtruth.txt`` (the camera's optical frame in the map) and frames
    without one are left out; with ``depth`` it gets the depth image of ``depth.txt`` within 20 ms, if any. Notes state
    what was left out. The camera is fitted to the first image and to ``told``.

    Raises :class:`~neumap.errors.DataError` (or its kin) for data that are missing, empty, unreadable or inconsistent,
    and for fewer than two frames with a pose. A damaged image, or one of another size, raises when it is read.
    """
    folder = Path(folder)
    images, notes = once_each(read_image_list(folder / "rgb.txt"))
    _check_exist(folder, "rgb.txt", [name for _, name in images])
    stamps = np.array([stamp for stamp, _ in images], dtype=np.int64)
    truth = folder / "groundtruth.txt"
    if poses and not truth.exists():
        raise DataError(
            f"{folder} has no groundtruth.txt: the camera's poses are needed (timestamp tx ty tz qx qy qz qw), there "
            "or in the file of --trajectory"
        )
    depth_names: list[str | None] = [None] * len(images)
    if depth and (folder / "depth.txt").exists():
        depth_names, depth_notes = depth_of_each(read_image_list(folder / "depth.txt"), stamps)
        _check_exist(folder, "depth.txt", list(filter(None, depth_names)))
        notes += depth_notes
    lenses = lenses_of_image(folder, first_readable(folder / name for _, name in images), told)
    camera = lenses[0].camera
    size = (camera.width, camera.height)
    frames = tuple(
        Frame(
            name=name,
            stamp_ns=stamp,
            camera=camera,
            read_image=partial(read_gray, folder / name, size),
            read_depth=None if depth_name is None else partial(read_depth, folder / depth_name, size=size),
            lenses=lenses,
        )
        for (stamp, name), depth_name in zip(images, depth_names, strict=True)
    )
    source = Source(f"TUM RGB-D folder {folder}", frames, tuple(notes))
    return posed(source, read_trajectory(truth), truth, USUAL_SPACING) if poses else source


def read_image_list(path: PathLike) -> list[tuple[int, str]]:
    """Read stamp (ns) and file name of each line ``timestamp filename``, sorted by stamp.

    Raises :class:`~neumap.errors.DataError` if the list is missing or empty, or has other lines.
    """
    return sorted(parse_lines(path, "the list of images", LINE, _parse), key=lambda entry: entry[0])


def _parse(line: str) -> tuple[int, str]:
    stamp, *name = line.split(maxsplit=1)
    if not name:
        raise ValueError(f"expected '{LINE}'")
    return parse_stamp(stamp), name[0]


def _check_exist(folder: Path, list_name: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} images that {folder / list_name} lists are missing, "
            f"the first is {missing[0]}: restore them or remove their lines"
        )
