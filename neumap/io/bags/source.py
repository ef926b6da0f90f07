"""Opens recordings of ROS as sources of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from neumap.arrays import Float32Array, FloatArray, ImageArray, IntArray
from neumap.errors import CalibrationError, ConfigError, DataError
from neumap.geometry.intrinsics import Calibration, Calibrations, lenses_of
from neumap.geometry.transform_tree import frame_name
from neumap.io.bags.mounts import mounts_of
from neumap.io.bags.poses import camera_poses
from neumap.io.bags.reader import BagReader, Topic
from neumap.io.bags.store import MessageStore, Position, numbered
from neumap.io.bags.topics import (
    TF,
    BagOptions,
    CameraOptions,
    Look,
    choose_camera_info,
    choose_depth,
    choose_image,
    choose_transforms,
    look_at_images,
    pose_topics,
)
from neumap.io.bags.transforms import RecordedTransforms
from neumap.io.camera_info import UNTOLD, Told, calibration_of
from neumap.io.files import PathLike, naming, noting
from neumap.io.image_messages import depth_of, gray_of, named_rectified
from neumap.io.stamps import format_stamp, stamp_of
from neumap.io.streams import depth_of_each, once_each, pose_of_each
from neumap.records import Frame, Intrinsics, Source, stamps_of

Pixels = TypeVar("Pixels", ImageArray, Float32Array)
# Stamped: the stamp of an image's header in nanoseconds, and the position of its message.
Stamped = tuple[int, Position]


@dataclass(frozen=True)
class _Camera:
    """A camera: the topics of its images, calibration and depth (or None), the width and height of the images, and its
    optical frame.
    """

    image: Topic
    info: Topic
    depth: Topic | None
    size: tuple[int, int]
    frame: str


def open_bag(
    path: PathLike, *, poses: bool, depth: bool = True, told: Told = UNTOLD, options: BagOptions | None = None
) -> Source:
    """Open the images of a recording of ROS, sorted by the stamps of their headers; images are read on demand.

    With ``poses`` each frame gets the pose of the camera's optical frame in the map and frames without one are left
    out; with ``depth`` it gets the registered depth image within 20 ms, if any. Its camera follows from the camera_info
    of its stamp, else the last one before, and from ``told``. With several cameras, frames have the topic in their name
    and mounts from the transforms. Notes state what was chosen and left out. The recording stays open as long as its
    frames are in use; they may be read from several threads.

    Raises :class:`~neumap.errors.DataError` (or its kin) for a recording that is damaged or incomplete and
    :class:`~neumap.errors.ConfigError` if the user has to choose between topics. A damaged image, or one of another
    size, raises when it is read.
    """
    options = options or BagOptions()
    bag = BagReader(path)
    looks = look_at_images(bag)
    notes: list[str] = []
    cameras = [_camera(bag, looks, said, depth, notes) for said in options.of_each_camera()]
    several = len(cameras) > 1
    if options.trajectory is not None:
        # its poses are those of one frame, whichever camera is looked up
        options = replace(options, base_frame=options.base_frame or cameras[0].frame)
    asked = poses or several
    if asked:
        _check_frames(cameras)
    transforms = RecordedTransforms(options.max_gap_s, [topic.name for topic in pose_topics(bag)])
    of_poses = next((topic.name for topic in bag.topics if topic.name == options.pose_topic and topic.type == TF), None)
    if of_poses and options.tf_topic not in (None, of_poses):
        raise ConfigError("--pose-topic and --tf-topic name two topics of transforms: give one of them")
    tf = choose_transforms(bag, cameras[0].image, options.tf_topic or of_poses) if asked else {}
    messages, calibrations = _read_index(bag, cameras, transforms, tf)
    store, left_out = MessageStore(bag, messages), list(bag.left_out)
    frames, drifts = [], False
    for camera in cameras:
        about = f"{camera.image.name}: " if several else ""
        read, without, said = _frames(bag, store, camera, messages, calibrations[camera.info], told, several)
        if poses:
            known, pose_notes, skipped, drifts = _poses(bag, transforms, camera.frame, stamps_of(read), options)
            read = [replace(frame, map_from_camera=pose) for frame, pose in zip(read, known, strict=True)]
            without, said = [*without, *skipped], [*said, *pose_notes]
        frames.append(read)
        left_out += [about + text for text in without]
        notes += [about + text for text in said]
    if several:
        mounts, said = mounts_of(transforms, [camera.frame for camera in cameras], list(map(stamps_of, frames)))
        frames = [
            [replace(frame, mount=mount) for frame, mount in zip(read, there, strict=True) if mount is not None]
            for read, there in zip(frames, mounts, strict=True)
        ]
        notes += said
    if asked:
        left_out, notes = [*left_out, *transforms.left_out], [*notes, *transforms.notes]
    names = ", ".join(camera.image.name for camera in cameras)
    usable = (frame for read in frames for frame in read if not poses or frame.map_from_camera is not None)
    ordered = sorted(usable, key=lambda frame: frame.moment_ns)
    return Source(f"bag {path}, {names}", tuple(ordered), (*left_out, *notes), tuple(left_out), drifts)


def _check_frames(cameras: Sequence[_Camera]) -> None:
    """Raise :class:`~neumap.errors.DataError` unless each camera has a frame of its own."""
    by_frame: dict[str, Topic] = {}
    for camera in cameras:
        if not camera.frame:
            raise DataError("the images do not name their frame (header.frame_id is empty): give --camera-frame")
        if by_frame.setdefault(camera.frame, camera.image) is not camera.image:
            both = f"{by_frame[camera.frame].name} and {camera.image.name}"
            raise DataError(f"the images on {both} are of one frame, {camera.frame}: give --camera-frame for each")


def _camera(bag: BagReader, looks: Mapping[Topic, Look], said: CameraOptions, depth: bool, notes: list[str]) -> _Camera:
    """Choose the topics of a camera by the options ``said``; append to ``notes``."""
    image = choose_image(bag, looks, said.image_topic)
    first, size = _first_image(bag, image)
    look = Look(frame_name(first.header.frame_id), False, size)
    info_topic = choose_camera_info(bag, image, look.frame, said.camera_info_topic)
    info = bag.first(info_topic)
    if (info_frame := frame_name(info.header.frame_id)) != look.frame:
        calibrated = f"their calibration on {info_topic.name} is of '{info_frame}'"
        notes.append(f"the images are of the frame '{look.frame}', {calibrated}")
    depth_topic = None
    if depth:
        depth_topic, topic_notes = choose_depth(bag, looks, look, said.depth_topic)
        notes += topic_notes
    return _Camera(image, info_topic, depth_topic, size, said.camera_frame or look.frame)


def _frames(
    bag: BagReader,
    store: MessageStore,
    camera: _Camera,
    messages: Mapping[Topic, Sequence[Stamped]],
    calibrations: Calibrations,
    told: Told,
    several: bool,
) -> tuple[list[Frame], list[str], list[str]]:
    """Return the frames of a camera, without poses, notes on those left out and other notes. The names of the frames
    begin with the topic if there are ``several`` cameras.
    """
    image, size = camera.image, camera.size
    images, without, notes = _usable(image, messages[image])
    rectified = named_rectified(image.name) if told.rectified is None else told.rectified
    with naming(f"the calibration of {image.name}"):
        seen, uncalibrated = _through(images, calibrations, lambda each: lenses_of(each, size, rectified, told.mask))
    depths: list[Position | None] = [None] * len(seen)
    if camera.depth is not None and messages[camera.depth]:
        stamps = np.array([stamp_ns for (stamp_ns, _), _ in seen], dtype=np.int64)
        depths, depth_notes = depth_of_each(messages[camera.depth], stamps, f" on {camera.depth.name}")
        notes = [*notes, *depth_notes]
    frames = [
        Frame(
            name=f"{image.name} {format_stamp(stamp_ns)}" if several else format_stamp(stamp_ns),
            stamp_ns=stamp_ns,
            camera=lenses[0].camera,
            read_image=partial(_read, bag, store, position, size, gray_of),
            read_depth=None if measured is None else partial(_read, bag, store, measured, size, depth_of),
            frame_id=camera.frame,
            lenses=lenses,
        )
        for ((stamp_ns, position), lenses), measured in zip(seen, depths, strict=True)
    ]
    return frames, [*without, *uncalibrated], notes


def _first_image(bag: BagReader, image: Topic) -> tuple[Any, tuple[int, int]]:
    """Return the first image that is not damaged, and its width and height."""
    for each in filter(None, map(bag.try_to_decode, bag.messages([image]))):
        with suppress(DataError):
            height, width = gray_of(each).shape
            return each, (width, height)
    first = bag.first(image)
    with naming(f"the first image on {image.name} of the bag {bag.path}"):
        height, width = gray_of(first).shape
    return first, (width, height)


def _read_index(
    bag: BagReader, cameras: Sequence[_Camera], transforms: RecordedTransforms, tf: Mapping[Topic, bool]
) -> tuple[dict[Topic, list[Stamped]], dict[Topic, Calibrations]]:
    """Index, in one pass over the bag, the images, depth images and calibrations of the cameras, and add the transforms
    of the topics ``tf``, each with whether it is static, to ``transforms``.
    """
    found: dict[Topic, list[Stamped]] = {c: [] for each in cameras for c in (each.image, each.depth) if c is not None}
    calibrations = {camera.info: Calibrations() for camera in cameras}
    for position, message in numbered(bag.messages([*found, *calibrations, *tf])):
        decoded = bag.try_to_decode(message)
        if decoded is None:
            continue
        if message.topic in found:
            found[message.topic].append((stamp_of(decoded.header), position))
        elif message.topic in tf:
            transforms.add(decoded.transforms, tf[message.topic], message.time_ns)
        else:
            calibrations[message.topic].add(stamp_of(decoded.header), calibration_of(decoded))
    for image in (camera.image for camera in cameras):
        if 2 * len(found[image]) < image.count:
            raise DataError(f"more than half of the {image.count} images on {image.name} cannot be decoded")
    heard = [(at.time_ns, stamp_ns) for camera in cameras for stamp_ns, at in found[camera.image]]
    transforms.heard(np.array(sorted(heard), dtype=np.int64))
    return found, calibrations


def _usable(topic: Topic, images: Sequence[Stamped]) -> tuple[list[Stamped], list[str], list[str]]:
    """Return the images sorted by stamp, one per stamp; notes on images without stamp; notes on equal stamps."""
    stamped = [each for each in images if each[0]]
    if not stamped:
        raise DataError(f"the images on {topic.name} have no stamps (header.stamp is zero): record them with stamps")
    without = len(images) - len(stamped)
    left_out = [f"{without} of {len(images)} images have no stamp: left out"] if without else []
    usable, notes = once_each(stamped)
    return usable, left_out, notes


def _through(
    images: Sequence[Stamped],
    calibrations: Calibrations,
    lenses_of_calibration: Callable[[Calibration], tuple[Intrinsics, ...]],
) -> tuple[list[tuple[Stamped, tuple[Intrinsics, ...]]], list[str]]:
    """Return each image that has a usable calibration with its candidate intrinsics, and notes on the others.

    Raises :class:`~neumap.errors.CalibrationError` if no calibration is usable.
    """
    known: dict[Calibration, tuple[Intrinsics, ...] | CalibrationError] = {}
    seen = []
    for each in images:
        calibration = calibrations.at(each[0])
        if calibration is None:  # only with a topic without messages, which is never chosen
            continue
        if calibration not in known:
            try:
                known[calibration] = lenses_of_calibration(calibration)
            except CalibrationError as error:
                known[calibration] = error
        lenses = known[calibration]
        if not isinstance(lenses, CalibrationError):
            seen.append((each, lenses))
    errors = [each for each in known.values() if isinstance(each, CalibrationError)]
    if not seen:
        raise errors[0]
    notes = []
    if errors:
        notes.append(
            f"{len(images) - len(seen)} of {len(images)} images have no usable calibration: left out: {errors[0]}"
        )
    return seen, notes


def _poses(
    bag: BagReader, transforms: RecordedTransforms, camera_frame: str, stamps: IntArray, options: BagOptions
) -> tuple[Sequence[FloatArray | None], list[str], list[str], bool]:
    """Return the pose of each image or None, notes, notes on poses left out, and whether the poses drift."""
    found, notes, left_out, drifts = camera_poses(bag, transforms, camera_frame, stamps, options)
    with noting([*left_out, *transforms.left_out, *notes, *transforms.notes]):
        poses, more = pose_of_each(found.poses, found.known, stamps, f"the bag {bag.path}", found.gap, found.gap)
    return poses, [*notes, *more], left_out, drifts


def _read(
    bag: BagReader, store: MessageStore, position: Position, size: tuple[int, int], pixels: Callable[[Any], Pixels]
) -> Pixels:
    message = bag.decode(store.read(position))
    at = f"{format_stamp(stamp_of(message.header))} s of {bag.path}"
    with naming(f"the image on {position.topic.name} at {at}"):
        image = pixels(message)
    height, width = image.shape
    if (width, height) != size:
        raise DataError(
            f"the image on {position.topic.name} at {at} is {width}x{height}, "
            f"the images are {size[0]}x{size[1]}: give another topic"
        )
    return image
