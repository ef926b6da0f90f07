"""Choose the lens of images whose calibration is ambiguous, by localizing them through each possible lens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from neumap.errors import DataError
from neumap.localization.localizer import Localizer
from neumap.maps.drift import evenly
from neumap.records import Frame, PoseEstimate, Source

# CLEAR_INLIERS: an image votes if it has this many inliers through one of the lenses. VOTES: images that decide at
# least, by a clear lead; MOST_VOTES: images that decide by any lead. MOST_TRIED: images of a source that are tried.
CLEAR_INLIERS, VOTES, MOST_VOTES, MOST_TRIED = 50, 3, 30, 30
# CHANCE: standard deviation of the difference of an image's log fit between two lenses. CLEAR: a lead is clear if it
# exceeds this many standard deviations of the sum over the images.
CHANCE, CLEAR = 0.15, 4.0
# NO_FIT: fit of an image through a lens with which it is not localized.
NO_FIT = 1.0
# UNSURE_PX: accuracy of keypoints; smaller reprojection errors do not distinguish lenses.
UNSURE_PX = 0.3
ASSUMED = "assumed, since the images do not decide it: give --rectified or --no-rectified"


def fit(estimate: PoseEstimate) -> float:
    """Return how well a pose fits its image: inliers over the squared reprojection error; 0 if not localized."""
    if not estimate.localized:
        return 0.0
    return float(estimate.inliers / (estimate.reprojection_error_px**2 + UNSURE_PX**2))


@dataclass(frozen=True)
class Vote:
    """The sums of the log ``fits`` of images through each lens, by its origin, and the number of ``images`` counted."""

    fits: Mapping[str, float] = field(default_factory=dict)
    images: int = 0

    @property
    def best(self) -> str:
        """The origin of the lens that fits best so far; empty if no image was counted."""
        return max(self.fits, key=self.fits.__getitem__, default="")

    @property
    def decided(self) -> str:
        """The origin of the chosen lens; empty until enough images were counted."""
        first, second = sorted((*self.fits.values(), -math.inf, -math.inf), reverse=True)[:2]
        is_clear = first - second > CLEAR * CHANCE * self.images**0.5
        return self.best if self.images >= (VOTES if is_clear else MOST_VOTES) else ""

    def counted(self, estimates: Mapping[str, PoseEstimate]) -> Vote:
        """Return the vote after another image, with its estimate through each lens by origin."""
        if max((each.inliers for each in estimates.values() if each.localized), default=0) < CLEAR_INLIERS:
            return self
        fits = {origin: math.log(max(fit(estimate), NO_FIT)) for origin, estimate in estimates.items()}
        return Vote({origin: self.fits.get(origin, 0.0) + each for origin, each in fits.items()}, self.images + 1)


def settled(localizer: Localizer, source: Source) -> Source:
    """Return the source with one lens per image and a note that names it; some images decide if it is ambiguous."""
    vote, frames = Vote(), undecided(source)
    for frame in (frames[i] for i in evenly(len(frames), MOST_TRIED)):
        # damaged images are reported when they are localized
        with suppress(DataError):
            queries = localizer.looks(frame.read_image(), [lens.camera for lens in frame.lenses])
            origins = [lens.origin for lens in frame.lenses]
            vote = vote.counted(dict(zip(origins, map(localizer.locate, queries), strict=True)))
        if vote.decided:
            break
    return seen_through(source, vote.best)


def of_each_camera(source: Source, settle: Callable[[Source], Source]) -> Source:
    """Return the source with ``settle`` applied to the frames of each camera, by ``frame_id``; its notes come first."""
    cameras = dict.fromkeys(frame.frame_id for frame in source.frames)
    notes: list[str] = []
    frames = {}
    for camera in cameras:
        of_it = tuple(frame for frame in source.frames if frame.frame_id == camera)
        settled_ = settle(replace(source, frames=of_it, notes=()))
        frames[camera] = iter(settled_.frames)
        notes += [f"{camera}: {note}" if len(cameras) > 1 else note for note in settled_.notes]
    ordered = tuple(next(frames[frame.frame_id]) for frame in source.frames)
    return replace(source, frames=ordered, notes=(*notes, *source.notes))


def undecided(source: Source) -> list[Frame]:
    """Return the frames with several possible lenses."""
    return [frame for frame in source.frames if len(frame.lenses) > 1]


def seen_through(source: Source, origin: str) -> Source:
    """Return the source with the lens of the given ``origin``, and a note that names it.

    If ``origin`` is empty the most likely lens of each image is assumed.
    """
    frames = tuple(frame.through(origin) for frame in source.frames)
    # a region of interest may move from image to image
    said = list(dict.fromkeys(str(frame.lenses[0]) for frame in frames if frame.lenses))
    more = f" (and {len(said) - 1} other regions or sizes)" if len(said) > 1 else ""
    doubt = f" ({ASSUMED})" if undecided(source) and not origin else ""
    return replace(source, frames=frames, notes=(*(f"{each}{more}{doubt}" for each in said[:1]), *source.notes))
