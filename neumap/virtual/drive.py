"""Drives of a camera through a virtual room: smooth, clear of furniture, looking at textured parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph
from scipy.spatial import cKDTree

from neumap.arrays import BoolArray, FloatArray
from neumap.errors import ConfigError
from neumap.geometry.se3 import make_pose, optical_axes
from neumap.virtual.scene import Room

Kind: TypeAlias = Literal["mapping", "query"]

# CLEARANCE: smallest distance of a pose from furniture and walls, metres: half the width of a robot, and a margin.
CLEARANCE = 0.4
# _CELL: cell size of the planning grid, metres.
_CELL = 0.05
# _PLANNED: clearance of cells on a path, metres: a straight line between neighbouring cell centres stays within half a
# diagonal of one of them.
_PLANNED = CLEARANCE + 0.72 * _CELL
# _HEADROOM: height above which things are no obstacles, metres.
_HEADROOM = 2.0
# _QUERY_STEP: largest distance between two frames of a query drive, metres.
_QUERY_STEP = 0.12
# _YAWS: number of viewing directions, in steps of 5 degrees; _LOOK_STEPS: samples along a line of sight of a room's
# length.
_YAWS, _LOOK_STEPS = 72, 60
_NEIGHBOURS = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]


@dataclass(frozen=True)
class _Plan:
    """A room as a grid of cells (H, W): ``middles`` (H, W, 2) and ``clearance`` in metres, and which are ``free``."""

    room: Room
    middles: FloatArray
    clearance: FloatArray
    free: BoolArray


def drive(room: Room, seed: int, count: int, kind: Kind) -> FloatArray:
    """Return ``count`` poses map_from_camera (N, 4, 4) of the optical frame along a smooth path through the room.

    "mapping" goes round the room twice, once in each direction, looking across and along. "query" is part of another
    round: kept away from the mapping drive of the same seed where there is space, at another height, with other
    headings, at most 0.12 m a frame. Heights are 0.5 to 1.6 m; no pose is nearer than ``CLEARANCE`` to furniture or
    walls.

    Raises :class:`~neumap.errors.ConfigError` for a room without space to move.
    """
    if count < 1:
        raise ConfigError(f"a drive needs at least one pose, not {count}")
    plan = _plan(room)
    rng = np.random.default_rng([seed, 1])
    there, back = _stops(plan, rng), _stops(plan, rng)[::-1]
    path = _route(plan, np.concatenate([there, there[:1], back, back[:1]]), None)
    height = 1.15
    if kind == "query":
        rng = np.random.default_rng([seed, 2])
        stops = _stops(plan, rng)
        path = _route(plan, np.roll(stops, int(rng.integers(len(stops))), axis=0), path)
        height = float(rng.choice([0.75, 1.5]))
    path = _clear(room, _smooth(path, 0.35), path)
    along = lengths_along(path)
    length = along[-1] if kind == "mapping" else min(along[-1], _QUERY_STEP * (count - 1))
    at = np.linspace(0, length, count)
    position = np.stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)], axis=1)
    z = np.clip(height + 0.08 * _wander(rng, at, 2.5), 0.55, 1.58)
    yaw = _look(plan, rng, position, at, kind)
    pitch = np.deg2rad(-7 + 4 * _wander(rng, at, 2.0))
    roll = np.deg2rad(2 * _wander(rng, at, 1.5))
    return make_pose(optical_axes(yaw, pitch, roll), np.column_stack([position, z]))


def lengths_along(path: FloatArray) -> FloatArray:
    """Return the length (N,) of a path of points (N, D) up to each of them."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])


def clearance(room: Room, points: FloatArray) -> FloatArray:
    """Return the horizontal distance in metres of points (..., 2) to the nearest wall or thing below head height."""
    x, y = points[..., 0], points[..., 1]
    out = np.minimum(np.minimum(x, room.size[0] - x), np.minimum(y, room.size[1] - y))
    for solid in room.solids:
        if solid.centre[2] - solid.size[2] / 2 < _HEADROOM:
            out = np.minimum(out, solid.distance(points))
    return np.asarray(out)


def _plan(room: Room) -> _Plan:
    x, y = (np.arange(_CELL / 2, s, _CELL) for s in room.size[:2])
    room_clearance = clearance(room, np.stack(np.meshgrid(x, y), axis=-1))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((room_clearance >= _PLANNED).astype(np.uint8))
    if len(stats) < 2 or stats[1:, cv2.CC_STAT_AREA].max() * _CELL**2 < 1.0:
        raise ConfigError("the virtual room has no square metre to move in: make it larger or take another seed")
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    middles = np.indices(labels.shape)[::-1].transpose(1, 2, 0) * _CELL + _CELL / 2
    return _Plan(room, middles, room_clearance, labels == largest)


def _stops(plan: _Plan, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Choose eight cells (8, 2) spread over the free space, ordered around the room's centre."""
    cells = np.argwhere(plan.free)
    spread = [cells[int(rng.integers(len(cells)))]]
    nearest = np.full(len(cells), np.inf)
    for _ in range(8):
        nearest = np.minimum(nearest, np.linalg.norm(cells - spread[-1], axis=1) + rng.uniform(0, 8, len(cells)))
        spread.append(cells[int(np.argmax(nearest))])
    stops = np.array(spread[1:])
    offset = stops - np.array(plan.free.shape) / 2
    return np.asarray(stops[np.argsort(np.arctan2(offset[:, 0], offset[:, 1]))])


def _route(plan: _Plan, stops: npt.NDArray[np.intp], avoid: FloatArray | None) -> FloatArray:
    """Return the cheapest path (N, 2) in metres past all ``stops`` and back to the first.

    Cells near furniture cost more, and so do those near the path ``avoid`` (M, 2), in metres.
    """
    cost = 1 + 0.15 / np.maximum(plan.clearance - CLEARANCE + 0.05, 0.05)
    if avoid is not None:
        near, _ = cKDTree(avoid[::2]).query(plan.middles)
        cost = cost + 8 * np.exp(-((near / 0.35) ** 2))
    # an impassable border, so that every cell has all its neighbours
    cost = np.pad(np.where(plan.free, cost, np.inf), 1, constant_values=np.inf)
    way = []
    for start, total in zip(stops + 1, _costs_to(np.roll(stops + 1, -1, axis=0), cost), strict=True):
        row, column = (int(index) for index in start)
        while total[row, column] > 0:
            way.append((column, row))
            row, column = min(((row + a, column + b) for a, b in _NEIGHBOURS), key=total.__getitem__)
    return np.asarray((np.array(way) - 0.5) * _CELL)


def _costs_to(stops: npt.NDArray[np.intp], cost: FloatArray) -> FloatArray:
    """Return the cost (S, H, W) of the cheapest path from each cell to each of ``stops`` (S, 2)."""
    entered = np.flatnonzero(np.isfinite(cost))
    left = np.concatenate([entered + a * cost.shape[1] + b for a, b in _NEIGHBOURS])
    paid = np.concatenate([np.hypot(a, b) * cost.ravel()[entered] for a, b in _NEIGHBOURS])
    ends = left, np.tile(entered, len(_NEIGHBOURS))
    graph = scipy.sparse.csr_matrix((paid, ends), shape=(cost.size, cost.size))
    total = scipy.sparse.csgraph.dijkstra(graph, indices=np.ravel_multi_index(tuple(stops.T), cost.shape))
    return np.asarray(total.reshape(-1, *cost.shape))


def _smooth(path: FloatArray, sigma_m: float) -> FloatArray:
    """Smooth a path along its length with a Gaussian of ``sigma_m`` metres; its ends stay."""
    samples = sigma_m / _CELL
    reach = int(3 * samples)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / samples) ** 2)
    # mirrored through the end points
    padded = np.pad(path, ((reach, reach), (0, 0)), "reflect", reflect_type="odd")
    return np.stack([np.convolve(padded[:, axis], kernel / kernel.sum(), "valid") for axis in (0, 1)], axis=1)


def _clear(room: Room, smooth: FloatArray, safe: FloatArray) -> FloatArray:
    """Return ``smooth`` (N, 2), pulled gradually towards ``safe`` (N, 2) where it comes too near to obstacles."""
    weight = np.zeros(len(smooth))
    for _ in range(30):
        path = smooth + weight[:, None] * (safe - smooth)
        close = clearance(room, path) < CLEARANCE + 0.01
        if not close.any():
            return np.asarray(path)
        grown = np.convolve(close.astype(np.float64), np.hanning(21), "same")
        weight = np.minimum(1.0, weight + 0.15 * np.minimum(grown, 1.0))
        weight[close] = np.minimum(1.0, weight[close] + 0.1)
    return safe


def _wander(rng: np.random.Generator, at: FloatArray, period: float) -> FloatArray:
    """Return a smooth random function of ``at`` (N,) with about unit deviation and the given shortest period."""
    periods = period * (1 + 0.55 * np.arange(5)[:, None])
    waves = np.sin(2 * np.pi * (at / periods + rng.random((5, 1))))
    return np.asarray(waves.sum(axis=0) * np.sqrt(2 / 5))


def _look(plan: _Plan, rng: np.random.Generator, position: FloatArray, at: FloatArray, kind: Kind) -> FloatArray:
    """Return the yaw (N,) in radians: swaying about the direction to the room's centre, away from near or blank walls.

    It is the cheapest sequence of yaws in steps of 5 degrees that turns at most two steps a frame (Viterbi).
    """
    middle = np.array(plan.room.size[:2]) / 2 - position
    sway = np.deg2rad(65) * _wander(rng, at, 6.0 if kind == "mapping" else 4.0)
    wanted = np.arctan2(middle[:, 1], middle[:, 0]) + sway
    yaws = np.arange(_YAWS) * 2 * np.pi / _YAWS
    off = np.abs((yaws - wanted[:, None] + np.pi) % (2 * np.pi) - np.pi)
    cost = off**2 + 6 * np.maximum(0, 1.6 - _view(plan, position, yaws))
    turns = np.arange(-2, 3)
    best, came = cost[0], np.zeros((len(cost), _YAWS), dtype=np.intp)
    for frame in range(1, len(cost)):
        options = np.stack([np.roll(best, turn) + 0.05 * turn**2 for turn in turns])
        chosen = options.argmin(axis=0)
        came[frame] = (np.arange(_YAWS) - turns[chosen]) % _YAWS
        best = options.min(axis=0) + cost[frame]
    state = int(best.argmin())
    out = np.empty(len(cost))
    for frame in range(len(cost) - 1, -1, -1):
        out[frame] = yaws[state]
        state = int(came[frame, state])
    out = np.unwrap(out)
    kernel = np.hanning(9)[1:-1] / np.hanning(9)[1:-1].sum()
    return np.asarray(np.convolve(np.pad(out, 3, mode="edge"), kernel, "valid"))


def _view(plan: _Plan, position: FloatArray, yaws: FloatArray) -> FloatArray:
    """Return the visible distance (N, Y) in metres around each direction; the blank wall counts as very near."""
    rows, columns = plan.free.shape
    blocked = np.zeros((rows, columns), dtype=bool)
    for solid in plan.room.solids:
        if solid.centre[2] + solid.size[2] / 2 > 1.0 and solid.size[0] * solid.size[1] > 0.01:
            blocked |= solid.distance(plan.middles) < 0
    origin, right, _ = plan.room.blank_wall
    step = max(plan.room.size[:2]) / _LOOK_STEPS
    direction = np.stack([np.cos(yaws), np.sin(yaws)], axis=-1)
    distance = np.full((len(position), len(yaws)), np.inf)
    for k in range(1, int(1.5 * _LOOK_STEPS)):
        point = position[:, None] + k * step * direction
        cell = np.floor(point / _CELL).astype(np.intp)
        outside = (cell < 0).any(axis=-1) | (cell[..., 0] >= columns) | (cell[..., 1] >= rows)
        inside = np.clip(cell, 0, (columns - 1, rows - 1))
        hit = (outside | blocked[inside[..., 1], inside[..., 0]]) & np.isinf(distance)
        along = (point - origin[:2]) @ right[:2] / (right[:2] @ right[:2])
        away = np.abs((point - origin[:2]) @ np.array([-right[1], right[0]])) / np.linalg.norm(right[:2])
        blank = outside & (along > 0) & (along < 1) & (away < 2 * step)
        distance[hit] = np.where(blank, 0.6, k * step)[hit]
    distance = np.minimum(distance, 4.0)
    # the mean over the central half of a usual lens' field of view
    return np.asarray(np.mean([np.roll(distance, k, axis=1) for k in range(-3, 4)], axis=0))
