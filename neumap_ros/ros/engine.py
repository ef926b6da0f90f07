"""What is done with one image, away from the executor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cv_bridge import CvBridge
from sensor_msgs.msg import CompressedImage, Image

from neumap_ros.core.localizer import Localizer
from neumap_ros.core.map_file import load_map
from neumap_ros.errors import MapFileError
from neumap_ros.records import Camera, FloatArray, ImageArray, PoseEstimate
from neumap_ros.ros.conversions import gray_of

# so many times the inliers a pose needs, and one image is enough to begin with
SURE = 3.0


@dataclass(frozen=True)
class Answer:
    """What one image gave: its pixels (H, W) for whoever wants to look at them, the estimate, and other places that
    the image might show, where they were asked for.
    """

    image: ImageArray
    estimate: PoseEstimate
    alternatives: tuple[PoseEstimate, ...] = ()


class Engine:
    """A loaded map and everything that searches it. Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        """Raises :class:`~neumap_ros.errors.MapFileError` that says what is wrong with the map."""
        if not path:
            raise MapFileError("no map is given: set the parameter 'map' to the path of a .neumap file")
        # of an unknown user it leaves ~user as it is, where Path.expanduser raises
        self.path = Path(os.path.expanduser(path))
        self.map = load_map(self.path)
        self._localizer = Localizer(self.map)
        self._bridge = CvBridge()

    def localize(
        self,
        message: Image | CompressedImage,
        camera: Camera,
        position: FloatArray | None,
        radius_m: float,
        alternatives: bool,
    ) -> Answer:
        """Searches the map, or only voxels within ``radius_m`` of a ``position`` (3,) in the map frame.

        Raises :class:`~neumap_ros.errors.DataError` for an image that is damaged or does not fit its calibration.
        """
        image = gray_of(message, self._bridge)
        voxels = None if position is None else self.map.grid.within(position, radius_m)
        if voxels is not None and len(voxels) == len(self.map.grid):
            voxels = None
        view = self._localizer.look(image, camera)
        estimate = self._localizer.localize_view(view, voxels)
        others: list[PoseEstimate] = []
        if alternatives:
            known = [] if estimate.map_from_camera is None else [estimate.map_from_camera]
            others = self._localizer.alternatives(view, known, voxels)
        return Answer(image, estimate, tuple(others))

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
