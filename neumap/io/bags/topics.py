"""Which topics of a bag hold the images, their calibration, their depth and the poses: by option, else by type."""

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

# Names: what is said once, or once for each camera.
Names: TypeAlias = str | Sequence[str] | None

# _WISHES: poses that a person or a planner asks for, not those that were
_WISHES = frozenset({"initialpose", "goal_pose", "goal", "move_base_simple"})


@dataclass(frozen=True)
class BagOptions:
    """What the user says of a bag; None leaves it to the bag.

    Topics by their names. What :class:`CameraOptions` has is given once for each camera, in the same order; the first
    one is that of the rig. ``map_frame`` is the frame that poses are wanted in (else "map"), ``base_frame`` the one
    whose pose a pose topic tells (else that of its messages, else "base_link"), ``camera_frame`` the optical frame
    (else that of the images). ``trajectory`` is a TUM file of the poses of ``base_frame``, by default of the first
    camera, in the place of those of the bag. ``odometry``: the poses are to be those of odometry, in ``map_frame`` or
    else in "odom", even where the map's are there. ``max_gap_s`` is how far apart two poses may be to be interpolated,
    seconds (else as :func:`~neumap.io.trajectories.spacing_of` says).
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
        """Return what is said of each camera. Raises :class:`~neumap.errors.ConfigError` where it is not said of all,
        or of one twice.
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
    """What the user says of one camera, as :class:`BagOptions` has it."""

    image_topic: str | None = None
    camera_info_topic: str | None = None
    depth_topic: str | None = None
    camera_frame: str | None = None


def _listed(names: Names) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


@dataclass(frozen=True)
class Look:
    """What the first message of an image topic tells: its frame, whether it is depth, and width and height or None."""

    frame: str
    is_depth: bool
    size: tuple[int, int] | None = None


def look_at_images(bag: BagReader) -> dict[Topic, Look]:
    """Look at the first message of all image topics that hold some."""
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

    Raises :class:`~neumap.errors.DataError` where there is none, :class:`~neumap.errors.ConfigError` where
    the one that was given is none, or where several could be meant.
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
    """Choose the topic of the calibration: beside the images, else of their ``frame``, else the only one.

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
    """Choose the topic of depth that is registered to the images, if any, and say what the user should know.

    Depth is registered where it is in the images' frame and of their size. ``image`` is the look of the images, with
    their size. Raises as :func:`choose_image` does.
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
    """Choose the topics of transforms, and tell which are static: tf, or the one by ``name``, and tf_static.

    A robot in the namespace /robot1 has its transforms on /robot1/tf and /robot1/tf_static. The nearest namespace that
    is above the images' counts, else the only one; static ones are looked for above the others first. Raises as
    :func:`choose_image` does.
    """
    chosen = {} if name is None else {_given(bag, name, "--tf-topic", [TF]): False}
    for last in ("tf_static",) if chosen else ("tf", "tf_static"):
        named = {topic.name.removesuffix(last): topic for topic in bag.topics if topic.name.endswith(f"/{last}")}
        named = {space: topic for space, topic in named.items() if topic.type == TF and topic.count}
        candidates = list(named.values())
        # the last that something is above counts
        for beside in (image, *chosen):
            if above := [space for space in named if beside.name.startswith(space)]:
                candidates = [named[max(above, key=len)]]
        if candidates:
            chosen[_only(bag, candidates, "transforms", "--tf-topic")] = last == "tf_static"
    return chosen


def choose_pose(
    bag: BagReader, map_frame: str, why_not_tf: str, name: str | None, odometry_in_tf: bool = False
) -> Topic | None:
    """Choose the topic of poses where /tf does not tell them (``why_not_tf``): in the frame of the map, else the one of
    odometry; none where there is no such one but ``odometry_in_tf``.

    Raises as :func:`choose_image` does. The one that is given may hold transforms, or the path that SLAM draws; what
    planners draw is of the same type.
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
    """Return the topics that tell where something was, not where it is to go."""
    topics = (topic for topic in with_messages(bag.topics, POSES) if topic.count > 1)
    return [topic for topic in topics if not _WISHES & set(topic.name.split("/"))]


def _info_name(image: Topic) -> str:
    """Return where the calibration of an image topic is by convention: beside it, whatever its transport."""
    return f"{base_topic(image.name).rpartition('/')[0]}/camera_info"


def _frame(bag: BagReader, topic: Topic) -> str:
    return frame_name(bag.first(topic).header.frame_id)


def _without_copies(topics: list[Topic]) -> list[Topic]:
    """Leave out the compressed copies of images that are there as they were."""
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
    """Return the one candidate. ``what`` they hold and the ``option`` to choose by are for errors, as is ``none``."""
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
