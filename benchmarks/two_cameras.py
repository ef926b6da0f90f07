#!/usr/bin/env python3
"""Recall of a robot with two cameras in a virtual building, by each camera and by both together.

    python benchmarks/two_cameras.py [--rooms 16] [--seed 0] [--folder FOLDER] [--threads 1]

The building is that of building.py. The second camera looks the opposite way, 0.2 m behind the first; both images are
one query. Existing maps of rooms are taken from the folder.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.building import ROOM_BYTES
from benchmarks.scoring import COMPARED_SIGMA_M, LOST, are_wrong, markdown, metres_and_degrees, within
from neumap.arrays import FloatArray, ImageArray
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.localization.localizer import Localizer
from neumap.localization.query import View
from neumap.mapping.build import map_of
from neumap.mapping.merge import merge_all
from neumap.mapping.settings import MappingSettings
from neumap.mapping.survey import survey
from neumap.maps.neural_map import NeuralMap
from neumap.process import set_up
from neumap.records import Camera
from neumap.virtual.curriculum import Building, building

HEAD = ("cameras", "queries", "within 5 cm", "within 25 cm", "wrong")
FRONT_FROM_REAR = make_pose(rotation_exp(np.array([0.0, np.pi, 0.0])), np.array([0.0, 0.0, -0.2]))
CAMERAS = ("front", "rear", "both")


class Room(NamedTuple):
    """A room's map, the images of both cameras at each place, the front camera's poses, and the camera."""

    neural_map: NeuralMap
    images: list[tuple[ImageArray, ImageArray]]
    poses: FloatArray
    camera: Camera


def mapped(place: Building, index: int) -> Room:
    frames = place.room(index)
    settings = MappingSettings(size_bytes=ROOM_BYTES)
    # queries are localized, so none of the few mapping images is set aside to measure on
    neural_map = map_of(replace(survey(frames.mapping, settings), aside=()), settings)
    poses = np.array([frame.map_from_camera for frame in frames.query], dtype=np.float64)
    rear = place.seen_from(index, poses @ FRONT_FROM_REAR)
    images = [(a.read_image(), b.read_image()) for a, b in zip(frames.query, rear, strict=True)]
    return Room(neural_map, images, poses, frames.query[0].camera)


def kept(place: Building, index: int, folder: Path | None) -> Room:
    """The room of an index, from the folder if it is there, else mapped and kept there."""
    path = None if folder is None else folder / f"room-{place.rooms}-{place.seed}-{index}.pkl"
    if path is not None and path.exists():
        return Room(*pickle.loads(path.read_bytes()))
    room = mapped(place, index)
    if path is not None:
        path.write_bytes(pickle.dumps(tuple(room)))
    return room


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for rooms that were mapped (pickles: of your own only)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    set_up(args.threads)
    rooms: list[Room] = []
    for index in range(args.rooms):
        rooms.append(kept(building(args.rooms, args.seed), index, args.folder))
        print(f"room {index}", file=sys.stderr, flush=True)
    localizer = Localizer(merge_all([room.neural_map for room in rooms], apart=True))
    errors: dict[str, list[tuple[float, float]]] = {which: [] for which in CAMERAS}
    for room in rooms:
        for images, truth in zip(room.images, room.poses, strict=True):
            views = [
                View(localizer.look(image, room.camera), place)
                for image, place in zip(images, (np.eye(4), FRONT_FROM_REAR), strict=True)
            ]
            for which, asked in zip(CAMERAS, (views[:1], views[1:], views), strict=True):
                found = localizer.locate(asked).certain(COMPARED_SIGMA_M)
                pose = found.map_from_camera
                errors[which].append(LOST if pose is None else metres_and_degrees(pose, truth))
                print(len(errors[which]), which, found.reason or errors[which][-1], found.evidence, file=sys.stderr)
    rows = []
    for which, all_errors in errors.items():
        table = np.array(all_errors)
        near, about = (f"{100 * within(table, name).mean():.1f} %" for name in ("5 cm, 5°", "25 cm, 10°"))
        rows.append((which, str(len(table)), near, about, str(are_wrong(table).sum())))
    print(markdown(f"{args.rooms} rooms, seed {args.seed}", HEAD, rows))


if __name__ == "__main__":
    main()
