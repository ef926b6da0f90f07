"""Beside another localizer, such as AMCL: when to tell it where the robot is, and whether it is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from neumap.arrays import FloatArray
from neumap.tracking.planar import flattened, planar
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import Difference, Fix, agreeing, difference

# TELL_AGAIN_S: the other localizer is given so long to take what it is told, seconds: it may not have started yet, and
# answers with its next scan.
TELL_AGAIN_S = 5.0


@dataclass(frozen=True)
class Other:
    """What is known of the other localizer: when it was told last, and how far ``apart`` from where the camera says
    it puts the robot; None where it says nothing. ``contrary`` are the newest fixes of the camera that agree with each
    other and not with it. ``begun``: the camera began anew, or jumped, and the other localizer was not told yet.
    """

    told_ns: int | None = None
    begun: bool = False
    apart: Difference | None = None
    contrary: tuple[Fix, ...] = ()
    disagrees: bool = False

    def __str__(self) -> str:
        return f"the other localizer is {self.apart} from where the camera says"


def compare(other: Other, fix: Fix, agreed: int, map_from_base: FloatArray | None, settings: Settings) -> Other:
    """Hold a believed ``fix`` against where the other localizer has the base (4, 4) at that time, if anywhere.

    As with a jump, ``jump_images`` images must agree with each other before they say that it is elsewhere; so many have
    ``agreed`` where the camera begins, or jumped, with this fix.
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
    """Tell whether the other localizer is to be told of a fix that it was compared with."""
    if other.apart is not None and not other.apart.agrees and not other.disagrees:
        return False
    if other.told_ns is None or other.begun:
        return True
    wanted = other.apart is None or (other.disagrees and settings.correct_other)
    return wanted and (now_ns - other.told_ns) * 1e-9 >= TELL_AGAIN_S


def to_tell(fix: Fix, settings: Settings) -> Fix:
    """Return what the other localizer is told of a fix: on the floor, and as uncertain as the two may be apart."""
    fix = planar(fix)
    return replace(fix, covariance=fix.covariance + _exactness(settings))


def _exactness(settings: Settings) -> FloatArray:
    return np.diag([settings.other_sigma_m**2] * 3 + [settings.other_sigma_rad**2] * 3)
