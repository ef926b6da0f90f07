"""Paths of a camera through a large place: a few images all over, as from a phone or a robot's survey.

:func:`~neumap.virtual.drive.drive` plans on a grid of 5 cm, which has too many cells in a place of 60 m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry.se3 import make_pose, optical_axes
from neumap.virtual.drive import Kind, clearance
from neumap.virtual.scene import Room, Size

# Gaze: across the place to the opposite side, along the path, or outwards to the nearest walls.
Gaze: TypeAlias = Literal["across", "along", "out"]
GAZES: tuple[Gaze, ...] = ("across", "along", "out")
# _CLEARANCE_M: smallest distance of a camera from obstacles; _FREE_M: distances ahead that must be free; metres.
_CLEARANCE_M, _FREE_M = 0.6, (0.8, 1.6, 2.4, 3.2)
# _SWAY: amplitude of the gaze's sway; _STRAY: further standard deviation of a query's gaze; both in radians.
_SWAY, _STRAY = 0.5, 0.2
# _OFF_WALL, _STEP: distance from the walls, and between images, as fractions of a depth camera's range: three images
# see the same then.
_OFF_WALL, _STEP = 0.6, 0.15
# _TURNS: alternative directions where the view is blocked, nearest first, radians.
_TURNS = (0.0, 0.3, -0.3, 0.6, -0.6, 0.9, -0.9, 1.4, -1.4, 2.2, -2.2, np.pi)


@dataclass(frozen=True)
class Way:
    """A loop about the centre of a place.

    ``share`` is its distance from the centre as a fraction of that of the walls, ``span`` the fraction that is walked.
    """

    gaze: Gaze
    share: float = 0.55
    span: float = 1.0


def close_way(size: Size, count: int, gaze: Gaze, reach_m: float) -> Way:
    """Return a path so near the walls that a depth camera with range ``reach_m`` sees them in every image.

    In a large place ``count`` images cover a part only.
    """
    half = np.array(size[:2]) / 2
    share = float(np.clip(1 - _OFF_WALL * reach_m / half.min(), 0.3, 0.85))
    length = 2 * np.pi * share * float(half.mean())
    return Way(gaze, share, min(1.0, _STEP * reach_m * count / length))


def walk(room: Room, seed: int, count: int, kind: Kind, way: Way) -> FloatArray:
    """Return ``count`` poses map_from_camera (N, 4, 4) of the optical frame along a ``way`` in ``room``.

    "mapping" is one walk, "query" another of the same seed: further in or out, at another height, with a slightly
    different gaze.
    """
    of_place, rng = np.random.default_rng([seed, 21]), np.random.default_rng([seed, 22 if kind == "mapping" else 23])
    phases, sway_phase = of_place.uniform(0, 2 * np.pi, 3), of_place.uniform(0, 2 * np.pi)
    asks = kind == "query"
    angle = 2 * np.pi * way.span * (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count + phases[0]
    wide = min(way.share, 0.95 - way.share)
    share = way.share + wide * (0.4 * np.sin(2 * angle + phases[1]) + 0.2 * np.sin(3 * angle + phases[2]))
    share = share + (wide * rng.uniform(-0.4, 0.4) if asks else 0.0) + rng.normal(0, 0.02, count)
    position = np.array([_spot(room, a, s) for a, s in zip(angle, np.clip(share, 0.15, 0.9), strict=True)])
    inward = np.array(room.size[:2]) / 2 - position
    towards = np.arctan2(inward[:, 1], inward[:, 0])
    wanted = towards + {"across": 0.0, "along": -np.pi / 2, "out": np.pi}[way.gaze]
    wanted = wanted + _SWAY * np.sin(3 * angle + sway_phase) + rng.normal(0, _STRAY if asks else _STRAY / 3, count)
    yaw = np.array([_unhindered(room, p, w) for p, w in zip(position, wanted, strict=True)])
    height = rng.uniform(0.6, 1.7) + rng.normal(0, 0.05, count)
    pitch, roll = rng.normal(0.06, 0.07, count), rng.normal(0, 0.03, count)
    return make_pose(optical_axes(yaw, pitch, roll), np.column_stack([position, height]))


def _spot(room: Room, angle: float, share: float) -> FloatArray:
    """Return the free place (2,) in a direction from the centre nearest to a ``share`` of the distance to the wall."""
    reach = np.array(room.size[:2]) / 2
    shares = np.concatenate([[share], np.linspace(0.1, 0.95, 35)])
    # a rounded rectangle: along the walls, and not into the corners
    direction = np.array([np.cos(angle), np.sin(angle)]) / (abs(np.cos(angle)) ** 3 + abs(np.sin(angle)) ** 3) ** (
        1 / 3
    )
    spots = reach + shares[:, None] * direction * (reach - _CLEARANCE_M)
    free = np.flatnonzero(clearance(room, spots) >= _CLEARANCE_M)
    return np.asarray(spots[free[np.argmin(np.abs(shares[free] - share))]] if len(free) else spots[0])


def _unhindered(room: Room, position: FloatArray, wanted: float) -> float:
    """Return the yaw nearest to the wanted one with a free view."""
    yaws = wanted + np.array(_TURNS)
    ahead = np.stack([np.cos(yaws), np.sin(yaws)], axis=-1)[:, None] * np.array(_FREE_M)[:, None]
    free = (clearance(room, position + ahead) > 0.1).all(axis=1)
    return float(yaws[int(np.argmax(free))])
