"""Which of the lenses that a calibration leaves open images were taken through: images of a known place tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from neumap.errors import DataError
from neumap.localization.localizer import Localizer
from neumap.maps.drift import evenly
from neumap.records import Frame, PoseEstimate, Source

# CLEAR_INLIERS: an image counts that has so many through one of the lenses. VOTES, MOST_VOTES: so many images decide at
# least, and in any case. MOST_TRIED: images of a source that are looked at.
CLEAR_INLIERS, VOTES, MOST_VOTES, MOST_TRIED = 50, 3, 30, 30
# CHANCE: by how much the logarithm of how well an image fits differs between two lenses by chance; a lens is clear
# whose lead is CLEAR times the sum of as many chances.
CHANCE, CLEAR = 0.15, 4.0
# NO_FIT: what an image is taken to fit through a lens where it is not localized.
NO_FIT = 1.0
# UNSURE_PX: what keypoints are exact to; of less, the reprojection error tells nothing.
UNSURE_PX = 0.3
ASSUMED = "assumed, since no image tells: say --rectified or --no-rectified"


def fit(estimate: PoseEstimate) -> float:
    """Tell how well a pose explains its image: by how many inliers, and how exactly."""
    if not estimate.localized:
        return 0.0
    return float(estimate.inliers / (estimate.reprojection_error_px**2 + UNSURE_PX**2))


@dataclass(frozen=True)
class Vote:
    """The sum of the logarithms of how well images fit through each lens, by its origin, and how many ``images`` were
    clear enough to count.
    """

    fits: Mapping[str, float] = field(default_factory=dict)
    images: int = 0

    @property
    def best(self) -> str:
        """The origin of the lens that fits best so far; empty where nothing is known."""
        return max(self.fits, key=self.fits.__getitem__, default="")

    @property
    def decided(self) -> str:
        """The origin of the lens, once enough images have told; empty before."""
        first, second = sorted((*self.fits.values(), -math.inf, -math.inf), reverse=True)[:2]
        is_clear = first - second > CLEAR * CHANCE * self.images**0.5
        return self.best if self.images >= (VOTES if is_clear else MOST_VOTES) else ""

    def counted(self, estimates: Mapping[str, PoseEstimate]) -> Vote:
        """Return the vote after another image, searched through lenses of these origins."""
        if max((each.inliers for each in estimates.values() if each.localized), default=0) < CLEAR_INLIERS:
            return self
        fits = {origin: math.log(max(fit(estimate), NO_FIT)) for origin, estimate in estimates.items()}
        return Vote({origin: self.fits.get(origin, 0.0) + each for origin, each in fits.items()}, self.images + 1)


def settled(localizer: Localizer, source: Source) -> Source:
    """Return the source with the one lens that its images were taken through, told by some of them where its
    calibration leaves that open, and a note that tells which.
    """
    vote, frames = Vote(), undecided(source)
    for frame in (frames[i] for i in evenly(len(frames), MOST_TRIED)):
        # of an image that is damaged is told when it is its turn
        with suppress(DataError):
            queries = localizer.looks(frame.read_image(), [lens.camera for lens in frame.lenses])
            origins = [lens.origin for lens in frame.lenses]
            vote = vote.counted(dict(zip(origins, map(localizer.locate, queries), strict=True)))
        if vote.decided:
            break
    return seen_through(source, vote.best)


def of_each_camera(source: Source, settle: Callable[[Source], Source]) -> Source:
    """Return the source with the frames of each camera, which ``frame_id`` tells, as ``settle`` returns them; what that
    notes comes first.
    """
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
    """Return the frames of which it is open what lens they were taken through."""
    return [frame for frame in source.frames if len(frame.lenses) > 1]


def seen_through(source: Source, origin: str) -> Source:
    """Return the source with its images seen through the lens of an origin, and a note that tells which that is;
    empty: nobody knows, and where it is open the likeliest is assumed.
    """
    frames = tuple(frame.through(origin) for frame in source.frames)
    # a region of interest may move from image to image
    said = list(dict.fromkeys(str(frame.lenses[0]) for frame in frames if frame.lenses))
    more = f" (and {len(said) - 1} other regions or sizes)" if len(said) > 1 else ""
    doubt = f" ({ASSUMED})" if undecided(source) and not origin else ""
    return replace(source, frames=frames, notes=(*(f"{each}{more}{doubt}" for each in said[:1]), *source.notes))
