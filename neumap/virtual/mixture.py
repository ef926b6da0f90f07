"""Places that the frozen decoder is trained in: half those of :mod:`~neumap.virtual.curriculum`, half large ones.

They are seen through more lenses, some with depth, some with depth that does not reach far, some without. Of the images
that ask many are hard: blurred, under other light, partly covered, or turned as phones are.
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

# ROOMS: how many places are of which kind of room; GROUNDS: of large ones, how many, and between what widths and
# heights in metres. Twins are narrower: there are two of them.
ROOMS = {"room": 0.22, "hall": 0.08, "corridor": 0.08, "twins": 0.12}
GROUNDS = {
    "courtyard": (0.2, (12.0, 60.0), (6.0, 14.0)),
    "great hall": (0.15, (12.0, 60.0), (4.0, 9.0)),
    "courtyard twins": (0.08, (10.0, 25.0), (6.0, 12.0)),
    "hall twins": (0.07, (10.0, 25.0), (4.0, 7.0)),
}
# _IMAGES: that map a large place, least and most; _MORE_IMAGES: how many more it takes for each metre of its length.
# _OF_ROOMS: that map a room at most; _QUERIES: that ask.
_IMAGES, _MORE_IMAGES, _OF_ROOMS, _QUERIES = (15, 40), 0.3, 40, 12
# _USUAL_PIXELS: an image of more takes longer, so that there are fewer of them, but no fewer than this share.
_USUAL_PIXELS, _FEWEST = 420_000, 0.8
# _NO_DEPTH: how many large places, and how many rooms, are mapped without depth; _REACH_M: how far it goes else in
# large ones, as depth cameras do.
_NO_DEPTH, _NO_DEPTH_IN_ROOMS, _REACH_M = 0.55, 0.15, (6.0, 10.0)
# _HARD: how many queries are hard; _OTHER_LENS: in how many places they are from another camera than the map.
_HARD, _OTHER_LENS = 0.4, 0.3
# _HELD, _UPRIGHT: how many places are mapped with a camera held in a hand, or turned by 90 degrees; _TURNED: how many
# queries are turned by as much again.
_HELD, _UPRIGHT, _TURNED = 0.3, 0.1, 0.1


@dataclass(frozen=True)
class _Plan:
    """What is decided about a place before it is made."""

    kind: str
    size: Size
    detail: float
    gaze: Gaze
    depth_reach_m: float
    images: int

    def part(self, seed: int, decoration: int | None) -> Room:
        """Make one part of the place, of twins one of two."""
        if self.kind in ROOMS:
            return make_room(seed, self.size, detail=self.detail, decoration_seed=decoration)
        return make_ground(seed, self.size, roofed="hall" in self.kind, decoration_seed=decoration)

    def poses(self, room: Room, seed: int, images: int, queries: int) -> tuple[FloatArray, FloatArray]:
        """Return poses (N, 4, 4) of ``images`` that map, and of ``queries`` that ask."""
        if self.kind in ROOMS:
            return spread_drive(room, seed, images, "mapping"), spread_drive(room, seed, queries, "query")
        reach = self.depth_reach_m
        way = close_way(self.size, images, self.gaze, reach) if reach else Way(self.gaze)
        return walk(room, seed, images, "mapping", way), walk(room, seed, queries, "query", way)


def curriculum_place(seed: int) -> Place:
    """Make the place of ``seed``, with up to 40 images to map it and 12 that ask."""
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
    # small ones are as likely as large ones
    x, y = (math.exp(rng.uniform(math.log(width[0]), math.log(width[1]))) for _ in range(2))
    size = (x, y, float(rng.uniform(*height)))
    blind = bool(rng.random() < _NO_DEPTH)
    # across the place there is little within the reach of depth; what is measured is measured by many images
    gaze = GAZES[int(rng.integers(0 if blind else 1, len(GAZES)))]
    least, most = _IMAGES
    needed = least + int(_MORE_IMAGES * max(x, y)) if blind else (least + most) // 2
    images = int(rng.integers(min(most, needed * len(decorations_of(kind))), most, endpoint=True))
    return _Plan(kind, size, 0.0, gaze, 0.0 if blind else float(rng.uniform(*_REACH_M)), images)


def _affordable(count: int, camera: Camera) -> int:
    return round(count * max(_FEWEST, min(1.0, _USUAL_PIXELS / (camera.width * camera.height))))


def _rolls(rng: np.random.Generator, count: int, held: bool, upright: bool) -> FloatArray:
    """Draw by how much (N,) in radians images are turned that are taken in one way."""
    most = photos.MAX_ROLL_RAD if held else 0.0
    return np.asarray(rng.uniform(-most, most, count) + (np.pi / 2 if upright else 0.0))


def _describe(plan: _Plan, camera: Camera, images: int) -> str:
    reach = plan.depth_reach_m
    depth = "with depth" if math.isinf(reach) else f"with depth up to {reach:.1f} m" if reach else "without depth"
    area = f"{plan.kind} of {plan.size[0]:.1f} x {plan.size[1]:.1f} m"
    return f"{area}, {images} images of {camera.width} x {camera.height} {depth}"
