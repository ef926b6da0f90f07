"""A state machine that decides which poses of a stream to accept: pure functions on frozen records.

Images are localized one by one; odometry predicts how the robot moved between them. A pose that agrees with the
prediction from the last one is accepted. Any other is a *candidate*: several candidates that agree with each other, by
odometry, are accepted as a jump (the robot was carried, or the pose was wrong). An accepted pose is averaged with the
prediction; it keeps the covariance of one image, because consecutive images share the map's errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from neumap.arrays import FloatArray
from neumap.tracking.fix import Difference, Fix, agreeing, averaged, difference, predict
from neumap.tracking.planar import planar
from neumap.tracking.settings import Settings

# UNSURE_IMAGES: number of images that must agree to start tracking, where no single one has enough evidence.
UNSURE_IMAGES = 2
WAITS = "the initial pose waits for an image that confirms it"
# ONE_CAMERA: camera names of a robot with one camera.
ONE_CAMERA = ("",)


class State(Enum):
    """The values are those of neumap_ros/msg/LocalizationStatus."""

    UNINITIALIZED = 0
    TRACKING = 1
    DEGRADED = 2
    LOST = 3


@dataclass(frozen=True)
class Look:
    """The last image of a camera, and whether it gave a pose."""

    stamp_ns: int
    gave_pose: bool


@dataclass(frozen=True)
class Track:
    """The tracker's state.

    ``fix`` is the last accepted pose; ``candidates`` are later poses that agree with each other but not with it.
    ``prior`` is a claimed pose, which the next image with a stamp after ``newer_than`` (None: any image) confirms or
    refuses. ``image_ns`` is the stamp of the last image and ``believed`` whether its pose was accepted. ``agreed`` is
    the number of agreeing images with which tracking started, or a jump was accepted, at this fix; else 0. ``looks``
    holds the last image of each camera.
    """

    state: State = State.UNINITIALIZED
    reason: str = "no image yet"
    fix: Fix | None = None
    candidates: tuple[Fix, ...] = ()
    prior: Fix | None = None
    newer_than: int | None = None
    image_ns: int | None = None
    believed: bool = False
    agreed: int = 0
    looks: Mapping[str, Look] = field(default_factory=dict)

    @property
    def current(self) -> Fix | None:
        """The fix while map -> odom may be published, else None."""
        return self.fix if self.state in (State.TRACKING, State.DEGRADED) else None


def apart_from_claim(prior: Fix, fix: Fix, settings: Settings) -> Difference:
    """Compare ``fix`` with a claimed pose; on a floor in x, y and yaw only, since claims set nothing else."""
    return difference(planar(prior), planar(fix), settings) if settings.on_floor else difference(prior, fix, settings)


def claim(track: Track, prior: Fix, newer_than: int | None = None) -> Track:
    """Return the track with a claimed pose, which has no effect until an image confirms it.

    Only images with a stamp after ``newer_than`` count, since earlier ones were searched without the claim.
    """
    return replace(track, prior=prior, newer_than=newer_than, reason=WAITS)


def settled(prior: Fix | None, fix: Fix | None, near: Fix | None, settings: Settings) -> Fix | None:
    """Return the pose of an image: ``fix``, or without one ``near`` if it confirms the claimed ``prior``.

    ``fix`` was found in the whole map, ``near`` only near the claimed pose.
    """
    if fix is not None or near is None or prior is None:
        return fix
    return near if apart_from_claim(prior, near, settings).confirms else None


def see(
    track: Track,
    stamp_ns: int,
    fix: Fix | None,
    reason: str,
    settings: Settings,
    cameras: tuple[str, ...] = ONE_CAMERA,
) -> Track:
    """Return the track after an image that gave ``fix`` or, for a ``reason``, no pose.

    ``cameras`` names the cameras whose images were searched together, that of the image first. An image without a pose
    is ignored while another camera gives poses: within image_timeout, or since this camera's image before.
    """
    before, looks = track.looks.get(cameras[0]), dict(track.looks)
    looks |= dict.fromkeys(cameras, Look(stamp_ns, fix is not None))
    track = replace(track, image_ns=stamp_ns, believed=False, agreed=0, looks=looks)
    since_ns = 0 if before is None else min(before.stamp_ns, stamp_ns - round(settings.image_timeout * 1e9))
    if fix is None and any(look.gave_pose and look.stamp_ns >= since_ns for look in looks.values()):
        return track
    if fix is None:
        return _carried_on(replace(track, candidates=()), stamp_ns, None, reason, settings)
    verdict = ""
    confirmed = False
    if track.prior is not None and track.newer_than is not None and stamp_ns <= track.newer_than:
        verdict = WAITS
    elif track.prior is not None:
        claimed = apart_from_claim(track.prior, fix, settings)
        confirmed = claimed.confirms
        verdict = "initial pose confirmed" if confirmed else f"initial pose refused: the image says {claimed} from it"
        track = replace(track, prior=None)
    candidates, current = agreeing(track.candidates, fix, settings), track.current
    jump, needed = None, 1 if fix.sure else UNSURE_IMAGES
    if current is not None:
        jump = difference(current, fix, settings)
        needed = 1 if jump.agrees else settings.jump_images
    if confirmed or len(candidates) >= needed:
        agreed = len(candidates)
        if current is not None and jump is not None and jump.agrees:
            fix, agreed = averaged(predict(current, stamp_ns, fix.odom_from_base, settings), fix), 0
        elif jump is not None:
            verdict = verdict or f"jumped {jump}: {len(candidates)} images agreed"
        track = replace(track, state=State.TRACKING, reason=verdict, fix=fix, candidates=())
        return replace(track, believed=True, agreed=agreed)
    progress = f"{len(candidates)} of {needed} images"
    doubt = f"the image says {jump} from where odometry does" if jump else "one image is not sure enough"
    reason = "; ".join(filter(None, [verdict, f"{doubt} ({progress})"]))
    return _carried_on(replace(track, candidates=candidates), stamp_ns, fix.odom_from_base, reason, settings)


@dataclass(frozen=True)
class Intake:
    """The images that arrived and are being searched; None where there is none.

    ``newest_ns`` and ``taken_ns`` are the stamps of the newest image that arrived and of the newest whose search began;
    ``since_ns`` is when the running search began.
    """

    newest_ns: int | None = None
    taken_ns: int | None = None
    since_ns: int | None = None

    @property
    def busy(self) -> bool:
        """Whether an image is being searched."""
        return self.since_ns is not None


NOTHING = Intake()


def wait(
    track: Track, now_ns: int, odom_from_base: FloatArray | None, settings: Settings, intake: Intake = NOTHING
) -> Track:
    """Return the track at ``now_ns`` as time passes and odometry moves on, with or without images.

    While an image is searched none is missing, and the track stays as of its stamp, until the search takes longer than
    ``lost_after``.
    """
    known_ns = now_ns
    if intake.since_ns is not None and intake.taken_ns is not None:
        taking_s = (now_ns - intake.since_ns) * 1e-9
        if taking_s <= settings.lost_after:
            known_ns = intake.taken_ns
        late, reason = taking_s > settings.image_timeout, too_slow(settings)
    else:
        silent_s = 0.0 if track.image_ns is None else (now_ns - max(track.image_ns, intake.newest_ns or 0)) * 1e-9
        late, reason = silent_s > settings.image_timeout, f"no image since {settings.image_timeout:g} s"
        if late:
            track = replace(track, candidates=())
    if not late and track.state is not State.DEGRADED:
        return track
    return _carried_on(track, known_ns, odom_from_base, reason if late else track.reason, settings)


def too_slow(settings: Settings) -> str:
    """Return the message for a computer that is too slow."""
    return (
        f"an image takes longer than image_timeout ({settings.image_timeout:g} s): lower the images' resolution or the "
        "map's size, or raise image_timeout"
    )


def _carried_on(track: Track, now_ns: int, odom_from_base: FloatArray | None, reason: str, settings: Settings) -> Track:
    """Return the track while no image confirms it, for a ``reason``: DEGRADED on odometry for a while, then LOST."""
    fix = track.current
    if fix is None:
        return replace(track, reason=reason)
    unconfirmed_s = (now_ns - fix.stamp_ns) * 1e-9
    driven_m = 0.0
    if odom_from_base is not None and fix.odom_from_base is not None:
        driven_m = float(np.linalg.norm(odom_from_base[:3, 3] - fix.odom_from_base[:3, 3]))
    lost = unconfirmed_s > settings.lost_after or driven_m > settings.lost_distance
    return replace(track, state=State.LOST if lost else State.DEGRADED, reason=reason)
