"""rosbag2 recordings as sources of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from neumap.arrays import Float32Array, FloatArray, ImageArray, IntArray
from neumap.errors import CalibrationError, DataError
from neumap.geometry.transform_tree import frame_name
from neumap.io.bags.poses import camera_poses
from neumap.io.bags.reader import BagReader, Topic
from neumap.io.bags.store import MessageStore, Position, numbered
from neumap.io.bags.topics import (
    TF,
    BagOptions,
    Look,
    choose_camera_info,
    choose_depth,
    choose_image,
    is_rectified,
    look_at_images,
    with_messages,
)
from neumap.io.bags.transforms import RecordedTransforms
from neumap.io.camera_info import calibration_key, camera_of, fit_to_size
from neumap.io.files import PathLike
from neumap.io.image_messages import depth_of, gray_of
from neumap.io.stamps import format_stamp, nearest, seconds, stamp_of
from neumap.io.tum import MAX_DEPTH_OFFSET_NS
from neumap.records import Camera, Frame, Source

Pixels = TypeVar("Pixels", ImageArray, Float32Array)


class _Stamped(NamedTuple):
    """An image of the bag: the stamp of its header, and where its message is."""

    stamp_ns: int
    position: Position


def open_bag(path: PathLike, *, poses: bool, depth: bool = True, options: BagOptions | None = None) -> Source:
    """Open the images of a rosbag2 recording, sorted by the stamps of their headers; read when asked for.

    With ``poses`` each frame gets the pose of the camera's optical frame in the map at its stamp (from /tf, a topic
    of poses or odometry) and frames without one are left out; without, poses are not looked at. With ``depth`` a
    frame gets the registered depth image within 20 ms, where there is one. ``options`` name topics and frames. Notes
    tell what was chosen and left out. The recording stays open as long as its frames are in use; they may be read
    from several threads.

    Raises :class:`~neumap.errors.DataError` for a recording that is damaged or lacks what is needed,
    :class:`~neumap.errors.ConfigError` where the user has to choose between topics,
    :class:`~neumap.errors.CalibrationError` for a calibration that cannot be used and
    :class:`~neumap.errors.MissingDependencyError` without rosbags. An image that turns out damaged or of another
    size raises when it is read.
    """
    options = options or BagOptions()
    bag = BagReader(path)
    looks = look_at_images(bag)
    image = choose_image(bag, looks, options.image_topic)
    first = bag.first(image)
    size = _size(bag, image, first)
    look = Look(frame_name(first.header.frame_id), False, size)
    info = choose_camera_info(bag, image, look.frame, options.camera_info_topic)
    depth_topic, notes = choose_depth(bag, looks, look, options.depth_topic) if depth else (None, ())

    index = _read_index(bag, image, info, depth_topic, with_transforms=poses)
    camera, camera_notes = _camera(image, index.info, size)
    images, image_notes = _usable(image, index.images)
    stamps = np.array([each.stamp_ns for each in images], dtype=np.int64)
    notes = (*_names(look, info, index.info), *camera_notes, *notes, *image_notes)

    known: list[FloatArray | None] = [None] * len(images)
    if poses:
        known, pose_notes = _poses(bag, index.transforms, options.camera_frame or look.frame, stamps, options)
        notes += pose_notes
    depths: list[_Stamped | None] = [None] * len(images)
    if depth_topic is not None:
        depths, depth_notes = _depths(depth_topic, index.depths, stamps)
        notes += depth_notes

    store = MessageStore(bag, [image] if depth_topic is None else [image, depth_topic])
    frames = tuple(
        Frame(
            name=format_stamp(each.stamp_ns),
            stamp_ns=each.stamp_ns,
            camera=camera,
            read_image=partial(_read, bag, store, each, size, gray_of),
            read_depth=None if measured is None else partial(_read, bag, store, measured, size, depth_of),
            map_from_camera=pose,
            frame_id=look.frame,
        )
        for each, pose, measured in zip(images, known, depths, strict=True)
        if pose is not None or not poses
    )
    return Source(f"bag {path}, {image.name}", frames, notes)


class _Index(NamedTuple):
    """What one pass over the bag found, in the order of the recording."""

    images: list[_Stamped]
    depths: list[_Stamped]
    info: Any
    transforms: RecordedTransforms


def _read_index(bag: BagReader, image: Topic, info: Topic, depth: Topic | None, with_transforms: bool) -> _Index:
    transforms = with_messages(bag.topics, [TF]) if with_transforms else []
    topics = {image, info, *transforms} | ({depth} if depth is not None else set())
    index = _Index([], [], bag.first(info), RecordedTransforms())
    calibration = calibration_key(index.info)
    for position, message in numbered(bag.messages(topics)):
        decoded = bag.decode(message)
        if message.topic == image:
            index.images.append(_Stamped(stamp_of(decoded.header), position))
        elif message.topic == depth:
            index.depths.append(_Stamped(stamp_of(decoded.header), position))
        elif message.topic in transforms:
            index.transforms.add(decoded.transforms, is_static=message.topic.name.endswith("tf_static"))
        elif calibration_key(decoded) != calibration:
            raise CalibrationError(
                f"the calibration on {info.name} changes at {seconds(stamp_of(decoded.header))} s: "
                "record every setting of the camera in a bag of its own"
            )
    return index


def _size(bag: BagReader, image: Topic, message: Any) -> tuple[int, int]:
    try:
        height, width = gray_of(message).shape
    except DataError as error:
        raise DataError(f"the first image on {image.name} of the bag {bag.path}: {error}") from None
    return width, height


def _camera(image: Topic, info: Any, size: tuple[int, int]) -> tuple[Camera, tuple[str, ...]]:
    try:
        return fit_to_size(camera_of(info, is_rectified(image)), *size)
    except CalibrationError as error:
        raise CalibrationError(f"the calibration of {image.name}: {error}") from None


def _names(look: Look, topic: Topic, info: Any) -> tuple[str, ...]:
    frame = frame_name(info.header.frame_id)
    if frame == look.frame:
        return ()
    return (f"the images are of the frame '{look.frame}', their calibration on {topic.name} is of '{frame}'",)


def _usable(topic: Topic, images: Sequence[_Stamped]) -> tuple[list[_Stamped], tuple[str, ...]]:
    """Return the images sorted by stamp, without those that have none or the stamp of another one."""
    stamped = [each for each in images if each.stamp_ns]
    if not stamped:
        raise DataError(f"the images on {topic.name} have no stamps (header.stamp is zero): record them with stamps")
    first: dict[int, _Stamped] = {}
    for each in sorted(stamped, key=lambda each: each.stamp_ns):
        first.setdefault(each.stamp_ns, each)
    notes = []
    if len(stamped) < len(images):
        notes.append(f"{len(images) - len(stamped)} of {len(images)} images have no stamp: left out")
    if len(first) < len(stamped):
        notes.append(f"{len(stamped) - len(first)} of {len(images)} images have the stamp of another one: left out")
    return list(first.values()), tuple(notes)


def _poses(
    bag: BagReader, transforms: RecordedTransforms, camera_frame: str, stamps: IntArray, options: BagOptions
) -> tuple[list[FloatArray | None], tuple[str, ...]]:
    if not camera_frame:
        raise DataError("the images do not name their frame (header.frame_id is empty): give --camera-frame")
    found, notes = camera_poses(bag, transforms, camera_frame, stamps, options)
    notes += transforms.notes
    count = int(found.known.sum())
    if count < 2:
        which = "no image has" if not count else f"only one of {len(stamps)} images has"
        span = f"the images are from {seconds(stamps[0])} s to {seconds(stamps[-1])} s"
        why = "; ".join(filter(None, [found.gap, span]))
        raise DataError(f"{which} a pose in the bag {bag.path}, and two are needed at least: {why}")
    if count < len(stamps):
        notes += (f"{len(stamps) - count} of {len(stamps)} images have no pose, {found.gap}: left out",)
    return [pose if known else None for pose, known in zip(found.poses, found.known, strict=True)], notes


def _depths(
    topic: Topic, entries: Sequence[_Stamped], stamps: IntArray
) -> tuple[list[_Stamped | None], tuple[str, ...]]:
    entries = sorted(entries, key=lambda each: each.stamp_ns)
    index, distance = nearest(np.array([each.stamp_ns for each in entries], dtype=np.int64), stamps)
    near = distance <= MAX_DEPTH_OFFSET_NS
    without = len(stamps) - int(near.sum())
    found = [entries[i] if ok else None for i, ok in zip(index, near, strict=True)]
    if not without:
        return found, ()
    text = f"{without} of {len(stamps)} images have no depth on {topic.name} within {MAX_DEPTH_OFFSET_NS / 1e6:g} ms"
    return found, (text,)


def _read(
    bag: BagReader,
    store: MessageStore,
    each: _Stamped,
    size: tuple[int, int],
    pixels: Callable[[Any], Pixels],
) -> Pixels:
    topic = each.position.topic
    try:
        image = pixels(bag.decode(store.read(each.position)))
    except DataError as error:
        raise DataError(f"the image on {topic.name} at {seconds(each.stamp_ns)} s of {bag.path}: {error}") from None
    height, width = image.shape
    if (width, height) != size:
        raise DataError(
            f"the image on {topic.name} at {seconds(each.stamp_ns)} s of {bag.path} is {width}x{height}, "
            f"the images are {size[0]}x{size[1]}: give another topic"
        )
    return image
