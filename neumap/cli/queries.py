"""Opens the images of a source, chooses each camera's lens, leaves out damaged images, and localizes the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from neumap.cli import options
from neumap.cli.notes import refuse

if TYPE_CHECKING:
    from pathlib import Path

    from neumap.io.damage import Damage
    from neumap.localization.localizer import Localizer
    from neumap.records import PoseEstimate, Source

# BAG_OPTIONS: options of a bag that select the images and the extrinsics of several cameras.
BAG_OPTIONS = (*options.IMAGE_OPTIONS, "tf_topic", "camera_frame")
# POSED_OPTIONS: options of a bag that select the images and their poses or odometry.
POSED_OPTIONS = tuple(name for name in options.BAG_OPTIONS if name != "depth_topic")


def open_images(
    args: argparse.Namespace, path: Path, names: Iterable[str] = BAG_OPTIONS, poses: bool = False
) -> Source:
    """Open the images of a source with the options in ``args``; of options.BAG_OPTIONS those in ``names``."""
    from neumap.io.bags.topics import BagOptions
    from neumap.io.sources import open_source

    bag = BagOptions(**{name: getattr(args, name) for name in names})
    told = options.told_of(args)
    return open_source(path, poses=poses, depth=False, told=told, images=args.images, bag=bag)


class Queries(NamedTuple):
    """Images to be localized: the lens of each camera is chosen, and damaged images are counted."""

    source: Source
    damage: Damage

    @property
    def notes(self) -> list[str]:
        """Return the notes for the user after localization."""
        return [*self.source.notes, *self.damage.notes]


def queries_of(source: Source, localizer: Localizer, strict: bool = False) -> Queries:
    """Make the queries of a source; if ``strict``, damaged images raise :class:`~neumap.errors.DataError`."""
    from neumap.io.damage import Damage
    from neumap.localization.lens import of_each_camera, settled

    if strict:
        refuse(source.left_out)
    damage = Damage(source)
    return Queries(of_each_camera(source if strict else damage.source, partial(settled, localizer)), damage)


def localize_each(
    localizer: Localizer, source: Source, progress: Callable[[int, int], object], max_sigma_m: float = float("inf")
) -> list[PoseEstimate]:
    """Localize each moment of a source on its own and call ``progress(done, total)``. Images that cannot be read are
    lost, as are poses whose standard deviation exceeds ``max_sigma_m`` metres.
    """
    estimates, moments = [], source.moments
    for done, frames in enumerate(moments, start=1):
        estimates.append(localizer.localize_moment(frames).certain(max_sigma_m))
        progress(done, len(moments))
    return estimates
