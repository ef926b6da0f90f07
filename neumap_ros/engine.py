"""What is done with one image, away from the executor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cv_bridge import CvBridge
from sensor_msgs.msg import CompressedImage, Image

from neumap.arrays import ImageArray, IntArray
from neumap.errors import MapFileError
from neumap.localization.localizer import Localizer
from neumap.localization.query import Near
from neumap.maps.map_file import load_map
from neumap.records import Camera, PoseEstimate
from neumap_ros.conversions import gray_of

# so many times the inliers a pose needs, and one image is enough to begin with
SURE = 3.0
# a camera where somebody claims it is sees voxels so far away
SIGHT_M = 8.0


@dataclass(frozen=True)
class Where:
    """Where to look for a camera that is ``tracked`` near somewhere and ``claimed`` to be near somewhere, if it is.

    Where somebody ``asks``, it is looked for in the whole map, whatever is believed, else where it is tracked.
    """

    tracked: Near | None = None
    claimed: Near | None = None
    asks: bool = False

    @property
    def first(self) -> Near | None:
        """Near where it is looked for first; None: anywhere."""
        return None if self.asks else self.tracked


@dataclass(frozen=True)
class Answer:
    """What one image gave: its pixels (H, W) for whoever wants to look at them, the estimate, and other places that
    the image might show, where somebody asks. An image that looks like several places is not localized in the whole
    map; then it may be ``by_claim``, in that one of them where somebody claims that the camera is, or ``by_track``.
    """

    image: ImageArray
    estimate: PoseEstimate
    by_claim: PoseEstimate | None = None
    by_track: PoseEstimate | None = None
    alternatives: tuple[PoseEstimate, ...] = ()

    @property
    def best(self) -> PoseEstimate:
        """The pose with the fewest conditions."""
        return self.by_claim or self.by_track or self.estimate


class Engine:
    """A loaded map and everything that searches it. Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        """Raises :class:`~neumap.errors.MapFileError` that says what is wrong with the map."""
        if not path:
            raise MapFileError("no map is given: set the parameter 'map' to the path of a .neumap file")
        # of an unknown user it leaves ~user as it is, where Path.expanduser raises
        self.path = Path(os.path.expanduser(path))
        self.map = load_map(self.path)
        self._localizer = Localizer(self.map)
        self._bridge = CvBridge()

    def localize(self, message: Image | CompressedImage, camera: Camera, where: Where) -> Answer:
        """Searches the map.

        Raises :class:`~neumap.errors.DataError` for an image that is damaged or does not fit its calibration.
        """
        image = gray_of(message, self._bridge)
        view = self._localizer.look(image, camera)
        answer = Answer(image, self._localizer.localize_view(view, self._within(where.first)))
        asked = where.asks and not answer.estimate.localized
        if asked and where.claimed is not None:
            there = self._within(replace(where.claimed, radius_m=where.claimed.radius_m + SIGHT_M))
            found = self._localizer.localize_view(replace(view, near=where.claimed), there)
            answer = replace(answer, by_claim=found if found.localized else None)
        if asked and where.tracked is not None:
            found = self._localizer.localize_view(view, self._within(where.tracked))
            answer = replace(answer, by_track=found if found.localized else None)
        if where.asks:
            known = [] if answer.best.map_from_camera is None else [answer.best.map_from_camera]
            answer = replace(answer, alternatives=tuple(self._localizer.alternatives(view, known)))
        return answer

    def _within(self, near: Near | None) -> IntArray | None:
        """The voxels near somewhere; None where these are all."""
        voxels = None if near is None else self.map.grid.within(near.position, near.radius_m)
        return None if voxels is None or len(voxels) == len(self.map.grid) else voxels

    def sure(self, estimate: PoseEstimate) -> bool:
        """Whether this one image is evidence enough to begin with."""
        return estimate.evidence >= SURE * self.map.calibration.min_inliers

    def warm_up(self) -> None:
        """Runs everything once, so that the first image of the camera does not pay for what is made on first use."""
        noise = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
        view = self._localizer.look(noise, Camera(320, 240, np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])))
        self._localizer.localize_view(view)


def warm_engine(path: str) -> Engine:
    """An engine that was warmed up, from a thread that ends with this. Raises as :class:`Engine` does.

    OpenMP keeps a team of threads for each thread that ever asked for one. A team of the caller's, beside that of the
    worker, would be more threads than cores, and these wait longer for each other: on two cores decoding took 18
    instead of 14 ms.
    """

    def make() -> Engine:
        engine = Engine(path)
        engine.warm_up()
        return engine

    with ThreadPoolExecutor(1) as passing:
        return passing.submit(make).result()
