"""The cameras of a robot: the state of each, and which image is searched next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from math import isnan

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

# RECTIFIED: values of the parameter "rectified" that override the topic's name.
RECTIFIED = {"always": True, "never": False}
# OTHER_CLOCK_S: difference from the clock beyond which stamps are from another clock, seconds: use_sim_time is not set.
OTHER_CLOCK_S = 10.0
# RATE_SLACK: fraction of the period after which an image is due: the images of a camera at 5 Hz are not exactly 0.2 s
# apart.
RATE_SLACK = 0.8


def topic_of(camera: str, name: str) -> str:
    """Return the topic of a camera; a single camera has no name."""
    return f"{camera}/{name}" if camera else name


def of_camera(value: str, camera: str) -> str:
    """Return the value of a parameter for one camera, whose name replaces the placeholder."""
    return value.replace(CAMERA, camera)


def offsets_ns(settings: Settings) -> dict[str, int]:
    """Return the offset of each camera's image stamps by camera name, nanoseconds."""
    names, offsets = settings.camera_names, settings.image_time_offset
    each = offsets * len(names) if len(offsets) == 1 else offsets
    return {name: round(offset_s * 1e9) for name, offset_s in zip(names, each, strict=True)}


@dataclass(frozen=True)
class LiveImage:
    """An image with its corrected time ``stamp_ns`` and the stamp ``header_ns`` of its header and camera_info.

    ``rectified`` follows from the topic's name, None where the name leaves it open.
    """

    stamp_ns: int
    header_ns: int
    frame_id: str
    read_image: Callable[[], ImageArray]
    rectified: bool | None


@dataclass(frozen=True)
class CameraHealth:
    """The health of a camera.

    ``came_hz`` is its rate of images, ``silent`` whether it sends none while others do, and ``told`` why the last image
    that was searched gave no pose, empty if it gave one.
    """

    name: str
    came_hz: float
    silent: bool
    told: str


class LiveCamera:
    """One camera: its calibrations, the lens that its images vote for, and its newest image."""

    def __init__(self, name: str, offset_ns: int, mask: BoolArray | None, now_ns: int) -> None:
        """Add ``offset_ns`` to image stamps; ``mask`` (H, W) is true where images show the place, None: everywhere."""
        self.name, self._offset_ns, self._mask = name, offset_ns, mask
        self._calibrations, self._vote = Calibrations(MOST_KEPT), Vote()
        self._said: set[str] = set()
        self.evidence, self.told, self.frame_id = 0, "", ""
        # whether the last image could be searched
        self.usable = True
        self.count_anew(now_ns)
        self.forget()

    def __str__(self) -> str:
        return f"camera {self.name}: " if self.name else ""

    def forget(self) -> None:
        """Drop the images."""
        self.newest: LiveImage | None = None
        # the stamp of the last image taken for a search, and the time at which the last search began
        self.taken_ns: int | None = None
        self.begun_ns: int | None = None

    def count_anew(self, now_ns: int) -> None:
        """Reset the count of images."""
        self.came, self.heard_ns = Window(now_ns), now_ns

    def time_jumped_back(self, now_ns: int) -> None:
        """Drop calibrations with stamps in the future, and reset the count."""
        self._calibrations.time_jumped_back()
        self.count_anew(now_ns)

    def calibrate(self, header_ns: int, calibration: Calibration) -> None:
        """Add a calibration, for the image of the same stamp if there is one."""
        self._calibrations.add(header_ns, calibration)

    def see(
        self,
        header_ns: int,
        frame_id: str,
        read_image: Callable[[], ImageArray],
        rectified: bool | None,
        now_ns: int,
    ) -> bool:
        """Take an image; return whether it replaced one that was not searched."""
        self.came.add(now_ns)
        self.heard_ns, had = now_ns, self.newest is not None
        self.newest = LiveImage(header_ns + self._offset_ns, header_ns, frame_id, read_image, rectified)
        return had

    @property
    def waits(self) -> bool:
        """Whether there is an image to search, with its calibration."""
        return self.newest is not None and not self._calibrations.awaits(self.newest.header_ns)

    def take(self) -> LiveImage:
        """Return the newest image, and remove it."""
        image, self.newest = self.newest, None
        assert image is not None
        return image

    def shot(self, image: LiveImage, settings: Settings) -> Shot:
        """Return an image as the input of a search; its possible lenses follow from its size, known once decoded.

        Raises :class:`~neumap.errors.CalibrationError` without a usable calibration.
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
        """Let an image vote for the lens; return whether the lens is decided."""
        self.evidence = finding.best.evidence
        if len(finding.through) > 1 and not self._vote.decided:
            self._vote = self._vote.counted(finding.through)
        return len(finding.through) == 1 or finding.frame.lenses[0].origin == self._vote.decided

    def is_news(self, what: str) -> bool:
        """Return whether a message about this camera is new."""
        is_news = what not in self._said
        self._said.add(what)
        return is_news


class Cameras:
    """All cameras, by name."""

    def __init__(self, settings: Settings, masks: Mapping[str, BoolArray], now_ns: int) -> None:
        """Create the cameras of the ``settings``; ``masks`` (H, W) by camera name."""
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
        """Drop everything with stamps in the future; ``newest_ns`` is the newest stamp of an image so far."""
        if newest_ns is not None:
            self._guard.begin(newest_ns)
        for camera in self:
            camera.time_jumped_back(now_ns)

    def refusal(self, camera: LiveCamera, stamp_ns: int, now_ns: int) -> str:
        """Return why an image with this stamp is dropped; empty if it is not."""
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if self._guard.is_stale(stamp_ns, now_ns):
            return f"{camera}it was taken before time jumped back"
        if abs(ahead_s) > OTHER_CLOCK_S:
            return f"{camera}the images are stamped {ahead_s:+.0f} s from this clock: is use_sim_time right?"
        if camera.taken_ns is not None and stamp_ns <= camera.taken_ns:
            return f"{camera}its stamp is not after that of the image before"
        return ""

    def next(self) -> LiveCamera | None:
        """Return the camera with an image to search whose last search is the longest ago."""
        waiting = (camera for camera in self if camera.waits)
        return min(waiting, key=lambda camera: -1 if camera.taken_ns is None else camera.taken_ns, default=None)

    def sending(self, now_ns: int, timeout_s: float) -> list[LiveCamera]:
        """Return the cameras that sent an image in the last ``timeout_s`` seconds."""
        return [camera for camera in self if (now_ns - camera.heard_ns) * 1e-9 <= timeout_s]

    def twin(self, camera: LiveCamera) -> str:
        """Return a warning if an earlier camera has the same frame; else empty."""
        before = takewhile(lambda other: other is not camera, self)
        twins = [other.name for other in before if other.frame_id == camera.frame_id != ""]
        same = f"its images are of the frame '{camera.frame_id}', as those of camera"
        return f"{same} {twins[0]}: give each its own, or set camera_frame_id" if twins else ""

    def sharing(self, camera: LiveCamera, now_ns: int, track: Track, timeout_s: float) -> int:
        """Return the factor on a camera's period, since usable cameras that send images share the rate.

        All cameras without a pose share one part.
        """
        sending = [each for each in self.sending(now_ns, timeout_s) if each.usable or each is camera]
        seeing = [each for each in sending if (look := track.looks.get(each.name)) is not None and look.gave_pose]
        blind = len(sending) - len(seeing)
        return (len(seeing) + (blind > 0)) * (1 if camera in seeing else blind)

    def is_due(
        self, camera: LiveCamera, stamp_ns: int, now_ns: int, track: Track, cost_s: float, settings: Settings
    ) -> bool:
        """Return whether an image is newer than the fix, and within the limits on image rate and CPU.

        A search takes ``cost_s`` seconds, NaN if unknown. The limit on CPU is counted by the clock, not by stamps: with
        a camera of 30 Hz the search would otherwise wait for the next image although the computer is idle.
        """
        if track.current is not None and stamp_ns <= track.current.stamp_ns:
            return False
        share = RATE_SLACK * self.sharing(camera, now_ns, track, settings.image_timeout)
        rate, taken_ns, begun_ns = settings.max_image_rate, camera.taken_ns, camera.begun_ns
        in_time = taken_ns is None or rate == 0 or (stamp_ns - taken_ns) * 1e-9 >= share / rate
        return in_time and (
            begun_ns is None or isnan(cost_s) or (now_ns - begun_ns) * 1e-9 >= share * cost_s / settings.max_cpu
        )

    def health(self, now_ns: int, timeout_s: float) -> tuple[CameraHealth, ...]:
        """Return the health of each camera; one is silent if it sent no image for ``timeout_s`` seconds."""
        sending = self.sending(now_ns, timeout_s)
        return tuple(
            CameraHealth(camera.name, camera.came.rate_hz(now_ns), bool(sending) and camera not in sending, camera.told)
            for camera in self
        )
