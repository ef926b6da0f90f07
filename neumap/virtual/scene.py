"""The parts of a virtual room: textured rectangles, solid boxes, the light on them and one atlas of all textures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neumap.arrays import Float32Array, FloatArray, ImageArray
from neumap.errors import ConfigError

# Size: along x, y and z, in metres.
Size: TypeAlias = tuple[float, float, float]

# _LARGEST_ATLAS: largest side of the atlas, pixels: cv2.remap addresses its source with 16 bits.
_LARGEST_ATLAS = 32766
# _MAX_LEVELS: number of mip levels of a texture, each half of the one before; the last is a 64th.
_MAX_LEVELS = 7
# LIGHT_CELL_M: cell size of the grid on which a room's light is computed, metres; in between it is interpolated.
LIGHT_CELL_M = 0.1
# _MOST_LUMINOUS: largest number of these cells along a side of a luminous rectangle, such as a sky of kilometres.
_MOST_LUMINOUS = 16


@dataclass(frozen=True)
class Rectangle:
    """A textured rectangle in the map frame, in metres, seen from one side only.

    ``edges`` (3, 3): the corner at the texture's top left, and the edges right and down along its columns and rows, at
    right angles to each other; right x down points away from whoever sees it. A ``luminous`` one (lamp, screen) is not
    shaded.
    """

    name: str
    edges: FloatArray
    texture: ImageArray
    luminous: bool = False

    @property
    def normal(self) -> FloatArray:
        """The unit vector towards the visible side."""
        away = np.cross(self.edges[1], self.edges[2])
        return np.asarray(-away / np.linalg.norm(away))


@dataclass(frozen=True)
class Solid:
    """A box standing upright, turned by ``yaw`` radians about z: ``centre`` and ``size`` (3,) in metres."""

    name: str
    centre: FloatArray
    size: FloatArray
    yaw: float

    def to_local(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return map frame vectors (..., 3) in the box's own axes."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=vectors.dtype)
        return np.asarray(vectors @ turn)

    def distance(self, points: FloatArray) -> FloatArray:
        """Return the horizontal distance in metres of points (..., 2) to the box's footprint, negative inside it."""
        offset = np.concatenate([points - self.centre[:2], np.zeros((*points.shape[:-1], 1))], axis=-1)
        beyond = np.abs(self.to_local(offset))[..., :2] - self.size[:2] / 2
        # column by column: a reduction over an axis of two takes five times as long
        across, along = np.moveaxis(beyond, -1, 0)
        outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(along, 0) ** 2)
        return np.asarray(outside + np.minimum(np.maximum(across, along), 0))


@dataclass(frozen=True)
class Room:
    """A furnished room: x and y along the walls from one corner, z up from the floor, metres.

    ``geometry`` (R, 3, 3) stacks the edges of the ``rectangles``; ``blank_wall`` (3, 3) are those of a stretch of one
    wall that has nothing on it nor before it. All textures and their mip levels are in the one image ``atlas``, so that
    a view is sampled by one call: ``levels`` (R, L, 4) float32 are x, y, width and height in pixels of each rectangle's
    texture at half the resolution of the level before; a texture with fewer levels repeats its last.
    """

    size: Size
    rectangles: tuple[Rectangle, ...]
    solids: tuple[Solid, ...]
    blank_wall: FloatArray
    geometry: FloatArray
    atlas: ImageArray
    levels: Float32Array


def assemble(
    size: Size,
    rectangles: Sequence[Rectangle],
    solids: Sequence[Solid],
    lamps: FloatArray,
    blank_wall: FloatArray,
    light_cell: float = LIGHT_CELL_M,
) -> Room:
    """Make the room of these parts, with the light of the ``lamps`` (K, 3), map frame, painted into the textures.

    Light is computed on a grid of ``light_cell`` metres.
    """
    atlas, levels = _pack(_illuminated(rectangles, solids, size, lamps, light_cell))
    # views of the atlas, so that the textures are in memory once
    lit = tuple(
        replace(rectangle, texture=atlas[y : y + height, x : x + width])
        for rectangle, (x, y, width, height) in zip(rectangles, levels[:, 0].astype(int), strict=True)
    )
    return Room(size, lit, tuple(solids), blank_wall, np.stack([r.edges for r in lit]), atlas, levels)


def _illuminated(
    rectangles: Sequence[Rectangle], solids: Sequence[Solid], size: Size, lamps: FloatArray, light_cell: float
) -> list[ImageArray]:
    """Return the textures multiplied by diffuse light, with the shadows of the solids."""
    cells = [_light_cells(rectangle, light_cell) for rectangle in rectangles]
    counts = [cell.size // 3 for cell in cells]
    normals = np.repeat([rectangle.normal for rectangle in rectangles], counts, axis=0)
    light = _light(np.concatenate([cell.reshape(-1, 3) for cell in cells]), normals, solids, size, lamps)
    out = []
    for rectangle, cell, of_cell in zip(rectangles, cells, np.split(light, np.cumsum(counts)[:-1]), strict=True):
        texture = rectangle.texture
        if not rectangle.luminous:
            shape = texture.shape[1::-1]
            gain = cv2.resize(of_cell.reshape(cell.shape[:2]), shape, interpolation=cv2.INTER_LINEAR)
            texture = np.asarray(cv2.convertScaleAbs(texture * gain[..., None]), dtype=np.uint8)
        out.append(texture)
    return out


def _light_cells(rectangle: Rectangle, light_cell: float) -> FloatArray:
    """Return the points (rows, columns, 3) at which light is computed, lifted off the solid that would shade them."""
    origin, right, down = rectangle.edges
    columns, rows = (max(2, round(float(np.linalg.norm(edge)) / light_cell)) for edge in (right, down))
    if rectangle.luminous:
        columns, rows = min(columns, _MOST_LUMINOUS), min(rows, _MOST_LUMINOUS)
    u = ((np.arange(columns) + 0.5) / columns)[None, :, None]
    v = ((np.arange(rows) + 0.5) / rows)[:, None, None]
    return np.asarray(origin + u * right + v * down + 2e-3 * rectangle.normal)


def _light(
    points: FloatArray, normals: FloatArray, solids: Sequence[Solid], size: Size, lamps: FloatArray
) -> Float32Array:
    """Return the brightness (N,) around 1 of points (N, 3) with normals (N, 3)."""
    p, n = points.astype(np.float32), normals.astype(np.float32)
    # without legs and small things: their shadows are narrower than a cell
    casters = [s for s in solids if float(np.sort(s.size)[1:].prod()) > 0.05]
    direct = _received(p, n, casters, lamps)
    # the lit ceiling: what makes it darker under a table and in a corner behind a cupboard
    across, along = (np.linspace(0.15, 0.85, 3) * s for s in size[:2])
    ceiling = np.stack(np.meshgrid(across, along, [size[2] - 0.03]), axis=-1).reshape(-1, 3)
    soft = _received(p, n, casters, ceiling)
    # the rest comes from all around; the ceiling itself has only the light that the floor reflects
    stray = 0.25 + 0.36 * np.maximum(-n[:, 2], 0) + 0.03 * n[:, 0] + 0.05 * n[:, 1]
    return np.asarray(np.clip(stray + 0.34 * direct + 0.30 * soft, 0.2, 1.2), dtype=np.float32)


def _received(points: Float32Array, normals: Float32Array, casters: Sequence[Solid], lamps: FloatArray) -> Float32Array:
    """Return the light (N,) of ``lamps`` (K, 3) that shine downwards, with shadows; 1 is the median of lit points."""
    out = np.zeros(len(points), dtype=np.float32)
    for lamp in lamps.astype(np.float32):
        ray = lamp - points
        distance = np.linalg.norm(ray, axis=1)
        # a panel behind a diffuser: strongest straight down, some to the side
        emitted = np.maximum(ray[:, 2], 0) + 0.3 * distance
        strength = np.maximum(np.einsum("ij,ij->i", ray, normals), 0) * emitted / (distance**4 + 0.3)
        reached = np.flatnonzero(strength > 0)
        for solid in casters:
            reached = reached[~_blocked(points[reached], ray[reached], solid)]
        out[reached] += strength[reached]
    lit = out[out > 0]
    return np.asarray(np.minimum(out / np.median(lit), 1.7) if len(lit) else out, dtype=np.float32)


def _blocked(start: Float32Array, ray: Float32Array, solid: Solid) -> npt.NDArray[np.bool_]:
    """Return whether the segments from ``start`` (N, 3) along ``ray`` (N, 3) pass through the solid (slab test)."""
    o = solid.to_local(start - solid.centre.astype(np.float32))
    d = solid.to_local(ray)
    d = np.where(np.abs(d) < 1e-6, np.float32(1e-6), d)
    half = (solid.size / 2).astype(np.float32)
    first, second = (-half - o) / d, (half - o) / d
    near, far = np.minimum(first, second).T, np.maximum(first, second).T
    # column by column: a reduction over an axis of three takes five times as long
    enter = np.maximum(np.maximum(near[0], near[1]), near[2])
    leave = np.minimum(np.minimum(far[0], far[1]), far[2])
    return np.asarray((enter < leave) & (leave > 0) & (enter < 1))


def _pack(textures: Sequence[ImageArray]) -> tuple[ImageArray, Float32Array]:
    """Pack the mip levels of all textures on shelves, each with a border of one repeated pixel for interpolation."""
    pieces = [
        (k, level, cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE))
        for k, texture in enumerate(textures)
        for level, image in enumerate(_pyramid(texture))
    ]
    pieces.sort(key=lambda piece: -piece[2].shape[0])
    areas, widths = zip(*(((p.shape[0] - 2) * (p.shape[1] - 2), p.shape[1]) for _, _, p in pieces), strict=True)
    atlas_width = max(int(np.sqrt(1.2 * sum(areas))), *widths)
    levels = np.zeros((len(textures), _MAX_LEVELS, 4), dtype=np.float32)
    # the filled width of each shelf, and its top
    shelves: list[list[int]] = []
    placed, bottom = [], 0
    for k, level, piece in pieces:
        height, width = piece.shape[:2]
        shelf = next((s for s in shelves if s[0] + width <= atlas_width), None)
        if shelf is None:
            shelf = [0, bottom]
            shelves.append(shelf)
            bottom += height
        x, y = shelf
        placed.append((piece, slice(y, y + height), slice(x, x + width)))
        # missing levels of a small texture repeat its last one
        levels[k, level:] = (x + 1, y + 1, width - 2, height - 2)
        shelf[0] += width
    if max(bottom, atlas_width) > _LARGEST_ATLAS:
        raise ConfigError("the textures of the virtual room take too much space: give less detail or a smaller room")
    out = np.zeros((bottom, atlas_width, 3), dtype=np.uint8)
    for piece, rows, columns in placed:
        out[rows, columns] = piece
    return out, levels


def _pyramid(texture: ImageArray) -> list[ImageArray]:
    out = [texture]
    while len(out) < _MAX_LEVELS and min(out[-1].shape[:2]) >= 4:
        height, width = out[-1].shape[:2]
        half = cv2.resize(out[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        out.append(np.asarray(half, dtype=np.uint8))
    return out
