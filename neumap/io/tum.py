"""Folders in the layout of the TUM RGB-D benchmark: ``rgb.txt``, ``depth.txt``, ``groundtruth.txt``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from neumap.arrays import FloatArray, IntArray
from neumap.errors import DataError
from neumap.io.camera_info import find_camera_info, fit_to_image, read_camera_info
from neumap.io.files import PathLike, data_lines
from neumap.io.images import read_depth, read_gray
from neumap.io.stamps import nearest, parse_stamp, seconds
from neumap.io.trajectories import MAX_GAP_NS, poses_at, read_trajectory
from neumap.records import Frame, Source, Trajectory

MAX_DEPTH_OFFSET_NS = 20_000_000


def is_tum(path: Path) -> bool:
    """Tell whether the path is a folder in this layout: one with ``rgb.txt``."""
    return (path / "rgb.txt").exists()


def read_tum(folder: PathLike, depth: bool = True, poses: bool = True) -> Source:
    """Read the frames of a TUM RGB-D folder, sorted by stamp; ``camera_info.yaml`` is in it or in its parent.

    With ``poses`` each frame gets its pose from ``groundtruth.txt`` (the camera's optical frame in the map) and
    frames without one are left out; else that file is not looked at. With ``depth`` a frame gets the depth image of
    ``depth.txt``, where there is one within 20 ms. Notes tell what was left out. A camera calibrated at another
    resolution is scaled to the first image.

    Raises :class:`~neumap.errors.DataError` for lists or images that are missing, empty or unreadable, and for
    fewer than two frames with a pose; :class:`~neumap.errors.CalibrationError` for a calibration that is missing
    or does not fit. An image that turns out damaged or of another size raises when it is read.
    """
    folder = Path(folder)
    _check_folder(folder)
    images, notes = _unique(read_image_list(folder / "rgb.txt"))
    _check_exist(folder, "rgb.txt", [name for _, name in images])
    stamps = np.array([stamp for stamp, _ in images], dtype=np.int64)

    known: list[FloatArray | None] = [None] * len(images)
    if poses:
        known, pose_notes = _poses(folder, stamps)
        notes += pose_notes
    depth_names: list[str | None] = [None] * len(images)
    if depth and (folder / "depth.txt").exists():
        depth_names, depth_notes = _depth_names(folder, stamps)
        notes += depth_notes
    camera, camera_notes = fit_to_image(read_camera_info(find_camera_info(folder)), folder / images[0][1])
    size = (camera.width, camera.height)
    frames = tuple(
        Frame(
            name=name,
            stamp_ns=stamp,
            camera=camera,
            read_image=partial(read_gray, folder / name, size),
            read_depth=None if depth_name is None else partial(read_depth, folder / depth_name, size=size),
            map_from_camera=pose,
        )
        for (stamp, name), pose, depth_name in zip(images, known, depth_names, strict=True)
        if pose is not None or not poses
    )
    return Source(f"TUM RGB-D folder {folder}", frames, (*camera_notes, *notes))


def read_image_list(path: PathLike) -> list[tuple[int, str]]:
    """Read stamp (ns) and file name, as written, of each line ``timestamp filename``, sorted by stamp.

    Raises :class:`~neumap.errors.DataError` for a list that is missing, empty or has other lines.
    """
    entries: list[tuple[int, str]] = []
    for number, line in data_lines(path, "the list of images"):
        fields = line.split(maxsplit=1)
        if len(fields) != 2:
            raise DataError(f"{path}, line {number}: expected 'timestamp filename'")
        try:
            entries.append((parse_stamp(fields[0]), fields[1]))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    if not entries:
        raise DataError(f"the list of images {path} is empty: expected lines of 'timestamp filename'")
    return sorted(entries, key=lambda entry: entry[0])


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise DataError(f"{folder} does not exist: check the path")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file: give the folder that holds rgb.txt")


def _unique(entries: Sequence[tuple[int, str]]) -> tuple[list[tuple[int, str]], list[str]]:
    first: dict[int, str] = {}
    for stamp, name in entries:
        first.setdefault(stamp, name)
    dropped = len(entries) - len(first)
    notes = [f"{dropped} of {len(entries)} images have the stamp of another one: left out"] if dropped else []
    return list(first.items()), notes


def _check_exist(folder: Path, list_name: str, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} images that {folder / list_name} lists are missing, "
            f"the first is {missing[0]}: restore them or remove their lines"
        )


def _poses(folder: Path, stamps: IntArray) -> tuple[list[FloatArray | None], list[str]]:
    path = folder / "groundtruth.txt"
    if not path.exists():
        raise DataError(
            f"{folder} has no groundtruth.txt: the camera's poses are needed (timestamp tx ty tz qx qy qz qw)"
        )
    trajectory = read_trajectory(path)
    poses, valid = poses_at(trajectory, stamps)
    count = int(valid.sum())
    if count == 0:
        raise DataError(f"no image has a pose: {_spans(stamps, trajectory)}; are they of the same recording and clock?")
    if count < 2:
        raise DataError(f"only one of the {len(stamps)} images has a pose in {path}: at least two are needed")
    notes = []
    if count < len(stamps):
        notes.append(
            f"{len(stamps) - count} of {len(stamps)} images have no pose, groundtruth.txt has gaps of more than "
            f"{MAX_GAP_NS / 1e9:g} s there: left out"
        )
    return [pose if known else None for pose, known in zip(poses, valid, strict=True)], notes


def _spans(stamps: IntArray, trajectory: Trajectory) -> str:
    poses = trajectory.stamps_ns
    return (
        f"the images are from {seconds(stamps[0])} s to {seconds(stamps[-1])} s, "
        f"the poses from {seconds(poses[0])} s to {seconds(poses[-1])} s"
    )


def _depth_names(folder: Path, stamps: IntArray) -> tuple[list[str | None], list[str]]:
    entries = read_image_list(folder / "depth.txt")
    index, distance = nearest(np.array([stamp for stamp, _ in entries], dtype=np.int64), stamps)
    near = distance <= MAX_DEPTH_OFFSET_NS
    names = [entries[i][1] if ok else None for i, ok in zip(index, near, strict=True)]
    _check_exist(folder, "depth.txt", [name for name in names if name is not None])
    without = len(stamps) - int(near.sum())
    if not without:
        return names, []
    return names, [f"{without} of {len(stamps)} images have no depth within {MAX_DEPTH_OFFSET_NS / 1e6:g} ms"]
