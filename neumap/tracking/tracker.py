"""What to believe of a stream of poses: a state machine of pure functions on frozen records.

Images are localized one by one; odometry says how the robot moved between them. A pose that is where odometry leads
from the last one is believed. One that is elsewhere is a *candidate*: only when several candidates agree with each
other, by odometry again, has the robot jumped (been carried, or had been wrong). A pose that is believed is averaged
with where odometry leads; its covariance stays that of one image, because consecutive images share the map's errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from neumap.arrays import FloatArray
from neumap.geometry import se3
from neumap.localization.query import Near
from neumap.tracking.planar import planar
from neumap.tracking.settings import Settings

# GATE: squared distance in units of the uncertainty. Of a chi-squared variable with six degrees of freedom one value in
# 30,000 is larger: consecutive images must all pass.
GATE = 30.0
# CLAIM_GATE: as GATE, one value in 100: what a person claims is to be confirmed, not to be carried along
CLAIM_GATE = 16.8
# FLOOR_M, FLOOR_RAD: what two poses of standing still differ by, metres and radians, beyond their covariances: map and
# calibration have errors
FLOOR_M, FLOOR_RAD = 0.03, 0.02
# UNSURE_IMAGES: images that must agree where there is no pose to compare with and one is not sure enough by itself
UNSURE_IMAGES = 2
WAITS = "the initial pose waits for an image that confirms it"
# ONE_CAMERA: the name of the camera of a robot that has one.
ONE_CAMERA = ("",)


class State(Enum):
    """The values are those of neumap_ros/msg/LocalizationStatus."""

    UNINITIALIZED = 0
    TRACKING = 1
    DEGRADED = 2
    LOST = 3


@dataclass(frozen=True)
class Fix:
    """A pose of the robot's base in the map at one time, from an image or as somebody claims.

    ``covariance`` (6, 6) in the convention of :class:`~neumap.records.PoseEstimate`; ``odom_from_base`` (4, 4) is
    odometry's pose at the same time, None where there is no odometry. ``sure``: evidence enough to begin with.
    """

    stamp_ns: int
    map_from_base: FloatArray
    covariance: FloatArray
    odom_from_base: FloatArray | None = None
    sure: bool = False

    @property
    def map_from_odom(self) -> FloatArray:
        """The transform (4, 4) that this fix gives; map_from_base where there is no odometry."""
        if self.odom_from_base is None:
            return self.map_from_base
        return np.asarray(self.map_from_base @ se3.invert_pose(self.odom_from_base))


@dataclass(frozen=True)
class Look:
    """The last image of a camera, and whether it gave a pose."""

    stamp_ns: int
    gave_pose: bool


@dataclass(frozen=True)
class Track:
    """What is believed at present. ``fix`` is the last one believed, ``candidates`` are later ones that agree with
    each other but not with it. ``prior`` is a pose somebody claims, which the next image ``newer_than`` this stamp
    (None: any image) will confirm or refuse. ``image_ns`` is the stamp of the last image, and ``believed`` whether its
    pose was. Where there was no pose before, or one elsewhere, so many images ``agreed`` on the one that is believed.
    ``looks`` are the last ones of each camera.
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
    def has_pose(self) -> bool:
        """Whether the map's transform may be published."""
        return self.fix is not None and self.state in (State.TRACKING, State.DEGRADED)


@dataclass(frozen=True)
class Difference:
    """How far a pose is from where another one leads: metres, radians, and squared in units of the uncertainty."""

    metres: float
    radians: float
    squared: float

    @property
    def agrees(self) -> bool:
        """Whether the two may be one."""
        return self.squared < GATE

    @property
    def confirms(self) -> bool:
        """Whether a pose confirms one that somebody claimed."""
        return self.squared < CLAIM_GATE

    def __str__(self) -> str:
        return f"{self.metres:.2f} m, {np.rad2deg(self.radians):.0f} deg"


def moved_covariance(covariance: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the covariance (6, 6) of the pose of another point of the same rigid body, ``offset`` (3,) metres
    away in the map's axes: where the rotation is wrong by w, that point is wrong by ``w x offset``.
    """
    lever = np.eye(6)
    lever[:3, 3:] = -se3.skew(offset)
    moved = lever @ covariance @ lever.T
    return np.asarray(0.5 * (moved + moved.T))


def fix_of(
    map_from_camera: FloatArray,
    covariance: FloatArray,
    stamp_ns: int,
    base_from_camera: FloatArray,
    odom_from_base: FloatArray | None,
    sure: bool,
) -> Fix:
    """Return the base's pose that the camera's (4, 4) gives, with its ``covariance`` (6, 6) of the base."""
    pose = map_from_camera @ se3.invert_pose(base_from_camera)
    offset = pose[:3, 3] - map_from_camera[:3, 3]
    return Fix(stamp_ns, pose, moved_covariance(covariance, offset), odom_from_base, sure)


def predict(fix: Fix, stamp_ns: int, odom_from_base: FloatArray | None, settings: Settings) -> Fix:
    """Carry a ``fix`` to another time: moved as odometry says, with the uncertainty that grows on the way."""
    dt = abs(stamp_ns - fix.stamp_ns) * 1e-9
    pose = fix.map_from_base
    if fix.odom_from_base is not None and odom_from_base is not None:
        motion = se3.invert_pose(fix.odom_from_base) @ odom_from_base
        pose = pose @ motion
        distance = float(np.linalg.norm(motion[:3, 3]))
        turn = float(np.linalg.norm(se3.rotation_log(motion[:3, :3])))
        metres = np.hypot(settings.odom_drift * distance, settings.odom_noise * np.sqrt(dt))
        radians = np.hypot(settings.odom_turn_drift * turn, settings.odom_turn_noise * np.sqrt(dt))
    else:
        # three standard deviations reach as far as the robot can have come
        metres, radians = settings.max_speed * dt / 3, settings.max_turn_rate * dt / 3
    covariance = moved_covariance(fix.covariance, pose[:3, 3] - fix.map_from_base[:3, 3])
    covariance += np.diag([metres**2] * 3 + [radians**2] * 3)
    return replace(fix, stamp_ns=stamp_ns, map_from_base=pose, covariance=covariance, odom_from_base=odom_from_base)


def difference(earlier: Fix, later: Fix, settings: Settings) -> Difference:
    """Measure how far ``later`` is from where ``earlier`` leads."""
    expected = predict(earlier, later.stamp_ns, later.odom_from_base, settings)
    error = se3.pose_error(later.map_from_base, expected.map_from_base)
    floor = np.diag([FLOOR_M**2] * 3 + [FLOOR_RAD**2] * 3)
    squared = error @ np.linalg.solve(expected.covariance + later.covariance + floor, error)
    return Difference(float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:])), float(squared))


def apart_from_claim(prior: Fix, fix: Fix, settings: Settings) -> Difference:
    """Measure how far ``fix`` is from where somebody claims; on a floor, claims say nothing but x, y and yaw."""
    return difference(planar(prior), planar(fix), settings) if settings.on_floor else difference(prior, fix, settings)


def agreeing(candidates: tuple[Fix, ...], fix: Fix, settings: Settings) -> tuple[Fix, ...]:
    """Return the candidates that agree with a later ``fix``, and it."""
    return (*(each for each in candidates if difference(each, fix, settings).agrees), fix)


def claimed_near(prior: Fix, base_from_camera: FloatArray, max_sigma_m: float) -> Near:
    """Tell where the camera is, if an image is to give a pose, uncertain by ``max_sigma_m`` at most, that confirms the
    ``prior``.
    """
    offset = prior.map_from_base[:3, :3] @ base_from_camera[:3, 3]
    spread = np.linalg.eigvalsh(moved_covariance(prior.covariance, offset)[:3, :3])[-1]
    return Near(prior.map_from_base[:3, 3] + offset, float(np.sqrt(CLAIM_GATE * (spread + max_sigma_m**2))))


def averaged(expected: Fix, seen: Fix) -> Fix:
    """Return ``seen`` moved towards where odometry leads, each with the weight that its covariance gives it.

    With the covariance of ``seen``: what the two have in common, the errors of map and calibration, does not average
    out, and a filter that took them for independent would grow as sure as it is wrong.
    """
    error = se3.pose_error(expected.map_from_base, seen.map_from_base)
    step = seen.covariance @ np.linalg.solve(expected.covariance + seen.covariance, error)
    turn = se3.rotation_exp(step[3:]) @ seen.map_from_base[:3, :3]
    return replace(seen, map_from_base=se3.make_pose(turn, seen.map_from_base[:3, 3] + step[:3]))


def claim(track: Track, prior: Fix, newer_than: int | None = None) -> Track:
    """Return the track with a pose that somebody claims; it changes nothing until an image ``newer_than`` a stamp
    confirms it: one that was searched already was not searched for it.
    """
    return replace(track, prior=prior, newer_than=newer_than, reason=WAITS)


def settled(prior: Fix | None, fix: Fix | None, near: Fix | None, settings: Settings) -> Fix | None:
    """Decide what an image says: ``fix``, or if it gave none for the whole map, what it gave ``near`` a pose that
    somebody claims; that counts only with the ``prior`` that it confirms.
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
    """Return the track after an image, which gave ``fix`` or, for a ``reason``, none; with images of other ``cameras``,
    perhaps, its own the first.

    An image that gave none says nothing where the last one of another camera gave a pose, and came of late or after the
    last one of its own: what it looks at may be blank.
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
    candidates = agreeing(track.candidates, fix, settings)
    jump = None
    needed = 1 if fix.sure else UNSURE_IMAGES
    if track.has_pose and track.fix is not None:
        jump = difference(track.fix, fix, settings)
        needed = 1 if jump.agrees else settings.jump_images
    if confirmed or len(candidates) >= needed:
        if jump is not None and jump.agrees and track.fix is not None:
            fix = averaged(predict(track.fix, stamp_ns, fix.odom_from_base, settings), fix)
        elif jump is not None:
            verdict = verdict or f"jumped {jump}: {len(candidates)} images agreed"
        agreed = 0 if jump is not None and jump.agrees else len(candidates)
        track = replace(track, state=State.TRACKING, reason=verdict, fix=fix, candidates=())
        return replace(track, believed=True, agreed=agreed)
    progress = f"{len(candidates)} of {needed} images"
    doubt = f"the image says {jump} from where odometry does" if jump else "one image is not sure enough"
    reason = "; ".join(filter(None, [verdict, f"{doubt} ({progress})"]))
    return _carried_on(replace(track, candidates=candidates), stamp_ns, fix.odom_from_base, reason, settings)


@dataclass(frozen=True)
class Intake:
    """What is on its way: stamps of the newest image that came and of the newest that was ``taken`` into work, and
    ``since`` when that one is in work; None where there is none.
    """

    newest_ns: int | None = None
    taken_ns: int | None = None
    since_ns: int | None = None

    @property
    def busy(self) -> bool:
        """Whether an image is in work."""
        return self.since_ns is not None


NOTHING = Intake()


def wait(
    track: Track, now_ns: int, odom_from_base: FloatArray | None, settings: Settings, intake: Intake = NOTHING
) -> Track:
    """Return the track at ``now_ns``, as time passes and odometry moves on, whether or not images come.

    An image in work is not a missing one: while it is, nothing more can be known than at its stamp, until it takes
    longer than a pose may go unconfirmed.
    """
    if intake.since_ns is not None and intake.taken_ns is not None:
        taking_s = (now_ns - intake.since_ns) * 1e-9
        known_ns = now_ns if taking_s > settings.lost_after else intake.taken_ns
        if taking_s > settings.image_timeout:
            return _carried_on(track, known_ns, odom_from_base, too_slow(settings), settings)
        if track.state is State.DEGRADED:
            return _carried_on(track, known_ns, odom_from_base, track.reason, settings)
        return track
    stamps = [stamp for stamp in (track.image_ns, intake.newest_ns) if stamp is not None]
    silent_s = (now_ns - max(stamps)) * 1e-9 if track.image_ns is not None else 0.0
    if silent_s > settings.image_timeout:
        reason = f"no image since {settings.image_timeout:g} s"
        return _carried_on(replace(track, candidates=()), now_ns, odom_from_base, reason, settings)
    if track.state is State.DEGRADED:
        return _carried_on(track, now_ns, odom_from_base, track.reason, settings)
    return track


def too_slow(settings: Settings) -> str:
    """Say that the computer is, and what to lower."""
    return (
        f"an image takes longer than image_timeout ({settings.image_timeout:g} s): lower the images' resolution or the "
        "map's size, or raise image_timeout"
    )


def _carried_on(track: Track, now_ns: int, odom_from_base: FloatArray | None, reason: str, settings: Settings) -> Track:
    """The track while nothing confirms it: on odometry for a while, then lost. ``reason`` is why nothing does."""
    if track.fix is None or not track.has_pose:
        return replace(track, reason=reason)
    unconfirmed_s = (now_ns - track.fix.stamp_ns) * 1e-9
    driven_m = 0.0
    if odom_from_base is not None and track.fix.odom_from_base is not None:
        driven_m = float(np.linalg.norm(odom_from_base[:3, 3] - track.fix.odom_from_base[:3, 3]))
    lost = unconfirmed_s > settings.lost_after or driven_m > settings.lost_distance
    return replace(track, state=State.LOST if lost else State.DEGRADED, reason=reason)
