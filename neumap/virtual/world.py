"""Recordings in a virtual room: a drive to map, another one to localize, and images that must not be localized."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from neumap.arrays import ImageArray
from neumap.errors import DataError
from neumap.geometry.cameras import make_camera
from neumap.io.camera_info import CAMERA_INFO
from neumap.io.files import PathLike
from neumap.progress import Progress
from neumap.records import Camera
from neumap.virtual import room as virtual_room

MAPPING, QUERY, NEGATIVES = "mapping", "query", "negatives"

# another day
_QUERY_START_NS = virtual_room.EPOCH_NS + 86_400_000_000_000
_OTHER_ROOM_SEED = 1000


@dataclass(frozen=True)
class VirtualWorld:
    """What to record: the camera, the size of the room and of its textures, how many images, how long a query bag."""

    width: int = 640
    height: int = 480
    focal_px: float = 525.0
    room_m: tuple[float, float, float] = (6.0, 5.0, 2.7)
    texture_px_per_m: float = 420.0
    mapping_frames: int = 160
    query_frames: int = 40
    other_room_frames: int = 6
    bag_seconds: float = 24.0

    @property
    def camera(self) -> Camera:
        """A pinhole camera."""
        centre_x, centre_y = (self.width - 1) / 2, (self.height - 1) / 2
        matrix = [self.focal_px, 0, centre_x, 0, self.focal_px, centre_y, 0, 0, 1]
        return make_camera(self.width, self.height, matrix)


SMALL = VirtualWorld(320, 240, 262.0, (4.5, 4.0, 2.7), 250.0, 60, 12, 4, 16.0)
NORMAL = VirtualWorld()


def write_world(
    folder: PathLike,
    world: VirtualWorld,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> virtual_room.Room:
    """Write the TUM folders ``mapping`` (with depth) and ``query`` and the folder of images ``negatives``; the room.

    The negatives are views of another room, a blank wall, noise, and what a covered lens sees. The same for the same
    seed. Raises :class:`~neumap.errors.DataError` where the folder cannot be written.
    """
    folder, camera = Path(folder), world.camera

    def stage(name: str) -> Callable[[int, int], None]:
        def step(done: int, total: int) -> None:
            progress(name, done, total)

        return step

    progress("furnish room", 0, 1)
    room = virtual_room.make_room(seed, world.room_m, detail=world.texture_px_per_m)
    mapping = virtual_room.drive(room, seed, world.mapping_frames, "mapping")
    query = virtual_room.drive(room, seed, world.query_frames, "query")
    progress("furnish room", 1, 1)
    virtual_room.write_tum(folder / MAPPING, room, camera, mapping, seed=seed, progress=stage("record mapping"))
    virtual_room.write_tum(
        folder / QUERY,
        room,
        camera,
        query,
        with_depth=False,
        seed=seed + 1,
        start_ns=_QUERY_START_NS,
        progress=stage("record query"),
    )
    progress("record negatives", 0, 1)
    try:
        (folder / NEGATIVES).mkdir(parents=True, exist_ok=True)
        for name, image in _negatives(room, world, seed):
            (folder / NEGATIVES / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        text = virtual_room.camera_info_yaml(camera, "virtual_camera")
        (folder / NEGATIVES / CAMERA_INFO).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the images to {folder}: {error.strerror or error}") from error
    progress("record negatives", 1, 1)
    return room


def _negatives(room: virtual_room.Room, world: VirtualWorld, seed: int) -> Iterator[tuple[str, ImageArray]]:
    """Names and images that show nothing of the mapped room, or nothing that tells where in it."""
    camera, rng = world.camera, np.random.default_rng([seed, 3])
    shape = (world.height, world.width)
    wall = virtual_room.blank_wall_view(room, camera)
    image, _ = virtual_room.render(room, camera, wall)
    yield "blank_wall", virtual_room.sensor_image(image, camera, wall[None], 0, seed)
    yield "noise", rng.integers(0, 256, shape, dtype=np.uint8)
    yield "covered_lens", np.clip(rng.normal(3, 1.5, shape), 0, 255).astype(np.uint8)
    other = virtual_room.make_room(seed + _OTHER_ROOM_SEED, world.room_m, detail=world.texture_px_per_m)
    drive = virtual_room.drive(other, seed, 10 * world.other_room_frames, "mapping")
    for index in range(0, len(drive), 10):
        image, _ = virtual_room.render(other, camera, drive[index])
        yield f"other_room_{index:03d}", virtual_room.sensor_image(image, camera, drive, index, seed)
