"""Plain image files without poses: something to localize, not to map."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from neumap.errors import DataError
from neumap.io.camera_info import find_camera_info, fit_to_image, read_camera_info
from neumap.io.files import PathLike
from neumap.io.images import is_image, read_gray
from neumap.io.stamps import stamps_from_names
from neumap.records import Frame, Source

# the images of a TUM folder lie in rgb/, its calibration in its parent
CALIBRATION_LEVELS = 2


def holds_images(path: Path) -> bool:
    """Tell whether the path is an image file or a folder with one."""
    return any(map(is_image, path.iterdir())) if path.is_dir() else is_image(path)


def read_images(path: PathLike) -> Source:
    """Read one image file, or the images of a folder, as frames without poses.

    ``camera_info.yaml`` lies beside them or up to two folders above; it is scaled to the first image. The stamps are
    the file names where those are numbers (seconds, or whole nanoseconds), else 0 s, 1 s, ... in the order of the
    names, which a note tells.

    Raises :class:`~neumap.errors.DataError` where there is no image,
    :class:`~neumap.errors.CalibrationError` for a calibration that is missing or does not fit.
    """
    path = Path(path)
    is_folder = path.is_dir()
    folder = path if is_folder else path.parent
    files = sorted(filter(is_image, path.iterdir())) if is_folder else [path]
    if not files:
        raise DataError(f"the folder {path} holds no image")
    stamps, stamp_notes = stamps_from_names([file.name for file in files])
    camera_info = find_camera_info(folder, CALIBRATION_LEVELS)
    camera, notes = fit_to_image(read_camera_info(camera_info), files[0])
    size = (camera.width, camera.height)
    frames = [
        Frame(file.name, stamp, camera, partial(read_gray, file, size))
        for file, stamp in zip(files, stamps, strict=True)
    ]
    frames.sort(key=lambda frame: frame.stamp_ns)
    kind = "folder of images" if is_folder else "image"
    return Source(f"{kind} {path}", tuple(frames), (*notes, *stamp_notes))
