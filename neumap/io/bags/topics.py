"""Chooses the topics of images, calibrations, depth and poses in a bag: by option, else by type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from neumap.errors import ConfigError, DataError
from neumap.geometry.transform_tree import frame_name
from neumap.io.bags.reader import BagReader, Topic
from neumap.io.image_messages import base_topic, is_depth_encoding

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TF = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"
TRANSFORM = "geometry_msgs/msg/TransformStamped"
POSE = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
PATH = "nav_msgs/msg/Path"

IMAGES = (IMAGE, COMPRESSED_IMAGE)
POSES = (ODOMETRY, TRANSFORM, POSE, POSE_WITH_COVARIANCE)

# Names: one topic or frame, or one for each camera.
Names: TypeAlias = str | Sequence[str] | None

# _WISHES: names of topics of goals and claims, which do not hold the poses of a robot.
_WISHES = frozenset({"initialpose", "goal_pose", "goal", "move_base_simple"})


@dataclass(frozen=True)
class BagOptions:
    """Topics and frames of a bag given by the user; None: chosen automatically.

    The fields of :class:`CameraOptions` are given once for each camera, in the same order; the first camera is the
    reference of the rig. ``map_frame`` is the frame of the wanted poses (default "map"), ``base_frame`` the frame whose
    pose a pose topic holds (default: that of its messages, else "base_link"), ``camera_frame`` the optical frame
    (default: that of the images). ``trajectory`` is a TUM file of the poses of ``base_frame``, by default of the first
    camera, which replaces the poses of the bag. ``odometry`` selects the poses of odometry, in ``map_frame`` or else in
    "odom", even if the bag holds poses in the map. ``max_gap_s`` is the largest gap between two poses to interpolate,
    seconds (default: from :func:`~neumap.io.trajectories.spacing_of`).
    """

    image_topic: Names = None
    camera_info_topic: Names = None
    depth_topic: Names = None
    pose_topic: str | None = None
    tf_topic: str | None = None
    map_frame: str | None = None
    base_frame: str | None = None
    camera_frame: Names = None
    trajectory: str | None = None
    max_gap_s: float | None = None
    odometry: bool = False

    def of_each_camera(self) -> list[CameraOptions]:
        """Return the options of each camera. Raises :class:`~neumap.errors.ConfigError` if one is not given for all
        cameras, or an image topic is given twice.
        """
        said = {field.name: _listed(getattr(self, field.name)) for field in fields(CameraOptions)}
        images = said["image_topic"]
        if len(set(images)) < len(images):
            raise ConfigError(f"--image-topic names a topic twice: {', '.join(images)}")
        count = max(1, len(images))
        for name, values in said.items():
            if values and len(values) != count:
                raise ConfigError(
                    f"--{name.replace('_', '-')} is given {len(values)} times, and there are {count} cameras: give it "
                    "once for each --image-topic, in the same order"
                )
        given = {name: values for name, values in said.items() if values}
        return [CameraOptions(**{name: values[i] for name, values in given.items()}) for i in range(count)]


@dataclass(frozen=True)
class CameraOptions:
    """The fields of :class:`BagOptions` for one camera."""

    image_topic: str | None = None
    camera_info_topic: str | None = None
    depth_topic: str | None = None
    camera_frame: str | None = None


def _listed(names: Names) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


@dataclass(frozen=True)
class Look:
    """Properties of an image topic's first message: its frame, whether it is depth, and width and height or None."""

    frame: str
    is_depth: bool
    size: tuple[int, int] | None = None


def look_at_images(bag: BagReader) -> dict[Topic, Look]:
    """Read the properties of the first message of each image topic that has messages."""
    looks = {}
    for topic in with_messages(bag.topics, IMAGES):
        first = bag.first(topic)
        frame = frame_name(first.header.frame_id)
        if topic.type == IMAGE:
            depth = is_depth_encoding(first.encoding) or (first.encoding == "mono16" and "depth" in topic.name)
            looks[topic] = Look(frame, depth, (first.width, first.height))
        else:
            coded = first.format.partition(";")[0].strip()
            looks[topic] = Look(frame, is_depth_encoding(coded) or topic.name.endswith("/compressedDepth"))
    return looks


def with_messages(topics: Iterable[Topic], types: Sequence[str]) -> list[Topic]:
    """Return the topics of these types that are not empty."""
    return [topic for topic in topics if topic.type in types and topic.count]


def choose_image(bag: BagReader, looks: Mapping[Topic, Look], name: str | None) -> Topic:
    """Choose the topic of the images.

    Raises :class:`~neumap.errors.DataError` if there is none, :class:`~neumap.errors.ConfigError` if the given one does
    not exist or has another type, or if several are possible.
    """
    if name is not None:
        return _given(bag, name, "--image-topic", IMAGES)
    candidates = _without_copies([topic for topic, look in looks.items() if not look.is_depth])
    if len(candidates) > 1:
        infos = {topic.name for topic in with_messages(bag.topics, [CAMERA_INFO])}
        candidates = [topic for topic in candidates if _info_name(topic) in infos] or candidates
    none = "holds no images (sensor_msgs Image or CompressedImage)"
    return _only(bag, candidates, "images", "--image-topic", none)


def choose_camera_info(bag: BagReader, image: Topic, frame: str, name: str | None) -> Topic:
    """Choose the topic of the calibration: beside the images, else in their ``frame``, else the only one.

    Raises as :func:`choose_image` does.
    """
    if name is not None:
        return _given(bag, name, "--camera-info-topic", [CAMERA_INFO])
    candidates = with_messages(bag.topics, [CAMERA_INFO])
    beside = [topic for topic in candidates if topic.name == _info_name(image)]
    fitting = beside or [topic for topic in candidates if _frame(bag, topic) == frame]
    none = f"holds no sensor_msgs/CameraInfo for {image.name}"
    return _only(bag, fitting or candidates, "calibrations", "--camera-info-topic", none)


def choose_depth(
    bag: BagReader, looks: Mapping[Topic, Look], image: Look, name: str | None
) -> tuple[Topic | None, tuple[str, ...]]:
    """Choose the topic of depth registered to the images, or None; return it with notes.

    Depth is registered if it has the frame and the size of the images, which ``image`` gives. Raises as
    :func:`choose_image` does.
    """
    if name is not None:
        return _given(bag, name, "--depth-topic", IMAGES), ()
    all_depth = {topic: look for topic, look in looks.items() if look.is_depth}
    if not all_depth:
        return None, ()
    registered = [t for t, look in all_depth.items() if look.frame == image.frame and look.size in (None, image.size)]
    if not registered:
        names = ", ".join(topic.name for topic in all_depth)
        return None, (f"the depth on {names} is not registered to the images (another frame or size): not used",)
    candidates = _without_copies([topic for topic in registered if "aligned" in topic.name] or registered)
    return _only(bag, candidates, "depth", "--depth-topic, or --no-depth"), ()


def choose_transforms(bag: BagReader, image: Topic, name: str | None) -> dict[Topic, bool]:
    """Choose the topics of transforms, each with whether it is static: tf, or the given ``name``, and tf_static.

    A robot in the namespace /robot1 has its transforms on /robot1/tf and /robot1/tf_static. The nearest namespace above
    the images is chosen, else the only one; tf_static is preferred in the nearest namespace above the chosen tf. Raises
    as :func:`choose_image` does.
    """
    chosen = {} if name is None else {_given(bag, name, "--tf-topic", [TF]): False}
    for last in ("tf_static",) if chosen else ("tf", "tf_static"):
        named = {topic.name.removesuffix(last): topic for topic in bag.topics if topic.name.endswith(f"/{last}")}
        named = {space: topic for space, topic in named.items() if topic.type == TF and topic.count}
        candidates = list(named.values())
        # a namespace above the chosen tf overrides one above the image
        for beside in (image, *chosen):
            if above := [space for space in named if beside.name.startswith(space)]:
                candidates = [named[max(above, key=len)]]
        if candidates:
            chosen[_only(bag, candidates, "transforms", "--tf-topic")] = last == "tf_static"
    return chosen


def choose_pose(
    bag: BagReader, map_frame: str, why_not_tf: str, name: str | None, odometry_in_tf: bool = False
) -> Topic | None:
    """Choose the topic of poses if /tf does not hold them, for the reason ``why_not_tf``: the one in the frame of the
    map, else the one of odometry. Returns None for /tf, also if no topic fits but there is ``odometry_in_tf``.

    The given topic may also hold transforms, or the path of SLAM; paths are not chosen automatically, since those of
    planners have the same type. Raises as :func:`choose_image` does.
    """
    if name is not None:
        return _given(bag, name, "--pose-topic", (*POSES, PATH, TF))
    if not why_not_tf:
        return None
    candidates = pose_topics(bag)
    in_map = [topic for topic in candidates if _frame(bag, topic) == map_frame]
    chosen = in_map or [topic for topic in candidates if topic.type == ODOMETRY]
    if odometry_in_tf and not in_map and len(chosen) != 1:
        return None
    none = (
        f"does not tell where the camera was: {why_not_tf}; and no topic holds poses in {map_frame} "
        "(try --map-frame or --pose-topic)"
    )
    return _only(bag, chosen, "poses", "--pose-topic", none)


def pose_topics(bag: BagReader) -> list[Topic]:
    """Return the topics of poses, without those of goals and claims."""
    topics = (topic for topic in with_messages(bag.topics, POSES) if topic.count > 1)
    return [topic for topic in topics if not _WISHES & set(topic.name.split("/"))]


def _info_name(image: Topic) -> str:
    """Return the conventional name of an image topic's calibration: beside the base topic."""
    return f"{base_topic(image.name).rpartition('/')[0]}/camera_info"


def _frame(bag: BagReader, topic: Topic) -> str:
    return frame_name(bag.first(topic).header.frame_id)


def _without_copies(topics: list[Topic]) -> list[Topic]:
    """Leave out compressed copies of raw images."""
    raw = {topic.name for topic in topics if topic.type == IMAGE}
    return [topic for topic in topics if topic.name in raw or base_topic(topic.name) not in raw]


def _given(bag: BagReader, name: str, option: str, types: Sequence[str]) -> Topic:
    found = [topic for topic in bag.topics if topic.name == name]
    if not found:
        raise ConfigError(f"{option}: the bag {bag.path} has no topic {name}; {_list(bag)}")
    fitting = [topic for topic in found if topic.type in types]
    if not fitting:
        expected = ", ".join(_short(type_) for type_ in types)
        raise ConfigError(f"{option}: {name} is of type {_short(found[0].type)}, expected {expected}")
    if not fitting[0].count:
        raise DataError(f"{option}: there is no message on {name}; {_list(bag)}")
    return fitting[0]


def _only(bag: BagReader, candidates: Sequence[Topic], what: str, option: str, none: str = "") -> Topic:
    """Return the only candidate; errors name ``what`` they hold, the ``option`` to choose by, and ``none`` if none."""
    if not candidates:
        raise DataError(f"the bag {bag.path} {none}: {_list(bag)}")
    if len(candidates) > 1:
        names = ", ".join(topic.name for topic in candidates)
        raise ConfigError(f"several topics hold {what}: {names}; choose one with {option}")
    return candidates[0]


def _list(bag: BagReader) -> str:
    topics = [f"{topic.name} ({_short(topic.type)}, {topic.count})" for topic in bag.topics]
    return f"its topics are {', '.join(topics)}" if topics else "it has no topics"


def _short(type_: str) -> str:
    return type_.replace("/msg/", "/")
