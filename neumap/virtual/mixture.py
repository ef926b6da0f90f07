"""Places to train the frozen decoder in: half from :mod:`~neumap.virtual.curriculum`, half large ones.

They have more lenses, and full, limited or no depth. Many queries are hard: blurred, under other light, partly
occluded, or rotated as phones are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neumap.arrays import FloatArray
from neumap.records import Camera
from neumap.virtual import photos
from neumap.virtual.curriculum import CHANGED, SEEDS, STEADY, WALLS_M, Place, decorations_of, random_size, spread_drive
from neumap.virtual.grounds import make_ground
from neumap.virtual.hardships import Hardship, random_hardship
from neumap.virtual.layout import make_room
from neumap.virtual.lenses import random_lens
from neumap.virtual.scene import Room, Size
from neumap.virtual.walk import GAZES, Gaze, Way, close_way, walk

# ROOMS: fraction of each kind of room; GROUNDS: fraction of each kind of large place, and ranges of its width and
# height, metres. Twins are narrower, since there are two.
ROOMS = {"room": 0.22, "hall": 0.08, "corridor": 0.08, "twins": 0.12}
GROUNDS = {
    "courtyard": (0.2, (12.0, 60.0), (6.0, 14.0)),
    "great hall": (0.15, (12.0, 60.0), (4.0, 9.0)),
    "courtyard twins": (0.08, (10.0, 25.0), (6.0, 12.0)),
    "hall twins": (0.07, (10.0, 25.0), (4.0, 7.0)),
}
# _IMAGES: least and greatest number of mapping images of a large place; _MORE_IMAGES: more of them per metre of length.
# _OF_ROOMS: greatest number in a room; _QUERIES: number of queries.
_IMAGES, _MORE_IMAGES, _OF_ROOMS, _QUERIES = (15, 40), 0.3, 40, 12
# _USUAL_PIXELS: images with more pixels are slower, and fewer; _FEWEST: least fraction of the usual number.
_USUAL_PIXELS, _FEWEST = 420_000, 0.8
# _NO_DEPTH, _NO_DEPTH_IN_ROOMS: fraction of large places, and of rooms, without depth; _REACH_M: range of depth in
# other large places, as of depth cameras.
_NO_DEPTH, _NO_DEPTH_IN_ROOMS, _REACH_M = 0.55, 0.15, (6.0, 10.0)
# _HARD: fraction of hard queries; _OTHER_LENS: fraction of places with another camera for queries.
_HARD, _OTHER_LENS = 0.4, 0.3
# _HELD, _UPRIGHT: fraction of places mapped with a hand-held camera, or with one rotated by 90 degrees; _TURNED:
# fraction of queries rotated by a further 90 degrees.
_HELD, _UPRIGHT, _TURNED = 0.3, 0.1, 0.1


@dataclass(frozen=True)
class _Plan:
    """The parameters of a place."""

    kind: str
    size: Size
    detail: float
    gaze: Gaze
    depth_reach_m: float
    images: int

    def part(self, seed: int, decoration: int | None) -> Room:
        """Make one part of the place; twins have two."""
        if self.kind in ROOMS:
            return make_room(seed, self.size, detail=self.detail, decoration_seed=decoration)
        return make_ground(seed, self.size, roofed="hall" in self.kind, decoration_seed=decoration)

    def poses(self, room: Room, seed: int, images: int, queries: int) -> tuple[FloatArray, FloatArray]:
        """Return the poses (N, 4, 4) of ``images`` mapping images and of ``queries`` queries."""
        if self.kind in ROOMS:
            return spread_drive(room, seed, images, "mapping"), spread_drive(room, seed, queries, "query")
        reach = self.depth_reach_m
        way = close_way(self.size, images, self.gaze, reach) if reach else Way(self.gaze)
        return walk(room, seed, images, "mapping", way), walk(room, seed, queries, "query", way)


def curriculum_place(seed: int) -> Place:
    """Make the place of a ``seed``, with up to 40 mapping images and 12 queries."""
    rng = np.random.default_rng([seed, 78])
    plan = _plan(rng)
    camera = random_lens(rng)
    asking = random_lens(rng) if rng.random() < _OTHER_LENS else camera
    decorations = decorations_of(plan.kind)
    images, queries = (
        _affordable(most, lens) // len(decorations) for most, lens in ((plan.images, camera), (_QUERIES, asking))
    )
    held, upright = rng.random() < _HELD, rng.random() < _UPRIGHT
    mapping, query = [], []
    for index, decoration in enumerate(decorations):
        room = plan.part(seed, decoration)
        of_part, offset = seed + SEEDS * index, (index * (plan.size[0] + WALLS_M), 0.0, 0.0)
        there, asked = plan.poses(room, of_part, images, queries)
        turned = np.pi / 2 * rng.choice([-1, 0, 1], len(asked), p=[_TURNED / 2, 1 - _TURNED, _TURNED / 2])
        there = photos.rolled(there, _rolls(rng, len(there), held, upright))
        asked = photos.rolled(asked, _rolls(rng, len(asked), held, upright) + turned)
        hard = [random_hardship(rng) if rng.random() < _HARD else Hardship() for _ in asked]
        mapping += photos.take(room, camera, there, name="mapping", light=STEADY, seed=of_part, offset=offset)
        query += photos.take(
            room, asking, asked, name="query", light=CHANGED, seed=of_part, offset=offset, hardships=hard
        )
    return Place(_describe(plan, camera, len(mapping)), tuple(mapping), tuple(query), plan.depth_reach_m)


def _plan(rng: np.random.Generator) -> _Plan:
    shares = ROOMS | {kind: share for kind, (share, *_) in GROUNDS.items()}
    kind = str(rng.choice(list(shares), p=list(shares.values())))
    if kind in ROOMS:
        size, detail = random_size(rng, kind)
        reach = 0.0 if rng.random() < _NO_DEPTH_IN_ROOMS else math.inf
        return _Plan(kind, size, detail, "across", reach, int(_OF_ROOMS * rng.choice([0.5, 0.75, 1.0])))
    _, width, height = GROUNDS[kind]
    # log-uniform: small ones are as likely as large ones
    x, y = (math.exp(rng.uniform(math.log(width[0]), math.log(width[1]))) for _ in range(2))
    size = (x, y, float(rng.uniform(*height)))
    blind = bool(rng.random() < _NO_DEPTH)
    # with depth never across: little would be in range
    gaze = GAZES[int(rng.integers(0 if blind else 1, len(GAZES)))]
    least, most = _IMAGES
    needed = least + int(_MORE_IMAGES * max(x, y)) if blind else (least + most) // 2
    images = int(rng.integers(min(most, needed * len(decorations_of(kind))), most, endpoint=True))
    return _Plan(kind, size, 0.0, gaze, 0.0 if blind else float(rng.uniform(*_REACH_M)), images)


def _affordable(count: int, camera: Camera) -> int:
    return round(count * max(_FEWEST, min(1.0, _USUAL_PIXELS / (camera.width * camera.height))))


def _rolls(rng: np.random.Generator, count: int, held: bool, upright: bool) -> FloatArray:
    """Draw the roll (N,) of images in radians."""
    most = photos.MAX_ROLL_RAD if held else 0.0
    return np.asarray(rng.uniform(-most, most, count) + (np.pi / 2 if upright else 0.0))


def _describe(plan: _Plan, camera: Camera, images: int) -> str:
    reach = plan.depth_reach_m
    depth = "with depth" if math.isinf(reach) else f"with depth up to {reach:.1f} m" if reach else "without depth"
    area = f"{plan.kind} of {plan.size[0]:.1f} x {plan.size[1]:.1f} m"
    return f"{area}, {images} images of {camera.width} x {camera.height} {depth}"
