"""Corrects the drift of odometry poses by visual odometry, loop closures and bundle adjustment, before mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neumap.arrays import BoolArray, FloatArray, IntArray
from neumap.errors import ConfigError
from neumap.mapping import suspects
from neumap.mapping.calibration import set_aside
from neumap.mapping.keyframes import Keyframes
from neumap.mapping.loops import close_loops
from neumap.mapping.pose_graph import Measurements, Solution, together
from neumap.mapping.settings import MappingSettings
from neumap.mapping.steps import odometry_steps, visual_steps
from neumap.mapping.survey import Survey, adjust, extract, survey_keyframes
from neumap.mapping.work import NOWHERE, Work
from neumap.progress import Progress, count_up, ignore
from neumap.records import Frame, by_camera

# LOOSE_M: standard deviation of an image's position, relative to the nearest image with a loop closure, above which its
# stretch should be driven again, metres.
LOOSE_M = 0.1


@dataclass(frozen=True)
class Straightened:
    """A drive with corrected poses, in ``keyframes`` and their frames.

    ``loops`` (L, 2) are the images of each loop closure, ``moved_m`` (F,) the correction of each position, metres, and
    ``loose`` the stretches without a loop closure nearby: stamps of the first and last image, nanoseconds.
    """

    keyframes: Keyframes
    loops: IntArray
    moved_m: FloatArray
    loose: tuple[tuple[int, int], ...]

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames that could be read, with their poses."""
        return self.keyframes.frames


def straighten(
    frames: Sequence[Frame], settings: MappingSettings, progress: Progress = ignore, work: Work = NOWHERE
) -> Straightened:
    """Correct the poses of frames that drift as odometry does; the first pose stays. Features are kept in the folder of
    ``work``.

    Raises :class:`~neumap.errors.ConfigError` for frames of several cameras, :class:`~neumap.errors.MappingError` if
    the images overlap too little, and what the frames' readers raise.
    """
    if (cameras := len(by_camera(frames))) > 1:
        raise ConfigError(
            f"poses that drift are made straight by the images of one camera, and these are of {cameras}: "
            "give one --image-topic"
        )
    keyframes = extract(frames, settings, progress, work)
    suspects.check(keyframes)
    count = len(keyframes)
    given = keyframes.map_from_camera
    steps = together(odometry_steps(given), visual_steps(keyframes, count_up(progress, "steps", count)))
    solution, loops = close_loops(keyframes, steps, settings, count_up(progress, "loops", count))
    loose = _loose(solution, loops)
    _, _, poses = adjust(replace(keyframes, map_from_camera=solution.poses), progress)
    posed = tuple(replace(frame, map_from_camera=pose) for frame, pose in zip(keyframes.frames, poses, strict=True))
    stamps = [(posed[a].stamp_ns, posed[b].stamp_ns) for a, b in _runs(loose)]
    return Straightened(
        keyframes=replace(keyframes, map_from_camera=poses, frames=posed),
        loops=np.stack([loops.first, loops.second], axis=1),
        moved_m=np.linalg.norm(poses[:, :3, 3] - given[:, :3, 3], axis=1),
        loose=tuple(stamps),
    )


def survey_drive(drive: Straightened, progress: Progress = ignore) -> Survey:
    """Survey the place of a corrected drive like :func:`~neumap.mapping.survey.survey`, without extracting features
    again.
    """
    aside = set_aside(len(drive.keyframes))
    mapped = np.setdiff1d(np.arange(len(drive.keyframes)), aside)
    return survey_keyframes(drive.keyframes.pick(mapped), progress, tuple(drive.frames[i] for i in aside))


def _loose(solution: Solution, loops: Measurements) -> BoolArray:
    """Return which images (F,) are uncertain relative to the nearest one with a loop closure, else the first image."""
    count = len(solution.poses)
    tied = np.unique(np.r_[loops.first, loops.second]) if len(loops) else np.zeros(1, np.int64)
    nearest = tied[np.abs(np.arange(count)[:, None] - tied).argmin(axis=1)]
    out = np.zeros(count, dtype=bool)
    for node in tied:
        images = np.flatnonzero(nearest == node)
        covariance = solution.covariance_between(int(node), images)
        out[images] = np.sqrt(np.trace(covariance[:, :3, :3], axis1=1, axis2=2)) > LOOSE_M
    return out


def _runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Return the first and last index of each run of true ``flags``."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False]))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
