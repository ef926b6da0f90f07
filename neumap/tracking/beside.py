"""Running beside another localizer, such as AMCL: when to send it an initial pose, and whether it disagrees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neumap.arrays import FloatArray
from neumap.tracking.fix import Difference, Fix, agreeing, difference
from neumap.tracking.planar import flattened, planar
from neumap.tracking.settings import Settings

# TELL_AGAIN_S: shortest time between two initial poses, seconds: the other localizer may not have started yet, and
# applies a pose with its next scan.
TELL_AGAIN_S = 5.0


@dataclass(frozen=True)
class Other:
    """The state of the other localizer.

    ``told_ns`` is when it last got an initial pose; ``apart`` is the difference of its pose from the camera's, None
    while it publishes none. ``contrary`` holds the newest fixes of the camera that agree with each other and not with
    it. ``begun``: tracking started, or jumped, and the other localizer got no initial pose since.
    """

    told_ns: int | None = None
    begun: bool = False
    apart: Difference | None = None
    contrary: tuple[Fix, ...] = ()
    disagrees: bool = False

    def __str__(self) -> str:
        return f"the other localizer is {self.apart} from where the camera says"


def compare(other: Other, fix: Fix, agreed: int, map_from_base: FloatArray | None, settings: Settings) -> Other:
    """Compare an accepted ``fix`` with the other localizer's pose of the base (4, 4) at that time, None without one.

    As with a jump, ``jump_images`` images must agree with each other before the other localizer counts as wrong.
    ``agreed`` is the number of images that agreed when tracking started, or jumped, with this fix; else 0.
    """
    begun = other.begun or agreed > 0
    if map_from_base is None:
        return replace(other, begun=begun, apart=None, contrary=(), disagrees=False)
    theirs = Fix(fix.stamp_ns, flattened(map_from_base), _exactness(settings))
    apart = difference(theirs, planar(fix), settings)
    contrary = () if apart.agrees else agreeing(other.contrary, fix, settings)[-settings.jump_images :]
    disagrees = not apart.agrees and max(agreed, len(contrary)) >= settings.jump_images
    return replace(other, begun=begun and not apart.agrees, apart=apart, contrary=contrary, disagrees=disagrees)


def is_due(other: Other, now_ns: int, settings: Settings) -> bool:
    """Return whether to send the other localizer the fix that it was compared with."""
    if other.apart is not None and not other.apart.agrees and not other.disagrees:
        return False
    if other.told_ns is None or other.begun:
        return True
    wanted = other.apart is None or (other.disagrees and settings.correct_other)
    return wanted and (now_ns - other.told_ns) * 1e-9 >= TELL_AGAIN_S


def to_tell(fix: Fix, settings: Settings) -> Fix:
    """Return a fix as an initial pose: x, y and yaw, its covariance grown by the tolerance of the comparison."""
    fix = planar(fix)
    return replace(fix, covariance=fix.covariance + _exactness(settings))


def _exactness(settings: Settings) -> FloatArray:
    return np.diag([settings.other_sigma_m**2] * 3 + [settings.other_sigma_rad**2] * 3)
