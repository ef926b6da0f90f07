"""The furniture of the virtual room, built of boxes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from neumap.arrays import FloatArray, ImageArray
from neumap.virtual import fittings, pictures, textures
from neumap.virtual.scene import Rectangle, Size, Solid
from neumap.virtual.textures import Canvas, Colour, Painter, random_colour, shaded, timber_colour


@dataclass(frozen=True)
class Place:
    """The position of a thing: the centre of its underside in metres, and its rotation about z in radians.

    Its front looks along its own -y axis.
    """

    x: float
    y: float
    z: float = 0.0
    yaw: float = 0.0

    def turned(self, x: float, y: float, z: float) -> FloatArray:
        """Return a vector of the thing's own axes in the map frame."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([c * x - s * y, s * x + c * y, z])

    def point(self, x: float, y: float, z: float) -> FloatArray:
        """Return a point of the thing's own axes in the map frame."""
        return np.array([self.x, self.y, self.z]) + self.turned(x, y, z)

    def beside(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Place:
        """Return the place of something else, given in the thing's own axes."""
        x, y, z = self.point(x, y, z).tolist()
        return Place(x, y, z, self.yaw + yaw)


class Furnisher:
    """Collects the rectangles and solids of one room; ``detail`` is the textures' resolution in pixels per metre."""

    def __init__(self, rng: np.random.Generator, detail: float) -> None:
        self.rng = rng
        self.detail = detail
        self.rectangles: list[Rectangle] = []
        self.solids: list[Solid] = []

    def rectangle(self, name: str, edges: FloatArray, painter: Painter, luminous: bool = False) -> None:
        """Add a rectangle (see :class:`~neumap.virtual.scene.Rectangle`) and have it painted."""
        width, height = (max(4, round(float(np.linalg.norm(edge)) * self.detail)) for edge in edges[1:])
        texture = painter(Canvas(self.rng, height, width, self.detail))
        self.rectangles.append(Rectangle(name, edges, texture, luminous))

    def box(
        self, name: str, place: Place, size: Size, sides: Painter, front: Painter | None = None, floating: bool = False
    ) -> None:
        """Add a box of ``size`` (width, depth, height) in metres; only a ``floating`` one shows its underside."""
        a, b, c = size[0] / 2, size[1] / 2, size[2]
        faces = (
            ("front", (-a, -b, c), (2 * a, 0, 0), (0, 0, -c)),
            ("back", (a, b, c), (-2 * a, 0, 0), (0, 0, -c)),
            ("right", (a, -b, c), (0, 2 * b, 0), (0, 0, -c)),
            ("left", (-a, b, c), (0, -2 * b, 0), (0, 0, -c)),
            ("top", (-a, b, c), (2 * a, 0, 0), (0, -2 * b, 0)),
            ("bottom", (-a, -b, 0), (2 * a, 0, 0), (0, 2 * b, 0)),
        )
        for face, origin, right, down in faces if floating else faces[:-1]:
            edges = np.stack([place.point(*origin), place.turned(*right), place.turned(*down)])
            painter = front if front and face == "front" else sides
            self.rectangle(f"{name} {face}", edges, painter, luminous=painter is pictures.screen)
        self.solids.append(Solid(name, place.point(0, 0, c / 2), np.array(size, dtype=np.float64), place.yaw))


def table(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add four legs, a top and things on it."""
    timber = partial(textures.wood, colour=timber_colour(f.rng))
    f.box("table", place.beside(0, 0, height - 0.04), (width, depth, 0.04), timber, floating=True)
    for x in (0.05 - width / 2, width / 2 - 0.05):
        for y in (0.05 - depth / 2, depth / 2 - 0.05):
            f.box("leg", place.beside(x, y), (0.05, 0.05, height - 0.04), timber)
    clutter(f, place.beside(0, 0, height), width, depth, int(7 * width * depth) + 3)


def chair(f: Furnisher, place: Place) -> None:
    """Add a seat on four legs; the back is at +y."""
    timber = partial(textures.wood, colour=timber_colour(f.rng))
    cover = partial(textures.fabric, colour=random_colour(f.rng, (0.1, 0.55), (0.2, 0.8)))
    f.box("seat", place.beside(0, 0, 0.42), (0.42, 0.42, 0.05), cover, floating=True)
    f.box("chair back", place.beside(0, 0.19, 0.6), (0.42, 0.04, 0.34), cover, floating=True)
    for x in (-0.18, 0.18):
        f.box("leg", place.beside(x, -0.18), (0.035, 0.035, 0.42), timber)
        f.box("leg", place.beside(x, 0.19), (0.035, 0.035, 0.9), timber)


def desk(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add a table with a screen and a chair before it."""
    table(f, place, width, depth, 0.74)
    black = partial(textures.plain, colour=(38.0, 36.0, 35.0))
    x, turn = f.rng.uniform(-0.2, 0.2) * width, f.rng.normal(0, 0.15)
    stand = place.beside(x, 0.12 * depth, 0.74, turn)
    f.box("screen foot", stand, (0.2, 0.14, 0.02), black)
    f.box("screen", stand.beside(0, 0, 0.1), (0.55, 0.04, 0.34), black, pictures.screen, floating=True)
    chair(f, place.beside(x, -depth / 2 - 0.1, 0, np.pi + f.rng.normal(0, 0.3)))


def cupboard(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add doors or drawers with things on top."""
    colour = timber_colour(f.rng)
    timber = partial(textures.wood, colour=colour)
    f.box("cupboard", place, (width, depth, height), timber, partial(fittings.cupboard_front, colour=colour))
    clutter(f, place.beside(0, 0, height), width, depth, int(5 * width) + 1)


def bookcase(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add a shelf full of books; parcels on top where it is low enough."""
    timber = partial(textures.wood, colour=timber_colour(f.rng))
    f.box("bookcase", place, (width, depth, height), timber, fittings.bookshelf)
    clutter(f, place.beside(0, 0, height), width, depth, int(4 * width))


def sofa(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add seat, back, arms and cushions."""
    cover = partial(textures.fabric, colour=random_colour(f.rng, (0.05, 0.5), (0.3, 0.8)))
    f.box("sofa", place, (width, depth, 0.42), cover)
    f.box("sofa back", place.beside(0, depth / 2 - 0.1, 0.42), (width, 0.2, height - 0.42), cover)
    for side in (-1, 1):
        arm = place.beside(side * (width / 2 - 0.09), -0.1, 0.42)
        f.box("arm", arm, (0.18, depth - 0.2, 0.18), cover)
    for x in np.arange(-width / 2 + 0.4, width / 2 - 0.3, 0.5):
        pillow = partial(textures.fabric, colour=random_colour(f.rng, (0.2, 0.9), (0.3, 0.95)))
        print_on = pictures.picture if f.rng.random() < 0.4 else pillow
        spot = place.beside(x, depth / 2 - 0.3, 0.42, f.rng.normal(0, 0.2))
        f.box("cushion", spot, (0.38, 0.13, 0.36), pillow, print_on)


def parcels(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add a pile of cardboard boxes, each turned a little."""
    z = 0.0
    while z < height - 0.1:
        tall = f.rng.uniform(0.18, 0.38)
        size = (width * f.rng.uniform(0.6, 0.9), depth * f.rng.uniform(0.6, 0.9), tall)
        f.box("parcel", place.beside(0, 0, z, f.rng.normal(0, 0.12)), size, textures.cardboard)
        z += tall


def partition(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add a free-standing board with pictures on both sides."""
    frame = partial(textures.plain, colour=random_colour(f.rng, (0.0, 0.5), (0.3, 0.8)))
    for side in (-1, 1):
        f.box("foot", place.beside(side * (width / 2 - 0.06), 0), (0.06, depth, 0.3), frame)
    for face in (0.0, np.pi):
        board = pictures.whiteboard if f.rng.random() < 0.5 else pictures.notice_board
        half = place.beside(0, 0, 0.3, face).beside(0, -0.015)
        f.box("partition", half, (width, 0.03, height - 0.3), frame, board, floating=True)


def plant(f: Furnisher, place: Place, width: float, depth: float, height: float) -> None:
    """Add a pot and leaves that point every way."""
    pot = partial(textures.wood, colour=random_colour(f.rng, (0.3, 0.7), (0.4, 0.8), (5.0, 35.0)))
    f.box("pot", place.beside(0, 0, 0, f.rng.uniform(0, 1.5)), (0.6 * width, 0.6 * depth, 0.35), pot)
    f.box("stem", place.beside(0, 0, 0.35), (0.03, 0.03, height - 0.65), pot)
    green = random_colour(f.rng, (0.4, 0.8), (0.3, 0.7), (70.0, 140.0))
    for _ in range(22):
        azimuth, rise = f.rng.uniform(0, 2 * np.pi), f.rng.uniform(0.0, 1.3)
        c, s = np.cos(azimuth), np.sin(azimuth)
        along = np.array([c * np.cos(rise), s * np.cos(rise), np.sin(rise)])
        length = f.rng.uniform(0.3, 0.45) * width
        right, down = along * length, np.array([-s, c, 0.0]) * f.rng.uniform(0.2, 0.35) * length
        root = np.array([place.x, place.y, f.rng.uniform(0.4, height - 0.3)]) - down / 2
        # both of its sides
        for edges in ((root, right, down), (root + down, right, -down)):
            painter = partial(_leaf, colour=shaded(green, f.rng.uniform(0.6, 1.3)))
            f.rectangle("leaf", np.stack(edges), painter)
    stem = (0.4 * width, 0.4 * width, height - 0.35)
    f.solids.append(Solid("leaves", np.array([place.x, place.y, (height + 0.35) / 2]), np.array(stem), place.yaw))


# _THINGS: small things: name, painter of the sides, painter of the front.
_THINGS: tuple[tuple[str, Painter, Painter | None], ...] = (
    ("book", pictures.book_cover, None),
    ("parcel", textures.cardboard, None),
    ("package", pictures.book_cover, pictures.picture),
)


def clutter(f: Furnisher, place: Place, width: float, depth: float, count: int) -> None:
    """Add books, parcels and mugs on a surface ``width`` x ``depth`` around ``place``, none over its edge."""
    taken: list[tuple[float, float, float]] = []
    for _ in range(6 * count):
        kind = int(f.rng.integers(4))
        w = min(f.rng.uniform(0.08, 0.3), 0.8 * depth)
        size = (w, w * f.rng.uniform(0.6, 0.9), f.rng.uniform(0.02, 0.3) if kind else f.rng.uniform(0.02, 0.06))
        reach = float(np.hypot(size[0], size[1])) / 2
        if reach > min(width, depth) / 2:
            continue
        x, y = f.rng.uniform(reach - width / 2, width / 2 - reach), f.rng.uniform(reach - depth / 2, depth / 2 - reach)
        if any((x - a) ** 2 + (y - b) ** 2 < (reach + r) ** 2 for a, b, r in taken):
            continue
        spot = place.beside(x, y, 0, f.rng.normal(0, 0.5))
        if kind == 3:
            paint = partial(textures.plain, colour=random_colour(f.rng, (0.1, 0.9), (0.3, 0.95)), contrast=0.05)
            f.box("mug", spot, (0.08, 0.08, 0.1), paint)
        else:
            name, sides, front = _THINGS[kind]
            f.box(name, spot, size, sides, front)
        taken.append((x, y, reach))
        if len(taken) >= count:
            break


def _leaf(c: Canvas, colour: Colour) -> ImageArray:
    image, light, middle = textures.wood(c, colour), shaded(colour, 1.5), c.height // 2
    cv2.line(image, (0, middle), (c.width, middle), light, 1, cv2.LINE_AA)
    for x in range(0, c.width, max(4, c.width // 7)):
        for end in (0, c.height):
            cv2.line(image, (x, middle), (x + middle, end), light, 1, cv2.LINE_AA)
    return image
