"""The cameras of a robot: what belongs to each, and whose image is looked at next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from neumap.arrays import BoolArray, ImageArray
from neumap.errors import CalibrationError
from neumap.geometry.intrinsics import MOST_KEPT, Calibration, Calibrations, lenses_of
from neumap.localization.lens import Vote
from neumap.records import Intrinsics
from neumap.tracking.inspection import Finding, Shot
from neumap.tracking.rates import Window
from neumap.tracking.settings import CAMERA, Settings
from neumap.tracking.tracker import Track
from neumap.tracking.transforms import LapGuard

# RECTIFIED: what the parameter of that name tells.
RECTIFIED = {"always": True, "never": False}
# OTHER_CLOCK_S: stamps this far from the clock are of another clock, seconds: somebody forgot use_sim_time.
OTHER_CLOCK_S = 10.0


def topic_of(camera: str, name: str) -> str:
    """Return the topic of a camera, or of the only one, which has no name."""
    return f"{camera}/{name}" if camera else name


def of_camera(value: str, camera: str) -> str:
    """Return what a parameter of several cameras says of one."""
    return value.replace(CAMERA, camera)


def offsets_ns(settings: Settings) -> dict[str, int]:
    """Return what is added to the stamps of each camera's images, by its name, nanoseconds."""
    names, offsets = settings.camera_names, settings.image_time_offset
    each = offsets * len(names) if len(offsets) == 1 else offsets
    return {name: round(offset_s * 1e9) for name, offset_s in zip(names, each, strict=True)}


@dataclass(frozen=True)
class LiveImage:
    """An image that was taken at ``stamp_ns``, as far as is known, while its header, and that of its camera_info, say
    ``header_ns``. ``rectified`` tells what the name of its topic says, None: nothing.
    """

    stamp_ns: int
    header_ns: int
    frame_id: str
    read_image: Callable[[], ImageArray]
    rectified: bool | None


@dataclass(frozen=True)
class CameraHealth:
    """How a camera does: images that come each second, whether it is ``silent`` while others send, and what the last
    image that was searched ``told``.
    """

    name: str
    came_hz: float
    silent: bool
    told: str


class LiveCamera:
    """One camera: its calibrations, what lens its images vote for, and the newest of them."""

    def __init__(self, name: str, offset_ns: int, mask: BoolArray | None, now_ns: int) -> None:
        """Take images to be taken ``offset_ns`` after their stamps; ``mask`` (H, W) tells what of them shows the place,
        None: all.
        """
        self.name, self._offset_ns, self._mask = name, offset_ns, mask
        self._calibrations, self._vote = Calibrations(MOST_KEPT), Vote()
        self._said: set[str] = set()
        self.evidence, self.told, self.frame_id = 0, "", ""
        # whether its last image could be searched
        self.usable = True
        self.count_anew(now_ns)
        self.forget()

    def __str__(self) -> str:
        return f"camera {self.name}: " if self.name else ""

    def forget(self) -> None:
        """Forget the images."""
        self.newest: LiveImage | None = None
        # the stamp of the last one taken, and when the last one that was searched was begun
        self.taken_ns: int | None = None
        self.begun_ns: int | None = None

    def count_anew(self, now_ns: int) -> None:
        """Count the images that come from now on."""
        self.came, self.heard_ns = Window(now_ns), now_ns

    def time_jumped_back(self, now_ns: int) -> None:
        """Forget what belongs to a time that is yet to come."""
        self._calibrations.time_jumped_back()
        self.count_anew(now_ns)

    def calibrate(self, header_ns: int, calibration: Calibration) -> None:
        """Take the calibration, which is that of the image with its stamp if there is one."""
        self._calibrations.add(header_ns, calibration)

    def see(
        self,
        header_ns: int,
        frame_id: str,
        read_image: Callable[[], ImageArray],
        rectified: bool | None,
        now_ns: int,
    ) -> bool:
        """Take an image; return whether another one, which nobody looked at, had to go for it."""
        self.came.add(now_ns)
        self.heard_ns, had = now_ns, self.newest is not None
        self.newest = LiveImage(header_ns + self._offset_ns, header_ns, frame_id, read_image, rectified)
        return had

    @property
    def waits(self) -> bool:
        """Whether there is an image to look at, and nothing that it takes is still to come."""
        return self.newest is not None and not self._calibrations.awaits(self.newest.header_ns)

    def take(self) -> LiveImage:
        """Hand over the newest image."""
        image, self.newest = self.newest, None
        assert image is not None
        return image

    def shot(self, image: LiveImage, settings: Settings) -> Shot:
        """Return an image as it is searched, with what its lens may be by the size that it turns out to have.

        Raises :class:`~neumap.errors.CalibrationError` where that is not known.
        """
        calibration, mask, decided = self._calibrations.at(image.header_ns), self._mask, self._vote.decided
        if calibration is None:
            raise CalibrationError("no camera_info yet")
        rectified = RECTIFIED.get(settings.rectified, image.rectified)
        try:
            lenses_of(calibration, None, rectified)
        except CalibrationError as error:
            raise CalibrationError(f"camera_info cannot be used: {error}") from None

        def lenses(size: tuple[int, int]) -> tuple[Intrinsics, ...]:
            found = lenses_of(calibration, size, rectified, mask)
            return tuple(lens for lens in found if lens.origin == decided) or found

        frame_id = (of_camera(settings.camera_frame_id, self.name) or image.frame_id).lstrip("/")
        self.frame_id = frame_id
        return Shot(image.stamp_ns, frame_id, image.read_image, lenses, self.name)

    def count(self, finding: Finding) -> bool:
        """Let an image vote for the lens; return whether it is known which one it was taken through."""
        self.evidence = finding.best.evidence
        if len(finding.through) > 1 and not self._vote.decided:
            self._vote = self._vote.counted(finding.through)
        return len(finding.through) == 1 or finding.frame.lenses[0].origin == self._vote.decided

    def is_news(self, what: str) -> bool:
        """Tell whether something of this camera is to be said: once."""
        is_news = what not in self._said
        self._said.add(what)
        return is_news


class Cameras:
    """All cameras, by name."""

    def __init__(self, settings: Settings, masks: Mapping[str, BoolArray], now_ns: int) -> None:
        """Take the cameras of the ``settings``; ``masks`` (H, W), by name, of those that have one."""
        self._guard = LapGuard()
        self._all = {
            name: LiveCamera(name, offset_ns, masks.get(name), now_ns)
            for name, offset_ns in offsets_ns(settings).items()
        }

    def __getitem__(self, name: str) -> LiveCamera:
        return self._all[name]

    def __iter__(self) -> Iterator[LiveCamera]:
        return iter(self._all.values())

    def time_jumped_back(self, newest_ns: int | None, now_ns: int) -> None:
        """Forget what belongs to a time that is yet to come, up to the ``newest_ns`` stamp of an image."""
        if newest_ns is not None:
            self._guard.begin(newest_ns)
        for camera in self:
            camera.time_jumped_back(now_ns)

    def refusal(self, camera: LiveCamera, stamp_ns: int, now_ns: int) -> str:
        """Say why an image of a camera, of this stamp, is not looked at; empty if it is."""
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if self._guard.is_stale(stamp_ns, now_ns):
            return f"{camera}it was taken before time jumped back"
        if abs(ahead_s) > OTHER_CLOCK_S:
            return f"{camera}the images are stamped {ahead_s:+.0f} s from this clock: is use_sim_time right?"
        if camera.taken_ns is not None and stamp_ns <= camera.taken_ns:
            return f"{camera}its stamp is not after that of the image before"
        return ""

    def next(self) -> LiveCamera | None:
        """Return the one whose image is to be looked at: of those that have some, that was looked at longest ago."""
        waiting = (camera for camera in self if camera.waits)
        return min(waiting, key=lambda camera: -1 if camera.taken_ns is None else camera.taken_ns, default=None)

    def sending(self, now_ns: int, timeout_s: float) -> list[LiveCamera]:
        """Return those from which an image came within a time."""
        return [camera for camera in self if (now_ns - camera.heard_ns) * 1e-9 <= timeout_s]

    def twin(self, camera: LiveCamera) -> str:
        """Say that one of the cameras before it is at the very same place, which is hardly so; empty where none is."""
        before = takewhile(lambda other: other is not camera, self)
        twins = [other.name for other in before if other.frame_id == camera.frame_id != ""]
        same = f"its images are of the frame '{camera.frame_id}', as those of camera"
        return f"{same} {twins[0]}: give each its own, or set camera_frame_id" if twins else ""

    def sharing(self, camera: LiveCamera, now_ns: int, track: Track, timeout_s: float) -> int:
        """Return how many share what may be searched: those that send and can be used, of which all that see nothing
        count as one.
        """
        sending = [each for each in self.sending(now_ns, timeout_s) if each.usable or each is camera]
        seeing = [each for each in sending if (look := track.looks.get(each.name)) is not None and look.gave_pose]
        blind = len(sending) - len(seeing)
        return (len(seeing) + (blind > 0)) * (1 if camera in seeing else blind)

    def health(self, now_ns: int, timeout_s: float) -> tuple[CameraHealth, ...]:
        """Tell how each does; one is silent that sent nothing for so long."""
        sending = self.sending(now_ns, timeout_s)
        return tuple(
            CameraHealth(camera.name, camera.came.rate_hz(now_ns), bool(sending) and camera not in sending, camera.told)
            for camera in self
        )
